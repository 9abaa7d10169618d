//! The flags of the reference's programs (google-research/albert), each with what became of it here.

use super::Program;
use Fate::{Explained, Mapped, Read, Refused};
use Kind::{Flag, Value};

/// What became of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// This flag means the same.
    Mapped(&'static str),
    /// It decides something else than one flag's value; what, in words.
    Read(&'static str),
    /// It has no counterpart; why.
    Explained(&'static str),
    /// A value other than the default asks for something that is not offered; why.
    Refused(&'static str),
}

/// How a flag is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--do_eval`, `--nodo_eval`, `--do_eval=true`.
    Flag,
    /// `--train_step=1000`, `--train_step 1000`.
    Value,
}

/// Name, kind, default (empty for none), fate.
pub type Row = (&'static str, Kind, &'static str, Fate);

/// The flags of a program, all of them.
pub fn flags(program: Program) -> Vec<Row> {
    let own: &[&[Row]] = match program {
        Program::CreatePretrainingData => &[CREATE_PRETRAINING_DATA],
        Program::RunPretraining => &[RUN_PRETRAINING, TPU],
        Program::RunClassifier => &[MODEL, RUN_CLASSIFIER, BATCHES, TPU],
        Program::RunSquadV1 => &[MODEL, SQUAD, SQUAD_1, TPU],
        Program::RunSquadV2 => &[MODEL, SQUAD, SQUAD_2, TPU],
        Program::RunRace => &[MODEL, RUN_RACE, BATCHES, TPU],
    };
    own.concat()
}

/// What absl adds to every program, beside the 181.
pub const ABSL: &[Row] = &[
    ("flagfile", Value, "", Read("its flags are taken in its place")),
    ("undefok", Value, "", Read("flags of these names may be unknown")),
    ("only_check_args", Flag, "false", Read("compat --print: the command is shown and not run")),
    ("help", Flag, "false", Read("the program's flags are listed")),
    ("helpshort", Flag, "false", Read("the program's flags are listed")),
    ("helpfull", Flag, "false", Read("the program's flags are listed")),
    ("helpxml", Flag, "false", Read("the program's flags are listed")),
    ("fromenv", Value, "", Refused("flags are not taken from the environment")),
    ("tryfromenv", Value, "", Refused("flags are not taken from the environment")),
    ("logtostderr", Flag, "false", LOG),
    ("alsologtostderr", Flag, "false", LOG),
    ("log_dir", Value, "", LOG),
    ("verbosity", Value, "", LOUDNESS),
    ("v", Value, "", LOUDNESS),
    ("logger_levels", Value, "", LOUDNESS),
    ("stderrthreshold", Value, "", LOUDNESS),
    ("showprefixforinfo", Flag, "true", LOG),
    ("run_with_pdb", Flag, "false", PYTHON),
    ("pdb", Flag, "false", PYTHON),
    ("pdb_post_mortem", Flag, "false", PYTHON),
    ("run_with_profiling", Flag, "false", PYTHON),
    ("profile_file", Value, "", PYTHON),
    ("use_cprofile_for_profiling", Flag, "true", PYTHON),
];

const LOG: Fate = Explained("messages go to standard error and, of a run, to train.log in its folder");
const LOUDNESS: Fate = Explained("-q and -v before `compat` say how much is told");
const PYTHON: Fate = Explained("there is no Python to be watched");

const NO_TPU: Fate = Explained("TPUs are not supported; --device chooses the hardware");
const TPU: &[Row] = &[
    ("use_tpu", Flag, "false", NO_TPU),
    ("tpu_name", Value, "", NO_TPU),
    ("tpu_zone", Value, "", NO_TPU),
    ("gcp_project", Value, "", NO_TPU),
    ("master", Value, "", NO_TPU),
    ("num_tpu_cores", Value, "8", NO_TPU),
    ("iterations_per_loop", Value, "1000", Explained("it groups steps on a TPU")),
];

const CREATE_PRETRAINING_DATA: &[Row] = &[
    ("input_file", Value, "", Read("prepare --input; several are separated by commas")),
    ("output_file", Value, "", Read("prepare --out: a folder takes the place of record files")),
    ("vocab_file", Value, "", Read("--tokenizer, where no spm_model_file is given")),
    ("spm_model_file", Value, "", Read("--tokenizer")),
    ("input_file_mode", Value, "r", Explained("text is UTF-8, gzip or not")),
    ("do_lower_case", Flag, "true", Explained("the vocabulary says whether text is lower-cased")),
    ("do_whole_word_mask", Flag, "true", Mapped("--whole-word")),
    ("do_permutation", Flag, "false", Mapped("--permutation")),
    ("favor_shorter_ngram", Flag, "true", Mapped("--favor-shorter-ngram")),
    ("random_next_sentence", Flag, "false", Mapped("--random-next-sentence")),
    ("max_seq_length", Value, "512", Mapped("--max-seq-length")),
    ("ngram", Value, "3", Mapped("--ngram")),
    ("max_predictions_per_seq", Value, "20", Mapped("--max-predictions-per-seq")),
    ("random_seed", Value, "12345", Mapped("--seed")),
    ("dupe_factor", Value, "40", Explained("masks are drawn anew in every epoch, so no copies are stored")),
    ("masked_lm_prob", Value, "0.15", Mapped("--masked-lm-prob")),
    ("short_seq_prob", Value, "0.1", Mapped("--short-seq-prob")),
];

const RUN_PRETRAINING: &[Row] = &[
    ("albert_config_file", Value, "", Read("its sizes, each as a flag")),
    ("input_file", Value, "", Read("pretrain --train; several are separated by commas")),
    ("output_dir", Value, "", Mapped("--out")),
    ("init_checkpoint", Value, "", Read("pretrain --init")),
    ("max_seq_length", Value, "512", Mapped("--max-seq-length")),
    ("max_predictions_per_seq", Value, "20", Mapped("--max-predictions-per-seq")),
    ("do_train", Flag, "true", Read("pretrain")),
    ("do_eval", Flag, "false", Read("evaluate text")),
    ("train_batch_size", Value, "4096", Mapped("--batch")),
    ("eval_batch_size", Value, "64", Read("with max_eval_steps, --eval-sequences")),
    ("optimizer", Value, "lamb", Mapped("--optimizer")),
    ("learning_rate", Value, "0.00176", Mapped("--learning-rate")),
    ("poly_power", Value, "1.0", Mapped("--poly-power")),
    ("num_train_steps", Value, "125000", Mapped("--steps")),
    ("num_warmup_steps", Value, "3125", Mapped("--warmup-steps")),
    ("start_warmup_step", Value, "0", Mapped("--start-warmup-step")),
    ("save_checkpoints_steps", Value, "5000", Mapped("--save-every")),
    ("keep_checkpoint_max", Value, "5", Mapped("--keep")),
    ("max_eval_steps", Value, "100", Read("with eval_batch_size, --eval-sequences")),
    ("init_from_group0", Flag, "false", Refused("the weights of one group are not copied into several")),
    ("masked_lm_budget", Value, "0", Refused("--masked_lm_prob decides how many tokens are masked")),
];

/// What begins every fine-tuning program.
const MODEL: &[Row] = &[
    ("albert_config_file", Value, "", Explained("read from beside the checkpoint; another one is refused")),
    ("vocab_file", Value, "", Read("--tokenizer, where no spm_model_file is given")),
    ("spm_model_file", Value, "", Read("--tokenizer")),
    ("output_dir", Value, "", Mapped("--out")),
    ("init_checkpoint", Value, "", Read("--model: the checkpoint as it is")),
    (
        "albert_hub_module_handle",
        Value,
        "",
        Read("--model, where no init_checkpoint is given: the folder of a TF-Hub module"),
    ),
    ("do_lower_case", Flag, "true", Explained("the vocabulary says whether text is lower-cased")),
];

/// What those for classes and choices share.
const BATCHES: &[Row] = &[
    ("eval_batch_size", Value, "8", Explained("results do not depend on it")),
    ("predict_batch_size", Value, "8", Explained("predictions do not depend on it")),
];

const RUN_CLASSIFIER: &[Row] = &[
    ("data_dir", Value, "", Read("--data")),
    ("task_name", Value, "", Read("finetune glue TASK")),
    ("cached_dir", Value, "", Explained("features are made in seconds and not kept")),
    ("max_seq_length", Value, "512", Mapped("--max-seq-length")),
    ("do_train", Flag, "false", Read("finetune glue")),
    ("do_eval", Flag, "false", Read("evaluate glue")),
    ("do_predict", Flag, "false", Read("predict glue")),
    ("train_batch_size", Value, "32", Mapped("--batch")),
    ("learning_rate", Value, "5e-5", Mapped("--learning-rate")),
    ("train_step", Value, "1000", Mapped("--steps")),
    ("warmup_step", Value, "0", Mapped("--warmup-steps")),
    ("save_checkpoints_steps", Value, "1000", Mapped("--eval-every")),
    ("keep_checkpoint_max", Value, "5", Mapped("--keep")),
    ("optimizer", Value, "adamw", Mapped("--optimizer")),
    ("export_dir", Value, "", Explained("the model is always in OUTPUT_DIR/model")),
    ("threshold_to_export", Value, "nan", Explained("the model is always written")),
];

const SQUAD: &[Row] = &[
    ("train_file", Value, "", Read("--train")),
    ("predict_file", Value, "", Read("--dev of finetune; --data of evaluate and predict")),
    ("train_feature_file", Value, "", Explained("features are made in memory")),
    ("predict_feature_file", Value, "", Explained("features are made in memory")),
    ("predict_feature_left_file", Value, "", Explained("features are made in memory")),
    ("max_seq_length", Value, "384", Mapped("--max-seq-length")),
    ("doc_stride", Value, "128", Mapped("--doc-stride")),
    ("max_query_length", Value, "64", Mapped("--max-question-length")),
    ("do_train", Flag, "false", Read("finetune squad")),
    ("do_predict", Flag, "false", Read("predict squad")),
    ("train_batch_size", Value, "32", Mapped("--batch")),
    ("predict_batch_size", Value, "8", Explained("predictions do not depend on it")),
    ("learning_rate", Value, "5e-5", Mapped("--learning-rate")),
    ("num_train_epochs", Value, "3.0", Mapped("--epochs")),
    ("warmup_proportion", Value, "0.1", Mapped("--warmup-share")),
    ("save_checkpoints_steps", Value, "1000", Mapped("--eval-every")),
    ("n_best_size", Value, "20", Refused("20 candidates are kept, the default")),
    ("max_answer_length", Value, "30", Refused("an answer has at most 30 tokens, the default")),
];

const SQUAD_1: &[Row] = &[
    ("use_einsum", Flag, "true", Explained("it only changes how TensorFlow computes")),
    ("export_dir", Value, "", Explained("the model is always in OUTPUT_DIR/model")),
];

const SQUAD_2: &[Row] = &[
    ("start_n_top", Value, "5", Refused("five starts are tried, the default")),
    ("end_n_top", Value, "5", Refused("five ends are tried for each start, the default")),
    ("dropout_prob", Value, "0.1", Mapped("--head-dropout")),
];

const RUN_RACE: &[Row] = &[
    ("data_dir", Value, "", Read("--data")),
    ("task_name", Value, "race", Refused("the program knows RACE only")),
    ("train_file", Value, "", Explained("the files are found in --data_dir")),
    ("eval_file", Value, "", Explained("the files are found in --data_dir")),
    ("predict_file", Value, "", Explained("the files are found in --data_dir")),
    ("dropout_prob", Value, "0.1", Mapped("--head-dropout")),
    ("max_seq_length", Value, "512", Mapped("--max-seq-length")),
    ("max_qa_length", Value, "128", Mapped("--max-question-length")),
    ("num_keep_checkpoint", Value, "5", Mapped("--keep")),
    ("high_only", Flag, "false", Read("--level high")),
    ("middle_only", Flag, "false", Read("--level middle")),
    ("do_train", Flag, "true", Read("finetune race")),
    ("do_eval", Flag, "true", Read("evaluate race")),
    ("do_predict", Flag, "false", Read("predict race")),
    ("train_batch_size", Value, "32", Mapped("--batch")),
    ("learning_rate", Value, "1e-5", Mapped("--learning-rate")),
    ("train_step", Value, "12000", Mapped("--steps")),
    ("warmup_step", Value, "1000", Mapped("--warmup-steps")),
    ("save_checkpoints_steps", Value, "100", Mapped("--eval-every")),
];
