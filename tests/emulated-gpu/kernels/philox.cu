#include "device.cuh"

// Philox 4x32-10 of (counter, key). Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
__device__ __forceinline__ uint4 philox(uint4 counter, uint2 key) {
  for (int round = 0; round < 10; round++) {
    const uint32_t high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
    counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
    key.x += 0x9E3779B9u;
    key.y += 0xBB67AE85u;
  }
  return counter;
}

// Four random words per counter from `first` on; a thread per counter.
extern "C" __global__ void random_words(uint4* __restrict__ words, uint64_t seed, uint64_t first, long long count) {
  const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (i >= count) return;
  const uint64_t counter = first + i;
  words[i] = philox(make_uint4(uint32_t(counter), uint32_t(counter >> 32), 0, 0), make_uint2(uint32_t(seed), uint32_t(seed >> 32)));
}
