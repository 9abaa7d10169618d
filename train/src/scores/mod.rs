//! How good predictions are: pure functions from labels and predictions to the figures that GLUE, SQuAD and RACE report.
//!
//! * [`classes`]: accuracy, F1 and Matthews' correlation of predicted classes;
//! * [`correlation`]: Pearson's and Spearman's correlation of predicted values;
//! * [`entities`]: F1 of entities and accuracy of the classes of words;
//! * [`answers`]: exact match and F1 of answers to questions, as the official SQuAD programs count them.

pub mod answers;
pub mod classes;
pub mod correlation;
pub mod entities;
