#include "device.cuh"

// Softmax and root-mean-square normalisation of rows of bf16, a block per row, in the manner of kernels that are as fast as
// memory: each thread loads 16 bytes at a time, keeps its part of the row in registers, and stores it once.

template <int PARTS>
__device__ __forceinline__ void load_row(float (&x)[PARTS][8], const bf16* row) {
#pragma unroll
  for (int part = 0; part < PARTS; part++) {
    const uint4 packed = reinterpret_cast<const uint4*>(row)[part * blockDim.x + threadIdx.x];
    const uint32_t pairs[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      x[part][2 * i] = __uint_as_float(pairs[i] << 16);
      x[part][2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
    }
  }
}

template <int PARTS>
__device__ __forceinline__ void store_row(bf16* row, const float (&x)[PARTS][8]) {
#pragma unroll
  for (int part = 0; part < PARTS; part++) {
    const float(&y)[8] = x[part];
    reinterpret_cast<uint4*>(row)[part * blockDim.x + threadIdx.x] =
        make_uint4(pack_bf16(y[0], y[1]), pack_bf16(y[2], y[3]), pack_bf16(y[4], y[5]), pack_bf16(y[6], y[7]));
  }
}

// The largest of all threads' values, and the sum of all. The two use different memory: no barrier between them.
__device__ __forceinline__ float block_max(float value) {
  __shared__ float of_warps[8];
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  value = warp_max(value);
  if (lane == 0) of_warps[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_max(lane < warps ? of_warps[lane] : -INFINITY);
}

__device__ __forceinline__ float block_sum(float value) {
  __shared__ float of_warps[8];
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  value = warp_sum(value);
  if (lane == 0) of_warps[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_sum(lane < warps ? of_warps[lane] : 0.f);
}

template <int PARTS>
__device__ __forceinline__ void softmax(const bf16* in, bf16* out) {
  const int columns = 8 * PARTS * blockDim.x;
  float x[PARTS][8], greatest = -INFINITY, sum = 0.f;
  load_row(x, in + size_t(blockIdx.x) * columns);
#pragma unroll
  for (int i = 0; i < 8 * PARTS; i++) greatest = fmaxf(greatest, x[i / 8][i % 8]);
  greatest = block_max(greatest);
#pragma unroll
  for (int i = 0; i < 8 * PARTS; i++) sum += x[i / 8][i % 8] = __expf(x[i / 8][i % 8] - greatest);
  const float factor = __fdividef(1.f, block_sum(sum));
#pragma unroll
  for (int i = 0; i < 8 * PARTS; i++) x[i / 8][i % 8] *= factor;
  store_row(out + size_t(blockIdx.x) * columns, x);
}

template <int PARTS>
__device__ __forceinline__ void rms_norm(const bf16* in, const bf16* weights, bf16* out, float epsilon) {
  const int columns = 8 * PARTS * blockDim.x;
  float x[PARTS][8], weight[PARTS][8], squares = 0.f;
  load_row(x, in + size_t(blockIdx.x) * columns);
  load_row(weight, weights);
#pragma unroll
  for (int i = 0; i < 8 * PARTS; i++) squares += x[i / 8][i % 8] * x[i / 8][i % 8];
  const float factor = rsqrtf(block_sum(squares) / columns + epsilon);
#pragma unroll
  for (int i = 0; i < 8 * PARTS; i++) x[i / 8][i % 8] *= factor * weight[i / 8][i % 8];
  store_row(out + size_t(blockIdx.x) * columns, x);
}

// Rows of 1024 with 128 threads, of 4096 with 256.
extern "C" __global__ void __launch_bounds__(128) softmax_1024(const bf16* in, bf16* out) { softmax<1>(in, out); }

extern "C" __global__ void __launch_bounds__(256) softmax_4096(const bf16* in, bf16* out) { softmax<2>(in, out); }

extern "C" __global__ void __launch_bounds__(128)
rms_norm_1024(const bf16* in, const bf16* weights, bf16* out, float epsilon) {
  rms_norm<1>(in, weights, out, epsilon);
}

extern "C" __global__ void __launch_bounds__(256)
rms_norm_4096(const bf16* in, const bf16* weights, bf16* out, float epsilon) {
  rms_norm<2>(in, weights, out, epsilon);
}
