//! What a case is, and the three things that are checked of it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use kernels::memory::Host;
use kernels::precision::{Bf16, F32, F64};
use kernels::{Backend, Cpu, Kernels, Precision, Reference, Store};

use crate::devices;
use crate::pool::{Operands, Pool};
use crate::tolerance::{FINITE_DIFFERENCE, assert_close, bound};

/// One operation at one size, with random operands.
pub trait Case: Debug + Sized {
    /// The sizes to test: every variant of the operation, every awkward size.
    fn all() -> Vec<Self>;

    /// The sizes to test on a GPU, which is slow where it is emulated.
    fn on_gpu() -> Vec<Self> {
        Self::all()
    }

    /// Sizes small enough to differentiate numerically, element by element.
    fn small() -> Vec<Self>;

    /// Creates the buffers that [`Case::steps`] names.
    fn operands(&self, operands: &mut Operands);

    /// The forward kernel, then the others, each reading what earlier ones wrote.
    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>>;

    /// What to differentiate.
    fn derivative(&self) -> Derivative;
}

/// Names the buffers of a derivative.
pub struct Derivative {
    /// A result of the first step.
    pub output: &'static str,
    /// The gradient of `output`, an operand.
    pub upstream: &'static str,
    /// Operands and the buffers that receive their gradients.
    pub gradients: Vec<(&'static str, &'static str)>,
}

/// A device whose operands are slices, in one precision.
pub trait Device<P: Precision>: Backend<Memory = Host> + Kernels<P> {}
impl<P: Precision, B: Backend<Memory = Host> + Kernels<P>> Device<P> for B {}

type Call<'a, B> = Box<dyn Fn(&B, &Pool) + 'a>;

/// One call of a kernel.
pub struct Step<'a, B> {
    /// Its name in the table of operations.
    pub kernel: &'static str,
    /// How many rounded terms its results are sums of.
    pub reduced: usize,
    run: Call<'a, B>,
}

impl<'a, B> Step<'a, B> {
    /// Use [`step!`](crate::step), which takes the name from the call.
    pub fn new(kernel: &'static str, reduced: usize, run: impl Fn(&B, &Pool) + 'a) -> Self {
        Self { kernel, reduced, run: Box::new(run) }
    }

    /// Calls it.
    pub fn run(&self, device: &B, pool: &Pool) {
        (self.run)(device, pool);
    }
}

/// `step! { p, reduced, kernel(constants, operands) }`: a [`Step`] whose operands are borrowed from the pool `p`.
#[macro_export]
macro_rules! step {
    ($pool:ident, $reduced:expr, $kernel:ident($constants:expr, $operands:expr)) => {
        $crate::case::Step::new(
            stringify!($kernel),
            $reduced,
            move |device: &B, $pool: &$crate::pool::Pool| {
                device.$kernel($constants, $operands);
            },
        )
    };
}

/// A case's operands.
pub fn pool(case: &impl Case) -> Pool {
    let mut operands = Operands::new();
    case.operands(&mut operands);
    operands.into_pool()
}

/// The kernels that a case calls at any of its sizes.
pub fn kernels<C: Case>() -> BTreeSet<&'static str> {
    let cases = C::all();
    cases.iter().flat_map(|case| case.steps::<Reference, F64>()).map(|step| step.kernel).collect()
}

/// Every gradient of the reference against central differences of its forward pass.
pub fn check_gradients<C: Case>() {
    for case in C::small() {
        let steps = case.steps::<Reference, F64>();
        let before = pool(&case);
        let after = before.copy();
        steps.iter().for_each(|step| step.run(&Reference, &after));
        let written = after.take_written();
        for (input, gradient) in case.derivative().gradients {
            let actual = match written.get(gradient) {
                Some(Store::Assign) => after.values(gradient),
                Some(Store::Add) => difference(&after.values(gradient), &before.values(gradient)),
                None => panic!("{case:?}: no step writes {gradient}"),
            };
            let expected = finite_differences(&case, &steps[0], &before, input);
            assert_close(&format!("{case:?}: {gradient}"), &expected, &actual, FINITE_DIFFERENCE);
        }
    }
}

/// Central differences of `upstream · output` by every element of `input`.
fn finite_differences<C: Case>(
    case: &C,
    forward: &Step<'_, Reference>,
    operands: &Pool,
    input: &'static str,
) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let Derivative { output, upstream, .. } = case.derivative();
    let (before, upstream) = (operands.values(output), operands.values(upstream));
    let mut probe = operands.copy();
    let mut values = operands.values(input);
    let mut loss = |values: &[f64]| -> f64 {
        probe.set(input, values);
        probe.set(output, &before);
        forward.run(&Reference, &probe);
        probe.values(output).iter().zip(&upstream).map(|(y, dy)| y * dy).sum()
    };
    (0..values.len())
        .map(|i| {
            let x = values[i];
            values[i] = x + STEP;
            let above = loss(&values);
            values[i] = x - STEP;
            let below = loss(&values);
            values[i] = x;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Every kernel of every instruction set and precision against the reference, step by step on the same operands.
///
/// The operands' dead rows hold NaN: a kernel that lets one of them into a result fails here.
pub fn check_backends<C: Case>() {
    check_precision::<C, F32>();
    check_precision::<C, Bf16>();
}

fn check_precision<C: Case, P: Precision>()
where
    Cpu: Kernels<P>,
{
    check_devices::<C, Cpu, P>(C::all(), &devices::cpus(2).collect::<Vec<_>>(), |_, _| ());
}

/// The same on the GPU; the bits of all results.
#[cfg(target_os = "linux")]
pub fn check_gpu<C: Case>() -> String {
    check_gpu_in::<C, F32>() + &check_gpu_in::<C, Bf16>()
}

/// The same in one precision.
#[cfg(target_os = "linux")]
pub fn check_gpu_in<C: Case, P: kernels::cuda::CudaPrecision>() -> String {
    let mut bits = std::hash::DefaultHasher::new();
    check_devices::<C, _, P>(C::on_gpu(), &[crate::gpu::OnHost::new()], |results, name| {
        results.values(name).iter().for_each(|value| value.to_bits().hash(&mut bits));
    });
    format!("{:016x}", bits.finish())
}

/// Says what was being done, should that panic: a device that fails knows what it was asked for, and not of what size.
struct Doing<'a>(&'a dyn Fn() -> String);

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was {}", (self.0)());
        }
    }
}

/// `see` is shown every result.
fn check_devices<C: Case, B: Device<P> + Debug, P: Precision>(
    cases: Vec<C>,
    devices: &[B],
    mut see: impl FnMut(&Pool, &'static str),
) {
    for case in cases {
        let mut operands = pool(&case);
        for (oracle, step) in case.steps::<Reference, F64>().into_iter().zip(case.steps::<B, P>()) {
            let doing = || format!("{} in {} of {case:?}", step.kernel, std::any::type_name::<P>());
            let _doing = Doing(&doing);
            let results: Vec<Pool> = devices.iter().map(|_| operands.copy()).collect();
            devices.iter().zip(&results).for_each(|(device, results)| step.run(device, results));
            let reference = results[0].before();
            oracle.run(&Reference, &reference);
            for name in reference.take_written().keys() {
                for (device, results) in devices.iter().zip(&results) {
                    let precision = std::any::type_name::<P>();
                    let what = format!("{} on {device:?} in {precision}, {name} of {case:?}", step.kernel);
                    let (expected, actual) = (reference.values(name), results.values(name));
                    let bound = bound(step.reduced, results.is_bf16(name));
                    assert_close(&what, &expected, &actual, bound);
                    see(results, name);
                }
            }
            operands = reference.copy();
        }
    }
}

/// One, two and three threads, bit for bit, in every precision.
pub fn check_threads<C: Case>() {
    check_threads_in::<C, F32>();
    check_threads_in::<C, Bf16>();
}

fn check_threads_in<C: Case, P: Precision>()
where
    Cpu: Kernels<P>,
{
    let [one, two, three] = [1, 2, 3].map(devices::cpus);
    let devices: Vec<_> = one.zip(two).zip(three).collect();
    for case in C::all() {
        let operands = pool(&case);
        let run = |cpu: &Cpu| {
            let results = operands.copy();
            case.steps::<Cpu, P>().iter().for_each(|step| step.run(cpu, &results));
            results
        };
        for ((one, two), three) in &devices {
            let expected = run(one);
            for cpu in [two, three] {
                let results = run(cpu);
                for name in expected.names() {
                    let bits = |pool: &Pool| -> Vec<u64> {
                        pool.values(name).iter().map(|value| value.to_bits()).collect()
                    };
                    let same = bits(&expected) == bits(&results);
                    assert!(same, "{} threads on {} change {name} of {case:?}", cpu.threads(), cpu.isa());
                }
            }
        }
    }
}
