// y = alpha a + beta b.
KERNEL(add_forward, 256)
(const activation* __restrict__ a, const activation* __restrict__ b, activation* __restrict__ y, size_t length,
 float alpha, float beta) {
  each<activation>(length, [&](size_t first, auto count) {
    float x[count.value], other[count.value];
    load(x, a + first);
    load(other, b + first);
#pragma unroll
    for (int i = 0; i < count.value; i++) x[i] = alpha * x[i] + beta * other[i];
    store(y + first, x);
  });
}
