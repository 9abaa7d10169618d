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
// Rows that a warp asks for together, and sums of chunks. There are few warps and long latencies: an H200 took 0.8 us for each row
// by itself. Both divide 32; more would not fit into the registers.
constexpr int AHEAD = 8, JOINED = 4;

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
  int token = before;
  for (int64_t start = first; start < end; start += 32) {
    const int count = end - start < 32 ? int(end - start) : 32;
    const int row_of_lane = order[start + (lane < count ? lane : count - 1)];
    const int token_of_lane = tokens[row_of_lane];
    const int shifted = __shfl_down_sync(0xffffffffu, token_of_lane, 1);
    const int following = start + count < end ? token_at(tokens, order, rows, start + count) : after;
    const bool differs = (lane < count - 1 ? shifted : following) != token_of_lane;
    const unsigned ends = __ballot_sync(0xffffffffu, lane < count && (differs || start + lane == end - 1));
    for (int i = 0; i < count; i += AHEAD) {
      // Of each row, then the sum up to it; where a token ends, that is its sum, and joins what is there.
      float sums[AHEAD][VECTOR], old[AHEAD][VECTOR];
      int its[AHEAD];
#pragma unroll
      for (int a = 0; a < AHEAD; a++) {
        const int row = __shfl_sync(0xffffffffu, row_of_lane, i + a);
        its[a] = __shfl_sync(0xffffffffu, token_of_lane, i + a);
        if (live && i + a < count) load(sums[a], dy + row * width + column);
        if (live && ends >> (i + a) & 1 && its[a] != before && its[a] != after)
          load(old[a], d_words + its[a] * width + column);
      }
#pragma unroll
      for (int a = 0; a < AHEAD; a++) {
        if (!live || i + a >= count) break;
#pragma unroll
        for (int c = 0; c < VECTOR; c++) {
          if (its[a] == token) sums[a][c] += sum[c];
          sum[c] = sums[a][c];
        }
        token = its[a];
        if (ends >> (i + a) & 1) {
          const bool is_first = token == before, is_last = token == after;
          if (!is_first && !is_last) {
#pragma unroll
            for (int c = 0; c < VECTOR; c++) sums[a][c] += old[a][c];
          }
          float* to = is_first || is_last ? partials + (chunk * 2 + !is_first) * width : d_words + token * width;
          store(to + column, sums[a]);
        }
      }
    }
  }
}

// Tokens of several chunks: a warp for the chunk where one begins adds up the sums of the chunks, in order.
KERNEL(embedding_split_words, 256)
(const int* __restrict__ tokens, const int* __restrict__ order, float* __restrict__ d_words,
 const float* __restrict__ partials, int64_t rows, int64_t width) {
  const int64_t chunk = warp_of_grid(), first = chunk * CHUNK, end = first + CHUNK;
  if (end >= rows) return;
  const int token = token_at(tokens, order, rows, end);
  if (token_at(tokens, order, rows, end - 1) != token || token_at(tokens, order, rows, first - 1) == token) return;
  const int lane = threadIdx.x % 32;
  const int64_t column = (int64_t(blockIdx.y) * 32 + lane) * VECTOR;
  const bool live = column < width;
  float sum[VECTOR];
  if (live) load(sum, partials + (chunk * 2 + 1) * width + column);
  int count = 32;  // of the chunks looked at together, those that begin with the token
  for (int64_t other = chunk + 1; count == 32; other += 32) {
    const int its = token_at(tokens, order, rows, (other + lane) * CHUNK);
    const unsigned others = __ballot_sync(0xffffffffu, its != token);
    count = others ? __ffs(others) - 1 : 32;
    for (int i = 0; live && i < count; i += JOINED) {
      float values[JOINED][VECTOR];
#pragma unroll
      for (int a = 0; a < JOINED; a++)
        if (i + a < count) load(values[a], partials + (other + i + a) * 2 * width + column);
#pragma unroll
      for (int a = 0; a < JOINED; a++) {
        if (i + a >= count) break;
#pragma unroll
        for (int c = 0; c < VECTOR; c++) sum[c] += values[a][c];
      }
    }
  }
  if (live) put(d_words + token * width + column, sum, 1);
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
