// z = dropout(x) + residual, y = gamma (z - mean) / sqrt(variance + epsilon) + beta, and its gradients. Compiled for one
// WIDTH: a row is held in the registers of ROW_WARPS warps. Accesses are of four columns, the unit of dropout's coins: 256
// neighbouring bytes of bf16 a warp.

constexpr int VECTOR = WIDTH % 4 == 0 ? 4 : 1;
constexpr int VECTORS = WIDTH / VECTOR;
constexpr int ROW_THREADS = 32 * ROW_WARPS;
constexpr int PARTS = (VECTORS + ROW_THREADS - 1) / ROW_THREADS;
// Rows of a block at a time: those of a block's warps where each has its own.
constexpr int BLOCK_WARPS = ROW_WARPS > 8 ? ROW_WARPS : 8;
constexpr int TOGETHER = BLOCK_WARPS / ROW_WARPS;
constexpr int THREADS = 32 * BLOCK_WARPS;
constexpr int RESIDENT = (PARTS * VECTOR > 12 ? 512 : 768) / THREADS;
constexpr float PER_COLUMN = 1.f / WIDTH;

// This thread's part of a row: vectors thread, thread + ROW_THREADS, …
struct Row {
  float x[PARTS][VECTOR];

  template <typename F>
  __device__ __forceinline__ static void each(F body) {
    const int thread = threadIdx.x % ROW_THREADS;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
      const int vector = part * ROW_THREADS + thread;
      if (VECTORS % ROW_THREADS == 0 || vector < VECTORS) body(part, vector * VECTOR);
    }
  }
};

// The sums of each of N values over the threads of a row, in a fixed order. `slot` alternates: between a call and the next
// one of the same slot every thread passes a barrier.
template <typename T, int N>
__device__ __forceinline__ void row_sums(T (&x)[N], int slot) {
#pragma unroll
  for (int i = 0; i < N; i++) x[i] = warp_sum(x[i]);
  if constexpr (ROW_WARPS > 1) {
    __shared__ T of_warps[2][N][BLOCK_WARPS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, first = warp / ROW_WARPS * ROW_WARPS;
#pragma unroll
    for (int i = 0; i < N; i++) {
      if (lane == 0) of_warps[slot][i][warp] = x[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = warp_sum(lane < ROW_WARPS ? of_warps[slot][i][first + lane] : T(0));
  }
}

template <bool DROPS>
__device__ __forceinline__ void forward(const activation* __restrict__ x, const activation* __restrict__ residual, const float* __restrict__ gamma,
                                        const float* __restrict__ beta, Randomness randomness, Dropout dropout,
                                        const int* __restrict__ logical_rows, activation* __restrict__ sum, float* __restrict__ mean, float* __restrict__ rstd,
                                        activation* __restrict__ y, int64_t rows, int rows_of_group, float epsilon) {
  const int group = threadIdx.x / ROW_THREADS, thread = threadIdx.x % ROW_THREADS;
  const Coins coins = DROPS ? Coins(randomness, dropout) : Coins();
  Row scale, shift;
  Row::each([&](int part, int column) {
    load(scale.x[part], gamma + column);
    load(shift.x[part], beta + column);
  });
  // All groups of a block take as many turns, for barriers; a row beyond the last is computed as if it were the last.
  const int64_t first = (int64_t(blockIdx.x) * TOGETHER + group) * rows_of_group;
  // The statistics of row first + thread, which the threads that have some store together: they are neighbours.
  float own_mean = 0.f, own_rstd = 0.f;
  for (int turn = 0; turn < rows_of_group; turn++) {
    const bool live = first + turn < rows;
    if (ROW_WARPS == 1 && !live) break;
    const int64_t row = live ? first + turn : rows - 1;
    const size_t start = size_t(row) * WIDTH;
    const size_t coins_of = DROPS ? logical_row(logical_rows, row) : 0;
    Row z, other;
    double total[1] = {};  // keeps its digits where terms cancel
    Row::each([&](int part, int column) { load(z.x[part], x + start + column); });
    if (residual) Row::each([&](int part, int column) { load(other.x[part], residual + start + column); });
    Row::each([&](int part, int column) {
      float(&values)[VECTOR] = z.x[part];
      if constexpr (DROPS) {
        float factors[VECTOR];
        coins.factors(factors, coins_of, column);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) values[i] *= factors[i];
      }
      if (residual) {
#pragma unroll
        for (int i = 0; i < VECTOR; i++) values[i] += other.x[part][i];
      }
      if (sum && live) store(sum + start + column, values);
#pragma unroll
      for (int i = 0; i < VECTOR; i++) total[0] += values[i];
    });
    row_sums(total, 0);
    const float mu = float(total[0] / WIDTH);
    float squares[1] = {};
    Row::each([&](int part, int) {
#pragma unroll
      for (int i = 0; i < VECTOR; i++) {
        z.x[part][i] -= mu;
        squares[0] += z.x[part][i] * z.x[part][i];
      }
    });
    row_sums(squares, 1);
    const float r = 1.f / sqrtf(squares[0] * PER_COLUMN + epsilon);
    if (live) {
      Row::each([&](int part, int column) {
        float values[VECTOR];
#pragma unroll
        for (int i = 0; i < VECTOR; i++) values[i] = z.x[part][i] * r * scale.x[part][i] + shift.x[part][i];
        store(y + start + column, values);
      });
    }
    if (thread == turn) own_mean = mu, own_rstd = r;
  }
  if (thread < rows_of_group && first + thread < rows) {
    mean[first + thread] = own_mean;
    rstd[first + thread] = own_rstd;
  }
}

KERNEL(layer_norm_forward, THREADS, RESIDENT)
(const activation* __restrict__ x, const activation* __restrict__ residual, const float* __restrict__ gamma, const float* __restrict__ beta, activation* __restrict__ sum, float* __restrict__ mean,
 float* __restrict__ rstd, activation* __restrict__ y, int64_t rows, int rows_of_group, float epsilon) {
  forward<false>(x, residual, gamma, beta, {}, {}, nullptr, sum, mean, rstd, y, rows, rows_of_group, epsilon);
}

KERNEL(layer_norm_dropout_forward, THREADS, RESIDENT)
(const activation* __restrict__ x, const activation* __restrict__ residual, const float* __restrict__ gamma, const float* __restrict__ beta, activation* __restrict__ sum, float* __restrict__ mean,
 float* __restrict__ rstd, activation* __restrict__ y, int64_t rows, int rows_of_group, float epsilon, Randomness randomness, Dropout dropout,
 const int* __restrict__ logical_rows) {
  forward<true>(x, residual, gamma, beta, randomness, dropout, logical_rows, sum, mean, rstd, y, rows, rows_of_group,
                epsilon);
}

// With n = (z - mean) r and g = gamma dy: dz = r (g - mean(g) - n mean(g n)), dx = dz keep / (1 - p). A thread keeps its
// columns' sums of dy n and of dy over the rows of its group; a block adds up those of its groups, in order, and leaves
// them in its row of `partials`, [blocks, 2 WIDTH].
template <bool DROPS>
__device__ __forceinline__ void backward(const activation* __restrict__ sum, const float* __restrict__ mean, const float* __restrict__ rstd, const float* __restrict__ gamma,
                                         const activation* __restrict__ dy, Randomness randomness, Dropout dropout,
                                         const int* __restrict__ logical_rows, activation* __restrict__ d_sum, int adds, activation* __restrict__ d_x,
                                         float* __restrict__ partials, int64_t rows) {
  // γ, then the sums of the block; a block of one row at a time keeps both in registers.
  constexpr bool SHARES = TOGETHER > 1;
  __shared__ __align__(16) float columns[2][SHARES ? WIDTH : 4];
  const int group = threadIdx.x / ROW_THREADS;
  const Coins coins = DROPS ? Coins(randomness, dropout) : Coins();
  Row d_gamma, d_beta;
  Row::each([&](int part, int column) {
    if (SHARES && group == 0) {
      float scale[VECTOR];
      load(scale, gamma + column);
      store_shared(columns[0] + column, scale);
    }
#pragma unroll
    for (int i = 0; i < VECTOR; i++) d_gamma.x[part][i] = d_beta.x[part][i] = 0.f;
  });
  __syncthreads();
  const int64_t stride = int64_t(gridDim.x) * TOGETHER;
  const int64_t turns = (rows + stride - 1) / stride;
  for (int64_t turn = 0; turn < turns; turn++) {
    const int64_t wanted = turn * stride + int64_t(blockIdx.x) * TOGETHER + group;
    const bool live = wanted < rows;
    if (ROW_WARPS == 1 && !live) break;
    const int64_t row = live ? wanted : rows - 1;
    const size_t start = size_t(row) * WIDTH;
    Row normed, g;
    Row::each([&](int part, int column) {
      load(normed.x[part], sum + start + column);
      load(g.x[part], dy + start + column);
    });
    const float mu = mean[row], r = rstd[row];
    float totals[2] = {};
    Row::each([&](int part, int column) {
      float scale[VECTOR];
      load(scale, (SHARES ? columns[0] : gamma) + column);
#pragma unroll
      for (int i = 0; i < VECTOR; i++) {
        float &n = normed.x[part][i], &gradient = g.x[part][i];
        n = (n - mu) * r;
        if (live) {
          d_gamma.x[part][i] += gradient * n;
          d_beta.x[part][i] += gradient;
        }
        gradient *= scale[i];
        totals[0] += gradient;
        totals[1] += gradient * n;
      }
    });
    row_sums(totals, turn % 2);
    const float mean_g = totals[0] * PER_COLUMN, mean_g_normed = totals[1] * PER_COLUMN;
    if (live) {
      const size_t coins_of = DROPS ? logical_row(logical_rows, row) : 0;
      Row::each([&](int part, int column) {
        float dz[VECTOR];
#pragma unroll
        for (int i = 0; i < VECTOR; i++) dz[i] = r * (g.x[part][i] - mean_g - normed.x[part][i] * mean_g_normed);
        if constexpr (DROPS) {
          float factors[VECTOR];
          coins.factors(factors, coins_of, column);
#pragma unroll
          for (int i = 0; i < VECTOR; i++) factors[i] *= dz[i];
          store(d_x + start + column, factors);
        }
        put(d_sum + start + column, dz, adds);
      });
    }
  }
  float* partial = partials + size_t(blockIdx.x) * 2 * WIDTH;
  // One group after the other.
  for (int turn = 0; turn < TOGETHER; turn++) {
    __syncthreads();
    if (group != turn) continue;
    Row::each([&](int part, int column) {
      if constexpr (SHARES) {
        put_shared(columns[0] + column, d_gamma.x[part], turn);
        put_shared(columns[1] + column, d_beta.x[part], turn);
      } else {
        store(partial + column, d_gamma.x[part]);
        store(partial + WIDTH + column, d_beta.x[part]);
      }
    });
  }
  if constexpr (SHARES) {
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * WIDTH; i += THREADS) partial[i] = columns[i / WIDTH][i % WIDTH];
  }
}

KERNEL(layer_norm_backward, THREADS, RESIDENT)
(const activation* __restrict__ sum, const float* __restrict__ mean, const float* __restrict__ rstd, const float* __restrict__ gamma, const activation* __restrict__ dy,
 activation* __restrict__ d_sum, int adds, float* __restrict__ partials, int64_t rows) {
  backward<false>(sum, mean, rstd, gamma, dy, {}, {}, nullptr, d_sum, adds, nullptr, partials, rows);
}

KERNEL(layer_norm_dropout_backward, THREADS, RESIDENT)
(const activation* __restrict__ sum, const float* __restrict__ mean, const float* __restrict__ rstd, const float* __restrict__ gamma, const activation* __restrict__ dy,
 activation* __restrict__ d_sum, int adds, float* __restrict__ partials, int64_t rows, Randomness randomness, Dropout dropout,
 const int* __restrict__ logical_rows, activation* __restrict__ d_x) {
  backward<true>(sum, mean, rstd, gamma, dy, randomness, dropout, logical_rows, d_sum, adds, d_x, partials, rows);
}
