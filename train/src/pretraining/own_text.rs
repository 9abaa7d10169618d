//! What a run has prepared of its text: enough to go on where the text itself is gone, be it deleted, on a disk that is not there, or
//! left behind on another machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Layers, Pretrain};
use crate::data::{MANIFEST, Manifest, TOKENIZER_FOLDER, is_stream};
use crate::run::directory::{CONFIG, tokenizer_of};
use crate::visible::shown;

/// The part of a run's `data/` that it learns from.
const TRAINING: &str = "training";

/// What a run has prepared of the text that it learns from, in `folder`, its `data/`; `None` where it has none.
pub(super) fn own_text(folder: &Path) -> Option<PathBuf> {
    let own = folder.join(TRAINING);
    own.join(MANIFEST).is_file().then_some(own)
}

/// The settings of a run with what is in `folder`, its `data/`, in place of text and of a tokenizer that are not there any more
/// and are named as in its saved settings: another name is a slip of the pen, or other text.
pub(super) fn in_place_of_what_is_gone(settings: &Pretrain, folder: &Path, say: &dyn Fn(&str)) -> Pretrain {
    let mut settings = settings.clone();
    let Some(begun_with) = saved_in(folder) else { return settings };
    let (data, begun_with) = (&mut settings.data, begun_with.data);
    let tell = |gone: &Path, own: &Path| {
        say(&format!(
            "note: {} is not there any more: going on with what the run has of it, in {}",
            shown(gone),
            shown(own)
        ));
    };
    let [training, held_out] = [TRAINING, "held-out"].map(|name| folder.join(name));
    for (paths, named, own) in
        [(&mut data.train, begun_with.train, &training), (&mut data.held_out, begun_with.held_out, &held_out)]
    {
        let gone = paths.iter().find(|path| is_gone(path));
        if let Some(gone) = gone.filter(|_| *paths == named && is_made_of(own, paths)) {
            tell(gone, own);
            *paths = vec![own.clone()];
        }
    }
    let own = training.join(TOKENIZER_FOLDER);
    let is_there = |path: &PathBuf| tokenizer_of(path).is_ok_and(|path| !is_gone(&path));
    let is_named = data.tokenizer == begun_with.tokenizer;
    if let Some(gone) = data.tokenizer.take_if(|path| is_named && !is_there(path) && own.is_dir()) {
        tell(&gone, &own);
        data.tokenizer = Some(own);
    }
    settings
}

/// The settings that are saved in the run whose `data/` is `folder`, if they can be read.
fn saved_in(folder: &Path) -> Option<Pretrain> {
    let saved = folder.parent()?.join(CONFIG);
    let mut layers = Layers::<Pretrain>::new();
    layers.saved(&saved);
    layers.resolve().ok().map(|resolved| resolved.settings)
}

/// Whether there is nothing of this name; where the system does not tell, there may be.
fn is_gone(path: &Path) -> bool {
    let is_missing = || fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    !is_stream(path) && is_missing()
}

/// Whether a folder is of prepared text, and that of these names: a start that was cut off may have left another's.
fn is_made_of(folder: &Path, paths: &[PathBuf]) -> bool {
    let Ok(Some(Manifest { source, .. })) = Manifest::read(folder, MANIFEST) else { return false };
    let named = paths.first().map(|path| path.to_string_lossy().into_owned());
    named.zip(source.first.first()).is_some_and(|(named, first)| Path::new(first).starts_with(named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Format, Preparation, Reading};
    use crate::tokenizer::{Tokenizer, TrainOptions};

    #[test]
    fn what_is_gone_is_replaced_by_what_was_made_of_it() {
        let scene = tempfile::tempdir().unwrap();
        let at = |name: &str| scene.path().join(name);
        fs::create_dir_all(at("books")).unwrap();
        fs::write(at("books/a.txt"), "the cat sat there\nthe dog sat here\n").unwrap();
        let options = TrainOptions { vocabulary_size: 40, ..TrainOptions::default() };
        let tokenizer = Tokenizer::train(["the cat sat there", "the dog sat here"], &options).unwrap();
        let data = at("run/data");
        for name in ["training", "held-out"] {
            let preparation = Preparation {
                sources: &[at("books")],
                reading: Reading::from(Format::Sentences),
                tokenizer: &tokenizer,
                trained: None,
                folder: &data.join(name),
                progress: &|_| {},
            };
            preparation.run().unwrap();
        }
        let named = |name: &str| format!("{:?}", at(name));
        let config = format!(
            "[data]\ntrain = [{}]\nheld_out = [{}]\ntokenizer = {}\n",
            named("books"),
            named("other.txt"),
            named("tokenizer.json")
        );
        fs::write(at("run/config.toml"), config).unwrap();
        let begun_with = saved_in(&data).unwrap();
        let mut given = begun_with.clone();
        given.data.held_out = vec![at("typo.txt")];
        fs::write(at("tokenizer.json"), "").unwrap();
        let told = std::cell::RefCell::new(Vec::new());
        let settled =
            || in_place_of_what_is_gone(&given, &data, &|words| told.borrow_mut().push(words.to_owned()));
        assert_eq!(settled(), given, "all that it can be is there");
        fs::rename(at("books"), at("moved")).unwrap();
        fs::remove_file(at("tokenizer.json")).unwrap();
        let now = settled();
        assert_eq!(now.data.train, [data.join("training")]);
        assert_eq!(now.data.held_out, given.data.held_out, "the run knows no such name");
        assert_eq!(now.data.tokenizer, Some(data.join("training/tokenizer")));
        let told = told.take();
        assert!(told.len() == 2 && told[0].contains("books is not there any more"), "{told:?}");
        // Other names are not those of what is gone.
        let mut misspelt = begun_with;
        misspelt.data.train.push(at("typo.txt"));
        misspelt.data.tokenizer = Some(at("typo.json"));
        let other = in_place_of_what_is_gone(&misspelt, &data, &|words| panic!("{words}"));
        assert_eq!(other, misspelt);
        // Of a run that has nothing, an error says what is missing.
        let other = in_place_of_what_is_gone(&given, &at("other"), &|words| panic!("{words}"));
        assert_eq!(other, given);
    }
}
