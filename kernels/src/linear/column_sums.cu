// The sums of the columns of a matrix. Block (c, r) has 32 VECTOR columns and every gridDim.y-th eight rows, one for each
// warp; the sums of the warps are added in order and go to row r of `partials`.
KERNEL(column_sums, 256)
(const activation* __restrict__ x, float* __restrict__ partials, int64_t rows, int64_t width) {
  __shared__ __align__(16) float sums[VECTOR][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t column = (int64_t(blockIdx.x) * 32 + lane) * VECTOR;
  const bool live = column < width;
  float sum[VECTOR] = {};
  if (live) {
#pragma unroll 4
    for (int64_t row = int64_t(blockIdx.y) * 8 + warp; row < rows; row += int64_t(gridDim.y) * 8) {
      float values[VECTOR];
      load(values, x + row * width + column);
#pragma unroll
      for (int i = 0; i < VECTOR; i++) sum[i] += values[i];
    }
  }
  for (int turn = 0; turn < 8; turn++) {
    if (warp == turn) {
#pragma unroll
      for (int i = 0; i < VECTOR; i++) sums[i][lane] = turn ? sums[i][lane] + sum[i] : sum[i];
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < 32 * VECTOR; i += 256) {
    const int64_t column = int64_t(blockIdx.x) * 32 * VECTOR + i;
    if (column < width) partials[blockIdx.y * width + column] = sums[i % VECTOR][i / VECTOR];
  }
}
