//! The linear map with every activation.

use kernels::{Activation, Precision, Store, activation, linear};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::Operands;
use crate::step;

#[derive(Debug)]
pub struct Linear {
    linear: linear::Linear,
    rows: usize,
    bias: bool,
    store: Store,
}

impl Linear {
    fn new(rows: usize, inputs: usize, outputs: usize, activation: Activation) -> Self {
        // Some sizes go without a bias and some are stored: no need for all combinations.
        let bias = outputs.is_multiple_of(2);
        let store = if inputs.is_multiple_of(3) { Store::Assign } else { Store::Add };
        Self { linear: linear::Linear { inputs, outputs, activation }, rows, bias, store }
    }

    fn keeps_preactivation(&self) -> bool {
        self.linear.activation.keeps_preactivation()
    }
}

impl Case for Linear {
    fn all() -> Vec<Self> {
        use Activation::{Gelu, GeluNew, Identity, Relu, Tanh};
        let mut cases = Self::small();
        for (rows, inputs, outputs) in
            [(1, 1, 1), (1, 64, 48), (7, 33, 20), (127, 128, 312), (130, 312, 129), (512, 96, 64)]
        {
            cases.extend([Identity, GeluNew].map(|f| Self::new(rows, inputs, outputs, f)));
        }
        cases.extend([Gelu, Relu, Tanh].map(|f| Self::new(97, 60, 130, f)));
        cases
    }

    fn small() -> Vec<Self> {
        use Activation::{Gelu, GeluNew, Identity, Relu, Tanh};
        [(Identity, 4, 3, 2), (Gelu, 3, 4, 5), (GeluNew, 5, 2, 4), (Relu, 2, 3, 6), (Tanh, 3, 4, 2)]
            .map(|(f, rows, inputs, outputs)| Self::new(rows, inputs, outputs, f))
            .into()
    }

    fn operands(&self, operands: &mut Operands) {
        let linear::Linear { inputs, outputs, .. } = self.linear;
        for name in ["preactivation", "y", "dy", "du"] {
            operands.random(name, self.rows * outputs);
        }
        operands
            .random("x", self.rows * inputs)
            .random("dx", self.rows * inputs)
            .random("saved", self.rows * inputs)
            .random("d_saved", self.rows * inputs)
            .random("weight", outputs * inputs)
            .random("d_weight", outputs * inputs)
            .random("bias", outputs)
            .random("d_bias", outputs);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        let saved = if self.keeps_preactivation() { "preactivation" } else { "y" };
        vec![
            step! { p, self.linear.inputs, linear_forward(&self.linear, linear::Forward {
                x: &p.read("x"),
                weight: &p.read("weight"),
                bias: self.bias.then(|| p.read("bias")).as_deref(),
                preactivation: self.keeps_preactivation().then(|| p.assign("preactivation")).as_deref_mut(),
                y: &mut p.assign("y"),
            }) },
            step! { p, 1, activation_backward(&self.linear.activation, activation::Backward {
                saved: &p.read(saved),
                dy: Some(&p.read("dy")),
                du: &mut p.assign("du"),
            }) },
            step! { p, self.linear.outputs, linear_input_gradient(&self.linear, linear::InputGradient {
                du: &p.read("du"),
                weight: &p.read("weight"),
                dx: &mut p.store("dx", self.store),
                store: self.store,
            }) },
            step! { p, self.linear.outputs, linear_preactivation_gradient(
                &linear::AfterActivation { linear: self.linear, activation: self.linear.activation },
                linear::PreactivationGradient {
                    dy: &p.read("du"),
                    weight: &p.read("weight"),
                    saved: &p.read("saved"),
                    du: &mut p.assign("d_saved"),
                }
            ) },
            step! { p, self.rows, linear_weight_gradient(&self.linear, linear::WeightGradient {
                x: &p.read("x"),
                du: &p.read("du"),
                d_weight: &mut p.accumulate("d_weight"),
                d_bias: self.bias.then(|| p.accumulate("d_bias")).as_deref_mut(),
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        let mut gradients = vec![("x", "dx"), ("weight", "d_weight")];
        if self.bias {
            gradients.push(("bias", "d_bias"));
        }
        Derivative { output: "y", upstream: "dy", gradients }
    }
}
