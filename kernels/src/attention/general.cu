// Attention for any width of heads, in f32 or bf16, without tensor cores: slower, and as exact as f32. A block has 16 rows of
// one head, four of each warp, and goes over rows of the same sequence 32 at a time, one for each lane; rows come through
// shared memory 32 columns at a time. Backward is two kernels, of which each adds up what is its own rows': gradients of q,
// then of k and v. Grid: (heads, slots), the second over y and z: see `find_tile`.
#define ROWS 16
#define OWN 4 // rows of a warp
#define OTHERS 32
#define SLICE 32
#define PITCH 36 // of a row in shared memory: 8 rows of 16 bytes touch all banks
#define THREADS 128
constexpr int WIDTH = HEAD_WIDTH;
constexpr int SLICES = (WIDTH + SLICE - 1) / SLICE;
constexpr int UNROLLED = SLICES <= 8 ? SLICES : 1;

// Rows of one head of a matrix, `stride` apart.
struct Rows {
  const activation* from;
  int64_t stride;
  int live;
};

// Columns of what a block works on.
struct Shared {
  float own[ROWS][PITCH];
  float others[OTHERS][PITCH];
  float weights[2][ROWS][PITCH];
};

template <int COUNT>
__device__ __forceinline__ void load_slice(float (&to)[COUNT][PITCH], const Rows& rows, int first_column) {
  for (int i = threadIdx.x; i < COUNT * SLICE; i += THREADS) {
    const int row = i / SLICE, column = first_column + i % SLICE;
    to[row][i % SLICE] = row < rows.live && column < WIDTH ? to_float(rows.from[row * rows.stride + column]) : 0.f;
  }
}

// Products of each of the warp's own rows with the lane's other row.
__device__ __forceinline__ void multiply(float (&products)[OWN], Shared& shared, const Rows& own, const Rows& others) {
  const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * OWN;
#pragma unroll
  for (int r = 0; r < OWN; r++) products[r] = 0.f;
  for (int slice = 0; slice < SLICES; slice++) {
    __syncthreads(); // what was there before is no longer read
    load_slice(shared.own, own, slice * SLICE);
    load_slice(shared.others, others, slice * SLICE);
    __syncthreads(); // the slices are there
#pragma unroll
    for (int c = 0; c < SLICE; c += 4) {
      float x[4], y[4];
      load(y, &shared.others[lane][c]);
#pragma unroll
      for (int r = 0; r < OWN; r++) {
        load(x, &shared.own[first + r][c]);
#pragma unroll
        for (int i = 0; i < 4; i++) products[r] = fmaf(x[i], y[i], products[r]);
      }
    }
  }
}

// Sums over columns, one for each lane, of each slice.
typedef float Sums[SLICES][OWN];

// sums += weights · others, for each of the warp's own rows.
__device__ __forceinline__ void weigh(Sums& sums, Shared& shared, const float (&weights)[ROWS][PITCH], const Rows& others) {
  const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * OWN;
#pragma unroll UNROLLED
  for (int slice = 0; slice < SLICES; slice++) {
    __syncthreads(); // what was there before is no longer read, and the weights are there
    load_slice(shared.others, others, slice * SLICE);
    __syncthreads(); // the slice is there
#pragma unroll
    for (int j = 0; j < OTHERS; j += 4) {
      float w[4], z[4];
#pragma unroll
      for (int i = 0; i < 4; i++) z[i] = shared.others[j + i][lane];
#pragma unroll
      for (int r = 0; r < OWN; r++) {
        load(w, &weights[first + r][j]);
#pragma unroll
        for (int i = 0; i < 4; i++) sums[slice][r] = fmaf(w[i], z[i], sums[slice][r]);
      }
    }
  }
}

__device__ __forceinline__ void write(activation* to, int64_t stride, const Sums& sums, const float (&factors)[OWN], int live) {
  const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * OWN;
#pragma unroll UNROLLED
  for (int slice = 0; slice < SLICES; slice++)
#pragma unroll
    for (int r = 0; r < OWN; r++)
      if (first + r < live && slice * SLICE + lane < WIDTH)
        round_to(to + (first + r) * stride + slice * SLICE + lane, sums[slice][r] * factors[r]);
}

__device__ __forceinline__ void clear(activation* to, int64_t stride, int live) {
  for (int i = threadIdx.x; i < min(live, ROWS) * WIDTH; i += THREADS) round_to(to + i / WIDTH * stride + i % WIDTH, 0.f);
}

// What dropout multiplies a probability with; `column` is head << 16 | key.
__device__ __forceinline__ float factor(const Coins& coins, int row, uint32_t column) {
  return kept(coins, row, column / 4) >> column % 4 & 1 ? coins.dropout.scale : 0.f;
}

KERNEL(attention_general_forward, THREADS)
(const activation* __restrict__ qkv, const int* __restrict__ offsets, int sequences, int rows, int heads, float scale,
 Randomness randomness, Dropout dropout, activation* __restrict__ context,
 float* __restrict__ log_sum_exp) {
  __shared__ Shared shared;
  const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * OWN, head = blockIdx.x;
  int tile = blockIdx.z * gridDim.y + blockIdx.y;
  const Span span = find_tile<ROWS>(offsets, sequences, rows, tile);
  const int first = tile * ROWS, live = span.length - first;
  if (live <= 0) return;
  const int64_t width = int64_t(heads) * WIDTH, stride = 3 * width;
  activation* to = context + (int64_t(span.start) + first) * width + head * WIDTH;
  float* log_sums = log_sum_exp + (int64_t(span.start) + first) * heads + head;
  if (span.number == sequences) { // dead rows
    clear(to, width, live);
    if (int(threadIdx.x) < min(live, ROWS)) log_sums[int64_t(threadIdx.x) * heads] = 0.f;
    return;
  }
  const activation* q = qkv + span.start * stride + head * WIDTH;
  Coins coins;
  if (DROPOUT) coins = Coins(randomness, dropout);
  Sums out = {};
  float greatest[OWN], sums[OWN] = {}, factors[OWN];
#pragma unroll
  for (int r = 0; r < OWN; r++) greatest[r] = -INFINITY;
  for (int key = 0; key < span.length; key += OTHERS) {
    const Rows k = {q + width + key * stride, stride, span.length - key};
    float scores[OWN];
    multiply(scores, shared, {q + first * stride, stride, live}, k);
#pragma unroll
    for (int r = 0; r < OWN; r++) {
      const float score = lane < k.live ? scores[r] * scale : -INFINITY, most = fmaxf(greatest[r], warp_max(score));
      const float correction = power_of_two((greatest[r] - most) * LOG2_E), p = power_of_two((score - most) * LOG2_E);
      greatest[r] = most;
      sums[r] = fmaf(sums[r], correction, p);
      shared.weights[0][own + r][lane] = DROPOUT ? p * factor(coins, span.start + first + own + r, head << 16 | key + lane) : p;
#pragma unroll UNROLLED
      for (int slice = 0; slice < SLICES; slice++) out[slice][r] *= correction;
    }
    weigh(out, shared, shared.weights[0], {k.from + width, stride, k.live});
  }
#pragma unroll
  for (int r = 0; r < OWN; r++) {
    const float sum = warp_sum(sums[r]);
    factors[r] = 1.f / sum;
    if (lane == 0 && own + r < live) log_sums[int64_t(own + r) * heads] = greatest[r] + logf(sum);
  }
  write(to, width, out, factors, live);
}

// Gradients of q. `deltas`, a place for each row of each head, gets dO O for the kernel after.
KERNEL(attention_general_backward_queries, THREADS)
(const activation* __restrict__ qkv, const int* __restrict__ offsets, int sequences, int rows, int heads, float scale,
 Randomness randomness, Dropout dropout, const activation* __restrict__ context,
 const float* __restrict__ log_sum_exp, const activation* __restrict__ d_context, float* __restrict__ deltas,
 activation* __restrict__ d_qkv) {
  __shared__ Shared shared;
  const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * OWN, head = blockIdx.x;
  int tile = blockIdx.z * gridDim.y + blockIdx.y;
  const Span span = find_tile<ROWS>(offsets, sequences, rows, tile);
  const int first = tile * ROWS, live = span.length - first;
  if (live <= 0) return;
  const int64_t width = int64_t(heads) * WIDTH, stride = 3 * width;
  activation* to = d_qkv + (int64_t(span.start) + first) * stride + head * WIDTH;
  if (span.number == sequences) return clear(to, stride, live); // dead rows
  const activation* q = qkv + span.start * stride + head * WIDTH;
  const int64_t outputs = (int64_t(span.start) + first) * width + head * WIDTH;
  Coins coins;
  if (DROPOUT) coins = Coins(randomness, dropout);
  float log_sums[OWN], products[OWN] = {}, factors[OWN];
#pragma unroll
  for (int r = 0; r < OWN; r++) {
    factors[r] = scale;
    const int row = own + r;
    log_sums[r] = row < live ? log_sum_exp[(int64_t(span.start) + first + row) * heads + head] : 0.f;
    if (row < live)
      for (int c = lane; c < WIDTH; c += 32)
        products[r] = fmaf(to_float(context[outputs + row * width + c]), to_float(d_context[outputs + row * width + c]), products[r]);
    products[r] = warp_sum(products[r]);
    if (lane == 0 && row < live) deltas[int64_t(head) * rows + span.start + first + row] = products[r];
  }
  Sums dq = {};
  for (int key = 0; key < span.length; key += OTHERS) {
    const Rows k = {q + width + key * stride, stride, span.length - key};
    float scores[OWN], dp[OWN];
    multiply(scores, shared, {q + first * stride, stride, live}, k);
    multiply(dp, shared, {d_context + outputs, width, live}, {k.from + width, stride, k.live});
#pragma unroll
    for (int r = 0; r < OWN; r++) {
      const float p = lane < k.live ? power_of_two((scores[r] * scale - log_sums[r]) * LOG2_E) : 0.f;
      const float keep = DROPOUT ? factor(coins, span.start + first + own + r, head << 16 | key + lane) : 1.f;
      shared.weights[0][own + r][lane] = p * (keep * dp[r] - products[r]);
    }
    weigh(dq, shared, shared.weights[0], k);
  }
  write(to, stride, dq, factors, live);
}

// Gradients of k and v.
KERNEL(attention_general_backward_keys, THREADS)
(const activation* __restrict__ qkv, const int* __restrict__ offsets, int sequences, int rows, int heads, float scale,
 Randomness randomness, Dropout dropout, const float* __restrict__ log_sum_exp,
 const activation* __restrict__ d_context, const float* __restrict__ deltas, activation* __restrict__ d_qkv) {
  __shared__ Shared shared;
  const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * OWN, head = blockIdx.x;
  int tile = blockIdx.z * gridDim.y + blockIdx.y;
  const Span span = find_tile<ROWS>(offsets, sequences, rows, tile);
  const int first = tile * ROWS, live = span.length - first;
  if (live <= 0) return;
  const int64_t width = int64_t(heads) * WIDTH, stride = 3 * width;
  activation* to = d_qkv + (int64_t(span.start) + first) * stride + width + head * WIDTH;
  if (span.number == sequences) { // dead rows
    clear(to, stride, live);
    return clear(to + width, stride, live);
  }
  const activation* q = qkv + span.start * stride + head * WIDTH;
  const activation *k = q + first * stride + width, *d_out = d_context + span.start * width + head * WIDTH;
  Coins coins;
  if (DROPOUT) coins = Coins(randomness, dropout);
  Sums dk = {}, dv = {};
  for (int query = 0; query < span.length; query += OTHERS) {
    const Rows queries = {q + query * stride, stride, span.length - query}, d_outs = {d_out + query * width, width, queries.live};
    float scores[OWN], dp[OWN];
    multiply(scores, shared, {k, stride, live}, queries);
    multiply(dp, shared, {k + width, stride, live}, d_outs);
    const bool inside = lane < queries.live;
    const int row = span.start + query + lane;
    const float log_sum = inside ? log_sum_exp[int64_t(row) * heads + head] : 0.f;
    const float delta = inside ? deltas[int64_t(head) * rows + row] : 0.f;
#pragma unroll
    for (int r = 0; r < OWN; r++) {
      const float p = inside && own + r < live ? power_of_two((scores[r] * scale - log_sum) * LOG2_E) : 0.f;
      const float keep = DROPOUT ? factor(coins, row, head << 16 | first + own + r) : 1.f;
      shared.weights[0][own + r][lane] = p * (keep * dp[r] - delta);
      shared.weights[1][own + r][lane] = p * keep;
    }
    weigh(dk, shared, shared.weights[0], queries);
    weigh(dv, shared, shared.weights[1], d_outs);
  }
  float factors[OWN];
#pragma unroll
  for (int r = 0; r < OWN; r++) factors[r] = scale;
  write(to, stride, dk, factors, live);
#pragma unroll
  for (int r = 0; r < OWN; r++) factors[r] = 1.f;
  write(to + width, stride, dv, factors, live);
}
