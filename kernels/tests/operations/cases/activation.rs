//! Every activation function on its own.

use kernels::{Activation as Function, Precision, activation};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::Operands;
use crate::step;

#[derive(Debug)]
pub struct Activation {
    function: Function,
    length: usize,
}

impl Activation {
    fn each(lengths: &[usize]) -> Vec<Self> {
        use Function::{Gelu, GeluNew, Identity, Relu, Tanh};
        let functions = [Identity, Gelu, GeluNew, Relu, Tanh];
        let sizes = |function| lengths.iter().map(move |&length| Self { function, length });
        functions.into_iter().flat_map(sizes).collect()
    }
}

impl Case for Activation {
    fn all() -> Vec<Self> {
        Self::each(&[1, 17, 100_003])
    }

    fn small() -> Vec<Self> {
        Self::each(&[50])
    }

    fn operands(&self, operands: &mut Operands) {
        for name in ["x", "y", "dy", "du"] {
            operands.random(name, self.length);
        }
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        let saved = if self.function.keeps_preactivation() { "x" } else { "y" };
        vec![
            step! { p, 1, activation_forward(&self.function, activation::Forward {
                x: &p.read("x"),
                y: &mut p.assign("y"),
            }) },
            step! { p, 1, activation_backward(&self.function, activation::Backward {
                saved: &p.read(saved),
                dy: Some(&p.read("dy")),
                du: &mut p.assign("du"),
            }) },
            step! { p, 1, activation_backward(&self.function, activation::Backward {
                saved: &p.read(saved),
                dy: None,
                du: &mut p.accumulate("dy"),
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        Derivative { output: "y", upstream: "dy", gradients: vec![("x", "du")] }
    }
}
