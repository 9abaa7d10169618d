// y = x keep / (1 - p), forwards and backwards: a warp per row. VECTOR columns share a block of random words: 4, or 1 where
// a row is no multiple of it.
KERNEL(dropout, 256)
(const activation* __restrict__ x, activation* __restrict__ y, int64_t rows, int64_t width, int adds,
 Randomness randomness, Dropout dropout, const int* __restrict__ logical_rows) {
  const int64_t row = warp_of_grid();
  if (row >= rows) return;
  const Coins coins(randomness, dropout);
  const size_t coins_of = logical_row(logical_rows, row);
  each_column<VECTOR>(width, [&](int64_t column) {
    float values[VECTOR], factors[VECTOR];
    load(values, x + row * width + column);
    coins.factors(factors, coins_of, column);
#pragma unroll
    for (int i = 0; i < VECTOR; i++) values[i] *= factors[i];
    put(y + row * width + column, values, adds);
  });
}
