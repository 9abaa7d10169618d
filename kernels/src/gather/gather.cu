// y[i] = x[rows[i]] and its gradient: a warp per row, VECTOR columns at a time.

KERNEL(gather_forward, 256)
(const int* __restrict__ rows, const activation* __restrict__ x, activation* __restrict__ y, int64_t selected,
 int64_t width) {
  const int64_t i = warp_of_grid();
  if (i >= selected) return;
  const activation* read = x + int64_t(rows[i]) * width;
  each_column<VECTOR>(width, [&](int64_t column) {
    float values[VECTOR];
    load(values, read + column);
    store(y + i * width + column, values);
  });
}

// Where each row of x was selected first and last: the same whatever order the atomics come in.
KERNEL(gather_no_uses, 256)(int2* __restrict__ uses, int64_t rows) {
  const size_t row = thread_of_grid();
  if (row < rows) uses[row] = make_int2(0x7fffffff, -1);
}

KERNEL(gather_uses, 256)(const int* __restrict__ rows, int2* __restrict__ uses, int selected) {
  const size_t i = thread_of_grid();
  if (i >= selected) return;
  atomicMin(&uses[rows[i]].x, int(i));
  atomicMax(&uses[rows[i]].y, int(i));
}

// The sum of dy over the uses of one row, in their order, for VECTOR columns. All lanes take part.
__device__ __forceinline__ void sum_uses(float (&sum)[VECTOR], const int* rows, const activation* dy, int2 use, int row,
                                         int64_t width, int64_t column, bool live) {
  if (live) load(sum, dy + use.x * width + column);
  for (int first = use.x + 1; first <= use.y; first += 32) {
    const int mine = first + int(threadIdx.x % 32);
    const unsigned found = __ballot_sync(0xffffffffu, mine <= use.y && rows[mine] == row);
    if (live) add_rows(sum, dy + first * width + column, width, found);
  }
}

// dx[rows[i]] += dy[i]: a warp goes over the columns of one row of dx. With `adds` a warp has the first use of a row, and
// rows that were not selected are not touched; otherwise it has a row, and those become 0.
KERNEL(gather_backward, 256)
(const int* __restrict__ rows, const activation* __restrict__ dy, const int2* __restrict__ uses,
 activation* __restrict__ dx, int64_t count, int64_t width, int adds) {
  const int64_t i = warp_of_grid();
  if (i >= count) return;
  const int row = adds ? rows[i] : int(i);
  const int2 use = uses[row];
  if (adds && use.x != i) return;
  for (int64_t first = 0; first < width; first += 32 * VECTOR) {
    const int64_t column = first + threadIdx.x % 32 * VECTOR;
    const bool live = column < width;
    float sum[VECTOR] = {};
    if (use.y >= 0) sum_uses(sum, rows, dy, use, row, width, column, live);
    if (live) put(dx + row * width + column, sum, adds);
  }
}
