#include "device.cuh"

// Log-softmax cross-entropy of one row per block: loss = log(sum(exp(x))) - x[target], gradient = softmax(x) - onehot.
extern "C" __global__ void __launch_bounds__(256)
softmax_cross_entropy(const float* __restrict__ logits, const int* __restrict__ targets, float* __restrict__ losses,
                      float* __restrict__ gradients, int columns) {
  __shared__ float maxima[8], sums[8];
  const int row = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const float* in = logits + size_t(row) * columns;
  float* out = gradients + size_t(row) * columns;
  float greatest = -INFINITY, sum = 0.f;
  // Four columns at a time where rows allow it, then the rest.
  const int aligned = columns % 4 == 0 ? columns / 4 : 0;
  for (int i = threadIdx.x; i < aligned; i += blockDim.x) {
    const float4 x = reinterpret_cast<const float4*>(in)[i];
    const float most = fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w));
    if (most > greatest) {
      sum *= __expf(greatest - most);
      greatest = most;
    }
    sum += __expf(x.x - greatest) + __expf(x.y - greatest) + __expf(x.z - greatest) + __expf(x.w - greatest);
  }
  for (int i = 4 * aligned + threadIdx.x; i < columns; i += blockDim.x) {
    if (in[i] > greatest) {
      sum *= __expf(greatest - in[i]);
      greatest = in[i];
    }
    sum += __expf(in[i] - greatest);
  }
  const float warp_greatest = warp_max(greatest);
  sum = warp_sum(greatest == -INFINITY ? 0.f : sum * __expf(greatest - warp_greatest));
  if (lane == 0) {
    maxima[warp] = warp_greatest;
    sums[warp] = sum;
  }
  __syncthreads();
  greatest = warp_max(lane < 8 ? maxima[lane] : -INFINITY);
  sum = warp_sum(lane < 8 && maxima[lane] > -INFINITY ? sums[lane] * __expf(maxima[lane] - greatest) : 0.f);
  const int target = targets[row];
  if (threadIdx.x == 0) losses[row] = logf(sum) + greatest - in[target];
  for (int i = threadIdx.x; i < columns; i += blockDim.x)
    out[i] = __expf(in[i] - greatest) / sum - (i == target ? 1.f : 0.f);
}
