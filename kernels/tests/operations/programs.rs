//! Every `.cu` file compiles for every kind of GPU that is meant, without warnings, and keeps its numbers in registers.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs;
use std::path::{Path, PathBuf};

use cudarc::nvrtc::{result, sys};
use emulated_gpu::compiler::RELEASE;
use emulated_gpu::machine_code::MachineCode;
use emulated_gpu::performance::H100;
use emulated_gpu::process::same_under;
use emulated_gpu::setup;

/// Bytes that a thread may keep in memory for want of registers.
const SPILLS: usize = 16;

/// A file, those before it, and sets of constants that it is compiled with.
struct Program {
    file: &'static str,
    before: &'static [&'static str],
    defines: Vec<Vec<(&'static str, usize)>>,
    precisions: &'static [usize],
}

const BOTH: &[usize] = &[0, 1];
const BF16: &[usize] = &[1];

/// All programs as they are used on GPUs of a compute capability.
fn programs(capability: usize) -> Vec<Program> {
    let program = |file, before, defines| Program { file, before, defines, precisions: BOTH };
    let each =
        |name: &'static str, values: &[usize]| values.iter().map(|&value| vec![(name, value)]).collect();
    let none = || vec![vec![]];
    let mut programs = vec![
        program(
            "activation/activation.cu",
            &["activation/functions.cuh"],
            each("ACTIVATION", &[0, 1, 2, 3, 4]),
        ),
        program("linear/linear.cu", &["activation/functions.cuh"], each("ACTIVATION", &[0, 1, 2, 3, 4])),
        program("optimizer/optimizer.cu", &[], vec![vec![("CHUNK", 8192), ("SEGMENTS", 64)]]),
        program("sequence_softmax/sequence_softmax.cu", &[], each("TILE", &[1, 32])),
        program(
            "layer_norm/layer_norm.cu",
            &[],
            [(128, 1), (768, 2), (1024, 2), (4096, 8), (101, 1)]
                .map(|(width, warps)| vec![("WIDTH", width), ("ROW_WARPS", warps)])
                .to_vec(),
        ),
        program(
            "attention/general.cu",
            &["attention/packed.cuh"],
            [(64, 1), (26, 0)]
                .map(|(width, dropout)| vec![("HEAD_WIDTH", width), ("DROPOUT", dropout)])
                .to_vec(),
        ),
    ];
    for file in
        ["dropout/dropout.cu", "columns/columns.cu", "embedding/embedding.cu", "sequence_sum/sequence_sum.cu"]
    {
        programs.push(program(file, &[], each("VECTOR", &[1, 4])));
    }
    for file in ["gather/gather.cu", "linear/column_sums.cu"] {
        programs.push(program(file, &[], each("VECTOR", &[1, 4, 8])));
    }
    for file in [
        "add/add.cu",
        "scale/scale.cu",
        "squared_error/squared_error.cu",
        "cross_entropy/cross_entropy.cu",
        "sequence_cross_entropy/sequence_cross_entropy.cu",
        "cuda/sums.cu",
    ] {
        programs.push(program(file, &[], none()));
    }
    // As attention/cuda.rs chooses rows of a warp and stages.
    let two = if capability < 100 { 2 } else { 1 };
    let stages = if matches!(capability, 86 | 89 | 120) { 1 } else { 2 };
    for (file, tiles) in [
        ("attention/forward.cu", [(64, 0, 2), (64, 1, two), (128, 0, two), (128, 1, 1)]),
        ("attention/backward.cu", [(64, 0, two), (64, 1, two), (128, 0, 1), (128, 1, 1)]),
    ] {
        let defines = tiles.map(|(width, dropout, tiles)| {
            vec![("HEAD_WIDTH", width), ("DROPOUT", dropout), ("TILES", tiles), ("STAGES", stages)]
        });
        let before = &["attention/packed.cuh", "attention/tensor_core.cuh"];
        programs.push(Program { file, before, defines: defines.to_vec(), precisions: BF16 });
    }
    programs
}

fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the compiler says of a program, its text for any GPU, and its code for one.
fn compile(text: &str, options: &[String]) -> (String, String, Vec<u8>) {
    let text = CString::new(text).expect("a source is text");
    let program = result::create_program(&text, None).expect("the compiler begins");
    // SAFETY: the program was created, and is destroyed once, behind its last use; the image is as long as the compiler says.
    unsafe {
        let compiled = result::compile_program(program, options);
        let log = result::get_program_log(program).expect("the compiler keeps a log");
        let log = CStr::from_ptr(log.as_ptr()).to_string_lossy().into_owned();
        compiled.unwrap_or_else(|error| panic!("{error}: {log}"));
        let ptx = result::get_ptx(program).expect("the compiler keeps its text");
        let ptx = CStr::from_ptr(ptx.as_ptr()).to_string_lossy().into_owned();
        let mut size = 0;
        sys::nvrtcGetCUBINSize(program, &mut size).result().expect("an image has a size");
        let mut image = vec![0; size];
        sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast())
            .result()
            .expect("the compiler keeps the image");
        result::destroy_program(program).expect("the compiler ends");
        (log, ptx, image)
    }
}

/// The greatest number before `what` in a log.
fn greatest(log: &str, what: &str) -> usize {
    let before = log.match_indices(what).filter_map(|(at, _)| log[..at].split_whitespace().next_back());
    before.filter_map(|number| number.parse().ok()).max().unwrap_or(0)
}

/// A program's text.
fn text(file: &str, before: &[&str]) -> String {
    let parts = ["cuda/prelude.cuh"].iter().chain(before).chain([&file]);
    parts.map(|part| source(part) + "\n").collect()
}

fn options(architecture: &str, precision: usize, defines: &[(&str, usize)]) -> Vec<String> {
    let mut options: Vec<String> =
        ["--std=c++17", "-default-device", "--ptxas-options=-v"].map(Into::into).into();
    options.push(format!("--gpu-architecture={architecture}"));
    options.push(format!("--define-macro=ACTIVATION_BF16={precision}"));
    options.extend(defines.iter().map(|(name, value)| format!("--define-macro={name}={value}")));
    options
}

/// Whether kernels that are compiled with these constants store neighbours only together.
fn is_vectored(defines: &[(&str, usize)]) -> bool {
    defines.iter().any(|&(name, value)| match name {
        "VECTOR" => value > 1,
        "WIDTH" => value.is_multiple_of(4),
        _ => false,
    })
}

/// Whether an instruction stores a single number of 4 bytes beside those of another: what was meant to be one store of 16 bytes, and
/// touches the same sectors each time.
fn stores_a_part(instruction: &str) -> bool {
    let is_single =
        ["f32", "b32", "u32"].iter().any(|kind| instruction.contains(&format!("st.global.{kind}")));
    let place = instruction.split_once('+').and_then(|(_, rest)| rest.split_once(']'));
    is_single && place.and_then(|(bytes, _)| bytes.parse::<i64>().ok()).is_some_and(|bytes| bytes % 16 != 0)
}

/// Whether the compiler knows a kind of GPU: an older one gets text for it.
fn is_known(capability: usize) -> bool {
    let mut count = 0;
    // SAFETY: the calls write one integer, and as many as the first has said.
    let known = unsafe {
        sys::nvrtcGetNumSupportedArchs(&mut count).result().expect("the compiler knows some");
        let mut known = vec![0; count as usize];
        sys::nvrtcGetSupportedArchs(known.as_mut_ptr()).result().expect("the compiler names them");
        known
    };
    known.contains(&(capability as i32))
}

fn compile_all(capability: usize) {
    if !setup::available() {
        return;
    }
    // The compiler that is fetched where none is asked for knows all of them.
    if !is_known(capability) {
        let is_chosen = setup::real() || std::env::var_os(RELEASE).is_some();
        assert!(is_chosen, "NVRTC knows no sm_{capability}");
        eprintln!("SKIPPED: this NVRTC knows no sm_{capability}");
        return;
    }
    for Program { file, before, defines, precisions } in programs(capability) {
        let text = text(file, before);
        for defines in &defines {
            for &precision in precisions {
                let options = options(&format!("sm_{capability}"), precision, defines);
                let (log, ptx, _) = compile(&text, &options);
                let what = format!("{file} with {options:?}:\n{log}");
                assert!(!log.contains("warning"), "{what}");
                assert!(log.contains("registers"), "{what}");
                assert!(greatest(&log, "bytes spill stores") <= SPILLS, "{what}");
                if is_vectored(defines) {
                    let parts: Vec<_> = ptx.lines().filter(|line| stores_a_part(line)).collect();
                    assert!(parts.is_empty(), "{file} with {options:?} takes stores apart: {parts:#?}");
                }
            }
        }
    }
}

/// In the machine code of the loops that attention is spent in nothing goes to memory for want of registers, and a GPU issues
/// their instructions fast enough: TFLOP/s, backward counted as 2.5 times as much as forward.
#[test]
fn loops_of_attention_are_short() {
    if setup::real() || !setup::available() {
        return;
    }
    for Program { file, before, defines, .. } in programs(90) {
        // Operations for each column of 16 rows of a warp in one pass of the loop, and the rates wanted for the two widths.
        let (kernel, operations, rates) = match file {
            "attention/forward.cu" => ("attention_forward_bf16", 4.0 * 16.0 * 64.0, [250.0, 300.0]),
            "attention/backward.cu" => ("attention_backward_bf16", 10.0 * 16.0 * 32.0, [190.0, 210.0]),
            _ => continue,
        };
        for defines in defines {
            let value =
                |name| defines.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value);
            let (_, _, image) = compile(&text(file, before), &options("sm_90", 1, &defines));
            let code = MachineCode::of(&image).unwrap_or_else(|error| panic!("{error}"));
            let all = code.count(kernel, "HMMA");
            let main = code.smallest_loop(kernel, "HMMA", all).expect("a loop with every product");
            assert_eq!((main.count("LDL"), main.count("STL")), (0, 0), "{kernel} with {defines:?}");
            // A loop inside, of two of the eight steps over keys, is passed four times.
            let inner = code.smallest_loop(kernel, "HMMA", 1).filter(|inner| inner.total() < main.total());
            let instructions = main.total() + 3 * inner.map_or(0, |inner| inner.total());
            let width = value("HEAD_WIDTH");
            let operations = operations * (width * value("TILES")) as f64;
            let a_second = 4.0 * H100.multiprocessors * H100.clock;
            let rate = operations / instructions as f64 * a_second / 1e12;
            println!("{kernel} with {defines:?}: {instructions} instructions, at most {rate:.0} TFLOP/s");
            assert!(rate >= rates[usize::from(width == 128)] || value("DROPOUT") == 1, "{kernel}: {rate}");
        }
    }
}

macro_rules! capabilities {
    ($($name:ident: $capability:literal;)*) => {
        $(#[test] fn $name() { compile_all($capability); })*
    };
}

capabilities! {
    compile_for_8_0: 80;
    compile_for_8_6: 86;
    compile_for_8_9: 89;
    compile_for_9_0: 90;
    compile_for_10_0: 100;
    compile_for_12_0: 120;
}

/// The compiler of the oldest CUDA that is meant. Others can be asked for by the same variable.
#[test]
fn compile_with_the_oldest_compiler() {
    if setup::real() {
        return; // it has the one that it has
    }
    let oldest: &[(&str, &str)] = &[(RELEASE, "12.0")];
    same_under("programs::compile_with_the_oldest_compiler", &[oldest], || {
        for capability in [80, 90] {
            assert!(is_known(capability));
            compile_all(capability);
        }
        String::new()
    });
}

#[test]
fn every_file_is_among_them() {
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "cu") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    let found: BTreeSet<_> =
        found.iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap()).collect();
    let listed: Vec<_> = programs(90);
    assert_eq!(listed.iter().map(|program| program.file).collect::<BTreeSet<_>>(), found);
}
