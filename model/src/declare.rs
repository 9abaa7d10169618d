//! Declaring parameters: their names and shapes in files, how they start, what the optimizer may do.

use engine::{Declaration, Initializer, ParameterId, Parameters, Part};

/// A dense layer: weight `[outputs, inputs]`, bias `[outputs]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dense {
    pub weight: ParameterId,
    pub bias: ParameterId,
}

/// A layer norm: γ and β.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormParameters {
    pub gamma: ParameterId,
    pub beta: ParameterId,
}

/// Adds parameters under their names in transformers' files.
pub(crate) struct Declarer {
    pub parameters: Parameters,
    pub deviation: f64,
}

impl Declarer {
    /// Tables and weights, side by side if there are several names.
    pub fn matrix(&mut self, names: &[String], rows: usize, columns: usize) -> ParameterId {
        let parts =
            names.iter().map(|name| Part { name: name.clone(), shape: vec![rows, columns] }).collect();
        let initializer = Initializer::TruncatedNormal { deviation: self.deviation };
        self.parameters.declare(Declaration { columns, parts, initializer, decays: true, adapts: true })
    }

    /// Biases and layer norms: neither decayed nor adapted (`ALBERT.md`, Optimizers).
    pub fn vector(&mut self, names: &[String], length: usize, initializer: Initializer) -> ParameterId {
        let parts = names.iter().map(|name| Part { name: name.clone(), shape: vec![length] }).collect();
        self.parameters.declare(Declaration { columns: 1, parts, initializer, decays: false, adapts: false })
    }

    /// Dense layers that read the same input, side by side.
    pub fn dense(&mut self, names: &[String], inputs: usize, outputs: usize) -> Dense {
        let named = |suffix: &str| names.iter().map(|name| format!("{name}.{suffix}")).collect::<Vec<_>>();
        Dense {
            weight: self.matrix(&named("weight"), outputs, inputs),
            bias: self.vector(&named("bias"), outputs, Initializer::Zeros),
        }
    }

    /// γ and β.
    pub fn norm(&mut self, name: &str, width: usize) -> NormParameters {
        NormParameters {
            gamma: self.vector(&[format!("{name}.weight")], width, Initializer::Ones),
            beta: self.vector(&[format!("{name}.bias")], width, Initializer::Zeros),
        }
    }
}
