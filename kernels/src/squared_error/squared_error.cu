// dx_i = d_loss 2 weight_i (x_i - target_i), and the terms of the loss.

KERNEL(squared_error_terms, 256)
(const activation* __restrict__ x, const float* __restrict__ targets, float* __restrict__ terms, int64_t rows) {
  const size_t i = thread_of_grid();
  if (i >= rows) return;
  const float error = to_float(x[i]) - targets[i];
  terms[i] = error * error;
}

// A row of weight 0 gets 0, whatever it holds.
KERNEL(squared_error_backward, 256)
(const activation* __restrict__ x, const float* __restrict__ targets, const float* __restrict__ weights,
 const float* __restrict__ d_loss, activation* __restrict__ dx, int64_t rows, int adds) {
  const size_t i = thread_of_grid();
  if (i >= rows) return;
  const float weight = weights[i];
  float gradient[1] = {weight == 0.f ? 0.f : d_loss[0] * (2.f * weight * (to_float(x[i]) - targets[i]))};
  put(dx + i, gradient, adds);
}
