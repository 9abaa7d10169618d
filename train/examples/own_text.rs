//! Pre-trains a small ALBERT on your own text from Rust, and fills a mask with it:
//! `cargo run --release -p train --example own_text -- text.txt`

use std::sync::Arc;

use train::config::{Layers, Pretrain};
use train::inference::{Inference, fill_mask};
use train::pretraining::PretrainingJob;
use train::run::signals::StopRequests;
use train::training::{Ended, Session, TrainEvent, Watch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).ok_or("give a file with text, a sentence a line")?;
    let mut layers = Layers::<Pretrain>::new();
    layers.toml(
        "[model]\npreset = 'micro'\n[training]\nsteps = 200\nbatch = 8\neval_every = 100",
        "example".as_ref(),
    );
    layers.flag("data.train", "the first argument", &[&text]);

    // Run again, it continues where it was stopped: Ctrl-C is a request to stop.
    let stop = StopRequests::install(|reason| eprintln!("{reason}: saving, and ending"))?;
    let session =
        Session::open(PretrainingJob, layers.resolve()?, "runs/example".as_ref(), stop, &[], false)?;
    let watch: Watch = Arc::new(|event| {
        if let TrainEvent::Said(words) | TrainEvent::Evaluated { words, .. } = event {
            eprintln!("{words}");
        }
    });
    let Ended::Finished { model, data, .. } = session.run(&watch)? else { return Ok(()) };

    let device = engine::Device::Cpu(train::training::cpu(&Pretrain::default().device)?);
    let mut model = Inference::load(&model, device)?;
    for mask in fill_mask(&mut model, &data.tokenizer, "The [MASK] was here.", 3)? {
        mask.candidates.iter().for_each(|guess| println!("{} {:.3}", guess.piece, guess.probability));
    }
    Ok(())
}
