#include "device.cuh"

// table[ids[i]] += rows[i], and how often each id came. A block takes `per_block` rows, a thread a column.
extern "C" __global__ void __launch_bounds__(128)
scatter_add(const int* __restrict__ ids, const float* __restrict__ rows, float* __restrict__ table,
            uint32_t* __restrict__ counts, int row_count, int columns, int table_rows, int per_block) {
  extern __shared__ uint32_t local_counts[];
  for (int i = threadIdx.x; i < table_rows; i += blockDim.x) local_counts[i] = 0;
  __syncthreads();
  const int first = blockIdx.x * per_block, last = min(first + per_block, row_count);
  for (int row = first + threadIdx.x; row < last; row += blockDim.x) atomicAdd(&local_counts[ids[row]], 1u);
  for (int row = first; row < last; row++) {
    float* to = table + size_t(ids[row]) * columns;
    for (int column = threadIdx.x; column < columns; column += blockDim.x)
      atomicAdd(to + column, rows[size_t(row) * columns + column]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < table_rows; i += blockDim.x)
    if (local_counts[i] != 0) atomicAdd(&counts[i], local_counts[i]);
}
