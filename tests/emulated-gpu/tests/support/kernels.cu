// Small kernels for the tests of the driver surface.

extern "C" __constant__ float weights[4] = {1.0f, 2.0f, 3.0f, 4.0f};
extern "C" __device__ int launches;

struct Affine {
    double slope;
    int shift;
};

extern "C" __global__ void __launch_bounds__(256) scale(float* y, const float* x, float factor, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = factor * x[i];
}

extern "C" __global__ void weigh(float* y, const float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = weights[i % 4] * x[i];
    if (i == 0) atomicAdd(&launches, 1);
}

extern "C" __global__ void affine(double* y, Affine map, char negate, long long n) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) y[i] = (negate ? -1.0 : 1.0) * (map.slope * i + map.shift);
}

extern "C" __global__ void reverse(int* x, int n) {
    extern __shared__ int tile[];
    for (int i = threadIdx.x; i < n; i += blockDim.x) tile[i] = x[i];
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) x[i] = tile[n - 1 - i];
}
