// Softmax over the rows of each sequence, column by column. Block (s, c) has sequence s and TILE columns; its threads are
// rows of TILE neighbours. The block beyond the last sequence has the dead rows, where every result is 0.

constexpr int THREADS = 128, ROWS = THREADS / TILE;

// Joins what the threads of each column have, in a fixed order, and gives it to all of them.
template <typename Join>
__device__ __forceinline__ float join_column(float x, Join join) {
  __shared__ float of_threads[THREADS];
  __syncthreads();
  of_threads[threadIdx.x] = x;
  for (int half = ROWS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half * TILE) {
      x = join(x, of_threads[threadIdx.x + half * TILE]);
      of_threads[threadIdx.x] = x;
    }
  }
  __syncthreads();
  return of_threads[threadIdx.x % TILE];
}

struct Tile {
  int64_t first, end, column;
  bool dead, live;

  __device__ __forceinline__ Tile(const int* offsets, int sequences, int64_t rows, int64_t width) {
    const int sequence = blockIdx.x;
    dead = sequence == sequences;
    first = offsets[sequence] + threadIdx.x / TILE;
    end = dead ? rows : offsets[sequence + 1];
    column = int64_t(blockIdx.y) * TILE + threadIdx.x % TILE;
    live = column < width;
  }
};

KERNEL(sequence_softmax_forward, THREADS)
(const activation* __restrict__ x, const int* __restrict__ offsets, activation* __restrict__ y, int sequences,
 int64_t rows, int64_t width) {
  const Tile tile(offsets, sequences, rows, width);
  float largest = -INFINITY, sum = 0.f;
  if (tile.live && !tile.dead)
    for (int64_t row = tile.first; row < tile.end; row += ROWS) largest = fmaxf(largest, to_float(x[row * width + tile.column]));
  largest = join_column(largest, [](float a, float b) { return fmaxf(a, b); });
  if (tile.live && !tile.dead)
    for (int64_t row = tile.first; row < tile.end; row += ROWS) sum += expf(to_float(x[row * width + tile.column]) - largest);
  sum = join_column(sum, [](float a, float b) { return a + b; });
  if (!tile.live) return;
  for (int64_t row = tile.first; row < tile.end; row += ROWS) {
    const int64_t i = row * width + tile.column;
    round_to(y + i, tile.dead ? 0.f : expf(to_float(x[i]) - largest) / sum);
  }
}

// dx = y (dy - the sum of y dy over the sequence).
KERNEL(sequence_softmax_backward, THREADS)
(const activation* __restrict__ y, const int* __restrict__ offsets, const activation* __restrict__ dy,
 activation* __restrict__ dx, int sequences, int64_t rows, int64_t width, int adds) {
  const Tile tile(offsets, sequences, rows, width);
  float sum = 0.f;
  if (tile.live && !tile.dead)
    for (int64_t row = tile.first; row < tile.end; row += ROWS)
      sum += to_float(y[row * width + tile.column]) * to_float(dy[row * width + tile.column]);
  sum = join_column(sum, [](float a, float b) { return a + b; });
  if (!tile.live) return;
  for (int64_t row = tile.first; row < tile.end; row += ROWS) {
    const int64_t i = row * width + tile.column;
    float gradient[1] = {tile.dead ? 0.f : to_float(y[i]) * (to_float(dy[i]) - sum)};
    put(dx + i, gradient, adds);
  }
}
