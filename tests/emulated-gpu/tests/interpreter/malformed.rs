//! No text, however broken, makes the parser panic.

use emulated_gpu::ptx::{DeviceMemory, Launch, Module, PtxError, run};
use proptest::prelude::*;

use super::support::{Gpu, arguments};

/// A module with something of everything.
const GOOD: &str = include_str!("everything.ptx");

#[test]
fn the_good_module_runs() {
    let mut gpu = Gpu::with(GOOD);
    let out = gpu.alloc::<u32>(64);
    let arguments = arguments![out, [0_u64; 2], 0_u32];
    let statistics =
        gpu.launch("everything", [1, 1, 1], 64, 16, &arguments).unwrap_or_else(|fault| panic!("{fault}"));
    // Twice the sum of the thread indices of the warp.
    assert_eq!(gpu.download::<u32>(out, 64), [[992; 32], [3040; 32]].concat());
    assert_eq!(statistics.printed.lines().count(), 64);
}

#[test]
fn what_is_unknown_is_refused_by_name() {
    let error = |body: &str| {
        let ptx = format!(
            ".version 9.0\n.target sm_90\n.address_size 64\n.visible .entry k(){{\n.reg .b32 %r<9>;\n.reg .pred %p<3>;\n{body}\nret;\n}}"
        );
        Module::parse(&ptx).expect_err("this is not emulated").to_string()
    };
    for (body, names) in [
        ("wgmma.fence.sync.aligned;", "instruction `wgmma.fence.sync.aligned` is not emulated"),
        ("add.cc.u32 %r1, %r2, %r3;", "modifier `.cc` of `add`"),
        ("frobnicate.u32 %r1, %r2;", "instruction `frobnicate.u32`"),
        (
            "mov.u32 %r1, %clock;",
            "`%clock`, no register declared here nor a known special one, is not emulated",
        ),
        ("mov.u32 %r1, %r77;", "`%r77`, no register declared"),
        ("bra nowhere;", "unknown label `nowhere`"),
        ("call.uni missing, ();", "a call of `missing`"),
        ("add.u32 %r1, %r2;", "2 operands instead of 3"),
        (
            "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r1,%r2},{%r3},{%r4},{%r5,%r6};",
            "`mma` without one of .m16n8k4",
        ),
        ("ld.u32 %r1, [%r2+];", "expected an operand"),
        (".shared .b8 big[60000];", "more than 49152 bytes of shared memory"),
    ] {
        let error = error(body);
        assert!(error.contains(names), "{body}: {error}");
        assert!(error.starts_with("PTX line "), "{error}");
    }
}

#[test]
fn hostile_sizes_allocate_nothing() {
    for declaration in [
        ".global .b8 x[4294967295];",
        ".global .b64 x[4294967295][4294967295];",
        ".global .align 3 .b8 x[4];",
        ".global .u32 x = {1, 2, 3};",
    ] {
        assert!(Module::parse(declaration).is_err(), "{declaration}");
    }
    // A range of registers costs nothing until its members are named.
    let ptx = ".visible .entry k(){ .reg .b32 %r<4294967295>; mov.u32 %r4294967294, 0; ret; }";
    assert_eq!(Module::parse(ptx).unwrap().kernel("k").unwrap().virtual_registers(), 1);
}

#[test]
fn recursion_is_refused() {
    let ptx = ".func f() { call.uni g, (); ret; } .func g() { call.uni f, (); ret; } .entry k() { call.uni f, (); ret; }";
    assert!(matches!(Module::parse(ptx), Err(PtxError::Unsupported { what, .. }) if what == "recursion"));
}

/// Pieces of PTX, to be put together at random.
fn piece() -> impl Strategy<Value = String> {
    let words: Vec<&str> = GOOD.split_inclusive([' ', '\n', ',', ';', '.']).collect();
    prop_oneof![
        4 => proptest::sample::select(words).prop_map(str::to_string),
        1 => "[ -~]{0,8}",
        1 => "\\PC{0,4}",
        1 => proptest::sample::select(vec!["{", "}", "[", "]", "(", ")", "<", ">", "@", "!", "|", "\"", "/*", "0x", "0f", "-", "%", "$"])
            .prop_map(str::to_string),
    ]
}

/// Whatever loads must also run, to an end or a fault.
fn load_and_run(ptx: &str) {
    let Ok(module) = Module::parse(ptx) else { return };
    let mut memory = DeviceMemory::new(1 << 20);
    let addresses = module.globals().iter().map(|global| memory.alloc(global.size));
    let Ok(globals) = addresses.collect::<Result<Vec<u64>, _>>() else { return };
    for (global, &address) in module.globals().iter().zip(&globals) {
        memory.write(address, &global.contents(&globals)).unwrap();
    }
    let out = memory.alloc(256).unwrap();
    for kernel in module.kernels() {
        // Whatever the parameters are, pointers or not.
        let words = out.to_le_bytes().into_iter().cycle();
        let parameters: Vec<u8> = words.take(kernel.parameter_bytes()).collect();
        let launch = Launch {
            block: [64, 1, 1],
            dynamic_shared: 16,
            parameters: &parameters,
            globals: &globals,
            instruction_limit: 10_000,
            ..Launch::new(kernel)
        };
        let _ = run(&launch, &mut memory);
    }
}

proptest! {
    #[test]
    fn random_text_never_panics(pieces in proptest::collection::vec(piece(), 0..60)) {
        load_and_run(&pieces.concat());
    }

    #[test]
    fn a_damaged_module_never_panics(
        edits in proptest::collection::vec((0..GOOD.len(), 0..12_usize, piece()), 1..6)
    ) {
        let mut text = GOOD.to_string();
        for (at, length, piece) in edits {
            let start = (at.min(text.len())..).find(|&at| text.is_char_boundary(at)).unwrap();
            let end = ((start + length).min(text.len())..).find(|&at| text.is_char_boundary(at)).unwrap();
            text.replace_range(start..end, &piece);
        }
        load_and_run(&text);
    }

    #[test]
    fn a_module_with_lines_moved_never_panics(moves in proptest::collection::vec((0..200_usize, 0..200_usize), 1..8)) {
        let mut lines: Vec<&str> = GOOD.lines().collect();
        for (from, to) in moves {
            let line = lines.remove(from % lines.len());
            lines.insert(to % (lines.len() + 1), line);
        }
        load_and_run(&lines.join("\n"));
    }
}
