//! What hardware gives where a careless reading of the PTX ISA gives something else: NaN, subnormal numbers, pairs of
//! predicates.

use super::support::{Gpu, arguments};

#[test]
fn nan_subnormal_numbers_and_pairs_of_predicates() {
    let ptx = ".version 9.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 out)\n{\n\
        .shared .align 4 .f32 sum;\n.reg .pred %p<9>;\n.reg .b16 %h<9>;\n.reg .b32 %r<20>;\n.reg .b64 %rd<9>;\n.reg .f32 %f<9>;\n.reg .f64 %d<3>;\n\
        ld.param.u64 %rd1, [out];\n\
        mov.b32 %f1, 0fffc00001;\n\
        cvt.rn.bf16.f32 %h1, %f1;\ncvt.u32.u16 %r1, %h1;\nst.global.u32 [%rd1], %r1;\n\
        cvt.rn.f16.f32 %h1, %f1;\ncvt.u32.u16 %r1, %h1;\nst.global.u32 [%rd1+4], %r1;\n\
        max.f32 %f2, %f1, %f1;\nst.global.f32 [%rd1+8], %f2;\n\
        min.NaN.f32 %f2, %f1, 0f3f800000;\nst.global.f32 [%rd1+12], %f2;\n\
        cvt.rni.s32.f32 %r1, %f1;\nst.global.u32 [%rd1+16], %r1;\n\
        cvt.rni.s64.f32 %rd2, %f1;\nshr.u64 %rd2, %rd2, 32;\ncvt.u32.u64 %r1, %rd2;\nst.global.u32 [%rd1+20], %r1;\n\
        cvt.f64.f32 %d1, %f1;\ncvt.rzi.s32.f64 %r1, %d1;\nst.global.u32 [%rd1+24], %r1;\n\
        st.global.u32 [%rd1+28], 0;\nred.global.add.f32 [%rd1+28], 0f00000001;\n\
        st.shared.u32 [sum], 0;\nred.shared.add.f32 [sum], 0f00000001;\nld.shared.f32 %f2, [sum];\nst.global.f32 [%rd1+32], %f2;\n\
        setp.eq.u32 %p3, 1, 1;\nsetp.lt.and.s32 %p1|%p2, 3, 5, %p3;\nselp.u32 %r1, 1, 0, %p1;\nselp.u32 %r2, 2, 0, %p2;\n\
        setp.lt.and.s32 %p1|%p2, 5, 3, %p3;\nselp.u32 %r3, 4, 0, %p1;\nselp.u32 %r4, 8, 0, %p2;\n\
        setp.lt.or.s32 %p1|%p2, 5, 3, !%p3;\nselp.u32 %r5, 16, 0, %p1;\nselp.u32 %r6, 32, 0, %p2;\n\
        add.u32 %r1, %r1, %r2;\nadd.u32 %r1, %r1, %r3;\nadd.u32 %r1, %r1, %r4;\nadd.u32 %r1, %r1, %r5;\nadd.u32 %r1, %r1, %r6;\n\
        st.global.u32 [%rd1+36], %r1;\n\
        mov.u64 %rd2, 6442450944;\ncvt.s64.s32 %rd2, %rd2;\nshr.u64 %rd2, %rd2, 32;\ncvt.u32.u64 %r1, %rd2;\nst.global.u32 [%rd1+40], %r1;\nret;\n}";
    let mut gpu = Gpu::with(ptx);
    let out = gpu.alloc::<u32>(11);
    gpu.launch("k", [1, 1, 1], 1, 0, &arguments![out]).unwrap_or_else(|fault| panic!("{fault}"));
    let got = gpu.download::<u32>(out, 11);
    let names = [
        "NaN to bf16",
        "NaN to f16",
        "max of NaN and NaN",
        "min.NaN",
        "NaN to s32",
        "NaN to s64, upper half",
        "f64 NaN to s32",
        "a subnormal number added in global memory",
        "a subnormal number added in shared memory",
        "pairs of predicates",
        "the lower half of a register, sign and all, upper half",
    ];
    let wanted = [0x7fff, 0x7fff, 0x7fff_ffff, 0x7fff_ffff, 0, 1 << 31, 1 << 31, 0, 1, 1 + 8 + 32, u32::MAX];
    for ((name, got), wanted) in names.iter().zip(got).zip(wanted) {
        assert_eq!(got, wanted, "{name}: {got:#x}");
    }
}
