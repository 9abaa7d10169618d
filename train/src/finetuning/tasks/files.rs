//! Where the files of a task are.

use std::path::{Path, PathBuf};

use super::table::Part;
use crate::files::names;
use crate::finetuning::task::Split;
use crate::tables::InputError;
use crate::visible::shown;

/// Ends of the names of tables.
const ENDS: [&str; 8] = ["tsv", "csv", "jsonl", "ndjson", "json", "parquet", "txt", "tsv.gz"];

/// Which of `parts` a file is by its name: the one whose group stands in it. In `dev_mismatched.tsv` both do, and the longer is
/// meant.
pub(super) fn named<'a>(file: &Path, parts: &[&'a Part]) -> Option<&'a Part> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase().replace(['-', '_'], "");
    parts.iter().copied().filter(|part| name.contains(part.group)).max_by_key(|part| part.group.len())
}

/// The file, or the files of the Hub, with an official part: in the folder `source` itself or in one of `folders` there.
pub(super) fn official(source: &Path, folders: &[&str], part: &Part) -> Result<Vec<PathBuf>, InputError> {
    let mut places: Vec<PathBuf> = folders.iter().map(|folder| source.join(folder)).collect();
    places.push(source.to_path_buf());
    for place in places.iter().filter(|place| place.is_dir()) {
        let path = place.join(part.file);
        if path.is_file() {
            return Ok(vec![path]);
        }
        let mut found: Vec<PathBuf> = (names(place).map_err(InputError::io("list", place))?.iter())
            .filter_map(|name| name.to_str())
            .filter(|name| {
                let rest = name.strip_suffix(".parquet").and_then(|name| name.strip_prefix(part.hub));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
            .map(|name| place.join(name))
            .collect();
        let mut divisions = found.iter().filter_map(|path| files_of_set(path));
        if let Some(count) = divisions.find(|&count| count != found.len()) {
            let (set, there) = (part.split.name(), found.len());
            let problem = match count > there {
                true => format!("{there} of the {count} files of the {set} set are there"),
                false => format!(
                    "{there} files of the {set} set are there, of which one says that it is of {count}"
                ),
            };
            return Err(InputError::missing(
                place,
                problem,
                "fetch all of them, and keep those of one division only",
            ));
        }
        if !found.is_empty() {
            found.sort();
            return Ok(found);
        }
    }
    let (folder, file, hub) = (folders.first().copied().unwrap_or_default(), part.file, part.hub);
    Err(InputError::missing(
        source,
        format!(
            "the {} set is not there (neither {folder}/{file} nor {file} nor {hub}-*.parquet)",
            part.split.name()
        ),
        format!("name the folder that holds {folder}, or the one that holds {file}"),
    ))
}

/// Into how many files a set was divided, as the Hub's names of them say: `train-00000-of-00002.parquet`.
fn files_of_set(path: &Path) -> Option<usize> {
    path.file_stem()?.to_str()?.rsplit_once("-of-")?.1.parse().ok()
}

/// A row of a prediction file, which has two columns whatever stands in them.
pub(super) fn row(id: &str, prediction: &str) -> String {
    let cell = |text: &str| text.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
    format!("{}\t{}\n", cell(id), cell(prediction))
}

/// The file of a split of one's own data: `source` itself, or `train`, `dev` (`validation`, `valid`) or `test` in it.
pub(super) fn own(source: &Path, split: Split) -> Result<PathBuf, InputError> {
    if !source.is_dir() {
        return Ok(source.to_path_buf());
    }
    let stems: &[&str] = match split {
        Split::Train => &["train", "training"],
        Split::Dev => &["dev", "validation", "valid", "val"],
        Split::Test => &["test"],
    };
    let candidates = || stems.iter().flat_map(|stem| ENDS.iter().map(move |end| format!("{stem}.{end}")));
    let found: Vec<PathBuf> =
        candidates().map(|name| source.join(name)).filter(|path| path.is_file()).collect();
    match &found[..] {
        [path] => Ok(path.clone()),
        [] => Err(InputError::missing(
            source,
            format!("the {} set is not there (no file such as {}.tsv)", split.name(), stems[0]),
            format!("name the file itself, or call it {}.tsv, .csv, .jsonl or .parquet", stems[0]),
        )),
        [first, second, ..] => Err(InputError::missing(
            source,
            format!("both {} and {} could be the {} set", shown(first), shown(second), split.name()),
            "name the file itself",
        )),
    }
}
