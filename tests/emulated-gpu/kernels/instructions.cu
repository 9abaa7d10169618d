#include "device.cuh"

// Kernels that use what the others do not, a thread per element: for tests of single instructions.

__constant__ float coefficients[4] = {1.f, -0.5f, 0.25f, -0.125f};
__device__ int powers[5] = {1, 10, 100, 1000, 10000};
__device__ const int* powers_pointer = powers + 1;
__device__ unsigned long long calls;

struct Parts {
  float low;
  double high;
  int digits[3];
};

__device__ __noinline__ float polynomial(float x) {
  float y = 0.f;
  for (int i = 3; i >= 0; i--) y = y * x + coefficients[i];
  return y;
}

__device__ __noinline__ Parts take_apart(float x) {
  atomicAdd(&calls, 1ull);
  Parts parts;
  parts.low = x - floorf(x);
  parts.high = floorf(x);
  for (int i = 0; i < 3; i++) parts.digits[i] = int(fabsf(x)) / powers[i] % 10;
  return parts;
}

// Calls in divergent code, structures by value, tables.
extern "C" __global__ void calls_and_tables(const float* x, float* y, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const Parts parts = take_apart(x[i]);
  float sum = parts.low + float(parts.high) + parts.digits[0] + 10 * parts.digits[1] + 100 * parts.digits[2];
  if (i % 3 == 0) sum = polynomial(sum * 0.01f);
  y[i] = sum + powers_pointer[i % 4];
}

extern "C" __global__ void count_calls(unsigned long long* out) { *out = calls; }

// An array in local memory, indexed by data: the median of 9.
extern "C" __global__ void median(const float* x, float* y, int count) {
  const int i = threadIdx.x;
  if (i >= count) return;
  float sorted[9];
  for (int j = 0; j < 9; j++) sorted[j] = x[9 * i + j];
  for (int j = 1; j < 9; j++)
    for (int k = j; k > 0 && sorted[k] < sorted[k - 1]; k--) {
      const float swap = sorted[k];
      sorted[k] = sorted[k - 1];
      sorted[k - 1] = swap;
    }
  y[i] = sorted[4];
}

// 64-bit division and remainder, multiplication, bits.
extern "C" __global__ void integers(const long long* a, const long long* b, long long* out, int count) {
  const int i = threadIdx.x;
  if (i >= count) return;
  const unsigned long long ua = a[i], ub = b[i];
  long long* to = out + 12 * i;
  to[0] = b[i] == 0 ? 0 : a[i] / b[i];
  to[1] = b[i] == 0 ? 0 : a[i] % b[i];
  to[2] = ub == 0 ? 0 : ua / ub;
  to[3] = __umul64hi(ua, ub);
  to[4] = __mul64hi(a[i], b[i]);
  to[5] = __popcll(ua) + 100 * __clzll(ua) + 10000 * __ffsll(ua);
  to[6] = __brevll(ua);
  to[7] = __funnelshift_l(unsigned(ua), unsigned(ub), unsigned(ub)) + (unsigned long long)__byte_perm(unsigned(ua), unsigned(ub), 0x2743);
  to[8] = __mulhi(int(ua), int(ub)) + (long long)__sad(int(ua), int(ub), 7);
  to[9] = (a[i] >> (ub & 63)) ^ (ua << (ub & 63)) ^ (ua >> (ub & 63));
  to[10] = max(a[i], b[i]) ^ min(ua, ub);
  to[11] = llabs(a[i]);
}

// Library functions that take many instructions.
extern "C" __global__ void functions(const float* x, float* y, double* z, int count) {
  const int i = threadIdx.x;
  if (i >= count) return;
  const float v = x[i];
  float* to = y + 16 * i;
  to[0] = expf(v);
  to[1] = logf(fabsf(v) + 0.1f);
  to[2] = erff(v);
  to[3] = tanhf(v);
  to[4] = powf(fabsf(v), 1.7f);
  to[5] = sqrtf(fabsf(v));
  to[6] = v / (1.f + v * v);
  to[7] = rsqrtf(1.f + v * v);
  to[8] = sinf(1000.f * v);
  to[9] = fmodf(v, 0.3f);
  to[10] = rintf(v * 10.f) + floorf(v) + ceilf(v) + truncf(v);
  to[11] = log1pf(v * v);
  to[12] = expm1f(v);
  to[13] = normcdff(v);
  to[14] = float(int(v * 100.f)) + float(unsigned(fabsf(v) * 3e9f)) + float((long long)(v * 1e12f));
  to[15] = __fadd_rz(v, 0.1f) + __fmul_ru(v, 0.3f) + __fdiv_rd(v, 3.f) + __fmaf_rz(v, v, 0.1f) + __fsqrt_ru(fabsf(v));
  z[2 * i] = exp(double(v)) + sqrt(fabs(double(v))) / 3.0 + fma(double(v), 2.0, 1e-9);
  z[2 * i + 1] = double(llrint(double(v) * 1e6)) + fmin(double(v), 0.5) + (v > 0 ? 1 : 2);
}

// Packed halves: out = a * b + c and friends for f16x2 (0..) and bf16x2 (4..).
extern "C" __global__ void halves(const uint32_t* a, const uint32_t* b, const uint32_t* c, uint32_t* out, int count) {
  const int i = threadIdx.x;
  if (i >= count) return;
  uint32_t* to = out + 12 * i;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(to[0]) : "r"(a[i]), "r"(b[i]), "r"(c[i]));
  asm("add.f16x2 %0, %1, %2;" : "=r"(to[1]) : "r"(a[i]), "r"(b[i]));
  asm("mul.f16x2 %0, %1, %2;" : "=r"(to[2]) : "r"(a[i]), "r"(b[i]));
  asm("max.f16x2 %0, %1, %2;" : "=r"(to[3]) : "r"(a[i]), "r"(b[i]));
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(to[4]) : "r"(a[i]), "r"(b[i]), "r"(c[i]));
  asm("add.bf16x2 %0, %1, %2;" : "=r"(to[5]) : "r"(a[i]), "r"(b[i]));
  asm("sub.bf16x2 %0, %1, %2;" : "=r"(to[6]) : "r"(a[i]), "r"(b[i]));
  asm("min.bf16x2 %0, %1, %2;" : "=r"(to[7]) : "r"(a[i]), "r"(b[i]));
  asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; neg.f16 l, l; abs.bf16 h, h; mov.b32 %0, {l, h}; }" : "=r"(to[8]) : "r"(a[i]));
  asm("set.lt.f16x2.f16x2 %0, %1, %2;" : "=r"(to[9]) : "r"(a[i]), "r"(b[i]));
  asm("{ .reg .b16 l, h; .reg .f32 f; mov.b32 {l, h}, %1; cvt.f32.f16 f, l; cvt.rn.bf16.f32 h, f; cvt.rz.f16.f32 l, f; mov.b32 %0, {l, h}; }"
      : "=r"(to[10]) : "r"(a[i]));
  asm("{ .reg .f32 f; mov.b32 f, %1; cvt.rna.tf32.f32 %0, f; }" : "=r"(to[11]) : "r"(a[i]));
}

// Votes, matches, reductions and elections, by half warps that mean different masks.
extern "C" __global__ void exchanges(const uint32_t* values, uint32_t* out) {
  const uint32_t value = values[threadIdx.x], mask = threadIdx.x < 16 ? 0xffffu : 0xffff0000u;
  uint32_t* to = out + 16 * threadIdx.x;
  to[0] = __ballot_sync(mask, value & 1);
  to[1] = __any_sync(mask, value == 3) + 2 * __all_sync(mask, value < 100);
  to[2] = __match_any_sync(mask, value);
  int all;
  to[3] = __match_all_sync(mask, value & ~7u, &all) + all;
  to[4] = __reduce_add_sync(mask, value);
  to[5] = __reduce_min_sync(mask, int(value) - 4);
  to[6] = __reduce_xor_sync(mask, value);
  to[7] = __shfl_up_sync(mask, value, 3, 16);
  to[8] = __shfl_down_sync(mask, value, 2, 8);
  to[9] = __shfl_sync(mask, value, value, 4);
  to[10] = __activemask();
  to[11] = threadIdx.x % 2 == 0 ? __ballot_sync(mask & 0x55555555u, value > 2) : 7u;
  __syncwarp(mask);
  to[12] = __match_any_sync(mask, (uint64_t)value << 32);
  uint32_t lanes_below;
  asm("mov.u32 %0, %%lanemask_lt;" : "=r"(lanes_below));
  to[13] = __popc(lanes_below);
  to[14] = __shfl_xor_sync(mask, value, 5, 8);
}

// Every atomic: out[k] is what all threads make of it, seen[k] the sum of what they saw.
extern "C" __global__ void atomics(const int* values, int* out, float* floats, double* doubles, uint32_t* halves, unsigned long long* longs) {
  __shared__ int local[2];
  if (threadIdx.x < 2) local[threadIdx.x] = 0;
  __syncthreads();
  const int value = values[threadIdx.x];
  atomicAdd(&out[0], value);
  atomicMin(&out[1], value);
  atomicMax((unsigned*)&out[2], unsigned(value));
  atomicAnd(&out[3], value);
  atomicOr(&out[4], value);
  atomicXor(&out[5], value);
  atomicInc((unsigned*)&out[6], 20u);
  atomicDec((unsigned*)&out[7], 20u);
  int expected = *(volatile int*)&out[8];
  while (true) {
    const int seen = atomicCAS(&out[8], expected, max(expected, value) + 1);
    if (seen == expected) break;
    expected = seen;
  }
  atomicExch(&out[9], 1234);
  atomicAdd(floats, float(value));
  atomicAdd(doubles, double(value) * 0.5);
  atomicAdd(longs, (unsigned long long)value << 33);
  atomicMax((long long*)longs + 1, (long long)value << 40);
  asm volatile("red.global.add.noftz.f16x2 [%0], %1;" : : "l"(halves), "r"(0x3c003c00u) : "memory");
  asm volatile("red.global.add.noftz.bf16x2 [%0], %1;" : : "l"(halves + 1), "r"(0x3f803f80u) : "memory");
  asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" : : "l"(floats + 2), "f"(float(value)), "f"(1.f) : "memory");
  atomicAdd(&local[0], value);
  atomicMax(&local[1], value);
  __syncthreads();
  if (threadIdx.x == 0) {
    out[10] = local[0];
    out[11] = local[1];
  }
}

// Barriers that count and combine; a pair of warps meets at a barrier of its own.
extern "C" __global__ void barriers(const int* values, int* out) {
  __shared__ int passed[128];
  const int value = values[threadIdx.x], warp = threadIdx.x / 32;
  const int count = __syncthreads_count(value > 2), all = __syncthreads_and(value >= 0), any = __syncthreads_or(value == 5);
  passed[threadIdx.x] = value;
  asm volatile("bar.sync %0, 64;" : : "r"(1 + warp / 2) : "memory");
  out[threadIdx.x] = passed[threadIdx.x ^ 32] + 100 * count + 100000 * (all != 0) + 1000000 * (any != 0);
}

extern "C" __global__ void print_and_assert(int limit) {
  if (threadIdx.x < 2) printf("thread %d of %u: %.2f %s%%\n", threadIdx.x, blockDim.x, threadIdx.x * 0.25, "done");
  assert(int(threadIdx.x) < limit);
}
