// y[r, to + c] = x[r, from + c] for c below `width`: a warp per row, VECTOR columns at a time, of which all the numbers are
// multiples. `place` is as in mod.rs: 0 leaves the other columns, 1 clears them, 2 adds.
KERNEL(columns_copy, 256)
(const activation* __restrict__ x, activation* __restrict__ y, int64_t rows, int64_t width, int64_t x_width,
 int64_t from, int64_t y_width, int64_t to, int place) {
  const int64_t row = warp_of_grid();
  if (row >= rows) return;
  const activation* read = x + row * x_width + from;
  activation* written = y + row * y_width;
  if (place == 1) {
    const float zeros[VECTOR] = {};
    each_column<VECTOR>(y_width, [&](int64_t column) {
      if (column < to || column >= to + width) store(written + column, zeros);
    });
  }
  each_column<VECTOR>(width, [&](int64_t column) {
    float values[VECTOR];
    load(values, read + column);
    put(written + to + column, values, place == 2);
  });
}
