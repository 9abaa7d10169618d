// The sum of three table rows, and the gradients of the tables. Lanes have VECTOR columns each.

// y[t] = words[token[t]] + positions[position[t]] + segments[segment[t]]: a warp per row.
KERNEL(embedding_forward, 256)
(const int* __restrict__ tokens, const int* __restrict__ position_ids, const int* __restrict__ segment_ids,
 const float* __restrict__ words, const float* __restrict__ positions, const float* __restrict__ segments,
 activation* __restrict__ y, int64_t rows, int64_t width) {
  const int64_t row = warp_of_grid();
  if (row >= rows) return;
  const int64_t word = tokens[row] * width, position = position_ids[row] * width, segment = segment_ids[row] * width;
  each_column<VECTOR>(width, [&](int64_t column) {
    float sum[VECTOR], more[VECTOR], most[VECTOR];
    load(sum, words + word + column);
    load(more, positions + position + column);
    load(most, segments + segment + column);
#pragma unroll
    for (int i = 0; i < VECTOR; i++) sum[i] = sum[i] + more[i] + most[i];
    store(y + row * width + column, sum);
  });
}

// Words. Rows come sorted by token; a warp takes CHUNK of them and adds up those of the same token, for 32 VECTOR columns. A
// token all of whose rows lie in one chunk is done then; what begins or ends elsewhere is left in `partials`, [chunks, 2,
// width]: the first token's sum if it began in an earlier chunk, and the last one's if it goes on in a later one.
constexpr int CHUNK = 64;

template <typename Chunk>
__device__ __forceinline__ int token_at(const int* tokens, const int* order, int64_t rows, Chunk at) {
  return at < 0 || at >= rows ? -1 : tokens[order[at]];
}

KERNEL(embedding_words_backward, 256)
(const int* __restrict__ tokens, const int* __restrict__ order, const activation* __restrict__ dy,
 float* __restrict__ d_words, float* __restrict__ partials, int64_t rows, int64_t width) {
  const int64_t chunk = warp_of_grid(), first = chunk * CHUNK;
  if (first >= rows) return;
  const int64_t end = first + CHUNK < rows ? first + CHUNK : rows;
  const int lane = threadIdx.x % 32;
  const int64_t column = (int64_t(blockIdx.y) * 32 + lane) * VECTOR;
  const bool live = column < width;
  const int before = token_at(tokens, order, rows, first - 1), after = token_at(tokens, order, rows, end);
  float sum[VECTOR] = {};
  int began = 1;  // whether the token at hand began in this chunk
  int token = -1;
  for (int64_t start = first; start < end; start += 32) {
    const int count = end - start < 32 ? int(end - start) : 32;
    const int row_of_lane = order[start + (lane < count ? lane : count - 1)];
    const int token_of_lane = tokens[row_of_lane];
#pragma unroll 1 // more would be more registers, and no more loads at once: each waits for the branch before
    for (int i = 0; i < count; i++) {
      const int row = __shfl_sync(0xffffffffu, row_of_lane, i), next = __shfl_sync(0xffffffffu, token_of_lane, i);
      if (next != token) {
        if (token >= 0 && live)
          put((began ? d_words + token * width : partials + chunk * 2 * width) + column, sum, began);
        token = next;
        began = start + i > first || token != before;
#pragma unroll
        for (int c = 0; c < VECTOR; c++) sum[c] = 0.f;
      }
      float values[VECTOR];
      if (live) {
        load(values, dy + row * width + column);
#pragma unroll
        for (int c = 0; c < VECTOR; c++) sum[c] += values[c];
      }
    }
  }
  if (!live) return;
  const int done = began && token != after;
  put((done ? d_words + token * width : partials + (chunk * 2 + began) * width) + column, sum, done);
}

// Tokens of several chunks: a warp for the chunk where one begins adds up the sums of the chunks, in order.
KERNEL(embedding_split_words, 256)
(const int* __restrict__ tokens, const int* __restrict__ order, float* __restrict__ d_words,
 const float* __restrict__ partials, int64_t rows, int64_t width) {
  const int64_t chunk = warp_of_grid(), first = chunk * CHUNK, end = first + CHUNK;
  if (end >= rows) return;
  const int token = token_at(tokens, order, rows, end);
  if (token_at(tokens, order, rows, end - 1) != token || token_at(tokens, order, rows, first - 1) == token) return;
  const int64_t column = (int64_t(blockIdx.y) * 32 + threadIdx.x % 32) * VECTOR;
  if (column >= width) return;
  float sum[VECTOR], values[VECTOR];
  load(sum, partials + (chunk * 2 + 1) * width + column);
  for (int64_t other = chunk + 1; token_at(tokens, order, rows, other * CHUNK) == token; other++) {
    load(values, partials + other * 2 * width + column);
#pragma unroll
    for (int c = 0; c < VECTOR; c++) sum[c] += values[c];
  }
  put(d_words + token * width + column, sum, 1);
}

// Positions and segments, whose tables are small. Block (r, s, c) looks for row r of the table among the ids of stretch s of
// the rows, each warp in its part of it, and adds up what belongs to it in columns of tile c; the sums of the warps are
// added in order. They go to row s of `partials`, [stretches, table rows, width].
KERNEL(embedding_table_backward, 256)
(const int* __restrict__ ids, const activation* __restrict__ dy, float* __restrict__ partials, int64_t rows,
 int64_t width, int64_t stretch) {
  __shared__ __align__(16) float sums[32 * VECTOR];
  const int wanted = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t column = (int64_t(blockIdx.z) * 32 + lane) * VECTOR;
  const bool live = column < width;
  const int64_t part = (stretch + 7) / 8;
  const int64_t last = (blockIdx.y + 1) * stretch, limit = last < rows ? last : rows;
  const int64_t first = blockIdx.y * stretch + warp * part, end = first + part < limit ? first + part : limit;
  float sum[VECTOR] = {};
  // 32 at a time, from a multiple of 32 on: whole sectors, wherever the part begins. Numbers are counted from there.
  const int lead = int(first % 32), length = lead + int(end - first);
  const int* from = ids + (first - lead);
  const activation* rows_from = dy + (first - lead) * width + column;
  for (int start = 0; start < length; start += 32) {
    const int i = start + lane;
    const unsigned found = __ballot_sync(0xffffffffu, i >= lead && i < length && from[i] == wanted);
    if (live) add_rows(sum, rows_from + start * width, width, found);
  }
  sum_warps<8>(sums, sum);
  if (warp > 0 || !live) return;
  load(sum, sums + lane * VECTOR);
  store(partials + (int64_t(blockIdx.y) * gridDim.x + wanted) * width + column, sum);
}
