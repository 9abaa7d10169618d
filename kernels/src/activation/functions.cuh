// One activation function and its derivative: ACTIVATION is its place in the enum of mod.rs.

#if ACTIVATION_BF16
// Off by some 1e-7 of the result: much less than bf16 keeps.
__device__ __forceinline__ float power(float x) { return __expf(x); }
__device__ __forceinline__ float quotient(float x, float y) { return __fdividef(x, y); }
#else
__device__ __forceinline__ float power(float x) { return expf(x); }
__device__ __forceinline__ float quotient(float x, float y) { return x / y; }
#endif

// sqrt(2 / pi), the slope inside GELU's tanh form, and its cubic coefficient.
constexpr float SLOPE = 0.797884560802865356f, CUBIC = 0.044715f;

// The distribution and density of the normal distribution.
__device__ __forceinline__ float distribution(float x) { return 0.5f * erfcf(-0.707106781186547524f * x); }
__device__ __forceinline__ float density(float x) { return 0.398942280401432678f * power(-0.5f * x * x); }

// exp(-2 SLOPE (x + CUBIC x^3)); what the last product rounds away is made up for.
__device__ __forceinline__ float closing(float x) {
  const float inner = fmaf(x * x, -2.f * SLOPE * CUBIC, -2.f * SLOPE), exponent = inner * x;
  const float e = power(exponent);
  return fabsf(exponent) < 80.f ? fmaf(e, fmaf(inner, x, -exponent), e) : e;
}

// (1 + tanh(SLOPE (x + CUBIC x^3))) / 2 as a logistic function, which loses nothing where the tanh is near -1.
__device__ __forceinline__ float gate(float x) { return quotient(1.f, 1.f + closing(x)); }

__device__ __forceinline__ float value(float x) {
  if constexpr (ACTIVATION == 0) return x;
  if constexpr (ACTIVATION == 1) return x * distribution(x);
  if constexpr (ACTIVATION == 2) return x * gate(x);
  if constexpr (ACTIVATION == 3) return x < 0.f ? 0.f : x;
  if constexpr (ACTIVATION == 4) return tanhf(x);
}

// From u where the function keeps it, otherwise from f(u).
__device__ __forceinline__ float derivative(float saved) {
  if constexpr (ACTIVATION == 0) return 1.f;
  if constexpr (ACTIVATION == 1) return distribution(saved) + saved * density(saved);
  if constexpr (ACTIVATION == 2) {
    const float shut = closing(saved), open = quotient(1.f, 1.f + shut);
    // 1 - open, where that would lose digits as a quotient of its own.
    const float closed = saved < 0.f ? 1.f - open : shut * open;
    // The slope is limited where the gate has long been 0 or 1: no infinity times 0.
    const float slope = 2.f * SLOPE * (1.f + 3.f * CUBIC * fminf(saved * saved, 1e4f));
    return open + saved * open * closed * slope;
  }
  if constexpr (ACTIVATION == 3) return saved > 0.f ? 1.f : 0.f;
  if constexpr (ACTIVATION == 4) return 1.f - saved * saved;
}
