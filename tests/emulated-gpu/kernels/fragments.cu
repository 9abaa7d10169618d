// A kernel for each form of mma, ldmatrix, stmatrix and movmatrix that the emulator knows, one warp each. They read and
// write words: registers one after the other, 32 lanes each. See golden/fragments.py.

typedef unsigned int uint32_t;

// A, B, C: how many registers a lane gives of each. The sum replaces C.
#define MULTIPLY_ADD(NAME, INSTRUCTION, OPERANDS, A, B, C)                               \
  extern "C" __global__ void NAME(const uint32_t* input, uint32_t* output) {             \
    uint32_t a[A], b[B], c[C];                                                           \
    for (int i = 0; i < A; i++) a[i] = input[32 * i + threadIdx.x];                      \
    for (int i = 0; i < B; i++) b[i] = input[32 * (A + i) + threadIdx.x];                \
    for (int i = 0; i < C; i++) c[i] = input[32 * (A + B + i) + threadIdx.x];            \
    asm volatile(INSTRUCTION OPERANDS : REGISTERS_C##C : REGISTERS_A##A, REGISTERS_B##B); \
    for (int i = 0; i < C; i++) output[32 * i + threadIdx.x] = c[i];                     \
  }

#define REGISTERS_C4 "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
#define REGISTERS_C2 "+r"(c[0]), "+r"(c[1])
#define REGISTERS_A4 "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])
#define REGISTERS_A2 "r"(a[0]), "r"(a[1])
#define REGISTERS_B2 "r"(b[0]), "r"(b[1])
#define REGISTERS_B1 "r"(b[0])

#define OPERANDS_4_4_2 " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#define OPERANDS_4_2_1 " {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
#define OPERANDS_2_4_2 " {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};"
#define OPERANDS_2_2_1 " {%0,%1}, {%2,%3}, {%4}, {%0,%1};"

MULTIPLY_ADD(mma_m16n8k16_bf16_f32, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", OPERANDS_4_4_2, 4, 2, 4)
MULTIPLY_ADD(mma_m16n8k8_bf16_f32, "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", OPERANDS_4_2_1, 2, 1, 4)
MULTIPLY_ADD(mma_m16n8k16_f16_f32, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", OPERANDS_4_4_2, 4, 2, 4)
MULTIPLY_ADD(mma_m16n8k8_f16_f32, "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", OPERANDS_4_2_1, 2, 1, 4)
MULTIPLY_ADD(mma_m16n8k16_f16_f16, "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", OPERANDS_2_4_2, 4, 2, 2)
MULTIPLY_ADD(mma_m16n8k8_f16_f16, "mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16", OPERANDS_2_2_1, 2, 1, 2)
MULTIPLY_ADD(mma_m16n8k8_tf32_f32, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", OPERANDS_4_4_2, 4, 2, 4)
MULTIPLY_ADD(mma_m16n8k4_tf32_f32, "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", OPERANDS_4_2_1, 2, 1, 4)

// Input: for each lane the offset of its row in memory, then the memory. Output: the registers.
#define LOAD(NAME, COUNT, INSTRUCTION, OPERANDS)                                              \
  extern "C" __global__ void NAME(const uint32_t* input, uint32_t* output) {                  \
    __shared__ __align__(16) uint32_t memory[32 * COUNT];                                     \
    for (int i = 0; i < COUNT; i++) memory[32 * i + threadIdx.x] = input[32 * (i + 1) + threadIdx.x]; \
    __syncwarp();                                                                             \
    const uint32_t row = uint32_t(__cvta_generic_to_shared(memory)) + input[threadIdx.x];     \
    uint32_t r[COUNT];                                                                        \
    asm volatile(INSTRUCTION OPERANDS : LOADED_##COUNT : "r"(row) : "memory");                \
    for (int i = 0; i < COUNT; i++) output[32 * i + threadIdx.x] = r[i];                      \
  }

#define LOADED_1 "=r"(r[0])
#define LOADED_2 "=r"(r[0]), "=r"(r[1])
#define LOADED_4 "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])

LOAD(ldmatrix_x1, 1, "ldmatrix.sync.aligned.m8n8.x1.shared.b16", " {%0}, [%1];")
LOAD(ldmatrix_x2, 2, "ldmatrix.sync.aligned.m8n8.x2.shared.b16", " {%0,%1}, [%2];")
LOAD(ldmatrix_x4, 4, "ldmatrix.sync.aligned.m8n8.x4.shared.b16", " {%0,%1,%2,%3}, [%4];")
LOAD(ldmatrix_x1_trans, 1, "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16", " {%0}, [%1];")
LOAD(ldmatrix_x2_trans, 2, "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16", " {%0,%1}, [%2];")
LOAD(ldmatrix_x4_trans, 4, "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", " {%0,%1,%2,%3}, [%4];")

// Input: for each lane the offset of its row in memory, then the registers. Output: the memory.
#define STORE(NAME, COUNT, INSTRUCTION, OPERANDS)                                         \
  extern "C" __global__ void NAME(const uint32_t* input, uint32_t* output) {              \
    __shared__ __align__(16) uint32_t memory[32 * COUNT];                                 \
    const uint32_t row = uint32_t(__cvta_generic_to_shared(memory)) + input[threadIdx.x]; \
    uint32_t r[COUNT];                                                                    \
    for (int i = 0; i < COUNT; i++) r[i] = input[32 * (i + 1) + threadIdx.x];             \
    asm volatile(INSTRUCTION OPERANDS : : "r"(row), STORED_##COUNT : "memory");           \
    __syncwarp();                                                                         \
    for (int i = 0; i < COUNT; i++) output[32 * i + threadIdx.x] = memory[32 * i + threadIdx.x]; \
  }

#define STORED_1 "r"(r[0])
#define STORED_2 "r"(r[0]), "r"(r[1])
#define STORED_4 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])

STORE(stmatrix_x1, 1, "stmatrix.sync.aligned.m8n8.x1.shared.b16", " [%0], {%1};")
STORE(stmatrix_x2, 2, "stmatrix.sync.aligned.m8n8.x2.shared.b16", " [%0], {%1,%2};")
STORE(stmatrix_x4, 4, "stmatrix.sync.aligned.m8n8.x4.shared.b16", " [%0], {%1,%2,%3,%4};")
STORE(stmatrix_x1_trans, 1, "stmatrix.sync.aligned.m8n8.x1.trans.shared.b16", " [%0], {%1};")
STORE(stmatrix_x2_trans, 2, "stmatrix.sync.aligned.m8n8.x2.trans.shared.b16", " [%0], {%1,%2};")
STORE(stmatrix_x4_trans, 4, "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16", " [%0], {%1,%2,%3,%4};")

extern "C" __global__ void movmatrix_trans(const uint32_t* input, uint32_t* output) {
  uint32_t moved;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(moved) : "r"(input[threadIdx.x]));
  output[threadIdx.x] = moved;
}
