//! What GLUE's site wants: one zip with a file of predictions for each task, all of them.

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::tasks::GLUE;
use crate::files::{Disk, names, open_plain, replace};
use crate::tables::{Format, InputError, Options, excerpt, read};
use crate::visible::shown;

/// A file of the submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in the zip.
    pub name: String,
    /// Where it was found; nowhere if it is missing.
    pub path: Option<PathBuf>,
    /// Its predictions.
    pub rows: usize,
}

/// Packs the predictions for GLUE's test sets that lie in `folders`, or in the folders there, into the zip `out`. Each is checked
/// first: the site refuses a submission whose names, columns, rows or labels are not as it wants them.
///
/// # Errors
/// If a file is not as the site wants it, there are two of one name or, unless `incomplete` allows it, one is missing.
pub fn glue(folders: &[PathBuf], incomplete: bool, out: &Path) -> Result<Vec<Part>, InputError> {
    let mut parts = Vec::new();
    for (name, rows, labels) in GLUE.iter().flat_map(super::tasks::Glue::submissions) {
        let name = format!("{name}.tsv");
        let path = find(folders, &name)?;
        if let Some(path) = &path {
            check(path, rows, labels)?;
        }
        parts.push(Part { name, rows: path.as_ref().map_or(0, |_| rows), path });
    }
    let missing: Vec<&str> =
        parts.iter().filter(|part| part.path.is_none()).map(|part| part.name.as_str()).collect();
    if missing.len() == parts.len() || (!incomplete && !missing.is_empty()) {
        let first = folders.first().map_or(Path::new("."), PathBuf::as_path);
        return Err(InputError::missing(
            first,
            format!(
                "{} of {} files of predictions are missing: {}",
                missing.len(),
                parts.len(),
                missing.join(", ")
            ),
            "make each with `albert-train predict glue TASK --out FOLDER` and name all folders here; the site takes \
             complete submissions only",
        ));
    }
    // All predictions together are a few megabytes.
    replace(&Disk, out, &pack(&parts)?).map_err(InputError::io("write", out))?;
    Ok(parts)
}

/// The file of a name in one of the folders, or one step below.
fn find(folders: &[PathBuf], name: &str) -> Result<Option<PathBuf>, InputError> {
    let mut found = Vec::new();
    for folder in folders {
        let mut inside = names(folder).map_err(InputError::io("list", folder))?;
        inside.sort();
        let below = inside.iter().map(|inner| folder.join(inner)).filter(|inner| inner.is_dir());
        found.extend(
            [folder.clone()].into_iter().chain(below).map(|place| place.join(name)).filter(|p| p.is_file()),
        );
    }
    found.dedup();
    match &found[..] {
        [] => Ok(None),
        [path] => Ok(Some(path.clone())),
        [first, second, ..] => Err(InputError::missing(
            second,
            format!("{name} is also in {}", shown(first)),
            "name the folders of one submission only",
        )),
    }
}

/// Checks the columns, the rows in their order, and the labels; where there are no labels, values are wanted.
fn check(path: &Path, rows: usize, labels: &[&str]) -> Result<(), InputError> {
    let mut count = 0;
    read(path, Format::Tsv, &Options::default(), &mut |row| {
        if row.columns() != ["index", "prediction"] {
            return Err(row.error(
                format!("the columns are {}", row.columns().join(", ")),
                "the site wants the two columns index and prediction",
            ));
        }
        let (index, prediction) = (row.text("index")?, row.text("prediction")?);
        if index != count.to_string() {
            return Err(row.error(
                format!("index {} where {count} is expected", excerpt(index)),
                "predict the whole test set again: the site wants every row, in order, from 0",
            ));
        }
        let is_value = labels.is_empty() && prediction.parse::<f64>().is_ok_and(f64::is_finite);
        if !is_value && !labels.contains(&prediction) {
            let wanted = if labels.is_empty() { "numbers".to_owned() } else { labels.join(", ") };
            return Err(
                row.error(format!("prediction {}", excerpt(prediction)), format!("the site wants {wanted}"))
            );
        }
        count += 1;
        Ok(())
    })?;
    match count == rows {
        true => Ok(()),
        false => Err(InputError::content(
            path,
            None,
            format!("{count} predictions, the official test set has {rows}"),
            "predict the official test set, whole",
        )),
    }
}

/// The zip.
fn pack(parts: &[Part]) -> Result<Vec<u8>, InputError> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // No compression and no time: the same predictions make the same bytes.
    let options = SimpleFileOptions::DEFAULT.compression_method(CompressionMethod::Stored);
    for (part, path) in parts.iter().filter_map(|part| Some((part, part.path.as_ref()?))) {
        let mut copy = || -> io::Result<()> {
            zip.start_file(&part.name, options)?;
            io::copy(&mut open_plain(path)?, &mut zip).map(drop)
        };
        copy().map_err(InputError::io("read", path))?;
    }
    Ok(zip.finish().expect("memory takes it").into_inner())
}
