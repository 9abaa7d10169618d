//! The kernels of heads, losses and the optimizer.

use kernels::optimizer::{Rule, Segment, Update};
use kernels::*;

use crate::bench::Bench;
use crate::*;

pub fn losses(bench: &mut Bench<'_>) {
    let cross_entropy = cross_entropy::CrossEntropy { classes: VOCABULARY };
    let (logits, labels, weights) =
        (&values(MASKED * VOCABULARY), &indices(MASKED, VOCABULARY), &values(MASKED));
    let (mut loss, mut row_loss, mut log_sum_exp, mut prediction) =
        ([0.0], values(MASKED), values(MASKED), [0; MASKED]);
    bench.kernel("cross_entropy_forward", cross_entropy.cost(MASKED, 1, SIZE), |cpu| {
        Kernels::<F32>::cross_entropy_forward(
            cpu,
            &cross_entropy,
            cross_entropy::Forward {
                logits,
                labels,
                weights,
                loss: &mut loss,
                row_loss: &mut row_loss,
                log_sum_exp: &mut log_sum_exp,
                prediction: &mut prediction,
            },
        );
    });
    let mut d_logits = values(MASKED * VOCABULARY);
    bench.kernel("cross_entropy_backward", cross_entropy.cost(MASKED, 2, SIZE), |cpu| {
        Kernels::<F32>::cross_entropy_backward(
            cpu,
            &cross_entropy,
            cross_entropy::Backward {
                logits: Some(logits),
                labels,
                weights,
                log_sum_exp: &log_sum_exp,
                d_loss: &[1.0],
                d_logits: &mut d_logits,
            },
        );
    });
    let constants = squared_error::SquaredError;
    let (x, targets, weights) = (&values(SEQUENCES), &values(SEQUENCES), &values(SEQUENCES));
    bench.kernel("squared_error_forward", Cost::new(4 * SEQUENCES, 3 * SEQUENCES, SIZE), |cpu| {
        Kernels::<F32>::squared_error_forward(
            cpu,
            &constants,
            squared_error::Forward { x, targets, weights, loss: &mut loss },
        );
    });
    let mut dx = values(SEQUENCES);
    bench.kernel("squared_error_backward", Cost::new(4 * SEQUENCES, 4 * SEQUENCES, SIZE), |cpu| {
        let (d_loss, dx, store) = (&[1.0], &mut dx, Store::Assign);
        Kernels::<F32>::squared_error_backward(
            cpu,
            &constants,
            squared_error::Backward { x, targets, weights, d_loss, dx, store },
        );
    });
}

pub fn pieces(bench: &mut Bench<'_>) {
    let (elements, width, store) = (ROWS * HIDDEN, HIDDEN, Store::Assign);
    let (a, b, mut y) = (&values(elements), &values(elements), values(elements));
    bench.kernel("add_forward", Cost::new(3 * elements, 3 * elements, SIZE), |cpu| {
        Kernels::<F32>::add_forward(
            cpu,
            &add::Add { alpha: 1.0, beta: 0.5 },
            add::Forward { a, b, y: &mut y },
        );
    });
    bench.kernel("scale_forward", Cost::new(elements, 2 * elements, SIZE), |cpu| {
        Kernels::<F32>::scale_forward(
            cpu,
            &scale::Scale { factor: 0.5 },
            scale::Forward { x: a, y: &mut y, store },
        );
    });
    let columns = columns::Columns { width, x_width: 3 * width, from: width, y_width: width, to: 0 };
    let qkv = values(ROWS * 3 * width);
    bench.kernel("columns_copy", Cost::new(0, 2 * elements, SIZE), |cpu| {
        Kernels::<F32>::columns_copy(
            cpu,
            &columns,
            columns::Copy { x: &qkv, y: &mut y, place: columns::Place::Keep },
        );
    });
    let (gather, rows) = (gather::Gather { width }, &indices(MASKED, ROWS));
    let mut selected = values(MASKED * width);
    bench.kernel("gather_forward", gather.cost(MASKED, SIZE), |cpu| {
        Kernels::<F32>::gather_forward(cpu, &gather, gather::Forward { rows, x: a, y: &mut selected });
    });
    bench.kernel("gather_backward", gather.cost(MASKED, SIZE) + Cost::new(0, elements, SIZE), |cpu| {
        Kernels::<F32>::gather_backward(
            cpu,
            &gather,
            gather::Backward { rows, dy: &selected, dx: &mut y, store },
        );
    });
    let (softmax, offsets) = (sequence_softmax::SequenceSoftmax { width }, &offsets());
    bench.kernel("sequence_softmax_forward", Cost::new(10 * elements, 2 * elements, SIZE), |cpu| {
        Kernels::<F32>::sequence_softmax_forward(
            cpu,
            &softmax,
            sequence_softmax::Forward { x: a, offsets, y: &mut y },
        );
    });
    bench.kernel("sequence_softmax_backward", Cost::new(4 * elements, 3 * elements, SIZE), |cpu| {
        let (y, dy, dx) = (a, b, &mut y);
        Kernels::<F32>::sequence_softmax_backward(
            cpu,
            &softmax,
            sequence_softmax::Backward { y, offsets, dy, dx, store },
        );
    });
    let (sum, weights, mut sums) =
        (sequence_sum::SequenceSum { width }, &values(ROWS), values(SEQUENCES * width));
    bench.kernel("sequence_sum_forward", Cost::new(2 * elements, elements, SIZE), |cpu| {
        Kernels::<F32>::sequence_sum_forward(
            cpu,
            &sum,
            sequence_sum::Forward { weights, x: a, offsets, y: &mut sums },
        );
    });
    let mut d_weights = values(ROWS);
    bench.kernel("sequence_sum_backward", Cost::new(3 * elements, 2 * elements, SIZE), |cpu| {
        Kernels::<F32>::sequence_sum_backward(
            cpu,
            &sum,
            sequence_sum::Backward {
                weights,
                x: a,
                offsets,
                dy: &sums,
                d_weights: &mut d_weights,
                store_weights: store,
                dx: &mut y,
                store,
            },
        );
    });
}

pub fn optimizers(bench: &mut Bench<'_>) {
    let segment =
        |i| Segment { offset: i * PARAMETERS / 10, length: PARAMETERS / 10, decays: true, adapts: true };
    let segments: Vec<Segment> = (0..10).map(segment).collect();
    let [mut parameters, gradients, mut first_moments] = [1, 2, 3].map(|_| values(PARAMETERS));
    let mut second_moments: Vec<f32> = first_moments.iter().map(|m| m * m).collect();
    for (name, rule, operands) in [("lamb", Rule::Lamb, 9), ("adamw", Rule::AdamW, 7)] {
        let update = Update {
            rule,
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
            clip_norm: 0.0,
            bias_correction: None,
        };
        let cost = Cost::new(15 * PARAMETERS, operands * PARAMETERS, SIZE);
        bench.kernel(&format!("optimizer_update/{name}"), cost, |cpu| {
            Kernels::<F32>::optimizer_update(
                cpu,
                &update,
                optimizer::Operands {
                    segments: &segments,
                    parameters: &mut parameters,
                    gradients: &gradients,
                    norm: &[1.0],
                    loss: &[1.0],
                    first_moments: &mut first_moments,
                    second_moments: &mut second_moments,
                },
            );
        });
    }
    let mut norm = [0.0];
    bench.kernel("gradient_norm", Cost::new(2 * PARAMETERS, PARAMETERS, SIZE), |cpu| {
        Kernels::<F32>::gradient_norm(cpu, &(), optimizer::Norm { gradients: &gradients, norm: &mut norm });
    });
}
