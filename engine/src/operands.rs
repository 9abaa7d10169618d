//! The positions of operands: what an operation reads, in order, then what it writes. Differentiation lists operands in this
//! order, and the executor finds them by these names.

macro_rules! positions {
    ($($operation:ident: $($read:ident),* => $($write:ident),*;)*) => {$(
        pub(crate) mod $operation {
            positions!(@count 0; $($read)*);
            positions!(@count 0; $($write)*);
        }
    )*};
    (@count $position:expr;) => {};
    (@count $position:expr; $name:ident $($rest:ident)*) => {
        pub const $name: usize = $position;
        positions!(@count $position + 1; $($rest)*);
    };
}

// What models record.
positions! {
    embedding: WORDS, POSITIONS, SEGMENTS, TOKEN_IDS, POSITION_IDS, SEGMENT_IDS, TOKEN_ORDER => Y;
    linear: X, WEIGHT, BIAS => Y, PREACTIVATION;
    layer_norm: X, GAMMA, BETA, RESIDUAL, LOGICAL_ROWS => Y, MEAN, RSTD, SUM;
    attention: QKV, OFFSETS => CONTEXT, LOG_SUM_EXP;
    dropout: X, LOGICAL_ROWS => Y;
    gather: X, ROWS => Y;
    cross_entropy: LOGITS, LABELS, WEIGHTS => LOSS, ROW_LOSSES, LOG_SUM_EXP, PREDICTIONS;
    sequence_cross_entropy: LOGITS, OFFSETS, LABELS, WEIGHTS => LOSS, SEQUENCE_LOSSES, LOG_SUM_EXP, PREDICTIONS;
    squared_error: X, TARGETS, WEIGHTS => LOSS;
    add: A, B => Y;
    unary: X => Y;
    sequence_softmax: X, OFFSETS => Y;
    sequence_sum: WEIGHTS, X, OFFSETS => Y;
}

// What differentiation appends. Gradients of parameters are at their positions among what a step adds to.
positions! {
    embedding_gradient: TOKEN_IDS, POSITION_IDS, SEGMENT_IDS, TOKEN_ORDER, DY => WORDS, POSITIONS, SEGMENTS;
    activation_gradient: SAVED, DY => DU;
    linear_input: DU, WEIGHT => DX;
    linear_preactivation: DY, WEIGHT, SAVED => DU;
    linear_weight: X, DU => D_WEIGHT, D_BIAS;
    layer_norm_gradient: SUM, MEAN, RSTD, GAMMA, DY, LOGICAL_ROWS => D_SUM, D_X;
    layer_norm_parameters: => D_GAMMA, D_BETA;
    attention_gradient: QKV, OFFSETS, CONTEXT, LOG_SUM_EXP, D_CONTEXT => D_QKV;
    dropout_gradient: DY, LOGICAL_ROWS => DX;
    gather_gradient: ROWS, DY => DX;
    cross_entropy_gradient: LOGITS, LABELS, WEIGHTS, LOG_SUM_EXP, D_LOSS => D_LOGITS;
    sequence_cross_entropy_gradient: LOGITS, OFFSETS, LABELS, WEIGHTS, LOG_SUM_EXP, D_LOSS => D_LOGITS;
    squared_error_gradient: X, TARGETS, WEIGHTS, D_LOSS => DX;
    sequence_softmax_gradient: Y, OFFSETS, DY => DX;
    sequence_sum_gradient: WEIGHTS, X, OFFSETS, DY => D_WEIGHTS, DX;
}
