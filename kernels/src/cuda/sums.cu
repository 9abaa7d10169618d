// Sums that finish what many blocks began, in an order that depends on shapes alone.

// out[c] += the sum of column c of `partials`, [rows, columns]; from column `split` on, other[c - split]. A block has 32
// columns; its eight warps take every eighth row each, and are added up in order.
KERNEL(add_column_sums, 256)
(const float* __restrict__ partials, float* __restrict__ out, float* __restrict__ other, int64_t rows, int64_t columns,
 int64_t split) {
  __shared__ float of_warps[8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t column = int64_t(blockIdx.x) * 32 + lane;
  float sum = 0.f;
  if (column < columns) {
#pragma unroll 4
    for (int64_t row = warp; row < rows; row += 8) sum += partials[row * columns + column];
  }
  of_warps[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= columns) return;
  for (int i = 1; i < 8; i++) sum += of_warps[i][lane];
  (column < split ? out + column : other + (column - split))[0] += sum;
}

// loss = the sum of weight times term; what has no weight is not read. One block.
KERNEL(weighted_loss, 1024)
(const float* __restrict__ weights, const float* __restrict__ terms, float* __restrict__ loss, int64_t rows) {
  double sum = 0.0;
  for (int64_t row = threadIdx.x; row < rows; row += 1024) {
    const float weight = weights[row];
    if (weight != 0.f) sum += double(weight) * double(terms[row]);
  }
  sum = block_sum<32>(sum);
  if (threadIdx.x == 0) loss[0] = float(sum);
}
