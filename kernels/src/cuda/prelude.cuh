// What every program of kernels begins with: numbers, accesses of 16 bytes, sums, random numbers. No header of the CUDA
// toolkit is needed. A program is compiled once for each precision: `activation` is what activations are stored in, all
// arithmetic is in f32, and a result is rounded once, to nearest, where it is stored.

typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;

#define INFINITY __int_as_float(0x7f800000)

struct __align__(2) bf16 {
  uint16_t bits;
};

#if ACTIVATION_BF16
typedef bf16 activation;
#define KERNEL_NAME(name) name##_bf16
#else
typedef float activation;
#define KERNEL_NAME(name) name##_f32
#endif

// Begins a kernel: `KERNEL(name, threads of a block)(parameters) { … }`; a third number is how many blocks a multiprocessor
// is to hold, for which registers are kept few.
#define KERNEL(name, ...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__) KERNEL_NAME(name)

// Elements of 16 bytes.
template <typename T>
constexpr int LANES = 16 / int(sizeof(T));

// ---- Numbers

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float(uint32_t(x.bits) << 16); }

// Two floats as a pair of bf16, `low` in the lower half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ float low_bf16(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_bf16(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ __forceinline__ void round_to(float* to, float x) { *to = x; }
__device__ __forceinline__ void round_to(bf16* to, float x) {
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to->bits) : "f"(x));
}

// ---- N neighbours at a time: 1, or accesses of 8 or 16 bytes, to which the address is aligned

template <int N>
__device__ __forceinline__ void load(float (&x)[N], const float* from) {
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const float4 quad = *reinterpret_cast<const float4*>(from + i);
      x[i] = quad.x, x[i + 1] = quad.y, x[i + 2] = quad.z, x[i + 3] = quad.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = from[i];
  }
}

template <int N>
__device__ __forceinline__ void load(float (&x)[N], const bf16* from) {
  if constexpr (N % 8 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 8) {
      const uint4 pairs = *reinterpret_cast<const uint4*>(from + i);
      x[i] = low_bf16(pairs.x), x[i + 1] = high_bf16(pairs.x), x[i + 2] = low_bf16(pairs.y), x[i + 3] = high_bf16(pairs.y);
      x[i + 4] = low_bf16(pairs.z), x[i + 5] = high_bf16(pairs.z), x[i + 6] = low_bf16(pairs.w), x[i + 7] = high_bf16(pairs.w);
    }
  } else if constexpr (N == 4) {
    const uint2 pairs = *reinterpret_cast<const uint2*>(from);
    x[0] = low_bf16(pairs.x), x[1] = high_bf16(pairs.x), x[2] = low_bf16(pairs.y), x[3] = high_bf16(pairs.y);
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = to_float(from[i]);
  }
}

// To global memory.
template <int N>
__device__ __forceinline__ void store(float* to, const float (&x)[N]) {
  if constexpr (N % 4 == 0) {
    // In these words, for the compiler takes a float4 apart in some kernels: four stores of a warp, each to all sectors.
#pragma unroll
    for (int i = 0; i < N; i += 4)
      asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};"
                   : : "l"(__cvta_generic_to_global(to + i)), "f"(x[i]), "f"(x[i + 1]), "f"(x[i + 2]), "f"(x[i + 3]) : "memory");
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) to[i] = x[i];
  }
}

template <int N>
__device__ __forceinline__ void store(bf16* to, const float (&x)[N]) {
  if constexpr (N % 8 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 8)
      *reinterpret_cast<uint4*>(to + i) = make_uint4(pack_bf16(x[i], x[i + 1]), pack_bf16(x[i + 2], x[i + 3]),
                                                     pack_bf16(x[i + 4], x[i + 5]), pack_bf16(x[i + 6], x[i + 7]));
  } else if constexpr (N == 4) {
    // One number, which the compiler cannot store in two parts.
    *reinterpret_cast<uint64_t*>(to) = pack_bf16(x[0], x[1]) | uint64_t(pack_bf16(x[2], x[3])) << 32;
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) round_to(to + i, x[i]);
  }
}

template <int N>
__device__ __forceinline__ void store_shared(float* to, const float (&x)[N]) {
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4) *reinterpret_cast<float4*>(to + i) = make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) to[i] = x[i];
  }
}

// x += what is there.
template <int N, typename T>
__device__ __forceinline__ void add_old(float (&x)[N], const T* old) {
  float values[N];
  load(values, old);
#pragma unroll
  for (int i = 0; i < N; i++) x[i] += values[i];
}

// Stores to global memory, or adds to what is there.
template <int N, typename T>
__device__ __forceinline__ void put(T* to, float (&x)[N], int adds) {
  if (adds) add_old(x, to);
  store(to, x);
}

// The same in shared memory.
template <int N>
__device__ __forceinline__ void put_shared(float* to, float (&x)[N], int adds) {
  if (adds) add_old(x, to);
  store_shared(to, x);
}

// sum += the rows of x, `width` apart, that have a bit in `rows`, in order.
template <int N, typename T>
__device__ __forceinline__ void add_rows(float (&sum)[N], const T* x, int64_t width, unsigned rows) {
  while (rows) {
    float values[N];
    load(values, x + (__ffs(rows) - 1) * width);
    rows &= rows - 1;
#pragma unroll
    for (int i = 0; i < N; i++) sum[i] += values[i];
  }
}

// ---- Elementwise kernels

template <int N>
struct Count {
  static constexpr int value = N;
};

// The number of this thread among all of a grid of one dimension.
__device__ __forceinline__ size_t thread_of_grid() { return size_t(blockIdx.x) * blockDim.x + threadIdx.x; }

// Calls `body(first, Count<N>())` for N elements of this thread, as many as 16 bytes of `T` hold; one by one at the end.
template <typename T, typename Body>
__device__ __forceinline__ void each(size_t length, Body body) {
  const size_t first = thread_of_grid() * LANES<T>;
  if (first + LANES<T> <= length) {
    body(first, Count<LANES<T>>());
  } else {
    for (size_t i = first; i < length; i++) body(i, Count<1>());
  }
}

// ---- Kernels with a warp for each row

// The number of this warp among all of a grid of one dimension.
__device__ __forceinline__ int64_t warp_of_grid() { return int64_t(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; }

// Calls `body(column)` for every N-th column of a row of `width`, a multiple of N; the lanes of the warp share them out.
template <int N, typename Body>
__device__ __forceinline__ void each_column(int64_t width, Body body) {
#pragma unroll 4
  for (int64_t column = threadIdx.x % 32 * N; column < width; column += 32 * N) body(column);
}

// ---- Sums: the order of additions is fixed

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}

// The sum over all threads of a block of WARPS warps. All threads take part; two calls in a row need a barrier between.
template <int WARPS, typename T>
__device__ __forceinline__ T block_sum(T x) {
  if constexpr (WARPS == 1) {
    return warp_sum(x);
  } else {
    __shared__ T of_warps[WARPS];
    const int lane = threadIdx.x % 32;
    x = warp_sum(x);
    if (lane == 0) of_warps[threadIdx.x / 32] = x;
    __syncthreads();
    return warp_sum(lane < WARPS ? of_warps[lane] : T(0));
  }
}

// The sums over the warps of a block, in their order, of N numbers of each lane: 32 N in shared memory, which every thread may
// read when it returns. All threads take part.
template <int WARPS, int N>
__device__ __forceinline__ void sum_warps(float* sums, float (&x)[N]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int turn = 0; turn < WARPS; turn++) {
    if (warp == turn) put_shared(sums + lane * N, x, turn);
    __syncthreads();
  }
}

// ---- Random numbers, as in random.rs and dropout/mod.rs

// Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
__device__ __forceinline__ uint4 philox(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const uint32_t high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
    counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
    key.x += 0x9E3779B9u;
    key.y += 0xBB67AE85u;
  }
  return counter;
}

// Where the scalars of a run lie: key, step, then the first row along each axis; `first_row` says which word, -1 for none.
struct Randomness {
  const uint64_t* words;
  int64_t first_row;
};

// A dropout of the model: a word below the threshold drops its element, others are scaled by 1 / (1 - p).
struct Dropout {
  uint32_t threshold;
  float scale;
  uint32_t stream;
};

// The coins of a run for one dropout, read once.
struct Coins {
  uint2 key;
  uint32_t step;
  uint64_t first_row;
  Dropout dropout;

  Coins() = default;

  __device__ __forceinline__ Coins(Randomness randomness, Dropout dropout) : dropout(dropout) {
    const uint64_t word = randomness.words[0];
    key = make_uint2(uint32_t(word), uint32_t(word >> 32));
    step = uint32_t(randomness.words[1]);
    first_row = randomness.first_row < 0 ? 0 : randomness.words[randomness.first_row];
  }

  // The words of columns 4 quad … 4 quad + 3 of a row of this run.
  __device__ __forceinline__ uint4 words(size_t row, uint32_t quad) const {
    const uint64_t block = (first_row + row) << 24 | quad;
    return philox(make_uint4(uint32_t(block), uint32_t(block >> 32), step, dropout.stream), key);
  }

  __device__ __forceinline__ float factor(uint32_t word) const { return word >= dropout.threshold ? dropout.scale : 0.f; }

  // What N neighbouring elements of a row are multiplied with; N is 1, or 4 from a multiple of 4 on.
  template <int N>
  __device__ __forceinline__ void factors(float (&f)[N], size_t row, uint32_t column) const {
    const uint4 word = words(row, column / 4);
    if constexpr (N == 4) {
      f[0] = factor(word.x), f[1] = factor(word.y), f[2] = factor(word.z), f[3] = factor(word.w);
    } else {
      static_assert(N == 1, "1 or 4");
      const uint32_t of_pair[2] = {column & 1 ? word.y : word.x, column & 1 ? word.w : word.z};
      f[0] = factor(column & 2 ? of_pair[1] : of_pair[0]);
    }
  }
};

// Which row of the run row `row` of a matrix is.
__device__ __forceinline__ size_t logical_row(const int* rows, size_t row) { return rows ? size_t(rows[row]) : row; }
