//! What values of the right types can still have wrong.

use super::super::Objections;
use super::super::pretrain::{MOST_SEQUENCES, MOST_TOKENS, check_device, check_moments, check_saving};
use super::{Finetune, MOST_OPTIONS};

impl Finetune {
    pub(super) fn check_all(&self, objections: &mut Objections) {
        let training = &self.training;
        if let (Some(longest), Some(positions)) = (self.sequences.max_seq_length, self.start.positions)
            && longest > positions
        {
            objections.add(
                "sequences.max_seq_length",
                format!("sequences of {longest} tokens are longer than the model's {positions} positions"),
                format!("at most {positions}"),
            );
        }
        let longest = self.sequences.max_seq_length.unwrap_or(usize::MAX);
        objections.require(longest >= 8, "sequences.max_seq_length", longest, "at least 8");
        if let Some(question) = self.sequences.max_question_length {
            let fits = question > 0 && question.saturating_add(3) < longest;
            objections.require(
                fits,
                "sequences.max_question_length",
                question,
                "less than the sequence less 3",
            );
        }
        for (key, value) in [
            ("training.steps", training.steps),
            ("training.batch", training.batch.map(|batch| batch as u64)),
            ("training.micro_tokens", Some(training.micro_tokens as u64)),
            ("training.log_every", Some(training.log_every)),
            ("training.patience", training.patience),
            ("task.train_examples", self.task.train_examples.map(|examples| examples as u64)),
            ("task.eval_examples", self.task.eval_examples.map(|examples| examples as u64)),
            ("task.options", Some(self.task.options as u64)),
            ("sequences.doc_stride", self.sequences.doc_stride.map(|stride| stride as u64)),
        ] {
            objections.require(value != Some(0), key, 0, "at least 1");
        }
        for (key, value, most) in [
            ("training.batch", self.batch(), MOST_SEQUENCES),
            ("training.micro_tokens", training.micro_tokens, MOST_TOKENS),
            ("task.options", self.task.options, MOST_OPTIONS),
        ] {
            objections.require(value <= most, key, value, format!("at most {most}"));
        }
        let epochs = training.epochs.unwrap_or(1.0);
        objections.require(epochs > 0.0 && epochs <= 1e6, "training.epochs", epochs, "more than 0");
        let share = training.warmup_share.unwrap_or_default();
        objections.require((0.0..=1.0).contains(&share), "training.warmup_share", share, "from 0 to 1");
        for (key, dropout) in [
            ("start.head_dropout", self.start.head_dropout),
            ("start.hidden_dropout", self.start.hidden_dropout),
            ("start.attention_dropout", self.start.attention_dropout),
        ] {
            let dropout = dropout.unwrap_or_default();
            objections.require((0.0..1.0).contains(&dropout), key, dropout, "from 0 up to, not including, 1");
        }
        if let Some(rate) = self.optimizer.learning_rate {
            let help = format!("recipe {} has {:e}", self.recipe().name, self.recipe().learning_rate);
            objections.require(rate > 0.0 && rate <= 1.0, "optimizer.learning_rate", rate, help);
        }
        check_moments(&self.optimizer, objections);
        check_saving(training.save_every, training.keep, training.max_time, objections);
        check_device(&self.device, objections);
    }
}
