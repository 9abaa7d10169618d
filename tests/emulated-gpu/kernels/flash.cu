#include "device.cuh"

// Attention forward as FlashAttention-2 does it with mma.sync: to see what the performance model says of it. Heads of
// width D in bf16; q, k, v, o: [heads, length, D]; log_sums: [heads, length]; `length` is a multiple of 128.
// A block of 4 warps has 128 rows of q, 32 of each warp, and goes over tiles of 64 keys. K of the next tile is copied
// while P V is computed, V while Q K is. Rows lie in shared memory with their pieces of 16 bytes permuted (xor with the
// row), so that ldmatrix meets no bank twice.
#define ROWS 128
#define KEYS 64

__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Begins to copy row I of a thread's COUNT rows, and those behind it: the distances are constants in the instructions.
template <int D, int COUNT, int I>
__device__ __forceinline__ void copy_steps(uint32_t at, const bf16* source) {
  constexpr int STEP = 128 / (D / 8) * D * 2;
  asm volatile("cp.async.cg.shared.global [%0+%2], [%1+%2], 16;" : : "r"(at), "l"(source), "n"(I * STEP) : "memory");
  if constexpr (I + 1 < COUNT) copy_steps<D, COUNT, I + 1>(at, source);
}

// Begins to copy COUNT rows of D from `from`; a thread has the same piece of every row it copies.
template <int D, int COUNT>
__device__ __forceinline__ void copy_rows(uint32_t to, const bf16* from) {
  constexpr int PIECES = D / 8;
  const int row = threadIdx.x / PIECES, piece = threadIdx.x % PIECES;
  const uint32_t at = to + row * D * 2 + ((piece ^ (row & 7)) << 4);
  copy_steps<D, COUNT * PIECES / 128, 0>(at, from + row * D + piece * 8);
}

template <int OFFSET>
__device__ __forceinline__ void load_at(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4+%5];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address), "n"(OFFSET) : "memory");
}

template <int OFFSET>
__device__ __forceinline__ void load_transposed_at(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4+%5];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address), "n"(OFFSET) : "memory");
}

// Scores of 32 rows and 16 keys of which the first is KEY, over 16 of the width.
template <int D, int KEY>
__device__ __forceinline__ void score(float (&scores)[2][8][4], const uint32_t (&a)[2][4], uint32_t k_at) {
  uint32_t b[4];
  load_at<KEY * D * 2>(b, k_at);
#pragma unroll
  for (int m = 0; m < 2; m++) {
    mma_16x8x16(scores[m][KEY / 8], a[m], b[0], b[1]);
    mma_16x8x16(scores[m][KEY / 8 + 1], a[m], b[2], b[3]);
  }
}

// out += p v over the 16 keys of which the first is KEY, for 16 of the width.
template <int D, int KEY>
__device__ __forceinline__ void weigh(float (&out)[2][D / 8][4], const uint32_t (&p)[2][4], uint32_t v_at, int n) {
  uint32_t b[4];
  load_transposed_at<KEY * D * 2>(b, v_at);
#pragma unroll
  for (int m = 0; m < 2; m++) {
    mma_16x8x16(out[m][n], p[m], b[0], b[1]);
    mma_16x8x16(out[m][n + 1], p[m], b[2], b[3]);
  }
}

template <int D, int KEY>
__device__ __forceinline__ void weigh_all(float (&out)[2][D / 8][4], const float (&scores)[2][8][4], uint32_t v_row) {
  uint32_t p[2][4];
#pragma unroll
  for (int m = 0; m < 2; m++)
#pragma unroll
    for (int j = 0; j < 4; j++) p[m][j] = pack_bf16(scores[m][KEY / 8 + j / 2][j % 2 * 2], scores[m][KEY / 8 + j / 2][j % 2 * 2 + 1]);
#pragma unroll
  for (int n = 0; n < D / 8; n += 2) weigh<D, KEY>(out, p, v_row ^ (n << 4), n);
}

template <int D>
__device__ __forceinline__ void forward(const bf16* q, const bf16* k, const bf16* v, bf16* o, float* log_sums, int length, float scale) {
  extern __shared__ __align__(1024) bf16 tiles[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, first = blockIdx.x * ROWS;
  const size_t head = size_t(blockIdx.y) * length * D;
  const uint32_t q_tile = shared_address(tiles), k_tile = q_tile + ROWS * D * 2, v_tile = k_tile + KEYS * D * 2;
  // Where a lane's rows begin, with its permutation: of q, of k (two groups of 8 keys, two pieces), of v (16 keys).
  const uint32_t swap = (lane & 7) << 4;
  const uint32_t q_row = q_tile + (warp * 32 + lane % 16) * D * 2 + (swap ^ (lane / 16 << 4));
  const uint32_t k_row = k_tile + (lane % 8 + lane / 16 * 8) * D * 2 + (swap ^ (lane / 8 % 2 << 4));
  const uint32_t v_row = v_tile + lane % 16 * D * 2 + (swap ^ (lane / 16 << 4));
  copy_rows<D, ROWS>(q_tile, q + head + size_t(first) * D);
  copy_rows<D, KEYS>(k_tile, k + head);
  commit_copies();
  float out[2][D / 8][4] = {};
  float greatest[2][2] = {{-1e30f, -1e30f}, {-1e30f, -1e30f}}, sums[2][2] = {};
  for (int key = 0; key < length; key += KEYS) {
    wait_copies<0>();
    __syncthreads(); // K has arrived, and V may be overwritten
    copy_rows<D, KEYS>(v_tile, v + head + size_t(key) * D);
    commit_copies();
    float scores[2][8][4] = {};
#pragma unroll
    for (int piece = 0; piece < D / 8; piece += 2) {
      uint32_t a[2][4];
      load_at<0>(a[0], q_row ^ (piece << 4));
      load_at<16 * D * 2>(a[1], q_row ^ (piece << 4));
      const uint32_t k_at = k_row ^ (piece << 4);
      score<D, 0>(scores, a, k_at);
      score<D, 16>(scores, a, k_at);
      score<D, 32>(scores, a, k_at);
      score<D, 48>(scores, a, k_at);
    }
    wait_copies<0>();
    __syncthreads(); // V has arrived, and K may be overwritten
    if (key + KEYS < length) copy_rows<D, KEYS>(k_tile, k + head + size_t(key + KEYS) * D);
    commit_copies();
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float most = greatest[m][half];
#pragma unroll
        for (int n = 0; n < 8; n++) most = fmaxf(most, fmaxf(scores[m][n][2 * half], scores[m][n][2 * half + 1]));
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
        const float correction = power_of_two((greatest[m][half] - most) * scale), offset = -most * scale;
        greatest[m][half] = most;
        float sum = sums[m][half] * correction;
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; i++) {
            scores[m][n][i] = power_of_two(fmaf(scores[m][n][i], scale, offset));
            sum += scores[m][n][i];
          }
        sums[m][half] = sum;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
          out[m][n][2 * half] *= correction;
          out[m][n][2 * half + 1] *= correction;
        }
      }
    weigh_all<D, 0>(out, scores, v_row);
    weigh_all<D, 16>(out, scores, v_row);
    weigh_all<D, 32>(out, scores, v_row);
    weigh_all<D, 48>(out, scores, v_row);
  }
#pragma unroll
  for (int m = 0; m < 2; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum = sums[m][half];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      const float inverse = 1.f / sum;
      const int row = first + warp * 32 + m * 16 + lane / 4 + half * 8;
      uint32_t* to = reinterpret_cast<uint32_t*>(o + head + size_t(row) * D) + lane % 4;
#pragma unroll
      for (int n = 0; n < D / 8; n++) to[n * 4] = pack_bf16(out[m][n][2 * half] * inverse, out[m][n][2 * half + 1] * inverse);
      if (lane % 4 == 0) log_sums[size_t(blockIdx.y) * length + row] = greatest[m][half] * scale * 0.69314718f + logf(sum);
    }
}

// `scale` times log2(e) is what scores are multiplied by. Shared memory: 2 * 64 * (2 + 1 + 1) * D bytes.
extern "C" __global__ void __launch_bounds__(128)
flash_forward_64(const bf16* __restrict__ q, const bf16* __restrict__ k, const bf16* __restrict__ v, bf16* __restrict__ o,
                 float* __restrict__ log_sums, int length, float scale) {
  forward<64>(q, k, v, o, log_sums, length, scale);
}

extern "C" __global__ void __launch_bounds__(128)
flash_forward_128(const bf16* __restrict__ q, const bf16* __restrict__ k, const bf16* __restrict__ v, bf16* __restrict__ o,
                  float* __restrict__ log_sums, int length, float scale) {
  forward<128>(q, k, v, o, log_sums, length, scale);
}
