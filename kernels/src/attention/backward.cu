// Attention backward in bf16 on tensor cores. A block has one head of one sequence, so that everything it adds up is its own:
// no atomics, and the same sums whatever the order of blocks. It goes over the sequence's keys 128 at a time, and for those
// over its queries 32 at a time. Everything is transposed, S^T = K Q^T, so that a warp, which has 16 TILES keys (1 or 2, as registers have room for), keeps their
// gradients in registers, and P^T and dS^T are operands as they come out of the products before. Only dS^T goes through
// shared memory, for dQ = dS K, of which each warp has some rows and columns; what the keys before gave waits for the next
// keys in `partial`, in f32, where each thread finds its own. Rows past a sequence's end are zeros in shared memory.
// Grid: (heads, sequences + CLEARERS), the second over y and z.
#define KEYS 128
#define QUERIES 32
#define CLEARERS 16
constexpr int WIDTH = HEAD_WIDTH;
constexpr int GROUPS = WIDTH / 8;
constexpr int WARPS = KEYS / 16 / TILES;
constexpr int THREADS = 32 * WARPS;
// Warps side by side at dQ, and the columns that each has.
constexpr int ABREAST = WARPS / (QUERIES / 16);
constexpr int COLUMNS = WIDTH / ABREAST;
// Bytes in shared memory.
constexpr int KEY_BYTES = KEYS * WIDTH * 2;
constexpr int QUERY_BYTES = QUERIES * WIDTH * 2;
constexpr int STATISTICS_BYTES = QUERIES * 8;
constexpr int STAGE_BYTES = 2 * QUERY_BYTES + STATISTICS_BYTES;

// Where 16 bytes of a row of dS^T are: 8 queries of a key.
__device__ __forceinline__ uint32_t gradient_place(int key, int piece) {
  return key * QUERIES * 2 + ((piece ^ (key >> 1 & 3)) << 4);
}

// sum += a b for 16 TILES rows of a and 32 rows of b.
__device__ __forceinline__ void weigh(float (&sum)[TILES][GROUPS][4], const uint32_t (&a)[TILES][QUERIES / 16][4], uint32_t b_row) {
#pragma unroll
  for (int group = 0; group < QUERIES / 16; group++)
#pragma unroll
    for (int n = 0; n < GROUPS; n += 2) {
      uint32_t b[4];
      load_transposed(b, (b_row ^ n << 4) + group * 16 * WIDTH * 2);
#pragma unroll
      for (int m = 0; m < TILES; m++) {
        multiply(sum[m][n], a[m][group], b[0], b[1]);
        multiply(sum[m][n + 1], a[m][group], b[2], b[3]);
      }
    }
}

// Operands A of products from what products gave.
__device__ __forceinline__ void pack(uint32_t (&a)[TILES][QUERIES / 16][4], const float (&x)[TILES][QUERIES / 8][4]) {
#pragma unroll
  for (int m = 0; m < TILES; m++)
#pragma unroll
    for (int group = 0; group < QUERIES / 16; group++)
#pragma unroll
      for (int j = 0; j < 4; j++)
        a[m][group][j] = pack_bf16(x[m][2 * group + j / 2][j % 2 * 2], x[m][2 * group + j / 2][j % 2 * 2 + 1]);
}

// Which of 16 keys from 4 `quad` on are kept for 8 queries from `row` on; bit 4 i says it of element i of a lane's products.
// Four lanes have the same queries, and keys that share words: each draws for one of the two queries and one of the two
// rows of keys.
__device__ __forceinline__ uint32_t draw(const Coins& coins, int row, uint32_t quad) {
  const int lane = threadIdx.x % 32, part = lane / 4 % 4;
  uint32_t bits = kept(coins, row + lane % 4 * 2 + part % 2, quad + lane / 16 + part / 2 * 2) << (4 * part);
  bits |= __shfl_xor_sync(WHOLE_WARP, bits, 4);
  bits |= __shfl_xor_sync(WHOLE_WARP, bits, 8);
  return bits >> part;
}

// What each query of the sequence brings besides its rows: log2(e) times its log-sum-exp, and dO O. A thread asks for parts of
// several rows at once: there are few warps to wait beside it.
__device__ __forceinline__ void prepare(float2* statistics, const activation* context, const activation* d_context,
                                        const float* log_sum_exp, int64_t width, int heads, int length) {
  constexpr int LANES_OF_ROW = WIDTH / 8, ROWS = THREADS / LANES_OF_ROW, AHEAD = 4;
  const int part = threadIdx.x % LANES_OF_ROW;
  for (int first = 0; first < length; first += AHEAD * ROWS) {
    const int row_of_first = first + threadIdx.x / LANES_OF_ROW;
    float x[AHEAD][8] = {}, y[AHEAD][8] = {}, log_sums[AHEAD];
#pragma unroll
    for (int ahead = 0; ahead < AHEAD; ahead++) {
      const int row = row_of_first + ahead * ROWS;
      if (row < length) {
        load(x[ahead], context + row * width + part * 8);
        load(y[ahead], d_context + row * width + part * 8);
        if (part == 0) log_sums[ahead] = log_sum_exp[int64_t(row) * heads];
      }
    }
#pragma unroll
    for (int ahead = 0; ahead < AHEAD; ahead++) {
      float sum = 0.f;
#pragma unroll
      for (int i = 0; i < 8; i++) sum = fmaf(x[ahead][i], y[ahead][i], sum);
#pragma unroll
      for (int offset = LANES_OF_ROW / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(WHOLE_WARP, sum, offset);
      const int row = row_of_first + ahead * ROWS;
      if (row < length && part == 0) statistics[row] = make_float2(log_sums[ahead] * LOG2_E, sum);
    }
  }
}

// Begins to copy rows of q and of dO to a stage.
__device__ __forceinline__ void copy_queries(uint32_t to, const activation* q, int64_t q_stride, const activation* d_out,
                                             int64_t d_stride, int live) {
  copy_rows<WIDTH, QUERIES, THREADS>(to, q, q_stride, live);
  copy_rows<WIDTH, QUERIES, THREADS>(to + QUERY_BYTES, d_out, d_stride, live);
}

// Begins to copy what was prepared of the same queries.
__device__ __forceinline__ void copy_statistics(uint32_t to, const float2* from, int live) {
  if (threadIdx.x >= QUERIES) return;
  const bool inside = int(threadIdx.x) < live;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;"
               : : "r"(to + 2 * QUERY_BYTES + threadIdx.x * 8), "l"(from + (inside ? threadIdx.x : 0)), "r"(inside ? 8 : 0) : "memory");
}

// `scale` is 1 / sqrt(width). `scratch` has 8 bytes for each row of each head, then 4 for each element
// of q. Shared memory: K, V, dS^T, one or two stages of queries.
KERNEL(attention_backward, THREADS, TILES)
(const activation* __restrict__ qkv, const int* __restrict__ offsets, int sequences, int rows, int heads, float scale,
 Randomness randomness, Dropout dropout, const activation* __restrict__ context,
 const float* __restrict__ log_sum_exp, const activation* __restrict__ d_context, float2* scratch, activation* __restrict__ d_qkv) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.x;
  const int sequence = blockIdx.z * gridDim.y + blockIdx.y;
  const int64_t width = int64_t(heads) * WIDTH, stride = 3 * width;
  const int start = offsets[min(sequence, sequences)];
  activation* d_q = d_qkv + start * stride + head * WIDTH;
  if (sequence >= sequences) { // dead rows
    const int share = (rows - start + CLEARERS - 1) / CLEARERS, first = (sequence - sequences) * share;
    for (int part = 0; part < 3; part++)
      clear_rows<WIDTH>(d_q + first * stride + part * width, stride, min(share, rows - start - first));
    return;
  }
  const int length = offsets[sequence + 1] - start;
  if (length == 0) return;
  const activation* q = qkv + start * stride + head * WIDTH;
  const activation *k = q + width, *v = k + width;
  const activation* d_out = d_context + start * width + head * WIDTH;
  float2* statistics = scratch + int64_t(head) * rows + start;
  float* partial = reinterpret_cast<float*>(scratch + int64_t(heads) * rows) + start * width + head * WIDTH;

  const uint32_t k_tile = uint32_t(__cvta_generic_to_shared(shared)), v_tile = k_tile + KEY_BYTES, gradient_tile = v_tile + KEY_BYTES;
  const uint32_t stages = gradient_tile + KEYS * QUERIES * 2;
  // Where a lane's rows begin: of 16 TILES keys as operand A; of 16 queries as operand B, and transposed; at dQ, of dS and K
  // as operands, both transposed.
  const uint32_t key_row = place<WIDTH>(warp * 16 * TILES + lane % 16, lane / 16);
  const uint32_t query_row = place<WIDTH>(lane % 8 + lane / 16 * 8, lane / 8 % 2);
  const uint32_t query_column = place<WIDTH>(lane % 16, lane / 16);
  const int band = warp / ABREAST * 16, first_column = warp % ABREAST * COLUMNS;
  const uint32_t gradient_row = gradient_tile + gradient_place(lane % 8 + lane / 16 * 8, band / 8 + lane / 8 % 2);
  const uint32_t key_column = k_tile + (place<WIDTH>(lane % 16, lane / 16) ^ first_column / 8 << 4);

  copy_rows<WIDTH, KEYS, THREADS>(k_tile, k, stride, length);
  copy_rows<WIDTH, KEYS, THREADS>(v_tile, v, stride, length);
  copy_queries(stages, q, stride, d_out, width, length);
  commit_copies();
  prepare(statistics, context + start * width + head * WIDTH, d_out, log_sum_exp + int64_t(start) * heads + head, width, heads, length);
  __syncthreads(); // the statistics are there
  copy_statistics(stages, statistics, length);
  commit_copies();
#if DROPOUT
  const Coins coins(randomness, dropout);
#endif
  const float power_scale = scale * LOG2_E;
  int stage = 0;
  for (int key = 0; key < length; key += KEYS) {
    const int live = length - key, first_key = warp * 16 * TILES;
    const bool idle = first_key >= live, last = live <= KEYS;
    if (key > 0) {
      __syncthreads(); // K is no longer read
      copy_rows<WIDTH, KEYS, THREADS>(k_tile, k + key * stride, stride, live);
      copy_rows<WIDTH, KEYS, THREADS>(v_tile, v + key * stride, stride, live);
      commit_copies();
    }
    float dk[TILES][GROUPS][4] = {}, dv[TILES][GROUPS][4] = {};
    for (int query = 0; query < length; query += QUERIES) {
      const uint32_t here = stages + stage * STAGE_BYTES;
      const int next = query + QUERIES < length ? query + QUERIES : 0;
      const auto copy_next = [&] {
        if (next == 0 && last) return;
        if (STAGES == 2) stage ^= 1;
        const uint32_t to = stages + stage * STAGE_BYTES;
        copy_queries(to, q + next * stride, stride, d_out + next * width, width, length - next);
        copy_statistics(to, statistics + next, length - next);
        commit_copies();
      };
      wait_for_copies<0>();
      __syncthreads(); // the queries have arrived; those before, and their dS, are no longer read
      if (STAGES == 2) copy_next();
      if (!idle) {
        float p[TILES][QUERIES / 8][4] = {}, ds[TILES][QUERIES / 8][4] = {};
        add_product<WIDTH>(p, k_tile + key_row, here + query_row);
        add_product<WIDTH>(ds, v_tile + key_row, here + QUERY_BYTES + query_row);
        if (first_key + 16 * TILES > live) {
#pragma unroll
          for (int m = 0; m < TILES; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
              if (first_key + m * 16 + lane / 4 + i / 2 * 8 >= live) {
#pragma unroll
                for (int n = 0; n < QUERIES / 8; n++) p[m][n][i] = -INFINITY;
              }
        }
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++) {
          // Of two queries, as they were prepared.
          float log_sums[2], sums[2];
          asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
                       : "=f"(log_sums[0]), "=f"(sums[0]), "=f"(log_sums[1]), "=f"(sums[1])
                       : "r"(here + 2 * QUERY_BYTES + (n * 8 + lane % 4 * 2) * 8) : "memory");
#pragma unroll
          for (int m = 0; m < TILES; m++) {
#if DROPOUT
            const uint32_t bits = draw(coins, start + query + n * 8, head << 14 | (key + first_key + m * 16) / 4);
#endif
#pragma unroll
            for (int i = 0; i < 4; i++) {
              const float probability = power_of_two(fmaf(p[m][n][i], power_scale, -log_sums[i % 2]));
#if DROPOUT
              const bool stays = bits >> (4 * i) & 1;
              p[m][n][i] = stays ? probability : 0.f;
              ds[m][n][i] = probability * ((stays ? ds[m][n][i] * dropout.scale : 0.f) - sums[i % 2]);
#else
              p[m][n][i] = probability;
              ds[m][n][i] = probability * (ds[m][n][i] - sums[i % 2]);
#endif
            }
          }
        }
        uint32_t a[TILES][QUERIES / 16][4];
        pack(a, p);
        weigh(dv, a, here + QUERY_BYTES + query_column);
        pack(a, ds);
#pragma unroll
        for (int m = 0; m < TILES; m++)
#pragma unroll
          for (int group = 0; group < QUERIES / 16; group++)
#pragma unroll
            for (int j = 0; j < 4; j++)
              asm volatile("st.shared.b32 [%0], %1;" : : "r"(gradient_tile + lane % 4 * 4 +
                gradient_place(first_key + m * 16 + lane / 4 + j % 2 * 8, 2 * group + j / 2)), "r"(a[m][group][j]) : "memory");
        weigh(dk, a, here + query_column);
      }
      // What the keys before gave.
      const int row = query + band + lane / 4;
      float* sums = partial + row * width + first_column + lane % 4 * 2;
      float dq[COLUMNS / 8][4] = {};
      if (key > 0) {
#pragma unroll
        for (int half = 0; half < 2; half++)
          if (row + half * 8 < length) {
#pragma unroll
            for (int n = 0; n < COLUMNS / 8; n++) {
              const float2 pair = *reinterpret_cast<const float2*>(sums + half * 8 * width + n * 8);
              dq[n][2 * half] = pair.x;
              dq[n][2 * half + 1] = pair.y;
            }
          }
      }
      __syncthreads(); // dS is there, and the queries are no longer read
      if (STAGES == 1) copy_next();
#pragma unroll 2
      for (int step = 0; step < min(live, KEYS); step += 16) {
        uint32_t a[4];
        load_transposed(a, gradient_row + step * QUERIES * 2);
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; n += 2) {
          uint32_t b[4];
          load_transposed(b, (key_column ^ n << 4) + step * WIDTH * 2);
          multiply(dq[n], a, b[0], b[1]);
          multiply(dq[n + 1], a, b[2], b[3]);
        }
      }
      if (last) {
        store_rows<COLUMNS / 8>(d_q + query * stride + first_column, stride, dq, band + lane / 4, length - query, scale);
      } else {
#pragma unroll
        for (int half = 0; half < 2; half++)
          if (row + half * 8 < length) {
#pragma unroll
            for (int n = 0; n < COLUMNS / 8; n++)
              *reinterpret_cast<float2*>(sums + half * 8 * width + n * 8) = make_float2(dq[n][2 * half], dq[n][2 * half + 1]);
          }
      }
    }
    if (!idle) {
#pragma unroll
      for (int m = 0; m < TILES; m++) {
        activation* to = d_q + key * stride + width;
        const int row = first_key + m * 16 + lane / 4;
        store_rows<GROUPS>(to, stride, dk[m], row, live, scale);
        store_rows<GROUPS>(to + width, stride, dv[m], row, live, DROPOUT ? dropout.scale : 1.f);
      }
    }
  }
}
