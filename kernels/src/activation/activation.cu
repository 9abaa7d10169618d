// y = f(x) and du = dy f'(u), elementwise, for the function of functions.cuh.

KERNEL(activation_forward, 256)(const activation* __restrict__ x, activation* __restrict__ y, size_t length) {
  each<activation>(length, [&](size_t first, auto count) {
    float values[count.value];
    load(values, x + first);
#pragma unroll
    for (float& it : values) it = value(it);
    store(y + first, values);
  });
}

// The gradient of f(u) lies in `du` where there is no `dy`.
KERNEL(activation_backward, 256)
(const activation* __restrict__ saved, const activation* dy, activation* du, size_t length) {
  each<activation>(length, [&](size_t first, auto count) {
    float values[count.value], gradients[count.value];
    load(values, saved + first);
    load(gradients, (dy ? dy : du) + first);
#pragma unroll
    for (int i = 0; i < count.value; i++) gradients[i] *= derivative(values[i]);
    store(du + first, gradients);
  });
}
