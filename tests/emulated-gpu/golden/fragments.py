"""Makes fragments.json: what mma, ldmatrix, stmatrix and movmatrix must do, by the layouts in the PTX ISA.

The formulas are those of "PTX ISA 9.0, 9.7.14.5 Matrix multiply-accumulate operation using mma instruction", element by
element. Everything is a small integer, so that every sum is exact in every order, in f16 too. Each case is the words
that a kernel of kernels/fragments.cu reads, and those it must write.
"""

import json
import random
import struct

LANES = range(32)


def f32(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def f16(value):
    return struct.unpack("<H", struct.pack("<e", value))[0]


def bf16(value):
    return f32(value) >> 16


def words(elements, encode, bits):
    """Elements of one lane, first in the lowest bits."""
    if bits == 32:
        return [encode(element) for element in elements]
    return [encode(low) | encode(high) << 16 for low, high in zip(elements[::2], elements[1::2])]


def by_register(lanes):
    """Words of each lane, register by register, lane by lane."""
    return [lane[register] for register in range(len(lanes[0])) for lane in lanes]


# Row and column of element i of a lane: group = lane >> 2, thread = lane % 4.
def a_k16(i, group, thread):  # "Fragment A for .m16n8k16, .f16 or .bf16"
    row = group if i < 2 or 4 <= i < 6 else group + 8
    column = thread * 2 + (i & 1) if i < 4 else thread * 2 + (i & 1) + 8
    return row, column


def b_k16(i, group, thread):
    row = thread * 2 + (i & 1) if i < 2 else thread * 2 + (i & 1) + 8
    return row, group


def a_k8(i, group, thread):  # .m16n8k8, .f16 or .bf16
    return group if i < 2 else group + 8, thread * 2 + (i & 1)


def b_k8(i, group, thread):
    return thread * 2 + i, group


def a_tf32_k8(i, group, thread):  # .m16n8k8, .tf32
    return group if i in (0, 2) else group + 8, thread if i in (0, 1) else thread + 4


def b_tf32_k8(i, group, thread):
    return thread if i == 0 else thread + 4, group


def a_tf32_k4(i, group, thread):  # .m16n8k4, .tf32
    return group if i == 0 else group + 8, thread


def b_tf32_k4(i, group, thread):
    return thread, group


def c(i, group, thread):  # C and D, all of .m16n8
    return group if i < 2 else group + 8, thread * 2 + (i & 1)


def fragment(matrix, place, count, encode, bits):
    lanes = []
    for lane in LANES:
        places = [place(i, lane >> 2, lane % 4) for i in range(count)]
        lanes.append(words([matrix[row][column] for row, column in places], encode, bits))
    return by_register(lanes)


def multiply_add(name, k, a_place, a_count, b_place, b_count, encode, bits, accumulator):
    integers = lambda rows, columns, most: [[random.randint(-most, most) for _ in range(columns)] for _ in range(rows)]
    a, b, add = integers(16, k, 4), integers(k, 8, 4), integers(16, 8, 8)
    result = [[add[m][n] + sum(a[m][i] * b[i][n] for i in range(k)) for n in range(8)] for m in range(16)]
    wide = (f32, 32) if accumulator == "f32" else (f16, 16)
    return {
        "kernel": name,
        "input": fragment(a, a_place, a_count, encode, bits)
        + fragment(b, b_place, b_count, encode, bits)
        + fragment(add, c, 4, *wide),
        "output": fragment(result, c, 4, *wide),
    }


def rows_in_memory(count):
    """A place for each row of `count` matrices, in any order; lanes without a row point at the first."""
    places = random.sample(range(8 * count), 8 * count)
    return [16 * place for place in places] + [0] * (32 - 8 * count)


def of_lane(matrix, lane, transposed):
    """The word of a lane: elements (lane / 4, 2 (lane % 4)) and the next, of the matrix or its transpose."""
    row, column = lane // 4, lane % 4 * 2
    pair = [(column, row), (column + 1, row)] if transposed else [(row, column), (row, column + 1)]
    low, high = [matrix[i][j] for i, j in pair]
    return low | high << 16


def halves():
    return [[random.randrange(1 << 16) for _ in range(8)] for _ in range(8)]


def matrices(store, count, transposed):
    all_matrices, offsets = [halves() for _ in range(count)], rows_in_memory(count)
    memory = [0] * (32 * count)
    for row, offset in enumerate(offsets[: 8 * count]):
        elements = all_matrices[row // 8][row % 8]
        memory[offset // 4 : offset // 4 + 4] = [elements[i] | elements[i + 1] << 16 for i in range(0, 8, 2)]
    registers = [of_lane(matrix, lane, transposed) for matrix in all_matrices for lane in LANES]
    name = f"{'stmatrix' if store else 'ldmatrix'}_x{count}{'_trans' if transposed else ''}"
    given, made = (registers, memory) if store else (memory, registers)
    return {"kernel": name, "input": offsets + given, "output": made}


def move():
    matrix = halves()
    return {
        "kernel": "movmatrix_trans",
        "input": [of_lane(matrix, lane, False) for lane in LANES],
        "output": [of_lane(matrix, lane, True) for lane in LANES],
    }


def main():
    random.seed(9)
    cases = []
    for name, encode, accumulator in (("bf16", bf16, "f32"), ("f16", f16, "f32"), ("f16", f16, "f16")):
        cases.append(multiply_add(f"mma_m16n8k16_{name}_{accumulator}", 16, a_k16, 8, b_k16, 4, encode, 16, accumulator))
        cases.append(multiply_add(f"mma_m16n8k8_{name}_{accumulator}", 8, a_k8, 4, b_k8, 2, encode, 16, accumulator))
    cases.append(multiply_add("mma_m16n8k8_tf32_f32", 8, a_tf32_k8, 4, b_tf32_k8, 2, f32, 32, "f32"))
    cases.append(multiply_add("mma_m16n8k4_tf32_f32", 4, a_tf32_k4, 2, b_tf32_k4, 1, f32, 32, "f32"))
    cases += [matrices(store, n, trans) for store in (False, True) for n in (1, 2, 4) for trans in (False, True)]
    cases.append(move())
    with open("fragments.json", "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


main()
