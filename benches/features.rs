//! How long it takes, and how much memory, to make the features of a SQuAD file:
//!
//! ```sh
//! cargo bench --bench features -- squad/train-v1.1.json
//! ```
//!
//! The file is looked for in the folder named by `ALBERT_DATA`, or in `../shared/data`; `taskset -c 0,1` limits the cores.

#[path = "../tests/support/peak_memory.rs"]
mod peak_memory;

use std::path::{Path, PathBuf};
use std::time::Instant;

use peak_memory::peak_memory;
use train::finetuning::squad::Recovery;
use train::finetuning::{Limits, Split, features, task};
use train::tokenizer::{LoadOptions, Tokenizer};

fn main() -> anyhow::Result<()> {
    let data =
        std::env::var_os("ALBERT_DATA").map_or_else(|| Path::new("../shared/data").into(), PathBuf::from);
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let path = data.join(named.as_deref().unwrap_or("squad/train-v1.1.json"));
    if !path.exists() {
        println!("{} is not there; set ALBERT_DATA to the data folder", path.display());
        return Ok(());
    }
    let start = Instant::now();
    let tokenizer = Tokenizer::load(&data.join("vocab/30k-clean.model"), &LoadOptions::default())?;
    let squad = task("squad-1.1")?;
    let read = squad.read(&path, Split::Train)?;
    let read_in = start.elapsed().as_secs_f64();
    let Some(features) = features::build(&*squad, &read.examples, &tokenizer, &Limits::new(384), &|| false)
    else {
        anyhow::bail!("stopped");
    };
    let seconds = start.elapsed().as_secs_f64();
    let tokens: usize = features.iter().map(train::finetuning::Feature::tokens).sum();
    println!("{}", read.files[0]);
    println!(
        "{} features, {tokens} tokens: {seconds:.1} s ({read_in:.1} s of them reading), {}",
        features.len(),
        peak_memory("self").map_or_else(
            || "memory unknown".to_owned(),
            |peak| format!("at most {} MB of memory", peak / 1_000_000)
        )
    );
    let recovery = Recovery::of(&read.examples, &features);
    println!(
        "{} answers: {} recovered exactly, {} but for punctuation, {} begin or end within a piece, {} in no window",
        recovery.total(),
        recovery.exact,
        recovery.equivalent,
        recovery.wider.len(),
        recovery.nowhere.len()
    );
    Ok(())
}
