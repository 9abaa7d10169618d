//! `albert-train download`: a model of the Hub, into the cache on this machine.

use anyhow::{Context, Result};
use clap::Args;
use model::{Albert, Head};
use train::exit::ExitCode;
use train::hub::{Downloaded, Event, KNOWN, Reference, download};
use train::run::clock::format_duration;
use train::visible::shown;

use crate::meter::Meter;
use crate::output::{say, tell};

/// Fetch a model of the Hugging Face Hub, once; --model hf:OWNER/NAME then reads it without a network.
///
/// It goes into the cache that huggingface_hub and transformers use, which find it there. Only files that this program
/// reads are fetched, and never a pickle; each is compared with the hash that the Hub announced. Run the same command
/// again to go on with a download that was interrupted.
///
/// HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN (or the file that `hf auth login` writes) and HF_HUB_OFFLINE mean what
/// they mean to huggingface_hub; HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE what they mean elsewhere.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    /// hf:OWNER/NAME, or hf:OWNER/NAME@REVISION; of the models of --list the name is enough
    #[arg(value_name = "MODEL", required_unless_present = "list")]
    model: Option<String>,
    /// List the models of ALBERT's authors
    #[arg(long, conflicts_with = "model")]
    list: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Some(model) = &arguments.model else { return list() };
    let reference = Reference::parse(model)?;
    let mut meter: Option<Meter> = None;
    let result = download(&reference, &mut |event| match event {
        Event::Found { commit, files, missing, licence } => {
            let licence = licence.map_or_else(String::new, |licence| format!(", licence {licence}"));
            let left =
                if missing == 0 { "all there".into() } else { format!("{} to fetch", megabytes(missing)) };
            tell(format_args!(
                "{reference}, commit {}: {}; {left}{licence}",
                commit.get(..12).unwrap_or(commit),
                files.join(", ")
            ));
            meter = (missing > 0).then(|| Meter::new("download"));
        }
        Event::Offline { variable } => {
            tell(format_args!("{variable} is set: {reference} is taken as it is in the cache"));
        }
        Event::Waiting { file } => tell(format_args!("another process is fetching {file}: waiting for it")),
        Event::GoingOn { file, from, problem } => {
            tell(format_args!("warning: {problem}; going on with {file} from byte {from}"));
        }
        Event::Anew { file } => {
            tell(format_args!(
                "warning: what was left of an interrupted download of {file} is damaged: fetching it anew"
            ));
        }
        Event::Progress(done) => {
            if let Some(meter) = &meter {
                meter.show(done);
            }
        }
    });
    let took = meter.map(|meter| meter.finish());
    let Downloaded { snapshot, fetched } = result?;
    if let Some(took) = took {
        tell(format_args!("fetched {} in {}", megabytes(fetched), format_duration(took)));
    }
    tell(format_args!("use it as --model {reference}, or --tokenizer {reference}"));
    say!("{}", shown(&snapshot));
    Ok(ExitCode::Done)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The models of ALBERT's authors.
fn list() -> Result<ExitCode> {
    say!("English, 30 000 pieces; v2 was trained longer, on more text and without dropout:");
    for known in KNOWN {
        let config = model::preset(known.preset).context("a known model has a preset")?;
        let (layers, width) = (config.num_hidden_layers, config.hidden_size);
        let parameters = Albert::new(config, &[Head::Pretraining])?.parameters().count();
        say!(
            "{:18} {layers:2} layers of {width:4}  {:5.1} M parameters  {:5.0} MB",
            known.name,
            parameters as f64 / 1e6,
            4e-6 * parameters as f64
        );
    }
    say!("\n  albert-train download {}", KNOWN[0].name);
    say!("  albert-train fill-mask --model hf:{} \"The cat sat on the [MASK].\"", KNOWN[0].model());
    Ok(ExitCode::Done)
}
