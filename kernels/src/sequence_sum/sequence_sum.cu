// y[s] = the sum of weight[t] x[t] over the rows t of sequence s, and its gradients.

// Block (s, c) has sequence s and 32 VECTOR columns; its eight warps take every eighth row each, and are added up in order.
KERNEL(sequence_sum_forward, 256)
(const activation* __restrict__ weights, const activation* __restrict__ x, const int* __restrict__ offsets,
 activation* __restrict__ y, int64_t width) {
  __shared__ __align__(16) float sums[32 * VECTOR];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t column = (int64_t(blockIdx.y) * 32 + lane) * VECTOR;
  const bool live = column < width;
  float sum[VECTOR] = {};
  if (live) {
#pragma unroll 4
    for (int64_t row = offsets[blockIdx.x] + warp; row < offsets[blockIdx.x + 1]; row += 8) {
      const float weight = to_float(weights[row]);
      float values[VECTOR];
      load(values, x + row * width + column);
#pragma unroll
      for (int i = 0; i < VECTOR; i++) sum[i] += weight * values[i];
    }
  }
  sum_warps<8>(sums, sum);
  if (warp > 0 || !live) return;
  load(sum, sums + lane * VECTOR);
  store(y + int64_t(blockIdx.x) * width + column, sum);
}

// dx[t] = weight[t] dy[s], d_weight[t] = x[t] · dy[s]: a warp per row. Dead rows get 0.
KERNEL(sequence_sum_backward, 256)
(const activation* __restrict__ weights, const activation* __restrict__ x, const int* __restrict__ offsets,
 const activation* __restrict__ dy, activation* __restrict__ d_weights, int adds_weights, activation* __restrict__ dx,
 int adds, int sequences, int64_t rows, int64_t width) {
  const int64_t row = warp_of_grid();
  if (row >= rows) return;
  const bool dead = row >= offsets[sequences];
  // The last sequence that begins at the row or before it: empty ones begin there too, and end there.
  int sequence = 0;
  for (int beyond = sequences; beyond - sequence > 1;) {
    const int middle = (sequence + beyond) / 2;
    (offsets[middle] <= row ? sequence : beyond) = middle;
  }
  const float weight = dead ? 0.f : to_float(weights[row]);
  float product[1] = {};
  each_column<VECTOR>(width, [&](int64_t column) {
    float gradients[VECTOR] = {};
    if (!dead) {
      float values[VECTOR];
      load(gradients, dy + sequence * width + column);
      load(values, x + row * width + column);
#pragma unroll
      for (int i = 0; i < VECTOR; i++) {
        product[0] += values[i] * gradients[i];
        gradients[i] *= weight;
      }
    }
    put(dx + row * width + column, gradients, adds);
  });
  product[0] = warp_sum(product[0]);
  if (threadIdx.x % 32 == 0) put(d_weights + row, product, adds_weights);
}
