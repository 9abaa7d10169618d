// What all attention kernels share: packed sequences, dropout's coins.

#define WHOLE_WARP 0xffffffffu
#define LOG2_E 1.44269504f

__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Rows of one sequence.
struct Span {
  int number; // the sequence's; that of dead rows is the number of sequences
  int start;
  int length;
};

// The sequence that has slot `slot` of tiles of TILE rows, if sequence s begins at slot offsets[s] / TILE + s, which leaves
// room for all of its tiles; `slot` becomes the tile's number in it. A warp looks at 32 sequences at a time.
template <int TILE>
__device__ __forceinline__ Span find_tile(const int* offsets, int sequences, int rows, int& slot) {
  const int lane = threadIdx.x % 32;
  int first = 0;
  for (int count = sequences + 1; count > 1;) {
    const int step = (count + 31) / 32, index = lane * step;
    const bool begun = index < count && __ldg(offsets + first + index) / TILE + first + index <= slot;
    const int last = 31 - __clz(__ballot_sync(WHOLE_WARP, begun));
    first += last * step;
    count = min(step, count - last * step);
  }
  const int start = __ldg(offsets + first);
  slot -= start / TILE + first;
  return {first, start, (first < sequences ? __ldg(offsets + first + 1) : rows) - start};
}

// Bit i: whether column 4 quad + i of a row of this run is kept.
__device__ __forceinline__ uint32_t kept(const Coins& coins, int row, uint32_t quad) {
  const uint4 words = coins.words(row, quad);
  const uint32_t threshold = coins.dropout.threshold;
  return uint32_t(words.x >= threshold) | uint32_t(words.y >= threshold) << 1 | uint32_t(words.z >= threshold) << 2 |
         uint32_t(words.w >= threshold) << 3;
}
