// Attention forward in bf16 on tensor cores, in the manner of FlashAttention-2 (Dao 2023). A block has 128 queries of one head,
// 16 TILES of each warp (1 or 2, as registers have room for), and goes over their sequence's keys 64 at a time, with the
// softmax kept up to date as larger scores come. With STAGES 2, K and V of the next keys are copied while these are worked on, and those of the
// first two tiles of keys together; with 1, K of the next keys while P V is computed, V while Q K is. The grid
// depends on the number of rows and sequences alone: (heads, slots), the second over y and z: see `find_tile`.
#define ROWS 128
#define KEYS 64
constexpr int WIDTH = HEAD_WIDTH;
constexpr int GROUPS = WIDTH / 8;
constexpr int THREADS = 32 * ROWS / 16 / TILES;

// out += p v for a warp's rows and 64 keys.
__device__ __forceinline__ void weigh(float (&out)[TILES][GROUPS][4], const float (&p)[TILES][KEYS / 8][4], uint32_t v_row) {
#pragma unroll
  for (int group = 0; group < KEYS / 16; group++) {
    uint32_t a[TILES][4];
#pragma unroll
    for (int m = 0; m < TILES; m++)
#pragma unroll
      for (int j = 0; j < 4; j++) a[m][j] = pack_bf16(p[m][2 * group + j / 2][j % 2 * 2], p[m][2 * group + j / 2][j % 2 * 2 + 1]);
#pragma unroll
    for (int n = 0; n < GROUPS; n += 2) {
      uint32_t b[4];
      load_transposed(b, (v_row ^ n << 4) + group * 16 * WIDTH * 2);
#pragma unroll
      for (int m = 0; m < TILES; m++) {
        multiply(out[m][n], a[m], b[0], b[1]);
        multiply(out[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// Drops probabilities of 16 rows of the batch from `row` on and 64 columns from 4 `quad` on. A lane draws 4 columns of one of
// its two rows, and gets those of the other from its neighbour.
__device__ __forceinline__ void drop(float (&p)[KEYS / 8][4], const Coins& coins, int row, uint32_t quad) {
  const int lane = threadIdx.x % 32;
  const bool odd = lane % 2;
  uint32_t mine = 0;
#pragma unroll
  for (int n = 0; n < KEYS / 8; n++)
    mine |= kept(coins, row + lane / 4 + odd * 8, quad + 2 * n + lane % 4 / 2) << (4 * n);
  const uint32_t other = __shfl_xor_sync(WHOLE_WARP, mine, 1);
  const uint32_t stay[2] = {(odd ? other : mine) >> (odd * 2), (odd ? mine : other) >> (odd * 2)};
#pragma unroll
  for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (!(stay[i / 2] >> (4 * n + i % 2) & 1)) p[n][i] = 0.f;
}

// `scale` is 1 / sqrt(width). Shared memory: (ROWS + 2 STAGES KEYS) WIDTH elements.
KERNEL(attention_forward, THREADS, TILES)
(const activation* __restrict__ qkv, const int* __restrict__ offsets, int sequences, int rows, int heads, float scale,
 Randomness randomness, Dropout dropout, activation* __restrict__ context,
 float* __restrict__ log_sum_exp) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.x;
  int tile = blockIdx.z * gridDim.y + blockIdx.y;
  const Span span = find_tile<ROWS>(offsets, sequences, rows, tile);
  const int first = tile * ROWS, live = span.length - first;
  if (live <= 0) return;
  const int64_t width = int64_t(heads) * WIDTH, stride = 3 * width;
  activation* to = context + (int64_t(span.start) + first) * width + head * WIDTH;
  float* log_sums = log_sum_exp + (int64_t(span.start) + first) * heads + head;
  if (span.number == sequences) { // dead rows
    clear_rows<WIDTH>(to, width, min(live, ROWS));
    for (int row = threadIdx.x; row < min(live, ROWS); row += THREADS) log_sums[int64_t(row) * heads] = 0.f;
    return;
  }
  const activation* q = qkv + span.start * stride + head * WIDTH;
  const activation *k = q + width, *v = k + width;
  constexpr uint32_t KEY_BYTES = KEYS * WIDTH * 2;
  const uint32_t q_tile = uint32_t(__cvta_generic_to_shared(shared)), k_tiles = q_tile + ROWS * WIDTH * 2, v_tiles = k_tiles + STAGES * KEY_BYTES;
  // Where a lane's rows begin: of q, of k (two groups of 8 keys, two pieces), of v (16 keys).
  const uint32_t q_row = q_tile + place<WIDTH>(warp * 16 * TILES + lane % 16, lane / 16);
  const uint32_t k_row = k_tiles + place<WIDTH>(lane % 8 + lane / 16 * 8, lane / 8 % 2);
  const uint32_t v_row = v_tiles + place<WIDTH>(lane % 16, lane / 16);
  // Begins to copy K or V of the keys from `key` on to their stage; where there are none, nothing.
  const auto copy = [&](uint32_t tiles, const activation* from, int key) {
    const uint32_t to = tiles + key / KEYS % STAGES * KEY_BYTES;
    if (key < span.length) copy_rows<WIDTH, KEYS, THREADS>(to, from + key * stride, stride, span.length - key);
    commit_copies();
  };
  copy_rows<WIDTH, ROWS, THREADS>(q_tile, q + first * stride, stride, live);
  copy(k_tiles, k, 0);
#if STAGES == 2
  copy(v_tiles, v, 0);
  copy(k_tiles, k, KEYS);
  copy(v_tiles, v, KEYS);
#endif
  const bool idle = warp * 16 * TILES >= live;
#if DROPOUT
  const Coins coins(randomness, dropout);
#endif
  const float power_scale = scale * LOG2_E;
  float out[TILES][GROUPS][4] = {};
  float greatest[TILES][2], sums[TILES][2] = {};
#pragma unroll
  for (int m = 0; m < TILES; m++) greatest[m][0] = greatest[m][1] = -INFINITY;
  for (int key = 0; key < span.length; key += KEYS) {
    const uint32_t stage = key / KEYS % STAGES * KEY_BYTES;
    float scores[TILES][KEYS / 8][4] = {};
#if STAGES == 2
    // Behind K there are, at most: its V, and both of the keys to come.
    if (key == 0) wait_for_copies<3>();
    else wait_for_copies<1>();
    __syncthreads(); // K has arrived, and K and V of the keys before may be overwritten
    if (key > 0) {
      copy(k_tiles, k, key + KEYS);
      copy(v_tiles, v, key + KEYS);
    }
    if (!idle) add_product<WIDTH>(scores, q_row, k_row + stage);
    wait_for_copies<2>();
    __syncthreads(); // V has arrived
#else
    wait_for_copies<0>();
    __syncthreads(); // K has arrived, and V may be overwritten
    copy(v_tiles, v, key);
    if (!idle) add_product<WIDTH>(scores, q_row, k_row);
    wait_for_copies<0>();
    __syncthreads(); // V has arrived, and K may be overwritten
    copy(k_tiles, k, key + KEYS);
#endif
    if (idle) continue;
    if (span.length - key < KEYS) {
#pragma unroll
      for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int i = 0; i < 2; i++)
          if (key + n * 8 + lane % 4 * 2 + i >= span.length) {
#pragma unroll
            for (int m = 0; m < TILES; m++) scores[m][n][i] = scores[m][n][i + 2] = -INFINITY;
          }
    }
#pragma unroll
    for (int m = 0; m < TILES; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float most = greatest[m][half];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) most = fmaxf(most, fmaxf(scores[m][n][2 * half], scores[m][n][2 * half + 1]));
        most = fmaxf(most, __shfl_xor_sync(WHOLE_WARP, most, 1));
        most = fmaxf(most, __shfl_xor_sync(WHOLE_WARP, most, 2));
        const float correction = power_of_two((greatest[m][half] - most) * power_scale), offset = -most * power_scale;
        greatest[m][half] = most;
        float sum = sums[m][half] * correction;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; i++) {
            scores[m][n][i] = power_of_two(fmaf(scores[m][n][i], power_scale, offset));
            sum += scores[m][n][i];
          }
        sums[m][half] = sum;
#pragma unroll
        for (int n = 0; n < GROUPS; n++) {
          out[m][n][2 * half] *= correction;
          out[m][n][2 * half + 1] *= correction;
        }
      }
#if DROPOUT
      drop(scores[m], coins, span.start + first + warp * 16 * TILES + m * 16, head << 14 | key / 4);
#endif
    }
    weigh(out, scores, v_row + stage);
  }
  if (idle) return;
#pragma unroll
  for (int m = 0; m < TILES; m++) {
    const int row = warp * 16 * TILES + m * 16 + lane / 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum = sums[m][half];
      sum += __shfl_xor_sync(WHOLE_WARP, sum, 1);
      sum += __shfl_xor_sync(WHOLE_WARP, sum, 2);
      if (lane % 4 == 0 && row + half * 8 < live)
        log_sums[int64_t(row + half * 8) * heads] = greatest[m][half] * scale + logf(sum);
      const float factor = (DROPOUT ? dropout.scale : 1.f) / sum;
#pragma unroll
      for (int n = 0; n < GROUPS; n++) {
        out[m][n][2 * half] *= factor;
        out[m][n][2 * half + 1] *= factor;
      }
    }
    store_rows<GROUPS>(to, width, out[m], row, live, 1.f);
  }
}
