//! What goes wrong on a GPU is an error that says so, once, and nothing is done after it.

mod recordings;
#[cfg(unix)]
mod signals;

use emulated_gpu::process::{SCHEDULES, Variables, same_under};
use emulated_gpu::setup;

use super::{
    Blocks, Buffer, Choices, Cuda, Epilogue, Factor, Global, Number, Product, ProductChoice, Program,
    Unavailable, arguments, headroom,
};
use crate::Store;
use crate::backend::Backend;
use crate::memory::{DeviceError, Memory};
use crate::precision::F32;

/// In a process of its own: what is done here spoils it.
fn alone(test: &str, program: impl FnOnce(&Cuda)) {
    alone_under(test, &[], program);
}

/// The same on a GPU that is told something.
fn alone_under(test: &str, variables: Variables<'_>, program: impl FnOnce(&Cuda)) {
    if setup::real() {
        return;
    }
    same_under(&format!("cuda::tests::{test}"), &[variables], || {
        program(&Cuda::new(0).expect("an emulated GPU"));
        String::new()
    });
}

const PROGRAM: Program<'static> = Program::new(
    "planted",
    "KERNEL(add_one, 256)(float* x, int length) { if (thread_of_grid() < length) x[thread_of_grid()] += 1; }",
);

fn add_one(gpu: &Cuda, x: &mut super::Buffer, length: i32) {
    gpu.launch::<F32>(
        PROGRAM,
        "add_one",
        Blocks::of_threads(length as usize),
        &arguments![Global::slice_mut::<f32>(x), length],
    );
}

fn first(gpu: &Cuda, x: &super::Buffer) -> f32 {
    let mut value = [7_f32];
    gpu.download(x, 0, bytemuck::cast_slice_mut(&mut value));
    value[0]
}

#[test]
fn a_device_that_fails_says_where_and_does_nothing_more() {
    alone("a_device_that_fails_says_where_and_does_nothing_more", |gpu| {
        let mut x = gpu.allocate(400).expect("memory");
        add_one(gpu, &mut x, 100);
        assert_eq!((first(gpu, &x), gpu.status()), (1.0, Ok(())));
        add_one(gpu, &mut x, 101);
        let failure = gpu.finish().expect_err("a kernel that writes outside of its memory");
        assert!(
            matches!(&failure, DeviceError::Failed { error, .. } if error.contains("CUDA_ERROR") && error.contains("CUDA_LAUNCH_BLOCKING=1")),
            "{failure}"
        );
        assert_eq!(gpu.allocate(4).err(), Some(failure.clone()));
        add_one(gpu, &mut x, 100);
        assert_eq!((first(gpu, &x), gpu.status()), (7.0, Err(failure)), "nothing is copied after a failure");
    });
}

#[test]
fn a_kernel_that_does_not_compile_is_an_error_with_the_compilers_words() {
    alone("a_kernel_that_does_not_compile_is_an_error_with_the_compilers_words", |gpu| {
        let program = Program::new("broken", "KERNEL(nothing, 256)() { this is no code }");
        gpu.launch::<F32>(program, "nothing", Blocks::of_threads(1), &arguments![]);
        let failure = gpu.status().expect_err("no code");
        assert!(
            matches!(&failure, DeviceError::Compile { program, log } if program == "broken" && log.contains("error")),
            "{failure}"
        );
    });
}

/// Copies that were asked for before go on after a failure that leaves the device alive: nobody reads there meanwhile.
#[test]
fn what_was_asked_for_before_a_failure_is_waited_for() {
    let late = [(emulated_gpu::driver::STREAMS, "late")];
    alone_under("what_was_asked_for_before_a_failure_is_waited_for", &late, |gpu| {
        let mut x = gpu.allocate(400).expect("memory");
        let mut outgoing = gpu.outgoing(400).expect("memory");
        let mut incoming = gpu.incoming(400).expect("memory");
        gpu.to_send(&mut outgoing).copy_from_slice(&[1; 400]);
        gpu.send(&mut outgoing, 400, &mut x);
        gpu.fetch(&x, 0, 400, &mut incoming);
        let program = Program::new("broken", "KERNEL(nothing, 256)() { this is no code }");
        gpu.launch::<F32>(program, "nothing", Blocks::of_threads(1), &arguments![]);
        assert!(gpu.status().is_err());
        // Were it on its way yet, the next copy would have these.
        gpu.to_send(&mut outgoing).fill(2);
        assert_eq!(gpu.fetched(&incoming), [1; 400]);
    });
}

#[test]
fn memory_that_there_is_not_is_refused_and_nothing_else_fails() {
    alone("memory_that_there_is_not_is_refused_and_nothing_else_fails", |gpu| {
        let refused = gpu.allocate(1 << 40).err();
        assert!(
            matches!(&refused, Some(DeviceError::OutOfDeviceMemory { what, .. }) if what.starts_with("1099511627776 ")),
            "{refused:?}"
        );
        let mut x = gpu.allocate(4).expect("memory");
        add_one(gpu, &mut x, 1);
        assert_eq!((first(gpu, &x), gpu.status()), (1.0, Ok(())));
    });
}

/// Memory that is gone in the middle is missed by what wants some; what needs none goes on, call by call where it is not recorded.
#[test]
fn memory_that_is_gone_in_the_middle_is_an_error_of_what_wants_it() {
    const FULL_WHEN: &str = "EMULATED_GPU_FULL_WHEN";
    let path = std::env::temp_dir().join(format!("a-full-gpu-{}", std::process::id())).display().to_string();
    let test = "memory_that_is_gone_in_the_middle_is_an_error_of_what_wants_it";
    alone_under(test, &[(FULL_WHEN, path.as_str())], |gpu| {
        let mut x = gpu.allocate(400).expect("memory");
        add_one(gpu, &mut x, 100);
        let path = std::env::var_os(FULL_WHEN).expect("what this process was told");
        std::fs::write(path, "").expect("the folder can be written");
        let refused = gpu.allocate(4).err().expect("none is left").to_string();
        assert!(refused.contains("none for 4 bytes in one piece: 0 of its"), "{refused}");
        assert!(gpu.record(|| add_one(gpu, &mut x, 100), || false).is_none());
        add_one(gpu, &mut x, 100);
        assert_eq!((first(gpu, &x), gpu.status()), (2.0, Ok(())));
        let more = Program::new("more", "KERNEL(more, 256)() {}");
        gpu.launch::<F32>(more, "more", Blocks::of_threads(1), &arguments![]);
        let failure = gpu.status().expect_err("its code has no place").to_string();
        assert!(failure.contains("none for the kernels of `more`: 0 of its"), "{failure}");
    });
    let _ = std::fs::remove_file(path);
}

#[test]
fn a_gpu_that_there_is_not_is_refused() {
    alone("a_gpu_that_there_is_not_is_refused", |_| {
        assert_eq!(Cuda::new(3).err(), Some(Unavailable::NoSuchDevice { ordinal: 3, count: 1 }));
    });
}

/// `rows` sums of 96 products of numbers that are no multiples of each other: their last bits tell in which order they were
/// added.
struct Sums {
    left: Buffer,
    right: Buffer,
    result: Buffer,
}

impl Sums {
    const COLUMNS: usize = 16;
    const DEPTH: usize = 96;
    const MOST_ROWS: usize = 64;

    fn new(gpu: &Cuda) -> Self {
        let buffer = |count: usize| {
            let numbers: Vec<f32> = (0..count).map(|index| 1.0 / (1 + index % 101) as f32).collect();
            let mut buffer = gpu.allocate(4 * count).expect("memory");
            gpu.upload(bytemuck::cast_slice(&numbers), &mut buffer, 0);
            buffer
        };
        let [left, right, result] =
            [Self::MOST_ROWS * Self::DEPTH, Self::DEPTH * Self::COLUMNS, Self::MOST_ROWS * Self::COLUMNS]
                .map(buffer);
        Self { left, right, result }
    }

    fn product(&self, rows: usize) -> Product {
        let at = |buffer: &Buffer| buffer.address(0, 0);
        Product {
            rows,
            columns: Self::COLUMNS,
            depth: Self::DEPTH,
            factors: Number::F32,
            left: Factor { address: at(&self.left), transposed: false },
            right: Factor { address: at(&self.right), transposed: false },
            number: Number::F32,
            result: at(&self.result),
            store: Store::Assign,
            epilogue: Epilogue::Nothing,
        }
    }

    fn compute(&self, gpu: &Cuda, rows: usize) -> Vec<u32> {
        assert!(gpu.product(&self.product(rows)), "a way");
        let mut bits = vec![0_u32; rows * Self::COLUMNS];
        gpu.download(&self.result, 0, bytemuck::cast_slice_mut(&mut bits));
        bits
    }
}

/// On a GPU where what the library proposes first is slow.
#[test]
fn what_timing_chose_is_used_again_and_nothing_else() {
    let slow_first = [("EMULATED_GPU_BLAS", "slow-first")];
    alone_under("what_timing_chose_is_used_again_and_nothing_else", &slow_first, |gpu| {
        let sums = Sums::new(gpu);
        let first = sums.compute(gpu, 40);
        gpu.choose_products(ProductChoice::Timed);
        let fastest = sums.compute(gpu, 40);
        assert_ne!(first, fastest, "parts of a sum are added up in another order");
        // Of about as many rows: nothing is timed, the choice serves.
        let few = sums.compute(gpu, 30);
        let choices = gpu.end_timing();
        assert_eq!((choices.len(), choices.products[0].place), (1, 1));
        let times = &choices.products[0].microseconds;
        // What adds up as its parts come is not among them.
        assert!(
            matches!(times[..], [Some(slow), Some(fast)] if slow > 1e6 && fast < slow / 2.0),
            "{times:?}"
        );
        assert_eq!((&*choices.gpu, &*choices.architecture), (&*gpu.found().name, "sm_90"));

        let read: Choices =
            serde_json::from_str(&serde_json::to_string(&choices).expect("JSON")).expect("as written");
        assert_eq!(read, choices);
        let again = Cuda::new(0).expect("the same GPU");
        let sums = Sums::new(&again);
        again.choose_products(ProductChoice::Recorded(read));
        assert!(sums.compute(&again, 40) == fastest && sums.compute(&again, 30) == few);
        assert_eq!(again.end_timing(), choices, "nothing was timed");
        // What is unlike all that was timed is done as the library proposes.
        let unlike = sums.compute(&again, 8);
        again.choose_products(ProductChoice::First);
        assert!(sums.compute(&again, 40) == first && sums.compute(&again, 8) == unlike);
        assert_eq!((again.end_timing().len(), again.status()), (0, Ok(())));
    });
}

/// What is refused when it is run, in whatever words, is done by the next algorithm, and by none only where there is no other.
fn refused_when_it_is_run(gpu: &Cuda, said: &str) {
    let sums = Sums::new(gpu);
    let in_two = sums.compute(gpu, 40);
    assert_eq!(sums.compute(gpu, 40), in_two, "it is not tried again");
    gpu.choose_products(ProductChoice::Timed);
    assert_eq!(sums.compute(gpu, 40), in_two);
    let choices = gpu.end_timing();
    assert!(matches!(choices.products[0].microseconds[..], [None, Some(_)]), "{choices:?}");
    assert_eq!((choices.products[0].place, gpu.remarks()), (1, vec![]));
    // The whole sum is refused, and no other may be taken.
    gpu.choose_products(ProductChoice::Unsplit);
    assert!(!gpu.product(&sums.product(40)));
    let refused = format!("cuBLASLt has no algorithm for a product of 40 x 16, sums of 96, F32 to F32{said}");
    assert_eq!((gpu.remarks(), gpu.status()), (vec![refused], Ok(())));
}

#[test]
fn what_is_refused_when_it_is_run_is_done_in_the_next_way() {
    let refuse_first = [("EMULATED_GPU_BLAS", "refuse-first")];
    alone_under("what_is_refused_when_it_is_run_is_done_in_the_next_way", &refuse_first, |gpu| {
        refused_when_it_is_run(gpu, "");
    });
}

#[test]
fn what_fails_when_it_is_run_is_done_in_the_next_way() {
    let fail_first = [("EMULATED_GPU_BLAS", "refuse-first,other-words")];
    alone_under("what_fails_when_it_is_run_is_done_in_the_next_way", &fail_first, |gpu| {
        refused_when_it_is_run(gpu, " (CUBLAS_STATUS_EXECUTION_FAILED)");
    });
}

/// A search that fails has found nothing.
#[test]
fn a_search_that_fails_is_no_failure() {
    let fails = [("EMULATED_GPU_BLAS", "no-unaligned,other-words")];
    alone_under("a_search_that_fails_is_no_failure", &fails, |gpu| {
        let sums = Sums::new(gpu);
        for how in [ProductChoice::First, ProductChoice::Timed] {
            gpu.choose_products(how);
            assert!(!gpu.product(&Product { columns: 15, ..sums.product(40) }));
            let remarks = gpu.remarks();
            assert!(remarks[0].ends_with("F32 to F32 (CUBLAS_STATUS_INVALID_VALUE)"), "{remarks:?}");
            sums.compute(gpu, 40);
            assert_eq!(gpu.status(), Ok(()));
        }
    });
}

/// The second product, of fewer rows, is not done as the first: by what a check says, or when it is run. It is timed for itself, and done
/// so again in every session.
fn not_done_as_another(gpu: &Cuda) {
    let sums = Sums::new(gpu);
    let whole = sums.compute(gpu, 30);
    gpu.choose_products(ProductChoice::Timed);
    sums.compute(gpu, 40);
    let few = sums.compute(gpu, 30);
    assert_ne!(few, whole, "what was proposed first is slow");
    let choices = gpu.end_timing();
    assert_eq!(choices.len(), 2);
    gpu.choose_products(ProductChoice::Recorded(choices.clone()));
    assert_eq!(sums.compute(gpu, 30), few);
    // Of another number of rows, for which nothing was chosen: as is proposed first.
    assert_eq!(sums.compute(gpu, 24)[..], whole[..24 * Sums::COLUMNS]);
    assert_eq!((gpu.end_timing(), gpu.status(), gpu.remarks()), (choices, Ok(()), vec![]));
}

#[test]
fn what_was_timed_for_itself_is_used_again() {
    let fixed_sizes = [("EMULATED_GPU_BLAS", "fixed-sizes,slow-first")];
    alone_under("what_was_timed_for_itself_is_used_again", &fixed_sizes, not_done_as_another);
}

#[test]
fn what_is_not_done_as_another_after_all_is_timed_for_itself() {
    let refuse_checked = [("EMULATED_GPU_BLAS", "refuse-checked,slow-first,other-words")];
    let test = "what_is_not_done_as_another_after_all_is_timed_for_itself";
    alone_under(test, &refuse_checked, not_done_as_another);
}

/// A library for linking is no driver.
#[test]
fn a_stub_is_told_from_an_old_driver() {
    if setup::real() {
        return;
    }
    let stub = [("EMULATED_GPU_DRIVER", "stub")];
    same_under("cuda::tests::a_stub_is_told_from_an_old_driver", &[&stub], || {
        let refused = Cuda::new(0).expect_err("no driver").to_string();
        assert!(refused.contains("emulated-gpu/lib") && refused.contains("but a stub of one"), "{refused}");
        String::new()
    });
}

/// What is older than the program needs, or newer than the driver, is named with its file.
#[test]
fn a_library_of_another_cuda_is_refused_by_name() {
    if setup::real() {
        return;
    }
    let old = [("EMULATED_GPU_CUBLASLT", "11.11.3")];
    same_under("cuda::tests::a_library_of_another_cuda_is_refused_by_name", &[&old], || {
        let refused = Cuda::new(0).expect_err("an old library").to_string();
        for part in
            ["cuBLASLt", "emulated-gpu/lib", "is of version 11.11.3, older than 12.0", "nvidia-cublas==13.*"]
        {
            assert!(refused.contains(part), "`{part}` is not in: {refused}");
        }
        String::new()
    });
}

#[test]
fn a_recorded_way_that_is_gone_is_an_error() {
    alone("a_recorded_way_that_is_gone_is_an_error", |gpu| {
        let sums = Sums::new(gpu);
        gpu.choose_products(ProductChoice::Timed);
        sums.compute(gpu, 40);
        let mut choices = gpu.end_timing();
        choices.products[0].algorithm.0.data[0] ^= 1;
        gpu.choose_products(ProductChoice::Recorded(choices));
        sums.compute(gpu, 40);
        let failure = gpu.status().expect_err("an algorithm that the library does not know");
        assert!(failure.to_string().contains("40 x 16, sums of 96, F32 to F32 any more"), "{failure}");
    });
}

#[test]
fn a_gpu_that_computes_passes_the_check() {
    alone("a_gpu_that_computes_passes_the_check", |gpu| {
        assert_eq!(gpu.check(), Ok(()));
        assert!(gpu.refused_products().is_empty());
    });
}

/// Sent and fetched four times by two turns, whenever the work is done; what was fetched before stays as it was.
#[test]
fn what_is_sent_in_turns_comes_back_in_turns() {
    same_under("cuda::tests::what_is_sent_in_turns_comes_back_in_turns", &SCHEDULES, || {
        let gpu = Cuda::new(0).expect("a GPU");
        let mut x = gpu.allocate(400).expect("memory");
        let mut turns = [(); 2].map(|()| gpu.outgoing(400).expect("memory"));
        let mut results = [(); 4].map(|()| gpu.incoming(400).expect("memory"));
        for (n, result) in results.iter_mut().enumerate() {
            let turn = &mut turns[n % 2];
            bytemuck::cast_slice_mut::<u8, f32>(gpu.to_send(turn)).fill(n as f32);
            gpu.send(turn, 200, &mut x);
            add_one(&gpu, &mut x, 100);
            gpu.fetch(&x, 0, 400, result);
        }
        let results = results.each_ref().map(|result| {
            let numbers: &[f32] = bytemuck::cast_slice(gpu.fetched(result));
            [numbers[0], numbers[49], numbers[50], numbers[99]]
        });
        // The second half is never sent.
        assert_eq!(results, [1.0, 2.0, 3.0, 4.0].map(|n| [n, n, n, n]));
        assert_eq!(gpu.status(), Ok(()));
        String::new()
    });
}

/// What is reserved is there for every call, and a call that wants more fails.
#[test]
fn work_space_that_is_reserved_does_not_grow() {
    alone("work_space_that_is_reserved_does_not_grow", |gpu| {
        let grown = gpu.scratch(100).address();
        assert_ne!(gpu.scratch(1000).address(), grown, "nothing was reserved");
        gpu.reserve(4000).expect("memory");
        let reserved = gpu.scratch(4000).address();
        gpu.reserve(2000).expect("it is there");
        assert_eq!((gpu.scratch(10).address(), gpu.status()), (reserved, Ok(())));
        gpu.reserve(8000).expect("memory");
        gpu.scratch(8001);
        let failure = gpu.status().expect_err("more than was reserved");
        assert!(failure.to_string().contains("8001 bytes of work space: 8000 were planned"), "{failure}");
    });
}
