//! What runs are called where they are shown.

use std::path::Path;

use super::record::RunRecord;

/// The last part of a path; the last two of a seed's run, which are all called alike.
pub(super) fn name_of(folder: &Path) -> String {
    let parts = parts(folder);
    let is_of_seed = parts.len() > 1 && parts.last().is_some_and(|last| last.starts_with("seed-"));
    end(&parts, if is_of_seed { 2 } else { 1 })
}

/// Gives runs that are called alike longer names: so much of the ends of their paths as tells them apart.
pub fn tell_apart(runs: &mut [RunRecord]) {
    let paths: Vec<Vec<String>> = runs.iter().map(|run| parts(&run.folder)).collect();
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (index, run) in runs.iter_mut().enumerate() {
        let alike = |other: usize| other != index && names[other] == names[index];
        let alike: Vec<&Vec<String>> =
            (0..names.len()).filter(|&other| alike(other)).map(|other| &paths[other]).collect();
        let is_its_own = |count: &usize| {
            let name = end(&paths[index], *count);
            alike.iter().all(|other| end(other, *count) != name)
        };
        if !alike.is_empty() {
            let count = (1..paths[index].len()).find(is_its_own).unwrap_or(paths[index].len());
            run.name = end(&paths[index], count);
        }
    }
}

/// The parts of a path, from the root.
fn parts(folder: &Path) -> Vec<String> {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
    whole.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
}

/// The last `count` of them.
fn end(parts: &[String], count: usize) -> String {
    parts[parts.len().saturating_sub(count)..].join("/")
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::run;
    use super::*;

    #[test]
    fn runs_of_one_name_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let named = |runs: &[&str]| {
            let read = |name: &&str| {
                let path = folder.path().join(name);
                if !path.exists() {
                    run(&path, 8.0);
                }
                RunRecord::read(&path).unwrap()
            };
            let mut records: Vec<_> = runs.iter().map(read).collect();
            tell_apart(&mut records);
            records.into_iter().map(|record| record.name).collect::<Vec<_>>()
        };
        assert_eq!(named(&["a/mnli", "b/mnli", "b/rte"]), ["a/mnli", "b/mnli", "rte"]);
        assert_eq!(named(&["a/rte/seed-1", "b/rte/seed-1"]), ["a/rte/seed-1", "b/rte/seed-1"]);
        assert_eq!(named(&["a/x/mnli", "b/x/mnli"]), ["a/x/mnli", "b/x/mnli"]);
        assert_eq!(named(&["a/x/mnli"]), ["mnli"]);
    }
}
