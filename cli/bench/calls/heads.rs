//! The kernels of heads, losses and the update.

use anyhow::Result;
use kernels::add::{self, Add};
use kernels::columns::{self, Columns};
use kernels::cross_entropy::{self, CrossEntropy};
use kernels::gather::{self, Gather};
use kernels::optimizer::{self, Rule, Segment, Update};
use kernels::sequence_softmax::{self, SequenceSoftmax};
use kernels::sequence_sum::{self, SequenceSum};
use kernels::{Cost, Kernels, Precision, Store};

use super::{Sizes, Timer, Unit, size};

/// All of them.
pub fn all<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    rows_read(timer, sizes)?;
    losses(timer, sizes)?;
    pieces(timer, sizes)?;
    update(timer, sizes)
}

/// The rows that heads read: of each sequence the first, and those of its masked tokens.
fn rows_read<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    let (rows, width) = (sizes.rows(), sizes.config.hidden_size);
    let read = (sizes.masked + sizes.sequences).min(rows);
    let (constants, apart) = (Gather { width }, rows / read);
    let cost = constants.cost(read, size::<P>());
    timer.kernel("gather_forward", Unit::Single, cost, |on| {
        let list = on.indices(read, |index| index * apart)?;
        let (x, mut y) = (on.activations(rows * width)?, on.activations(read * width)?);
        Ok(move |backend: &B| {
            let operands = gather::Forward { rows: list.read(), x: x.read(), y: y.write() };
            backend.gather_forward(&constants, operands);
        })
    })?;
    let cost = cost + Cost::new(0, (rows - read) * width, size::<P>());
    timer.kernel("gather_backward", Unit::Single, cost, |on| {
        let list = on.indices(read, |index| index * apart)?;
        let (dy, mut dx) = (on.activations(read * width)?, on.activations(rows * width)?);
        Ok(move |backend: &B| {
            let (rows, dy, dx, store) = (list.read(), dy.read(), dx.write(), Store::Assign);
            backend.gather_backward(&constants, gather::Backward { rows, dy, dx, store });
        })
    })
}

fn losses<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    let (rows, classes) = (sizes.masked, sizes.config.vocab_size);
    let constants = CrossEntropy { classes };
    let cost = constants.cost(rows, 1, size::<P>());
    timer.kernel("cross_entropy_forward", Unit::Single, cost, |on| {
        let logits = on.activations(rows * classes)?;
        let (labels, weights) = (on.indices(rows, |row| row * 31 % classes)?, on.masters(rows)?);
        let (mut loss, mut row_loss, mut log_sum_exp) =
            (on.masters(1)?, on.masters(rows)?, on.masters(rows)?);
        let mut prediction = on.indices(rows, |_| 0)?;
        Ok(move |backend: &B| {
            let operands = cross_entropy::Forward {
                logits: logits.read(),
                labels: labels.read(),
                weights: weights.read(),
                loss: loss.write(),
                row_loss: row_loss.write(),
                log_sum_exp: log_sum_exp.write(),
                prediction: prediction.write(),
            };
            backend.cross_entropy_forward(&constants, operands);
        })
    })?;
    // The gradient takes the place of the logits.
    let cost = constants.cost(rows, 2, size::<P>());
    timer.kernel("cross_entropy_backward", Unit::Single, cost, |on| {
        let (mut d_logits, labels) =
            (on.activations(rows * classes)?, on.indices(rows, |row| row % classes)?);
        let (weights, log_sum_exp, d_loss) = (on.masters(rows)?, on.masters(rows)?, on.masters(1)?);
        Ok(move |backend: &B| {
            let operands = cross_entropy::Backward {
                logits: None,
                labels: labels.read(),
                weights: weights.read(),
                log_sum_exp: log_sum_exp.read(),
                d_loss: d_loss.read(),
                d_logits: d_logits.write(),
            };
            backend.cross_entropy_backward(&constants, operands);
        })
    })
}

fn pieces<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    let (rows, width, sequences, length) =
        (sizes.rows(), sizes.config.hidden_size, sizes.sequences, sizes.length);
    let (elements, size) = (rows * width, size::<P>());
    timer.kernel("add_forward", Unit::Single, Cost::new(3 * elements, 3 * elements, size), |on| {
        let (a, b, mut y) = (on.activations(elements)?, on.activations(elements)?, on.activations(elements)?);
        let constants = Add { alpha: 1.0, beta: 0.5 };
        Ok(move |backend: &B| {
            backend.add_forward(&constants, add::Forward { a: a.read(), b: b.read(), y: y.write() });
        })
    })?;
    timer.kernel("columns_copy", Unit::Single, Cost::new(0, 2 * elements, size), |on| {
        let constants = Columns { width, x_width: 3 * width, from: width, y_width: width, to: 0 };
        let (x, mut y) = (on.activations(3 * elements)?, on.activations(elements)?);
        Ok(move |backend: &B| {
            let operands = columns::Copy { x: x.read(), y: y.write(), place: columns::Place::Keep };
            backend.columns_copy(&constants, operands);
        })
    })?;
    let cost = Cost::new(10 * elements, 2 * elements, size);
    timer.kernel("sequence_softmax_forward", Unit::Single, cost, |on| {
        let (x, mut y) = (on.activations(elements)?, on.activations(elements)?);
        let offsets = on.indices(sequences + 1, |sequence| sequence * length)?;
        Ok(move |backend: &B| {
            let operands = sequence_softmax::Forward { x: x.read(), offsets: offsets.read(), y: y.write() };
            backend.sequence_softmax_forward(&SequenceSoftmax { width }, operands);
        })
    })?;
    let cost = Cost::new(2 * elements, elements + sequences * width, size);
    timer.kernel("sequence_sum_forward", Unit::Single, cost, |on| {
        let (weights, x) = (on.activations(rows)?, on.activations(elements)?);
        let offsets = on.indices(sequences + 1, |sequence| sequence * length)?;
        let mut y = on.activations(sequences * width)?;
        Ok(move |backend: &B| {
            let (weights, x, offsets, y) = (weights.read(), x.read(), offsets.read(), y.write());
            let operands = sequence_sum::Forward { weights, x, offsets, y };
            backend.sequence_sum_forward(&SequenceSum { width }, operands);
        })
    })
}

/// The norm of the gradients, both optimizers, and the rounding of weights where there is one.
fn update<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    const SEGMENTS: usize = 25;
    let parameters = sizes.parameters / SEGMENTS * SEGMENTS;
    let length = parameters / SEGMENTS;
    let segments: Vec<Segment> = (0..SEGMENTS)
        .map(|index| Segment { offset: index * length, length, decays: true, adapts: true })
        .collect();
    let master = size_of::<P::Master>();
    timer.kernel("gradient_norm", Unit::Single, Cost::new(2 * parameters, parameters, master), |on| {
        let (gradients, mut norm) = (on.masters(parameters)?, on.of(&[0.0_f64])?);
        Ok(move |backend: &B| {
            let operands = optimizer::Norm { gradients: gradients.read(), norm: norm.write() };
            backend.gradient_norm(&(), operands);
        })
    })?;
    // LAMB reads parameters and both moments a second time, when it knows their norms.
    for (name, rule, operands) in [("lamb", Rule::Lamb, 10), ("adamw", Rule::AdamW, 7)] {
        let constants = Update {
            rule,
            lr: 1e-6,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
            clip_norm: 1.0,
            bias_correction: None,
        };
        let cost = Cost::new(15 * parameters, operands * parameters, master);
        timer.kernel(&format!("optimizer_update/{name}"), Unit::Single, cost, |on| {
            let (mut masters, gradients) = (on.masters(parameters)?, on.masters(parameters)?);
            let (mut first, mut second) = (on.masters(parameters)?, on.constants(parameters, 0.25)?);
            let (norm, loss, segments) = (on.of(&[1.0_f64])?, on.constants(1, 1.0)?, segments.clone());
            Ok(move |backend: &B| {
                let operands = optimizer::Operands {
                    segments: &segments,
                    parameters: masters.write(),
                    gradients: gradients.read(),
                    norm: norm.read(),
                    loss: loss.read(),
                    first_moments: first.write(),
                    second_moments: second.write(),
                };
                backend.optimizer_update(&constants, operands);
            })
        })?;
    }
    if size::<P>() == master {
        return Ok(());
    }
    let cost = Cost::new(parameters, parameters, master + size::<P>());
    timer.kernel("prepare_weights", Unit::Single, cost, |on| {
        let (masters, mut weights) = (on.masters(parameters)?, on.activations(parameters)?);
        Ok(move |backend: &B| {
            let operands = optimizer::Weights { masters: masters.read(), weights: weights.write() };
            backend.prepare_weights(&(), operands);
        })
    })
}
