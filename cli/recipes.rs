//! `albert-train recipes`: settings for usual purposes of pre-training, and how each task is learnt where nothing else is said.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use train::config::recipe::{self, Recipe};
use train::config::{Finetune, Layers, Source};
use train::exit::ExitCode;
use train::files::{Disk, replace};
use train::pretraining::recipes::{PretrainRecipe, RECIPES};

use train::visible::{shown, visible};

use crate::arguments::place;
use crate::exit::refuse;
use crate::output::{say, tell};

/// Look at the recipes of pretrain and finetune, and copy them to change them.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List the recipes
    Ls,
    /// Print a recipe as settings
    Show(Named),
    /// Write a recipe as a file for --config of pretrain or finetune
    Copy {
        #[command(flatten)]
        recipe: Named,
        /// Where to
        #[arg(value_name = "FILE", value_parser = place())]
        to: PathBuf,
    },
}

#[derive(Args)]
struct Named {
    /// The recipe: a purpose of pretrain, or a task of finetune
    #[arg(value_name = "NAME")]
    name: String,
    /// For finetune, of a model of this size: micro, tiny, small, base, large, xlarge, xxlarge
    #[arg(long, default_value = "base", value_name = "SIZE")]
    size: String,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Ls => {
            say!("for pretrain:");
            for recipe in &RECIPES {
                say!("{:14} {}", recipe.name, recipe.purpose);
            }
            say!("\nfor finetune:");
            say!(
                "{:10} {:>8} {:>6} {:>12} {:>8} {:>7}",
                "task",
                "rate",
                "batch",
                "length",
                "warm-up",
                "tokens"
            );
            for name in recipe::names() {
                let recipe = Recipe::of(name, None);
                let length = match recipe.steps {
                    Some(steps) => format!("{steps} steps"),
                    None => format!("{} epochs", recipe.epochs),
                };
                say!(
                    "{name:10} {:>8.0e} {:>6} {length:>12} {:>7.1}% {:>7}",
                    recipe.learning_rate,
                    recipe.batch,
                    100.0 * recipe.warmup_share,
                    recipe.max_seq_length
                );
            }
        }
        What::Show(named) => say!("{}", named.toml()?.trim_end()),
        What::Copy { recipe, to } => {
            if to.exists() {
                refuse!("{} is there already: nothing was written", shown(to));
            }
            replace(&Disk, to, recipe.toml()?.as_bytes())
                .with_context(|| format!("cannot write {}", shown(to)))?;
            let command = if recipe.of_pretraining().is_some() { "pretrain" } else { "finetune" };
            tell(format_args!("written: {}; change it and give it to {command} as --config", shown(to)));
        }
    }
    Ok(ExitCode::Done)
}

impl Named {
    fn of_pretraining(&self) -> Option<&'static PretrainRecipe> {
        RECIPES.iter().find(|recipe| recipe.name == self.name)
    }

    /// What the recipe says, as TOML.
    fn toml(&self) -> Result<String> {
        if let Some(recipe) = self.of_pretraining() {
            return Ok(recipe.toml.into());
        }
        if !recipe::names().contains(&self.name.as_str()) {
            let names: Vec<_> = RECIPES.iter().map(|recipe| recipe.name).chain(recipe::names()).collect();
            refuse!("there is no recipe `{}`; the recipes are {}", visible(&self.name), names.join(", "));
        }
        let mut layers = Layers::<Finetune>::new();
        layers.flag("task.task", "TASK", &[&self.name]);
        layers.flag("start.size", "--size", &[&self.size]);
        let resolved = layers.resolve()?;
        let is_said = |key: &str| matches!(resolved.source(key), Source::Implied(_));
        let (mut text, mut section) = (String::new(), String::new());
        for line in resolved.to_toml().lines() {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
                continue;
            }
            let Some((name, _)) = line.split_once(" = ") else { continue };
            if is_said(&format!("{section}.{name}")) {
                let header = format!("[{section}]\n");
                if !text.contains(&header) {
                    text += if text.is_empty() { "" } else { "\n" };
                    text += &header;
                }
                text += &format!("{line}\n");
            }
        }
        Ok(text)
    }
}
