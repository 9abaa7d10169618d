// y = factor x, stored or added.
KERNEL(scale_forward, 256)
(const activation* __restrict__ x, activation* __restrict__ y, size_t length, float factor, int adds) {
  each<activation>(length, [&](size_t first, auto count) {
    float values[count.value];
    load(values, x + first);
#pragma unroll
    for (float& it : values) it *= factor;
    put(y + first, values, adds);
  });
}
