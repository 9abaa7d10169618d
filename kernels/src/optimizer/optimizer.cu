// LAMB and AdamW over flat buffers, the gradient's norm, and the rounding of weights. A block has CHUNK elements of one
// segment; sums of chunks are in f64 and are added up in order. Nothing changes unless norm and loss are finite.

constexpr int THREADS = 256, WARPS = THREADS / 32;

// As long as in cuda.rs.
struct Segment {
  int64_t offset, length;
  int first_chunk;
  // 1: weight decay applies; 2: the trust ratio applies.
  int flags;
};

struct Segments {
  Segment all[SEGMENTS];
};

struct Constants {
  float beta1, beta2, one_minus_beta1, one_minus_beta2;
  // What m and v are multiplied with when u is formed.
  float correction1, correction2;
  float epsilon, decay;
};

// The elements of a chunk.
struct Chunk {
  int64_t first, end;
  int segment, flags;

  __device__ __forceinline__ Chunk(const Segments& segments, int count) {
    segment = 0;
    while (segment + 1 < count && segments.all[segment + 1].first_chunk <= int(blockIdx.x)) segment++;
    const Segment it = segments.all[segment];
    const int64_t start = int64_t(int(blockIdx.x) - it.first_chunk) * CHUNK;
    first = it.offset + start;
    end = it.offset + (start + CHUNK < it.length ? start + CHUNK : it.length);
    flags = it.flags;
  }

  // Calls `body(first, Count<N>())` for this thread's elements: four at a time where they lie at a multiple of 16 bytes.
  template <typename Body>
  __device__ __forceinline__ void each(Body body) const {
    const int64_t aligned = (first + 3) / 4 * 4, head = aligned < end ? aligned : end, tail = head + (end - head) / 4 * 4;
    if (first + threadIdx.x < head) body(first + threadIdx.x, Count<1>());
#pragma unroll 2
    for (int64_t i = head + 4 * threadIdx.x; i < tail; i += 4 * THREADS) body(i, Count<4>());
    if (tail + threadIdx.x < end) body(tail + threadIdx.x, Count<1>());
  }
};

// What the gradient is multiplied with, min(1, clip / norm); 0 if nothing may change.
__device__ __forceinline__ float gradient_scale(const double* norm, const float* loss, double clip) {
  if (!isfinite(norm[0]) || !isfinite(loss[0])) return 0.f;
  return clip > 0.0 && norm[0] > clip ? float(clip / norm[0]) : 1.f;
}

// u for N elements.
template <int N>
__device__ __forceinline__ void direction(float (&u)[N], const float (&m)[N], const float (&v)[N], const float (&w)[N],
                                          const Constants& constants, int flags) {
  const float decay = flags & 1 ? constants.decay : 0.f;
#pragma unroll
  for (int i = 0; i < N; i++) {
    const float root = sqrtf(v[i] * constants.correction2) + constants.epsilon;
    u[i] = fmaf(w[i], decay, m[i] * constants.correction1 / root);
  }
}

// m and v; then w where no ratio is wanted, otherwise the chunk's sums of w^2 and u^2.
KERNEL(optimizer_moments, THREADS)
(const __grid_constant__ Segments segments, int count, const __grid_constant__ Constants constants, double lr,
 double clip, const double* __restrict__ norm, const float* __restrict__ loss, const float* __restrict__ gradients,
 float* __restrict__ first_moments, float* __restrict__ second_moments, float* __restrict__ parameters,
 double2* __restrict__ partials) {
  const float scale = gradient_scale(norm, loss, clip), step = float(lr);
  if (scale == 0.f) return;
  const Chunk chunk(segments, count);
  const bool adapts = chunk.flags & 2;
  double w_squares = 0.0, u_squares = 0.0;
  chunk.each([&](int64_t first, auto count) {
    float g[count.value], m[count.value], v[count.value], w[count.value], u[count.value];
    load(g, gradients + first);
    load(m, first_moments + first);
    load(v, second_moments + first);
    load(w, parameters + first);
#pragma unroll
    for (int i = 0; i < count.value; i++) {
      g[i] *= scale;
      m[i] = fmaf(g[i], constants.one_minus_beta1, m[i] * constants.beta1);
      v[i] = fmaf(g[i] * g[i], constants.one_minus_beta2, v[i] * constants.beta2);
    }
    store(first_moments + first, m);
    store(second_moments + first, v);
    direction(u, m, v, w, constants, chunk.flags);
#pragma unroll
    for (int i = 0; i < count.value; i++) {
      if (adapts) {
        w_squares += double(w[i]) * double(w[i]);
        u_squares += double(u[i]) * double(u[i]);
      } else {
        w[i] = fmaf(u[i], -step, w[i]);
      }
    }
    if (!adapts) store(parameters + first, w);
  });
  if (!adapts) return;
  w_squares = block_sum<WARPS>(w_squares);
  __syncthreads();
  u_squares = block_sum<WARPS>(u_squares);
  if (threadIdx.x == 0) partials[blockIdx.x] = make_double2(w_squares, u_squares);
}

// The step of each segment, lr times its ratio: a block for each.
KERNEL(optimizer_steps, THREADS)
(const __grid_constant__ Segments segments, double lr, double clip, const double* __restrict__ norm,
 const float* __restrict__ loss, const double2* __restrict__ partials, float* __restrict__ steps) {
  const Segment segment = segments.all[blockIdx.x];
  if (gradient_scale(norm, loss, clip) == 0.f || !(segment.flags & 2)) return;
  const int64_t chunks = (segment.length + CHUNK - 1) / CHUNK;
  double w = 0.0, u = 0.0;
  for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += THREADS) {
    const double2 sums = partials[segment.first_chunk + chunk];
    w += sums.x;
    u += sums.y;
  }
  w = sqrt(block_sum<WARPS>(w));
  __syncthreads();
  u = sqrt(block_sum<WARPS>(u));
  if (threadIdx.x == 0) steps[blockIdx.x] = float(w > 0.0 && u > 0.0 ? lr * (w / u) : lr);
}

// w where a ratio is wanted; u is computed again, which costs less than to store it.
KERNEL(optimizer_apply, THREADS)
(const __grid_constant__ Segments segments, int count, const __grid_constant__ Constants constants, double clip,
 const double* __restrict__ norm, const float* __restrict__ loss, const float* __restrict__ steps,
 const float* __restrict__ first_moments, const float* __restrict__ second_moments, float* __restrict__ parameters) {
  const Chunk chunk(segments, count);
  if (gradient_scale(norm, loss, clip) == 0.f || !(chunk.flags & 2)) return;
  const float step = steps[chunk.segment];
  chunk.each([&](int64_t first, auto count) {
    float m[count.value], v[count.value], w[count.value], u[count.value];
    load(m, first_moments + first);
    load(v, second_moments + first);
    load(w, parameters + first);
    direction(u, m, v, w, constants, chunk.flags);
#pragma unroll
    for (int i = 0; i < count.value; i++) w[i] = fmaf(u[i], -step, w[i]);
    store(parameters + first, w);
  });
}

// The sum of squares of each chunk of the gradients, then the root of all of them.
KERNEL(gradient_norm_chunks, THREADS)
(const float* __restrict__ gradients, double* __restrict__ partials, int64_t length) {
  const int64_t start = int64_t(blockIdx.x) * CHUNK, end = start + CHUNK < length ? start + CHUNK : length;
  double squares = 0.0;
#pragma unroll 4
  for (int64_t i = start + 4 * threadIdx.x; i < end; i += 4 * THREADS) {
    float g[4] = {};
    if (i + 4 <= end) {
      load(g, gradients + i);
    } else {
      for (int last = 0; i + last < end; last++) g[last] = gradients[i + last];
    }
#pragma unroll
    for (float it : g) squares += double(it) * double(it);
  }
  squares = block_sum<WARPS>(squares);
  if (threadIdx.x == 0) partials[blockIdx.x] = squares;
}

KERNEL(gradient_norm_total, 1024)
(const double* __restrict__ partials, double* __restrict__ norm, int64_t chunks) {
  double squares = 0.0;
  for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += 1024) squares += partials[chunk];
  squares = block_sum<32>(squares);
  if (threadIdx.x == 0) norm[0] = sqrt(squares);
}

// Weights as products read them. Four at a time, so that accesses of f32 are of neighbouring bytes.
KERNEL(prepare_weights, THREADS)
(const float* __restrict__ masters, activation* __restrict__ weights, size_t length) {
  each<float>(length, [&](size_t first, auto count) {
    float values[count.value];
    load(values, masters + first);
    store(weights + first, values);
  });
}
