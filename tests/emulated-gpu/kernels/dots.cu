#include "device.cuh"

// d[16 x 8] = a b, for a row-major 16 x k and b column-major k x 8, in bf16: a warp that adds up one mma after the other.
extern "C" __global__ void dots(const uint32_t* __restrict__ a, const uint32_t* __restrict__ b, float* __restrict__ d, int k) {
  const int row = threadIdx.x / 4, pair = threadIdx.x % 4, pitch = k / 2;
  float sums[4] = {};
  for (int at = pair; at < pitch; at += 8) {
    const uint32_t fragment[4] = {a[row * pitch + at], a[(row + 8) * pitch + at], a[row * pitch + at + 4], a[(row + 8) * pitch + at + 4]};
    mma_16x8x16(sums, fragment, b[row * pitch + at], b[row * pitch + at + 4]);
  }
  for (int i = 0; i < 4; i++) d[(row + i / 2 * 8) * 8 + pair * 2 + i % 2] = sums[i];
}
