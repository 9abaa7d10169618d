//! Matrix products by cuBLASLt.
//!
//! How a product is done is found once for each shape: as was chosen before, as is fastest, or as the library proposes first
//! (see [`ProductChoice`]). Sums are in f32 and in a fixed order. What the library has no algorithm for, it refuses; callers have kernels
//! of their own for that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use cudarc::cublaslt::result::CublasError;
use cudarc::cublaslt::sys::cublasLtEpilogue_t as Kind;
use cudarc::cublaslt::sys::cublasStatus_t as Status;
use cudarc::driver::{CudaStream, result::DriverError};
use serde::{Deserialize, Serialize};

use super::choices::{Bytes, Choice, Choices, ProductChoice, Shape, pick, serving};
use super::lt::{Algorithm, CublasLt, Problem};
use super::memory::{Address, Buffer};
use super::stopwatch::Stopwatch;
use super::{Cuda, no_memory_for};
use crate::Store;
use crate::memory::DeviceError;

/// How often an algorithm is run while it is timed, after one run that loads its code.
const TIMED_RUNS: u8 = 4;
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
    /// Beside the product, stores the sums of the rows of its left factor as that is taken: one f32 for each.
    SumsOfLeft(Address),
}

impl Epilogue {
    /// As the library calls it.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Nothing => Kind::CUBLASLT_EPILOGUE_DEFAULT,
            Self::Bias(_) => Kind::CUBLASLT_EPILOGUE_BIAS,
            // The library's second factor.
            Self::SumsOfLeft(_) => Kind::CUBLASLT_EPILOGUE_BGRADB,
            Self::BiasGelu { bias: Some(_), preactivation: Some(_) } => Kind::CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
            Self::BiasGelu { bias: Some(_), preactivation: None } => Kind::CUBLASLT_EPILOGUE_GELU_BIAS,
            Self::BiasGelu { bias: None, preactivation: Some(_) } => Kind::CUBLASLT_EPILOGUE_GELU_AUX,
            Self::BiasGelu { bias: None, preactivation: None } => Kind::CUBLASLT_EPILOGUE_GELU,
        }
    }

    /// Bias and sum, 0 where there is none.
    pub(super) fn addresses(self) -> [Address; 2] {
        match self {
            Self::Nothing => [0, 0],
            Self::Bias(vector) | Self::SumsOfLeft(vector) => [vector, 0],
            Self::BiasGelu { bias, preactivation } => [bias.unwrap_or(0), preactivation.unwrap_or(0)],
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
    algorithm: Algorithm,
}

/// What is known of products.
#[derive(Default)]
struct Known {
    /// All that the library was asked for: none where it refused.
    plans: HashMap<Shape, Option<Plan>>,
    /// Whether products that are new are timed.
    timed: bool,
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
        Ok(Self { library: CublasLt::new(workspace)?, known: Mutex::default() })
    }

    /// Whether there was a plan.
    fn run(&self, product: &Product, stream: &CudaStream) -> Result<bool, ProductError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.plans.len() > MOST_PLANS {
            known.plans.clear();
        }
        let Known { plans, timed, choices } = &mut *known;
        let plan = match plans.entry(Shape::new(product)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let found = self.find(product, unknown.key(), *timed, choices, stream)?;
                unknown.insert(found)
            }
        };
        let Some(Plan { problem, algorithm }) = plan else { return Ok(false) };
        let done = self.library.multiply(product, problem, algorithm, stream)?;
        if !done {
            *plan = None;
        }
        Ok(done)
    }

    /// A plan to do a product that is new. What is chosen by timing is added to `choices`.
    fn find(
        &self,
        product: &Product,
        shape: &Shape,
        timed: bool,
        choices: &mut Vec<Choice>,
        stream: &CudaStream,
    ) -> Result<Option<Plan>, ProductError> {
        let problem = Problem::new(product)?;
        if let Some(Choice { product: chosen_for, algorithm: Bytes(algorithm), .. }) = serving(choices, shape)
        {
            if self.library.accepts(&problem, algorithm)? {
                return Ok(Some(Plan { problem, algorithm: *algorithm }));
            }
            if chosen_for == shape {
                return Err(ProductError::Gone(shape.clone()));
            }
        }
        let candidates = self.library.candidates(&problem, shape.alignments())?;
        if !timed {
            return Ok(candidates.first().map(|&algorithm| Plan { problem, algorithm }));
        }
        let microseconds = self.times(product, &problem, &candidates, stream)?;
        let Some(place) = pick(&microseconds) else { return Ok(None) };
        let algorithm = candidates[place];
        choices.push(Choice { product: shape.clone(), algorithm: Bytes(algorithm), place, microseconds });
        Ok(Some(Plan { problem, algorithm }))
    }

    /// Microseconds that each candidate takes for a product, which is done many times: what adds, adds as often. None where the library
    /// does not do what it proposed.
    fn times(
        &self,
        product: &Product,
        problem: &Problem,
        candidates: &[Algorithm],
        stream: &CudaStream,
    ) -> Result<Vec<Option<f32>>, ProductError> {
        let stopwatch = Stopwatch::new()?;
        let time = |candidate: &Algorithm| -> Result<Option<f32>, ProductError> {
            let multiply = || self.library.multiply(product, problem, candidate, stream);
            if !multiply()? {
                return Ok(None);
            }
            let runs = || (0..TIMED_RUNS).try_for_each(|_| multiply().map(drop).map_err(ProductError::from));
            let all = stopwatch.time(stream, runs)?;
            Ok(Some(all / f32::from(TIMED_RUNS)))
        };
        candidates.iter().map(time).collect()
    }
}

impl Cuda {
    /// Says how algorithms of products are chosen from now on, those that were met before included.
    pub fn choose_products(&self, how: ProductChoice) {
        let timed = how == ProductChoice::Timed;
        let choices = match how {
            ProductChoice::Recorded(Choices { products, .. }) => products,
            ProductChoice::First | ProductChoice::Timed => Vec::new(),
        };
        let mut known = self.products.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Known { plans: HashMap::new(), timed, choices };
    }

    /// Ends the timing of products, and gives what was chosen so far. Products that come later and are unlike all of these are done
    /// as the library proposes first.
    pub fn end_timing(&self) -> Choices {
        let mut known = self.products.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.timed = false;
        Choices {
            gpu: self.found.name.clone(),
            architecture: self.found.architecture(),
            cublaslt: self.versions.cublaslt.clone(),
            products: known.choices.clone(),
        }
    }

    /// The products for which the library had no plan: kernels of our own did them, and are slower. Those that had a plan without
    /// an epilogue are among them.
    pub(super) fn refused_products(&self) -> Vec<String> {
        let known = self.products.known.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = known.plans.iter().filter(|(_, plan)| plan.is_none());
        let mut refused: Vec<_> =
            refused.map(|(shape, _)| format!("cuBLASLt has no algorithm for a product of {shape}")).collect();
        refused.sort();
        refused
    }

    /// Does a product, if the library has a plan; whether it had one. What goes wrong besides is kept, and reported by
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
