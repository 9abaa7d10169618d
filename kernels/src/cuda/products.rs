//! Matrix products by cuBLASLt.
//!
//! How a product is done is found once for each shape: as was chosen before, as is fastest, or as the library proposes first
//! (see [`ProductChoice`]). Sums are in f32 and in a fixed order. What the library does not do, in whatever words it says so, is done by the
//! next algorithm that it proposed, and after the last by callers' own kernels: only a device that is lost ends a run.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cudarc::cublaslt::result::CublasError;
use cudarc::cublaslt::sys::cublasLtEpilogue_t as Kind;
use cudarc::cublaslt::sys::cublasStatus_t as Status;
use cudarc::driver::{CudaStream, result, result::DriverError, sys};
use serde::{Deserialize, Serialize};

use super::choices::{Bytes, Choice, Choices, ProductChoice, Shape, pick, serving};
use super::lt::{Algorithm, CublasLt, Problem};
use super::memory::{Address, Buffer};
use super::stopwatch::Stopwatch;
use super::{Cuda, no_memory_for};
use crate::Store;
use crate::memory::DeviceError;

/// How often an algorithm is timed, in turn with the others: the shortest time counts. Its code is loaded by then.
const ROUNDS: usize = 3;
/// Microseconds that an algorithm runs in a round at least, once it is known how long it takes: half a millisecond.
const ROUND: f32 = 500.0;
/// The most runs of a round.
const MOST_RUNS: f32 = 64.0;
/// Microseconds of products before the first is timed: clocks of a GPU that had nothing to do are low.
const WARM_UP: f32 = 1e5;
/// The most plans that are remembered; lengths of batches differ from run to run.
const MOST_PLANS: usize = 1 << 14;

/// What numbers of a matrix are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Number {
    /// 4 bytes.
    F32,
    /// 2 bytes.
    Bf16,
}

/// A factor of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factor {
    pub address: Address,
    /// Whether its rows are what the product takes for columns.
    pub transposed: bool,
}

/// What is done to a product before it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Epilogue {
    Nothing,
    /// Adds a vector of the product's numbers to each row.
    Bias(Address),
    /// Adds a vector, keeps what the function is applied to where there is a place for it, and applies the tanh form of GELU.
    BiasGelu {
        bias: Option<Address>,
        preactivation: Option<Address>,
    },
    /// Multiplies the product with the derivative of the tanh form of GELU at the numbers of a matrix that lies as the result does.
    GeluGradient(Address),
}

impl Epilogue {
    /// As the library calls it.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Nothing => Kind::CUBLASLT_EPILOGUE_DEFAULT,
            Self::Bias(_) => Kind::CUBLASLT_EPILOGUE_BIAS,
            Self::GeluGradient(_) => Kind::CUBLASLT_EPILOGUE_DGELU,
            Self::BiasGelu { bias: Some(_), preactivation: Some(_) } => Kind::CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
            Self::BiasGelu { bias: Some(_), preactivation: None } => Kind::CUBLASLT_EPILOGUE_GELU_BIAS,
            Self::BiasGelu { bias: None, preactivation: Some(_) } => Kind::CUBLASLT_EPILOGUE_GELU_AUX,
            Self::BiasGelu { bias: None, preactivation: None } => Kind::CUBLASLT_EPILOGUE_GELU,
        }
    }

    /// The vector that is added and the auxiliary matrix beside the result; 0 where there is none.
    pub(super) fn addresses(self) -> [Address; 2] {
        match self {
            Self::Nothing => [0, 0],
            Self::Bias(vector) => [vector, 0],
            Self::BiasGelu { bias, preactivation } => [bias.unwrap_or(0), preactivation.unwrap_or(0)],
            Self::GeluGradient(preactivation) => [0, preactivation],
        }
    }
}

/// `result[rows, columns] (+)= left[rows, depth] · right[depth, columns]`; none of the three is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    /// What both factors are stored in.
    pub factors: Number,
    pub left: Factor,
    pub right: Factor,
    /// What the result is stored in.
    pub number: Number,
    pub result: Address,
    pub store: Store,
    pub epilogue: Epilogue,
}

/// How the products of one shape are done.
struct Plan {
    problem: Problem,
    /// The algorithm that does them, and those to be tried should the library refuse it: never none.
    algorithms: Vec<Proposal>,
    from: Source,
}

/// An algorithm, and its place among those that the library proposed.
#[derive(Clone, Copy)]
struct Proposal {
    place: usize,
    algorithm: Algorithm,
}

/// Where a plan's algorithms come from.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    /// The library, asked about this shape.
    Search,
    /// A choice for another number of rows.
    Alike,
    /// A choice for this shape.
    Choice,
}

/// What the library last said of a shape that it does not do; nothing if it only had no algorithm.
type Refusal = Option<CublasError>;

/// What is known of products.
#[derive(Default)]
struct Known {
    /// All that the library was asked for.
    plans: HashMap<Shape, Result<Plan, Refusal>>,
    /// Whether sums may be cut into parts.
    splits: bool,
    /// Whether products that are new are timed.
    timed: bool,
    /// Whether the GPU has been at work for long enough to be timed.
    is_warm: bool,
    /// What was chosen by timing, now or before.
    choices: Vec<Choice>,
}

/// The library, and how it does what it was asked for.
pub(super) struct Products {
    library: CublasLt,
    known: Mutex<Known>,
}

/// Why a product was not done.
#[derive(Debug, thiserror::Error)]
enum ProductError {
    #[error(transparent)]
    Library(#[from] CublasError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(
        "cuBLASLt does not do a product of {0} any more as this run has it recorded: remove the run's products.json to go on with what \
         the library proposes; results differ in the last bits from there on"
    )]
    Gone(Shape),
}

impl Products {
    /// # Errors
    /// What the library said.
    pub fn new(workspace: Buffer) -> Result<Self, CublasError> {
        let known = Known { splits: true, ..Known::default() };
        Ok(Self { library: CublasLt::new(workspace)?, known: Mutex::new(known) })
    }

    /// Whether the library did it.
    fn run(&self, product: &Product, stream: &CudaStream) -> Result<bool, ProductError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *known;
        let shape = Shape::new(product);
        let mut plan = match known.plans.remove(&shape) {
            Some(plan) => plan,
            None => self.find(product, &shape, known, stream)?,
        };
        let done = loop {
            let Ok(Plan { problem, algorithms, from }) = &mut plan else { break false };
            let Err(refusal) = self.multiply(product, problem, &algorithms[0].algorithm, stream)? else {
                break true;
            };
            algorithms.remove(0);
            match (*from, algorithms.first().copied()) {
                (Source::Search, Some(_)) => {}
                (Source::Search, None) => plan = Err(Some(refusal)),
                (Source::Alike, _) => plan = self.search(product, &shape, known, stream)?,
                // What is kept of a run is not exchanged.
                (Source::Choice, _) if !known.timed => return Err(ProductError::Gone(shape)),
                (Source::Choice, next) => {
                    choose(&mut known.choices, &shape, next);
                    if next.is_none() {
                        plan = Err(Some(refusal));
                    }
                }
            }
        };
        if known.plans.len() > MOST_PLANS {
            known.plans.clear();
        }
        known.plans.insert(shape, plan);
        Ok(done)
    }

    /// A plan to do a product that is new: as was chosen for its shape, for one like it if the library says that this does, or as it
    /// proposes.
    fn find(
        &self,
        product: &Product,
        shape: &Shape,
        known: &mut Known,
        stream: &CudaStream,
    ) -> Result<Result<Plan, Refusal>, ProductError> {
        if let Some(Choice { product: chosen_for, algorithm: Bytes(algorithm), place, .. }) =
            serving(&known.choices, shape)
            && let Ok(problem) = Problem::new(product)
        {
            // What was chosen for this very shape was run for it: nothing else may take its place, whatever a check says.
            let from = if chosen_for == shape { Source::Choice } else { Source::Alike };
            if from == Source::Choice || self.library.accepts(&problem, algorithm) {
                let algorithms = vec![Proposal { place: *place, algorithm: *algorithm }];
                return Ok(Ok(Plan { problem, algorithms, from }));
            }
        }
        self.search(product, shape, known, stream)
    }

    /// A plan as the library proposes, or as is fastest. That is added to the choices.
    fn search(
        &self,
        product: &Product,
        shape: &Shape,
        known: &mut Known,
        stream: &CudaStream,
    ) -> Result<Result<Plan, Refusal>, ProductError> {
        let found = Problem::new(product).and_then(|problem| {
            let candidates = self.library.candidates(&problem, shape.alignments(), known.splits)?;
            Ok((problem, candidates))
        });
        let (problem, candidates) = match found {
            Ok((_, candidates)) if candidates.is_empty() => return Ok(Err(None)),
            Ok(found) => found,
            Err(error) => return Ok(Err(Some(refusal(error, stream)?))),
        };
        let proposals = candidates.into_iter().enumerate();
        let mut algorithms: Vec<_> =
            proposals.map(|(place, algorithm)| Proposal { place, algorithm }).collect();
        if !known.timed {
            return Ok(Ok(Plan { problem, algorithms, from: Source::Search }));
        }
        let times = self.times(product, &problem, &algorithms, &mut known.is_warm, stream)?;
        let Some(place) = pick(&times) else {
            let refusal = self.multiply(product, &problem, &algorithms[0].algorithm, stream)?.err();
            return Ok(Err(refusal));
        };
        let chosen = algorithms.remove(place);
        algorithms.retain(|proposal| times[proposal.place].is_some());
        algorithms.insert(0, chosen);
        let algorithm = Bytes(chosen.algorithm);
        known.choices.push(Choice { product: shape.clone(), algorithm, place, microseconds: times });
        Ok(Ok(Plan { problem, algorithms, from: Source::Choice }))
    }

    /// Microseconds that each algorithm takes for a product, which is done many times: what adds, adds as often. None where the library
    /// does not do what it proposed.
    fn times(
        &self,
        product: &Product,
        problem: &Problem,
        proposals: &[Proposal],
        is_warm: &mut bool,
        stream: &CudaStream,
    ) -> Result<Vec<Option<f32>>, ProductError> {
        let stopwatch = Stopwatch::new()?;
        // Of so many runs, if the library does them all.
        let time = |proposal: &Proposal, runs: usize| -> Result<Option<f32>, ProductError> {
            let mut does = true;
            let all = stopwatch.time(stream, || -> Result<(), ProductError> {
                for _ in 0..runs {
                    does &= self.multiply(product, problem, &proposal.algorithm, stream)?.is_ok();
                }
                Ok(())
            })?;
            Ok(does.then_some(all))
        };
        let mut times = Vec::new();
        for proposal in proposals {
            times.push(time(proposal, 1)?); // loads its code
        }
        if !*is_warm && let Some(first) = times.iter().position(Option::is_some) {
            let (mut spent, mut runs) = (0.0, 1);
            // A clock that stands still is no reason to go on for ever.
            while spent < WARM_UP && runs < 1 << 14 {
                spent += time(&proposals[first], runs)?.unwrap_or(WARM_UP);
                runs *= 2;
            }
            *is_warm = true;
        }
        times.iter_mut().flatten().for_each(|time| *time = f32::INFINITY);
        for _ in 0..ROUNDS {
            for (proposal, least) in proposals.iter().zip(&mut times) {
                if let Some(so_far) = *least {
                    let runs = (ROUND / so_far).ceil().clamp(1.0, MOST_RUNS);
                    *least = time(proposal, runs as usize)?.map(|all| so_far.min(all / runs));
                }
            }
        }
        Ok(times)
    }

    /// Does a product, if the library does not refuse it.
    fn multiply(
        &self,
        product: &Product,
        problem: &Problem,
        algorithm: &Algorithm,
        stream: &CudaStream,
    ) -> Result<Result<(), CublasError>, ProductError> {
        match self.library.multiply(product, problem, algorithm, stream) {
            Ok(()) => Ok(Ok(())),
            Err(error) => Ok(Err(refusal(error, stream)?)),
        }
    }
}

/// What the library says where it does not do a product, in whatever words: a refusal if it would say so again and nothing is broken.
/// Memory that it lacks it will lack again, and what it may not ask of a device while calls are recorded it may ask later (CUDA 13.3 is
/// reported to search only outside of captures: mudler/vllm.cpp, issue 1732).
fn refusal(error: CublasError, stream: &CudaStream) -> Result<CublasError, ProductError> {
    // SAFETY: the stream is alive.
    let is_recorded = unsafe { result::stream::is_capturing(stream.cu_stream()) }?
        != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
    if is_recorded || error.0 == Status::CUBLAS_STATUS_ALLOC_FAILED {
        return Err(error.into());
    }
    // SAFETY: as above; it is not being recorded, which the question would end.
    match unsafe { sys::cuStreamQuery(stream.cu_stream()) } {
        sys::CUresult::CUDA_SUCCESS | sys::CUresult::CUDA_ERROR_NOT_READY => Ok(error),
        lost => Err(DriverError(lost).into()),
    }
}

/// Puts another algorithm, or none, into the place of one that was chosen and is refused before timing has ended.
fn choose(choices: &mut Vec<Choice>, shape: &Shape, next: Option<Proposal>) {
    let Some(place) = choices.iter().position(|choice| choice.product == *shape) else { return };
    match next {
        Some(next) => (choices[place].algorithm, choices[place].place) = (Bytes(next.algorithm), next.place),
        None => drop(choices.remove(place)),
    }
}

impl Cuda {
    /// Says how algorithms of products are chosen from now on, those that were met before included.
    pub fn choose_products(&self, how: ProductChoice) {
        let (timed, splits) = (how == ProductChoice::Timed, how != ProductChoice::Unsplit);
        let choices = match how {
            ProductChoice::Recorded(Choices { products, .. }) => products,
            ProductChoice::First | ProductChoice::Unsplit | ProductChoice::Timed => Vec::new(),
        };
        let mut known = self.products.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Known { splits, timed, choices, ..Known::default() };
    }

    /// Ends the timing of products, and gives what was chosen so far. Products that come later and are unlike all of these are done
    /// as the library proposes first.
    pub fn end_timing(&self) -> Choices {
        let mut known = self.products.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.timed = false;
        Choices {
            gpu: self.found.name.clone(),
            architecture: self.found.architecture(),
            multiprocessors: Some(self.found.multiprocessors),
            cublaslt: self.versions.cublaslt.clone(),
            products: known.choices.clone(),
        }
    }

    /// The products that the library refused: kernels of our own did them, and are slower. Those that it did without an epilogue are
    /// among them.
    pub(super) fn refused_products(&self) -> Vec<String> {
        let known = self.products.known.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = known.plans.iter().filter_map(|(shape, plan)| Some((shape, plan.as_ref().err()?)));
        let words = |(shape, refusal): (&Shape, &Refusal)| {
            let said = match refusal {
                None | Some(CublasError(Status::CUBLAS_STATUS_NOT_SUPPORTED)) => String::new(),
                Some(CublasError(status)) => format!(" ({status:?})"),
            };
            format!("cuBLASLt has no algorithm for a product of {shape}{said}")
        };
        let mut refused: Vec<_> = refused.map(words).collect();
        refused.sort();
        refused
    }

    /// Does a product, if the library does; whether it did. What goes wrong besides is kept, and reported by
    /// [`Backend::status`](crate::Backend::status).
    pub(crate) fn product(&self, product: &Product) -> bool {
        let done = self.attempt(|| {
            let what = "a matrix product of cuBLASLt's";
            self.products.run(product, &self.stream).map_err(|error| match error {
                ProductError::Driver(error) => self.driver_failed(what, error),
                ProductError::Library(CublasError(Status::CUBLAS_STATUS_ALLOC_FAILED)) => no_memory_for(what),
                error => DeviceError::Failed {
                    device: format!("{self:?}"),
                    what: what.into(),
                    error: error.to_string(),
                },
            })
        });
        // After a failure there is nothing left to be done in another plan.
        done.unwrap_or(true)
    }
}
