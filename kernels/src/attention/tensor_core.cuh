// What the attention kernels for tensor cores share: tiles in shared memory, and products.
// In shared memory a row's pieces of 16 bytes are permuted (xor with the row's number), so that no two of the 8 rows that
// `ldmatrix` reads at a time meet at a bank.

// d += a b for a 16 x 16 row-major, b 16 x 8 column-major.
__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices of 8 x 8, of whose rows each lane gives the address of one.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

__device__ __forceinline__ void load_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

// sums += a b^T for 16 COUNT rows of a tile with rows of WIDTH and 8 COLUMNS of another; `a_row` and `b_row` are where the
// lane's rows of the first matrices are.
template <int WIDTH, int COUNT, int COLUMNS>
__device__ __forceinline__ void add_product(float (&sums)[COUNT][COLUMNS][4], uint32_t a_row, uint32_t b_row) {
#pragma unroll
  for (int piece = 0; piece < WIDTH / 8; piece += 2) {
    uint32_t a[COUNT][4];
#pragma unroll
    for (int m = 0; m < COUNT; m++) load_matrices(a[m], (a_row ^ piece << 4) + m * 16 * WIDTH * 2);
#pragma unroll
    for (int group = 0; group < COLUMNS / 2; group++) {
      uint32_t b[4];
      load_matrices(b, (b_row ^ piece << 4) + group * 16 * WIDTH * 2);
#pragma unroll
      for (int m = 0; m < COUNT; m++) {
        multiply(sums[m][2 * group], a[m], b[0], b[1]);
        multiply(sums[m][2 * group + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// Begins to copy 16 bytes, or writes zeros where not `inside`.
__device__ __forceinline__ void copy_async(uint32_t to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(from), "r"(inside ? 16 : 0) : "memory");
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" : : : "memory"); }

template <int PENDING>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(PENDING) : "memory");
}

// Where piece `piece` of row `row` of a tile with rows of WIDTH is, in bytes.
template <int WIDTH>
__device__ __forceinline__ uint32_t place(int row, int piece) {
  return row * WIDTH * 2 + ((piece ^ (row & 7)) << 4);
}

// The THREADS of a block begin to copy COUNT rows of WIDTH, `stride` apart, of which `live` are there; the others become
// zero.
template <int WIDTH, int COUNT, int THREADS>
__device__ __forceinline__ void copy_rows(uint32_t to, const activation* from, int64_t stride, int live) {
  constexpr int PIECES = WIDTH / 8, STEP = THREADS / PIECES;
  static_assert(STEP % 8 == 0 && COUNT % STEP == 0, "every row that a thread copies is permuted alike");
  const int row = threadIdx.x / PIECES, piece = threadIdx.x % PIECES;
  const uint32_t at = to + place<WIDTH>(row, piece);
  const activation* source = from + row * stride + piece * 8;
#pragma unroll
  for (int i = 0; i < COUNT / STEP; i++) {
    const bool inside = row + i * STEP < live;
    copy_async(at + i * STEP * WIDTH * 2, inside ? source + i * STEP * stride : from, inside);
  }
}

// Stores rows of a product as bf16: `low` is of row `row`, `high` of the one 8 below; lane % 4 has columns 2 (lane % 4) and
// the next of each of the groups of 8. Neighbouring lanes exchange, so that each stores 8 bytes and a row gets 32 at a time.
template <int GROUPS>
__device__ __forceinline__ void store_rows(activation* to, int64_t stride, const float (&x)[GROUPS][4], int row, int live, float factor) {
  const bool odd = threadIdx.x % 2;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int here = row + half * 8;
    // An even lane stores 4 columns of the first of two groups, the odd one beside it those of the second.
    activation* at = to + here * stride + threadIdx.x % 4 / 2 * 4 + odd * 8;
#pragma unroll
    for (int n = 0; n < GROUPS; n += 2) {
      const uint32_t first = pack_bf16(x[n][2 * half] * factor, x[n][2 * half + 1] * factor);
      const uint32_t second = pack_bf16(x[n + 1][2 * half] * factor, x[n + 1][2 * half + 1] * factor);
      const uint32_t other = __shfl_xor_sync(WHOLE_WARP, odd ? first : second, 1);
      if (here < live) *reinterpret_cast<uint2*>(at + n * 8) = odd ? make_uint2(other, second) : make_uint2(first, other);
    }
  }
}

// Zeros `count` rows of WIDTH, `stride` apart, by all threads of the block.
template <int WIDTH>
__device__ __forceinline__ void clear_rows(activation* to, int64_t stride, int count) {
  for (int i = threadIdx.x; i < count * (WIDTH / 8); i += blockDim.x)
    *reinterpret_cast<uint4*>(to + i / (WIDTH / 8) * stride + i % (WIDTH / 8) * 8) = make_uint4(0, 0, 0, 0);
}
