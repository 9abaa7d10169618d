#include "device.cuh"

// y = (x - mean) / sqrt(variance + epsilon) * gamma + beta over each row; a block per row.
extern "C" __global__ void __launch_bounds__(256)
layer_norm(const bf16* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,
           bf16* __restrict__ y, float* __restrict__ means, float* __restrict__ inverse_deviations, int columns,
           float epsilon) {
  __shared__ float sums[2][32];
  const int row = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const bf16* in = x + size_t(row) * columns;
  bf16* out = y + size_t(row) * columns;
  float sum = 0.f, squares = 0.f;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) {
    const float value = to_float(in[i]);
    sum += value;
    squares += value * value;
  }
  sum = warp_sum(sum);
  squares = warp_sum(squares);
  if (lane == 0) {
    sums[0][warp] = sum;
    sums[1][warp] = squares;
  }
  __syncthreads();
  sum = warp_sum(lane < warps ? sums[0][lane] : 0.f);
  squares = warp_sum(lane < warps ? sums[1][lane] : 0.f);
  const float mean = sum / columns;
  const float inverse_deviation = rsqrtf(fmaxf(squares / columns - mean * mean, 0.f) + epsilon);
  if (threadIdx.x == 0) {
    means[row] = mean;
    inverse_deviations[row] = inverse_deviation;
  }
  for (int i = threadIdx.x; i < columns; i += blockDim.x)
    out[i] = to_bf16((to_float(in[i]) - mean) * inverse_deviation * gamma[i] + beta[i]);
}
