#include "device.cuh"

// Attention of heads of width 64 in bf16 on tensor cores. q, k, v, o: [heads, length, 64]; log_sums: [heads, length].
// Tiles of 64 rows; a block of 4 warps, each of which has 16 rows of a tile.
#define TILE 64
#define WIDTH 64
#define PITCH 72 // elements of a row in shared memory: 144 bytes, so that 8 rows touch all banks
#define LOG2_E 1.44269504f

// Shared memory that the kernels want: forward q and two stages of k and v; backward k, v, q, dout, p, ds.
// forward: (1 + 2 * 2) * TILE * PITCH * 2 bytes; backward: 6 * TILE * PITCH * 2 bytes

// Begins to copy rows first.. of a [length, 64] matrix; rows past its end become zero.
__device__ __forceinline__ void copy_tile(bf16* to, const bf16* from, int first, int length) {
  for (int i = threadIdx.x; i < TILE * WIDTH / 8; i += 128) {
    const int row = i / (WIDTH / 8), column = i % (WIDTH / 8) * 8;
    const bool inside = first + row < length;
    copy_async(to + row * PITCH + column, from + size_t(inside ? first + row : 0) * WIDTH + column, inside ? 16 : 0);
  }
}

// Address that a lane gives for a 16 x 16 operand A, or for two 16 x 8 operands B of which the k-th row is a row.
__device__ __forceinline__ const bf16* rows_of(const bf16* tile, int row, int column, int lane) {
  return tile + (row + lane % 16) * PITCH + column + lane / 16 * 8;
}

// As above, for A of which the columns are rows in memory.
__device__ __forceinline__ const bf16* columns_of(const bf16* tile, int row, int column, int lane) {
  return tile + (column + lane % 8 + lane / 16 * 8) * PITCH + row + lane / 8 % 2 * 8;
}

// d[16 x 64] += a[16 x 64] b[64 x 64], where row n of `b` holds column n of the operand B.
__device__ __forceinline__ void multiply_transposed(float (&d)[8][4], const uint32_t (&a)[4][4], const bf16* b, int lane) {
#pragma unroll
  for (int n = 0; n < 8; n++)
#pragma unroll
    for (int k = 0; k < 4; k += 2) {
      uint32_t fragment[4];
      load_matrices(fragment, b + (n * 8 + lane % 8) * PITCH + k * 16 + lane / 8 * 8);
      mma_16x8x16(d[n], a[k], fragment[0], fragment[1]);
      mma_16x8x16(d[n], a[k + 1], fragment[2], fragment[3]);
    }
}

// d[16 x 64] += a[16 x 64] b[64 x 64], where row k of `b` holds row k of the operand B.
__device__ __forceinline__ void multiply(float (&d)[8][4], const uint32_t (&a)[4][4], const bf16* b, int lane) {
#pragma unroll
  for (int k = 0; k < 4; k++)
#pragma unroll
    for (int n = 0; n < 8; n += 2) {
      uint32_t fragment[4];
      load_matrices_transposed(fragment, rows_of(b, k * 16, n * 8, lane));
      mma_16x8x16(d[n], a[k], fragment[0], fragment[1]);
      mma_16x8x16(d[n + 1], a[k], fragment[2], fragment[3]);
    }
}

extern "C" __global__ void __launch_bounds__(128)
attention_forward(const bf16* __restrict__ q, const bf16* __restrict__ k, const bf16* __restrict__ v,
                  bf16* __restrict__ o, float* __restrict__ log_sums, int length, float scale, int causal) {
  extern __shared__ __align__(128) bf16 tiles[];
  bf16* q_tile = tiles;
  bf16* k_tiles = tiles + TILE * PITCH;
  bf16* v_tiles = k_tiles + 2 * TILE * PITCH;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int first = blockIdx.x * TILE;
  const size_t head = size_t(blockIdx.y) * length * WIDTH;
  int tile_count = (length + TILE - 1) / TILE;
  if (causal) tile_count = min(tile_count, int(blockIdx.x) + 1);
  copy_tile(q_tile, q + head, first, length);
  copy_tile(k_tiles, k + head, 0, length);
  copy_tile(v_tiles, v + head, 0, length);
  commit_copies();
  uint32_t q_fragments[4][4];
  float out[8][4] = {};
  // A lane has two rows: lane / 4 and the one eight below.
  float greatest[2] = {-1e30f, -1e30f}, sums[2] = {0.f, 0.f};
  for (int tile = 0; tile < tile_count; tile++) {
    const bf16* k_tile = k_tiles + tile % 2 * TILE * PITCH;
    const bf16* v_tile = v_tiles + tile % 2 * TILE * PITCH;
    if (tile + 1 < tile_count) {
      copy_tile(k_tiles + (tile + 1) % 2 * TILE * PITCH, k + head, (tile + 1) * TILE, length);
      copy_tile(v_tiles + (tile + 1) % 2 * TILE * PITCH, v + head, (tile + 1) * TILE, length);
      commit_copies();
      wait_copies<1>();
    } else {
      wait_copies<0>();
    }
    __syncthreads(); // the tile has arrived
    if (tile == 0) {
#pragma unroll
      for (int i = 0; i < 4; i++) load_matrices(q_fragments[i], rows_of(q_tile, warp * 16, i * 16, lane));
    }
    float scores[8][4] = {};
    multiply_transposed(scores, q_fragments, k_tile, lane);
    float now_greatest[2] = {greatest[0], greatest[1]};
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int column = tile * TILE + n * 8 + lane % 4 * 2 + i % 2;
        const int row = first + warp * 16 + lane / 4 + i / 2 * 8;
        const bool seen = column < length && (!causal || column <= row);
        scores[n][i] = seen ? scores[n][i] * scale : -1e30f;
        now_greatest[i / 2] = fmaxf(now_greatest[i / 2], scores[n][i]);
      }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      now_greatest[half] = fmaxf(now_greatest[half], __shfl_xor_sync(0xffffffffu, now_greatest[half], 1));
      now_greatest[half] = fmaxf(now_greatest[half], __shfl_xor_sync(0xffffffffu, now_greatest[half], 2));
      const float correction = exp2f((greatest[half] - now_greatest[half]) * LOG2_E);
      greatest[half] = now_greatest[half];
      sums[half] *= correction;
#pragma unroll
      for (int n = 0; n < 8; n++) {
        out[n][2 * half] *= correction;
        out[n][2 * half + 1] *= correction;
      }
    }
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        scores[n][i] = exp2f((scores[n][i] - greatest[i / 2]) * LOG2_E);
        sums[i / 2] += scores[n][i];
      }
    uint32_t p[4][4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) p[i][j] = pack_bf16(scores[2 * i + j / 2][j % 2 * 2], scores[2 * i + j / 2][j % 2 * 2 + 1]);
    multiply(out, p, v_tile, lane);
    __syncthreads(); // the tile may be overwritten
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    sums[half] += __shfl_xor_sync(0xffffffffu, sums[half], 1);
    sums[half] += __shfl_xor_sync(0xffffffffu, sums[half], 2);
    const int row = first + warp * 16 + lane / 4 + half * 8;
    if (row < length) {
      const float inverse = 1.f / sums[half];
#pragma unroll
      for (int n = 0; n < 8; n++)
        *reinterpret_cast<uint32_t*>(o + head + size_t(row) * WIDTH + n * 8 + lane % 4 * 2) =
            pack_bf16(out[n][2 * half] * inverse, out[n][2 * half + 1] * inverse);
      if (lane % 4 == 0) log_sums[size_t(blockIdx.y) * length + row] = greatest[half] + logf(sums[half]);
    }
  }
}

// deltas[row] = sum over the width of o dout; a warp per row.
extern "C" __global__ void __launch_bounds__(128)
attention_deltas(const bf16* __restrict__ o, const bf16* __restrict__ dout, float* __restrict__ deltas, int rows) {
  const int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= rows) return;
  const size_t at = size_t(row) * WIDTH + lane;
  const float sum = warp_sum(to_float(o[at]) * to_float(dout[at]) + to_float(o[at + 32]) * to_float(dout[at + 32]));
  if (lane == 0) deltas[row] = sum;
}

// A block has a tile of keys and goes over the tiles of queries. dq is f32 and added to; dk and dv are written.
extern "C" __global__ void __launch_bounds__(128)
attention_backward(const bf16* __restrict__ q, const bf16* __restrict__ k, const bf16* __restrict__ v,
                   const bf16* __restrict__ dout, const float* __restrict__ log_sums, const float* __restrict__ deltas,
                   float* __restrict__ dq, bf16* __restrict__ dk, bf16* __restrict__ dv, int length, float scale,
                   int causal) {
  extern __shared__ __align__(128) bf16 tiles[];
  bf16* k_tile = tiles;
  bf16* v_tile = k_tile + TILE * PITCH;
  bf16* q_tile = v_tile + TILE * PITCH;
  bf16* dout_tile = q_tile + TILE * PITCH;
  bf16* p_tile = dout_tile + TILE * PITCH;
  bf16* ds_tile = p_tile + TILE * PITCH;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int first_key = blockIdx.x * TILE;
  const size_t head = size_t(blockIdx.y) * length * WIDTH;
  copy_tile(k_tile, k + head, first_key, length);
  copy_tile(v_tile, v + head, first_key, length);
  float dk_sums[8][4] = {}, dv_sums[8][4] = {};
  const int tile_count = (length + TILE - 1) / TILE;
  for (int tile = causal ? blockIdx.x : 0; tile < tile_count; tile++) {
    const int first = tile * TILE;
    copy_tile(q_tile, q + head, first, length);
    copy_tile(dout_tile, dout + head, first, length);
    commit_copies();
    wait_copies<0>();
    __syncthreads(); // the tiles have arrived
    uint32_t a[4][4];
    float p[8][4] = {}, ds[8][4] = {};
#pragma unroll
    for (int i = 0; i < 4; i++) load_matrices(a[i], rows_of(q_tile, warp * 16, i * 16, lane));
    multiply_transposed(p, a, k_tile, lane);
#pragma unroll
    for (int i = 0; i < 4; i++) load_matrices(a[i], rows_of(dout_tile, warp * 16, i * 16, lane));
    multiply_transposed(ds, a, v_tile, lane);
    float row_log_sums[2], row_deltas[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = first + warp * 16 + lane / 4 + half * 8;
      row_log_sums[half] = row < length ? log_sums[size_t(blockIdx.y) * length + row] : 0.f;
      row_deltas[half] = row < length ? deltas[size_t(blockIdx.y) * length + row] : 0.f;
    }
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int key = first_key + n * 8 + lane % 4 * 2 + i % 2;
        const int row = first + warp * 16 + lane / 4 + i / 2 * 8;
        const bool seen = key < length && row < length && (!causal || key <= row);
        p[n][i] = seen ? exp2f((p[n][i] * scale - row_log_sums[i / 2]) * LOG2_E) : 0.f;
        ds[n][i] = p[n][i] * (ds[n][i] - row_deltas[i / 2]) * scale;
      }
#pragma unroll
    for (int n = 0; n < 8; n += 2) {
      const int at = (warp * 16 + lane % 16) * PITCH + n * 8 + lane / 16 * 8;
      store_matrices(p_tile + at, pack_bf16(p[n][0], p[n][1]), pack_bf16(p[n][2], p[n][3]),
                     pack_bf16(p[n + 1][0], p[n + 1][1]), pack_bf16(p[n + 1][2], p[n + 1][3]));
      store_matrices(ds_tile + at, pack_bf16(ds[n][0], ds[n][1]), pack_bf16(ds[n][2], ds[n][3]),
                     pack_bf16(ds[n + 1][0], ds[n + 1][1]), pack_bf16(ds[n + 1][2], ds[n + 1][3]));
    }
    __syncthreads(); // p and ds of all warps are there
    // dv += transpose(p) dout and dk += transpose(ds) q, for 16 keys of the warp
#pragma unroll
    for (int i = 0; i < 4; i++) load_matrices_transposed(a[i], columns_of(p_tile, warp * 16, i * 16, lane));
    multiply(dv_sums, a, dout_tile, lane);
#pragma unroll
    for (int i = 0; i < 4; i++) load_matrices_transposed(a[i], columns_of(ds_tile, warp * 16, i * 16, lane));
    multiply(dk_sums, a, q_tile, lane);
    // dq += ds k, for 16 queries of the warp
    float dq_sums[8][4] = {};
#pragma unroll
    for (int i = 0; i < 4; i++) load_matrices(a[i], rows_of(ds_tile, warp * 16, i * 16, lane));
    multiply(dq_sums, a, k_tile, lane);
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int row = first + warp * 16 + lane / 4 + i / 2 * 8;
        if (row < length) atomicAdd(dq + head + size_t(row) * WIDTH + n * 8 + lane % 4 * 2 + i % 2, dq_sums[n][i]);
      }
    __syncthreads(); // the tiles may be overwritten
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = first_key + warp * 16 + lane / 4 + half * 8;
    if (row < length) {
#pragma unroll
      for (int n = 0; n < 8; n++) {
        const size_t at = head + size_t(row) * WIDTH + n * 8 + lane % 4 * 2;
        *reinterpret_cast<uint32_t*>(dk + at) = pack_bf16(dk_sums[n][2 * half], dk_sums[n][2 * half + 1]);
        *reinterpret_cast<uint32_t*>(dv + at) = pack_bf16(dv_sums[n][2 * half], dv_sums[n][2 * half + 1]);
      }
    }
  }
}
