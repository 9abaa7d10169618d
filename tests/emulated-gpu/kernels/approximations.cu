#include "device.cuh"

// Every approximate function of an operand, a thread per operand: y[12 i ..].
extern "C" __global__ void approximations(const float* __restrict__ x, float* __restrict__ y, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float* to = y + 12 * i;
  asm("ex2.approx.f32 %0, %1;" : "=f"(to[0]) : "f"(x[i]));
  asm("lg2.approx.f32 %0, %1;" : "=f"(to[1]) : "f"(x[i]));
  asm("rcp.approx.f32 %0, %1;" : "=f"(to[2]) : "f"(x[i]));
  asm("rsqrt.approx.f32 %0, %1;" : "=f"(to[3]) : "f"(x[i]));
  asm("sqrt.approx.f32 %0, %1;" : "=f"(to[4]) : "f"(x[i]));
  asm("sin.approx.f32 %0, %1;" : "=f"(to[5]) : "f"(x[i]));
  asm("cos.approx.f32 %0, %1;" : "=f"(to[6]) : "f"(x[i]));
  asm("tanh.approx.f32 %0, %1;" : "=f"(to[7]) : "f"(x[i]));
  asm("div.approx.f32 %0, %1, %2;" : "=f"(to[8]) : "f"(1.7f), "f"(x[i]));
  asm("div.full.f32 %0, %1, %2;" : "=f"(to[9]) : "f"(-0.3f), "f"(x[i]));
  asm("{ .reg .b16 h; cvt.rn.bf16.f32 h, %1; ex2.approx.ftz.bf16 h, h; cvt.f32.bf16 %0, h; }" : "=f"(to[10]) : "f"(x[i]));
  asm("{ .reg .b16 h; cvt.rn.f16.f32 h, %1; ex2.approx.f16 h, h; cvt.f32.f16 %0, h; }" : "=f"(to[11]) : "f"(x[i]));
}
