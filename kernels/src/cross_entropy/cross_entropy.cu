// Cross-entropy, a block per row. Rows are read once, 16 bytes at a time from where they are aligned.

constexpr int THREADS = 256, WARPS = THREADS / 32;

// Calls `body(first, Count<N>())` for this thread's parts of a row: single elements before the first that lies at a
// multiple of 16 bytes and after the last, and 16 bytes each between.
template <typename Body>
__device__ __forceinline__ void each_of_row(const activation* row, int classes, Body body) {
  constexpr int WIDE = LANES<activation>;
  const int misaligned = int(reinterpret_cast<uint64_t>(row) / sizeof(activation) % WIDE);
  const int lead = misaligned ? WIDE - misaligned : 0, head = lead < classes ? lead : classes;
  const int vectors = (classes - head) / WIDE, tail = head + vectors * WIDE;
  if (threadIdx.x < head) body(int(threadIdx.x), Count<1>());
#pragma unroll 4
  for (int vector = threadIdx.x; vector < vectors; vector += THREADS) body(head + vector * WIDE, Count<WIDE>());
  if (tail + int(threadIdx.x) < classes) body(tail + int(threadIdx.x), Count<1>());
}

constexpr int NOWHERE = 0x7fffffff;

// The largest logit, the first place where it is, and the sum of exp(logit - largest).
struct Softmax {
  float largest;
  int place;
  float sum;

  __device__ __forceinline__ void join(float other, int other_place, float other_sum) {
    const float both = fmaxf(largest, other);
    // Nothing yet on either side: both sums are 0, and infinity - infinity is not to be multiplied with.
    if (both == -INFINITY && sum + other_sum == 0.f) {
      place = min(place, other_place);
      return;
    }
    sum = sum * expf(largest - both) + other_sum * expf(other - both);
    if (other > largest || (other == largest && other_place < place)) place = other_place;
    largest = both;
  }
};

KERNEL(cross_entropy_forward, THREADS)
(const activation* __restrict__ logits, const int* __restrict__ labels, float* __restrict__ row_loss,
 float* __restrict__ log_sum_exp, int* __restrict__ prediction, int classes) {
  const activation* row = logits + int64_t(blockIdx.x) * classes;
  Softmax mine = {-INFINITY, NOWHERE, 0.f};
  each_of_row(row, classes, [&](int first, auto count) {
    float x[count.value];
    load(x, row + first);
    float largest = x[0];
#pragma unroll
    for (int i = 1; i < count.value; i++) largest = fmaxf(largest, x[i]);
    if (largest > mine.largest || mine.place == NOWHERE) {
      int place = first;
#pragma unroll
      for (int i = count.value - 1; i > 0; i--) place = x[i] == largest ? first + i : place;
      mine.place = x[0] == largest ? first : place;
      mine.sum *= expf(mine.largest - largest);
      mine.largest = largest;
      // Nothing yet but columns that fill up a row.
      if (largest == -INFINITY) mine.sum = 0.f;
    }
    const float shift = mine.largest == -INFINITY ? 0.f : mine.largest;
#pragma unroll
    for (int i = 0; i < count.value; i++) mine.sum += expf(x[i] - shift);
  });
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1)
    mine.join(__shfl_xor_sync(0xffffffffu, mine.largest, offset), __shfl_xor_sync(0xffffffffu, mine.place, offset),
              __shfl_xor_sync(0xffffffffu, mine.sum, offset));
  __shared__ Softmax of_warps[WARPS];
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int warp = 1; warp < WARPS; warp++) mine.join(of_warps[warp].largest, of_warps[warp].place, of_warps[warp].sum);
  const float log_sum = logf(mine.sum);
  log_sum_exp[blockIdx.x] = mine.largest + log_sum;
  // Not from the line above, whose rounding would drown the small loss of a sure guess.
  row_loss[blockIdx.x] = log_sum + (mine.largest - to_float(row[labels[blockIdx.x]]));
  prediction[blockIdx.x] = mine.place;
}

#if ACTIVATION_BF16
__device__ __forceinline__ float power(float x) { return __expf(x); }
#else
__device__ __forceinline__ float power(float x) { return expf(x); }
#endif

// The gradient takes the place of the logits where these are not given. A row of weight 0 gets zeros, whatever it holds.
KERNEL(cross_entropy_backward, THREADS)
(const activation* logits, const int* __restrict__ labels, const float* __restrict__ weights,
 const float* __restrict__ log_sum_exp, const float* __restrict__ d_loss, activation* d_logits, int classes) {
  const int64_t start = int64_t(blockIdx.x) * classes;
  const activation* row = (logits ? logits : d_logits) + start;
  const float weight = weights[blockIdx.x], factor = d_loss[0] * weight, shift = log_sum_exp[blockIdx.x];
  const int label = labels[blockIdx.x];
  each_of_row(d_logits + start, classes, [&](int first, auto count) {
    float x[count.value];
    if (weight == 0.f) {
#pragma unroll
      for (float& it : x) it = 0.f;
    } else {
      load(x, row + first);
#pragma unroll
      for (int i = 0; i < count.value; i++) {
        const float logit = x[i] - shift;
        // Not softmax - 1, which loses the digits of a sure guess.
        x[i] = factor * (first + i == label ? expm1f(logit) : power(logit));
      }
    }
    store(d_logits + start + first, x);
  });
}
