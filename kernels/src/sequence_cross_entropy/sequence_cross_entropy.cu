// Cross-entropy over the rows of each sequence: a block per sequence.

constexpr int THREADS = 128, WARPS = THREADS / 32;

KERNEL(sequence_cross_entropy_forward, THREADS)
(const activation* __restrict__ logits, const int* __restrict__ offsets, const int* __restrict__ labels,
 float* __restrict__ sequence_loss, float* __restrict__ log_sum_exp, int* __restrict__ prediction) {
  __shared__ float largest_of_warps[WARPS];
  __shared__ int place_of_warps[WARPS];
  const int sequence = blockIdx.x, first = offsets[sequence], end = offsets[sequence + 1];
  float largest = -INFINITY;
  int place = 0x7fffffff;
  for (int row = first + threadIdx.x; row < end; row += THREADS) {
    const float x = to_float(logits[row]);
    if (x > largest || place == 0x7fffffff) largest = x, place = row;
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) {
    const float other = __shfl_xor_sync(0xffffffffu, largest, offset);
    const int other_place = __shfl_xor_sync(0xffffffffu, place, offset);
    if (other > largest || (other == largest && other_place < place)) largest = other, place = other_place;
  }
  if (threadIdx.x % 32 == 0) {
    largest_of_warps[threadIdx.x / 32] = largest;
    place_of_warps[threadIdx.x / 32] = place;
  }
  __syncthreads();
  for (int warp = 0; warp < WARPS; warp++) {
    const float other = largest_of_warps[warp];
    const int other_place = place_of_warps[warp];
    if (other > largest || (other == largest && other_place < place)) largest = other, place = other_place;
  }
  float sum = 0.f;
  for (int row = first + threadIdx.x; row < end; row += THREADS) sum += expf(to_float(logits[row]) - largest);
  sum = block_sum<WARPS>(sum);
  if (threadIdx.x > 0) return;
  const bool empty = first == end;
  const float log_sum = logf(sum);
  log_sum_exp[sequence] = empty ? 0.f : largest + log_sum;
  sequence_loss[sequence] = empty ? 0.f : log_sum + (largest - to_float(logits[labels[sequence]]));
  prediction[sequence] = empty ? first : place;
}

// The block beyond the last sequence has the dead rows.
KERNEL(sequence_cross_entropy_backward, THREADS)
(const activation* __restrict__ logits, const int* __restrict__ offsets, const int* __restrict__ labels,
 const float* __restrict__ weights, const float* __restrict__ log_sum_exp, const float* __restrict__ d_loss,
 activation* __restrict__ d_logits, int sequences, int rows) {
  const int sequence = blockIdx.x;
  const bool dead = sequence == sequences;
  const int first = offsets[sequence], end = dead ? rows : offsets[sequence + 1];
  const float weight = dead ? 0.f : weights[sequence];
  const float factor = d_loss[0] * weight, shift = dead ? 0.f : log_sum_exp[sequence];
  const int label = dead ? -1 : labels[sequence];
  for (int row = first + threadIdx.x; row < end; row += THREADS) {
    float gradient = 0.f;
    if (weight != 0.f) {
      const float logit = to_float(logits[row]) - shift;
      // Not softmax - 1, which loses the digits of a sure guess.
      gradient = factor * (row == label ? expm1f(logit) : expf(logit));
    }
    round_to(d_logits + row, gradient);
  }
}
