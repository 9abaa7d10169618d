//! Calls of kernels in bf16 on operands of some size, and what was counted of them.

use emulated_gpu::performance::{Launched, counted};
use half::bf16;
use kernels::attention::{self, Attention};
use kernels::cuda::{Buffer, Global, Slice, SliceMut};
use kernels::linear::Linear;
use kernels::memory::{Memory, RunScalars, Views};
use kernels::optimizer::{self, Rule, Segment, Update};
use kernels::precision::{Bf16, Element, Real};
use kernels::{
    Activation, Backend, Cuda, Kernels, Store, activation, cross_entropy, embedding, gather, layer_norm,
    linear,
};

/// Operands on a GPU.
struct Operands<'a>(&'a Cuda);

impl Operands<'_> {
    fn of<T: Element>(&self, numbers: &[T]) -> Buffer {
        let mut buffer = self.0.allocate(size_of_val(numbers)).expect("memory");
        self.0.upload(bytemuck::cast_slice(numbers), &mut buffer, 0);
        buffer
    }

    /// Numbers between −1 and 1.
    fn reals<T: Real>(&self, length: usize) -> Buffer {
        let number = |i: usize| T::from_f64((i * 37 % 256) as f64 / 128.0 - 1.0);
        self.of(&(0..length).map(number).collect::<Vec<_>>())
    }

    fn integers(&self, length: usize, number: impl Fn(usize) -> usize) -> Buffer {
        self.of(&(0..length).map(|i| number(i) as i32).collect::<Vec<_>>())
    }

    fn scalars(&self) -> Buffer {
        let mut words = vec![0; RunScalars::words(1)];
        RunScalars::write(&mut words, [7, 9], 3, [0]);
        self.of(&words)
    }
}

fn read<T: Element>(buffer: &Buffer) -> Slice<'_, T> {
    Global::slice(buffer, 0..Global::bytes(buffer))
}

fn write<T: Element>(buffer: &mut Buffer) -> SliceMut<'_, T> {
    Global::slice_mut(buffer)
}

/// What the launches of a call asked for.
fn count(cuda: &Cuda, call: impl FnOnce()) -> Vec<Launched> {
    let launches = counted(call);
    cuda.status().unwrap_or_else(|error| panic!("{error}"));
    launches
}

/// Dropout's coins are not read in these calls.
macro_rules! no_coins {
    ($scalars:ident) => {
        Views::<Global>::new(&mut $scalars).randomness(0, Some(0))
    };
}

/// `LayerNorm` without dropout; z is written where there is a residual.
pub fn layer_norm_forward(cuda: &Cuda, rows: usize, width: usize, residual: bool) -> Vec<Launched> {
    let all = Operands(cuda);
    let [x, other] = [(); 2].map(|()| all.reals::<bf16>(rows * width));
    let [mut sum, mut y] = [(); 2].map(|()| all.reals::<bf16>(rows * width));
    let [gamma, beta] = [(); 2].map(|()| all.reals::<f32>(width));
    let [mut mean, mut rstd] = [(); 2].map(|()| all.reals::<f32>(rows));
    let mut scalars = all.scalars();
    let constants = layer_norm::LayerNorm { width, epsilon: 1e-12, dropout: None };
    count(cuda, || {
        let operands = layer_norm::Forward {
            x: read(&x),
            residual: residual.then(|| read(&other)),
            gamma: read(&gamma),
            beta: read(&beta),
            randomness: no_coins!(scalars),
            logical_rows: None,
            sum: residual.then(|| write(&mut sum)),
            mean: write(&mut mean),
            rstd: write(&mut rstd),
            y: write(&mut y),
        };
        Kernels::<Bf16>::layer_norm_forward(cuda, &constants, operands);
    })
}

/// Its gradient, stored.
pub fn layer_norm_backward(cuda: &Cuda, rows: usize, width: usize) -> Vec<Launched> {
    let all = Operands(cuda);
    let [sum, dy, mut d_sum] = [(); 3].map(|()| all.reals::<bf16>(rows * width));
    let [gamma, mut d_gamma, mut d_beta] = [(); 3].map(|()| all.reals::<f32>(width));
    let [mean, rstd] = [(); 2].map(|()| all.reals::<f32>(rows));
    let mut scalars = all.scalars();
    let constants = layer_norm::LayerNorm { width, epsilon: 1e-12, dropout: None };
    count(cuda, || {
        let operands = layer_norm::Backward {
            sum: read(&sum),
            mean: read(&mean),
            rstd: read(&rstd),
            gamma: read(&gamma),
            dy: read(&dy),
            randomness: no_coins!(scalars),
            logical_rows: None,
            d_sum: write(&mut d_sum),
            store: Store::Assign,
            d_x: None,
            d_gamma: write(&mut d_gamma),
            d_beta: write(&mut d_beta),
        };
        Kernels::<Bf16>::layer_norm_backward(cuda, &constants, operands);
    })
}

/// Full sequences of `length`.
pub fn attention_forward(
    cuda: &Cuda,
    sequences: usize,
    length: usize,
    constants: &Attention,
) -> Vec<Launched> {
    let (all, rows, width) = (Operands(cuda), sequences * length, constants.width());
    let (qkv, mut context) = (all.reals::<bf16>(3 * rows * width), all.reals::<bf16>(rows * width));
    let offsets = all.integers(sequences + 1, |sequence| sequence * length);
    let (mut log_sum_exp, mut scalars) = (all.reals::<f32>(rows * constants.heads), all.scalars());
    count(cuda, || {
        let operands = attention::Forward {
            qkv: read(&qkv),
            offsets: read(&offsets),
            randomness: no_coins!(scalars),
            context: write(&mut context),
            log_sum_exp: write(&mut log_sum_exp),
        };
        Kernels::<Bf16>::attention_forward(cuda, constants, operands);
    })
}

/// Its gradient.
pub fn attention_backward(
    cuda: &Cuda,
    sequences: usize,
    length: usize,
    constants: &Attention,
) -> Vec<Launched> {
    let (all, rows, width) = (Operands(cuda), sequences * length, constants.width());
    let [qkv, mut d_qkv] = [(); 2].map(|()| all.reals::<bf16>(3 * rows * width));
    let [context, d_context] = [(); 2].map(|()| all.reals::<bf16>(rows * width));
    let offsets = all.integers(sequences + 1, |sequence| sequence * length);
    let (log_sum_exp, mut scalars) = (all.reals::<f32>(rows * constants.heads), all.scalars());
    count(cuda, || {
        let operands = attention::Backward {
            qkv: read(&qkv),
            offsets: read(&offsets),
            randomness: no_coins!(scalars),
            context: read(&context),
            log_sum_exp: read(&log_sum_exp),
            d_context: read(&d_context),
            d_qkv: write(&mut d_qkv),
        };
        Kernels::<Bf16>::attention_backward(cuda, constants, operands);
    })
}

/// GELU's gradient, in the place of what it is made from.
pub fn gelu_backward(cuda: &Cuda, rows: usize, width: usize) -> Vec<Launched> {
    let all = Operands(cuda);
    let [saved, mut du] = [(); 2].map(|()| all.reals::<bf16>(rows * width));
    count(cuda, || {
        let operands = activation::Backward { saved: read(&saved), dy: None, du: write(&mut du) };
        Kernels::<Bf16>::activation_backward(cuda, &Activation::GeluNew, operands);
    })
}

/// The gradient of what GELU is applied to before a linear layer.
pub fn preactivation_gradient(cuda: &Cuda, rows: usize, inputs: usize, outputs: usize) -> Vec<Launched> {
    let all = Operands(cuda);
    let (dy, weight) = (all.reals::<bf16>(rows * outputs), all.reals::<bf16>(outputs * inputs));
    let [saved, mut du] = [(); 2].map(|()| all.reals::<bf16>(rows * inputs));
    let constants = linear::AfterActivation {
        linear: Linear { inputs, outputs, activation: Activation::Identity },
        activation: Activation::GeluNew,
    };
    count(cuda, || {
        let operands = linear::PreactivationGradient {
            dy: read(&dy),
            weight: read(&weight),
            saved: read(&saved),
            du: write(&mut du),
        };
        Kernels::<Bf16>::linear_preactivation_gradient(cuda, &constants, operands);
    })
}

/// Pieces of a vocabulary: each eighth token is the same, as a masked one is; the rest are spread.
fn token(row: usize, vocabulary: usize) -> usize {
    if row.is_multiple_of(8) { 4 } else { row * 7919 % vocabulary }
}

/// Sequences of `length`, in two segments.
pub fn embedding_forward(cuda: &Cuda, rows: usize, length: usize, vocabulary: usize) -> Vec<Launched> {
    let (all, width) = (Operands(cuda), 128);
    let [tokens, positions, segments] = lists(&all, rows, length, vocabulary);
    let tables = [vocabulary, 512, 2].map(|height| all.reals::<f32>(height * width));
    let mut y = all.reals::<bf16>(rows * width);
    count(cuda, || {
        let [words, places, sentences] = &tables;
        let operands = embedding::Forward {
            indices: embedding::Indices {
                tokens: read(&tokens),
                positions: read(&positions),
                segments: read(&segments),
            },
            words: read(words),
            positions: read(places),
            segments: read(sentences),
            y: write(&mut y),
        };
        Kernels::<Bf16>::embedding_forward(cuda, &embedding::Embedding { width }, operands);
    })
}

fn lists(all: &Operands<'_>, rows: usize, length: usize, vocabulary: usize) -> [Buffer; 3] {
    let tokens = all.integers(rows, |row| token(row, vocabulary));
    let positions = all.integers(rows, |row| row % length);
    [tokens, positions, all.integers(rows, |row| usize::from(row % length > length / 2))]
}

/// Its gradients.
pub fn embedding_backward(cuda: &Cuda, rows: usize, length: usize, vocabulary: usize) -> Vec<Launched> {
    let (all, width) = (Operands(cuda), 128);
    let [tokens, positions, segments] = lists(&all, rows, length, vocabulary);
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by_key(|&row| token(row, vocabulary));
    let token_order = all.integers(rows, |i| order[i]);
    let mut tables = [vocabulary, 512, 2].map(|height| all.reals::<f32>(height * width));
    let dy = all.reals::<bf16>(rows * width);
    count(cuda, || {
        let [words, places, sentences] = &mut tables;
        let operands = embedding::Backward {
            indices: embedding::Indices {
                tokens: read(&tokens),
                positions: read(&positions),
                segments: read(&segments),
            },
            token_order: read(&token_order),
            dy: read(&dy),
            d_words: write(words),
            d_positions: write(places),
            d_segments: write(sentences),
        };
        Kernels::<Bf16>::embedding_backward(cuda, &embedding::Embedding { width }, operands);
    })
}

/// Every `apart`-th row.
pub fn gather_forward(cuda: &Cuda, selected: usize, apart: usize, width: usize) -> Vec<Launched> {
    let all = Operands(cuda);
    let rows = all.integers(selected, |i| i * apart);
    let (x, mut y) = (all.reals::<bf16>(selected * apart * width), all.reals::<bf16>(selected * width));
    count(cuda, || {
        let operands = gather::Forward { rows: read(&rows), x: read(&x), y: write(&mut y) };
        Kernels::<Bf16>::gather_forward(cuda, &gather::Gather { width }, operands);
    })
}

/// Its gradient.
pub fn gather_backward(
    cuda: &Cuda,
    selected: usize,
    apart: usize,
    width: usize,
    store: Store,
) -> Vec<Launched> {
    let all = Operands(cuda);
    let rows = all.integers(selected, |i| i * apart);
    let (dy, mut dx) = (all.reals::<bf16>(selected * width), all.reals::<bf16>(selected * apart * width));
    count(cuda, || {
        let operands = gather::Backward { rows: read(&rows), dy: read(&dy), dx: write(&mut dx), store };
        Kernels::<Bf16>::gather_backward(cuda, &gather::Gather { width }, operands);
    })
}

/// Forward.
pub fn cross_entropy_forward(cuda: &Cuda, rows: usize, classes: usize) -> Vec<Launched> {
    let all = Operands(cuda);
    let logits = all.reals::<bf16>(rows * classes);
    let (labels, mut prediction) = (all.integers(rows, |row| row * 31 % classes), all.integers(rows, |_| 0));
    let [weights, mut row_loss, mut log_sum_exp] = [(); 3].map(|()| all.reals::<f32>(rows));
    let mut loss = all.reals::<f32>(1);
    count(cuda, || {
        let operands = cross_entropy::Forward {
            logits: read(&logits),
            labels: read(&labels),
            weights: read(&weights),
            loss: write(&mut loss),
            row_loss: write(&mut row_loss),
            log_sum_exp: write(&mut log_sum_exp),
            prediction: write(&mut prediction),
        };
        Kernels::<Bf16>::cross_entropy_forward(cuda, &cross_entropy::CrossEntropy { classes }, operands);
    })
}

/// The gradient in the place of the logits.
pub fn cross_entropy_backward(cuda: &Cuda, rows: usize, classes: usize) -> Vec<Launched> {
    let all = Operands(cuda);
    let (mut d_logits, labels) = (all.reals::<bf16>(rows * classes), all.integers(rows, |row| row % classes));
    let (weights, log_sum_exp) = (all.of(&vec![0.5_f32; rows]), all.reals::<f32>(rows));
    let d_loss = all.reals::<f32>(1);
    count(cuda, || {
        let operands = cross_entropy::Backward {
            logits: None,
            labels: read(&labels),
            weights: read(&weights),
            log_sum_exp: read(&log_sum_exp),
            d_loss: read(&d_loss),
            d_logits: write(&mut d_logits),
        };
        Kernels::<Bf16>::cross_entropy_backward(cuda, &cross_entropy::CrossEntropy { classes }, operands);
    })
}

/// The norm, LAMB where every segment adapts, and the rounding of the weights.
pub fn update(cuda: &Cuda, parameters: usize) -> Vec<Launched> {
    let all = Operands(cuda);
    let [mut masters, gradients, mut first, mut second] =
        [(); 4].map(|()| all.of(&vec![0.25_f32; parameters]));
    let (mut norm, loss) = (all.of(&[0.0_f64]), all.of(&[1.0_f32]));
    let mut weights = all.reals::<bf16>(parameters);
    let half = parameters / 2;
    let segment = |offset| Segment { offset, length: half, decays: true, adapts: true };
    let constants = Update {
        rule: Rule::Lamb,
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-6,
        weight_decay: 0.01,
        clip_norm: 1.0,
        bias_correction: None,
    };
    count(cuda, || {
        let operands = optimizer::Norm { gradients: read(&gradients), norm: write(&mut norm) };
        Kernels::<Bf16>::gradient_norm(cuda, &(), operands);
        let operands = optimizer::Operands {
            segments: &[segment(0), segment(half)],
            parameters: write(&mut masters),
            gradients: read(&gradients),
            norm: read(&norm),
            loss: read(&loss),
            first_moments: write(&mut first),
            second_moments: write(&mut second),
        };
        Kernels::<Bf16>::optimizer_update(cuda, &constants, operands);
        let operands = optimizer::Weights { masters: read(&masters), weights: write(&mut weights) };
        Kernels::<Bf16>::prepare_weights(cuda, &(), operands);
    })
}

/// The gradient of a layer of eight inputs: what is counted of it is the gradient of its bias, for products are no kernels.
pub fn bias_gradient(cuda: &Cuda, rows: usize, width: usize) -> Vec<Launched> {
    const INPUTS: usize = 8;
    let all = Operands(cuda);
    let (x, du) = (all.reals::<bf16>(rows * INPUTS), all.reals::<bf16>(rows * width));
    let (mut d_weight, mut d_bias) = (all.reals::<f32>(INPUTS * width), all.reals::<f32>(width));
    let constants = Linear { inputs: INPUTS, outputs: width, activation: Activation::Identity };
    count(cuda, || {
        let operands = linear::WeightGradient {
            x: read(&x),
            du: read(&du),
            d_weight: write(&mut d_weight),
            d_bias: Some(write(&mut d_bias)),
        };
        Kernels::<Bf16>::linear_weight_gradient(cuda, &constants, operands);
    })
}
