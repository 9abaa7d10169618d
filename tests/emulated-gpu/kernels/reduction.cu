#include "device.cuh"

// The norm of x and its greatest magnitude. The block that finishes last writes the norm.
extern "C" __global__ void __launch_bounds__(256)
norm_and_greatest(const float* __restrict__ x, long long count, float* __restrict__ sum_of_squares,
     uint32_t* __restrict__ greatest_bits, uint32_t* __restrict__ finished, float* __restrict__ result) {
  __shared__ float sums[32];
  __shared__ bool is_last;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float sum = 0.f, greatest = 0.f;
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < count; i += (long long)gridDim.x * blockDim.x) {
    sum += x[i] * x[i];
    greatest = fmaxf(greatest, fabsf(x[i]));
  }
  sum = warp_sum(sum);
  if (lane == 0) sums[warp] = sum;
  // Bits of floats that are not negative are ordered as the floats are.
  const uint32_t bits = __reduce_max_sync(0xffffffffu, __float_as_uint(greatest));
  if (lane == 0) atomicMax(greatest_bits, bits);
  __syncthreads();
  if (warp == 0) {
    sum = warp_sum(lane < blockDim.x / 32 ? sums[lane] : 0.f);
    if (lane == 0) {
      atomicAdd(sum_of_squares, sum);
      __threadfence();
      is_last = atomicAdd(finished, 1u) == gridDim.x - 1;
    }
  }
  __syncthreads();
  if (is_last && threadIdx.x == 0) *result = sqrtf(*(volatile float*)sum_of_squares);
}
