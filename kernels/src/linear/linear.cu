// What cuBLASLt has no way for: bias and activation behind a product, and products of matrices that it refuses.

constexpr int TILE = 16;

// to = round(bias)
KERNEL(round_bias, 256)(const float* __restrict__ bias, activation* __restrict__ to, size_t length) {
  const size_t i = thread_of_grid();
  if (i < length) round_to(to + i, bias[i]);
}

// y = f(u + bias), f as ACTIVATION says, and u + bias stored where it is wanted. u may lie where one of them is stored.
KERNEL(bias_and_activation, 256)(const float* u, const float* __restrict__ bias, activation* sum, activation* y,
                                 size_t length, int columns) {
  const size_t i = thread_of_grid();
  if (i >= length) return;
  float x = u[i];
  if (bias) x += bias[i % columns];
  if (sum) round_to(sum + i, x);
  round_to(y + i, value(x));
}

// result[rows, columns] (+)= left[rows, depth] right[depth, columns], each factor stored so or with rows for columns: one
// thread for an element, its products added up one after the other.
template <typename Result>
__device__ void multiply(const activation* __restrict__ left, const activation* __restrict__ right, Result* result,
                         size_t rows, size_t columns, size_t depth, int left_transposed, int right_transposed, int adds) {
  __shared__ float a[TILE][TILE + 1], b[TILE][TILE + 1];
  const int i = threadIdx.x / TILE, j = threadIdx.x % TILE;
  const size_t first_row = size_t(blockIdx.x) * TILE, first_column = size_t(blockIdx.y) * TILE;
  float sum = 0;
  for (size_t from = 0; from < depth; from += TILE) {
    // Neighbouring threads read neighbours.
    const size_t row = first_row + (left_transposed ? j : i), left_at = from + (left_transposed ? i : j);
    const bool in_left = row < rows && left_at < depth;
    const float x = in_left ? to_float(left[left_transposed ? left_at * rows + row : row * depth + left_at]) : 0;
    const size_t column = first_column + (right_transposed ? i : j), right_at = from + (right_transposed ? j : i);
    const bool in_right = column < columns && right_at < depth;
    const float y =
        in_right ? to_float(right[right_transposed ? column * depth + right_at : right_at * columns + column]) : 0;
    __syncthreads();
    a[left_transposed ? j : i][left_transposed ? i : j] = x;
    b[right_transposed ? j : i][right_transposed ? i : j] = y;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < TILE; k++) sum = fmaf(a[i][k], b[k][j], sum);
  }
  const size_t row = first_row + i, column = first_column + j;
  if (row >= rows || column >= columns) return;
  Result* to = result + row * columns + column;
  round_to(to, adds ? sum + to_float(*to) : sum);
}

#define PRODUCT(name, Result)                                                                                            \
  KERNEL(name, 256)(const activation* __restrict__ left, const activation* __restrict__ right, Result* result,           \
                    size_t rows, size_t columns, size_t depth, int left_transposed, int right_transposed, int adds) {    \
    multiply(left, right, result, rows, columns, depth, left_transposed, right_transposed, adds);                        \
  }
PRODUCT(product, activation)
PRODUCT(product_of_masters, float)
