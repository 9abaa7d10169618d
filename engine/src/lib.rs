//! A static training engine: record a graph, differentiate it, plan it, run it.
//!
//! A model is ordinary Rust that records coarse operations on [`Tensor`]s into a [`Graph`]. [`Plan::training`] appends
//! the gradients and lays all values out in one arena; a [`Runtime`] runs the plan's steps on a device, again and again,
//! without allocating. Rows are real tokens only: the length of an [`Axis`] may differ from run to run.
//!
//! ```
//! use engine::*;
//! use std::sync::Arc;
//!
//! let mut parameters = Parameters::default();
//! let weight = parameters.declare(Declaration {
//!     columns: 2,
//!     parts: vec![Part { name: "weight".into(), shape: vec![1, 2] }],
//!     initializer: Initializer::Ones,
//!     decays: true,
//!     adapts: true,
//! });
//! let parameters = Arc::new(parameters);
//! let graph = Graph::new(parameters.clone());
//! let rows = Rows::Along(graph.axis("examples", 8));
//! let [x, y] = [graph.input("x", Shape::new(rows, 2)), graph.statistic("y", Shape::new(rows, 1))];
//! let ones = graph.statistic("weights", Shape::new(rows, 1));
//! let loss = x.linear(graph.parameter(weight), None, Activation::Identity).squared_error(y, ones);
//!
//! let options = PlanOptions { precision: Precision::F64, recompute: Recompute::None };
//! let plan = Plan::training(&graph, loss, &[("loss", loss)], options)?;
//! let mut runtime = Runtime::new(Device::Reference, parameters.clone())?;
//! runtime.write(State::Values, &parameters.initial_values(0)?);
//! let plan = runtime.load(plan)?;
//! let reals: [(&str, &[f32]); 3] = [("x", &[1.0, 2.0]), ("y", &[1.0]), ("weights", &[1.0])];
//! runtime.run(plan, &Bindings { lengths: &[1], reals: &reals, ..Bindings::default() })?;
//! assert_eq!(runtime.output(plan, "loss"), [4.0]);
//! assert_eq!(runtime.read::<f64>(State::Gradients)[..2], [4.0, 8.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backward;
mod differentiate;
mod error;
mod execute;
mod graph;
mod op;
mod operands;
mod operations;
mod parameters;
mod plan;
mod runtime;
mod shape;
mod step_memory;
mod vjp;

pub use backward::Recompute;
pub use error::{PlanError, RunError};
pub use graph::{Content, Graph, Indices, InputSpec, Tensor, Union};
pub use kernels::{Activation, DeviceError};
pub use operations::{Classified, Norm, Tokens};
pub use parameters::{Declaration, Initializer, ParameterId, Parameters, Part};
pub use plan::{Plan, PlanOptions, Precision, WorkSpace};
pub use runtime::{Applied, Bindings, Device, PlanId, RunId, Runs, Runtime, State};
pub use shape::{Axis, AxisSpec, Rows, Shape};

/// The names of all operations, those that models record and those that differentiation appends: what a test must cover.
pub fn operation_names() -> impl Iterator<Item = &'static str> {
    let is_step = |name: &&str| *name != op::GradientOp::Seed.name(); // a constant among the inputs
    op::Op::NAMES.iter().chain(op::GradientOp::NAMES).copied().filter(is_step)
}

/// Purposes of the engine's random numbers: the second argument of [`kernels::random::Philox::new`].
pub mod purpose {
    /// Coins of dropout.
    pub const DROPOUT: u32 = 1;
    /// Initial values of parameters.
    pub const INITIALIZATION: u32 = 2;
}
