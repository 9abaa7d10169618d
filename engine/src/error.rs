//! What can go wrong when a plan is made or run, in terms of what a person can change.

use kernels::DeviceError;

/// A plan that cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// A parameter that the loss does not depend on.
    #[error("the loss does not reach these parameters, so they would never be trained: {}", parameters.join(", "))]
    Untrained {
        /// Their names.
        parameters: Vec<String>,
    },
    /// A parameter that is an operand where no gradient is collected.
    #[error(
        "only the weights of embeddings, linear maps and layer norms are trained, but the model uses these parameters \
         as other operands: {}", parameters.join(", ")
    )]
    NoWeight {
        /// Their names.
        parameters: Vec<String>,
    },
}

/// Inputs that do not fit a plan, or a device that fails.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RunError {
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// An input that was not bound.
    #[error("input `{name}` is not bound")]
    NotBound {
        /// The input.
        name: String,
    },
    /// An axis with more members than planned for.
    #[error(
        "{found} {axis}, but the plan holds at most {capacity}: use smaller micro-batches or a larger plan"
    )]
    Capacity {
        /// The axis.
        axis: String,
        /// Members asked for.
        found: usize,
        /// Members planned for.
        capacity: usize,
    },
    /// An input of the wrong length.
    #[error("input `{name}` has {found} numbers where {expected} are needed")]
    Length {
        /// The input.
        name: String,
        /// Elements given.
        found: usize,
        /// Elements needed.
        expected: usize,
    },
    /// A number outside its range.
    #[error("input `{name}` holds {value} at index {index}: {expected}")]
    Content {
        /// The input.
        name: String,
        /// Where.
        index: usize,
        /// What.
        value: i32,
        /// What would be right.
        expected: String,
    },
}
