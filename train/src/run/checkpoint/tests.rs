mod crashes;

use std::fs;
use std::io::{Seek, Write};
use std::path::Path;

use super::*;
use crate::run::simulated_disk::{Fault as DiskFault, SimulatedDisk};

/// What a run at `step` holds; `variant` tells two runs apart, those that differ by a multiple of ten by their state alone.
fn values(step: u64, variant: u64) -> Vec<f32> {
    (0..600).map(|i| (i + 1000 * step + 7 * (variant % 10)) as f32 * 0.25).collect()
}

fn save(checkpoints: &mut Checkpoints, step: u64, variant: u64) -> Result<Saved, CheckpointError> {
    save_when(checkpoints, step, variant, checkpoints.best())
}

/// Saves when the best checkpoint is that of step `best`.
fn save_when(
    checkpoints: &mut Checkpoints,
    step: u64,
    variant: u64,
    best: Option<u64>,
) -> Result<Saved, CheckpointError> {
    let values = values(step, variant);
    let (weights, bias) = values.split_at(500);
    checkpoints.save(&Snapshot {
        step,
        best,
        state: &(step, variant),
        model: &[
            NamedTensor { name: "encoder.weight", shape: &[20, 25], values: weights },
            NamedTensor { name: "encoder.bias", shape: &[100], values: bias },
        ],
        optimizer: &[NamedTensor { name: "encoder.bias.m", shape: &[100], values: bias }],
    })
}

/// Asserts that the content is exactly what [`save`] wrote, and returns the step and variant.
fn check(checkpoint: &Checkpoint<(u64, u64)>) -> (u64, u64) {
    let (step, variant) = checkpoint.state;
    let expected = values(step, variant);
    let mut found = vec![0.0; 600];
    checkpoint.model.copy_into("encoder.weight", &[20, 25], &mut found[..500]).unwrap();
    checkpoint.model.copy_into("encoder.bias", &[100], &mut found[500..]).unwrap();
    assert_eq!(found, expected);
    checkpoint.optimizer.copy_into("encoder.bias.m", &[100], &mut found[..100]).unwrap();
    assert_eq!(found[..100], expected[500..]);
    assert_eq!(checkpoint.step, step);
    (step, variant)
}

fn newest(checkpoints: &mut Checkpoints) -> (Option<(u64, u64)>, usize) {
    let newest = checkpoints.load_newest().unwrap();
    (newest.checkpoint.as_ref().map(check), newest.quarantined.len())
}

/// A run folder with the given checkpoints.
fn run_with(steps: &[u64]) -> tempfile::TempDir {
    let run = tempfile::tempdir().unwrap();
    let mut checkpoints = reliable(run.path());
    steps.iter().for_each(|&step| drop(save(&mut checkpoints, step, 0).unwrap()));
    run
}

/// Without faults; simulated, because real syncing would make the enumerations slow.
fn reliable(run: &Path) -> Checkpoints {
    Checkpoints::open_with(SimulatedDisk::new(DiskFault::None, 0), run, 3).unwrap()
}

#[test]
fn what_was_saved_is_loaded() {
    let run = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(run.path(), 2).unwrap();
    assert_eq!(newest(&mut checkpoints), (None, 0));
    let saved = save(&mut checkpoints, 12, 3).unwrap();
    assert!(saved.bytes > 700 * 4 && saved.pruned.is_empty());
    assert_eq!(newest(&mut Checkpoints::open(run.path(), 2).unwrap()), (Some((12, 3)), 0));
    assert_eq!(fs::read_to_string(run.path().join("latest")).unwrap(), "step-00000012\n");
    let mut names: Vec<_> =
        fs::read_dir(checkpoints.path(12)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["MANIFEST.json", "model.safetensors", "optimizer.safetensors", "state.json"]);
}

#[test]
fn the_weights_are_a_safetensors_file_that_transformers_reads() {
    let run = run_with(&[1]);
    let bytes = fs::read(reliable(run.path()).path(1).join(MODEL)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    assert_eq!(metadata.offset_keys(), ["encoder.bias", "encoder.weight"]);
    let weight = file.tensor("encoder.weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape()), (safetensors::Dtype::F32, &[20, 25][..]));
    assert_eq!(weight.data()[4..8], values(1, 0)[1].to_le_bytes());
}

#[test]
fn pruning_keeps_the_newest_and_the_best() {
    let run = tempfile::tempdir().unwrap();
    let mut checkpoints = reliable(run.path());
    for step in [0, 10, 20, 30] {
        save_when(&mut checkpoints, step, 0, (step >= 10).then_some(10)).unwrap();
    }
    assert!(save(&mut checkpoints, 40, 0).unwrap().pruned.is_empty());
    assert_eq!(checkpoints.steps().unwrap(), [10, 20, 30, 40]); // 0 went when 30 came
    assert_eq!(save(&mut checkpoints, 50, 0).unwrap().pruned, [20]);
    assert_eq!(fs::read_to_string(run.path().join("best")).unwrap(), "step-00000010\n");
    checkpoints.settle(50, None);
    assert!(!run.path().join("best").exists());
}

#[test]
fn whichever_checkpoint_the_run_goes_back_to_its_best_is_there() {
    let run = tempfile::tempdir().unwrap();
    let mut checkpoints = reliable(run.path());
    for (step, best) in [(0, 0), (10, 0), (20, 0), (30, 30), (40, 30)] {
        save_when(&mut checkpoints, step, 0, Some(best)).unwrap();
    }
    // 20, 30 and 40 are the newest; 0 is the best of 20.
    assert_eq!(checkpoints.steps().unwrap(), [0, 20, 30, 40]);
    checkpoints.supersede_after(20).unwrap();
    checkpoints.settle(20, Some(0));
    assert_eq!(checkpoints.steps().unwrap(), [0, 20]);
    // Never more than one checkpoint beside the newest.
    for (step, best) in [(30, 30), (40, 40), (50, 40), (60, 60), (70, 60), (80, 60), (90, 60), (100, 60)] {
        save_when(&mut checkpoints, step, 0, Some(best)).unwrap();
        assert!(checkpoints.steps().unwrap().len() <= 4, "{:?}", checkpoints.steps());
    }
    assert_eq!(checkpoints.steps().unwrap(), [60, 80, 90, 100]);
}

#[test]
fn a_checkpoint_of_the_first_schema_is_read() {
    let run = run_with(&[10]);
    let path = run.path().join("checkpoints/step-00000010").join(manifest::MANIFEST);
    let now = fs::read_to_string(&path).unwrap();
    fs::write(&path, now.replace("\"schema\": 2", "\"schema\": 1")).unwrap();
    assert_eq!(newest(&mut reliable(run.path())), (Some((10, 0)), 0));
    fs::write(&path, now.replace("\"schema\": 2", "\"schema\": 3")).unwrap();
    let error = reliable(run.path()).load_newest::<(u64, u64)>().unwrap_err().to_string();
    assert!(error.contains("it has schema 3, this program reads schemas up to 2"), "{error}");
}

/// What stands where a checkpoint should be may lead elsewhere: of a link only the link is removed, and somebody's own
/// file is not taken for ours.
#[cfg(unix)]
#[test]
fn nothing_is_deleted_through_a_link() {
    use std::os::unix::fs::symlink;
    let mine = tempfile::tempdir().unwrap();
    let thesis = mine.path().join("thesis.tex");
    fs::write(&thesis, "thirty pages").unwrap();
    for name in ["checkpoints/.staging", "checkpoints/.discarded", "checkpoints/step-00000000"] {
        let run = run_with(&[10]);
        symlink(mine.path(), run.path().join(name)).unwrap();
        let mut checkpoints = reliable(run.path());
        for step in [20, 30, 40, 50] {
            save(&mut checkpoints, step, 0).unwrap();
        }
        assert_eq!(newest(&mut checkpoints), (Some((50, 0)), 0), "{name}");
        assert_eq!(fs::read_to_string(&thesis).unwrap(), "thirty pages", "{name}");
    }
    // A whole checkpoint elsewhere, linked to: it is pruned by removing the link.
    let other = run_with(&[0]);
    let run = run_with(&[10]);
    symlink(other.path().join("checkpoints/step-00000000"), run.path().join("checkpoints/step-00000000"))
        .unwrap();
    let mut checkpoints = reliable(run.path());
    for step in [20, 30, 40] {
        save(&mut checkpoints, step, 0).unwrap();
    }
    assert_eq!(checkpoints.steps().unwrap(), [20, 30, 40]);
    assert_eq!(newest(&mut reliable(other.path())), (Some((0, 0)), 0));
    // Pointers, and what is written beside them.
    let run = run_with(&[10]);
    for name in ["latest", "best", ".latest.albert-train.tmp", ".best.albert-train.tmp", "latest.tmp"] {
        let _ = fs::remove_file(run.path().join(name));
        symlink(&thesis, run.path().join(name)).unwrap();
    }
    save_when(&mut reliable(run.path()), 20, 0, Some(20)).unwrap();
    assert_eq!(fs::read_to_string(&thesis).unwrap(), "thirty pages");
    assert_eq!(fs::read_to_string(run.path().join("best")).unwrap(), "step-00000020\n");
    assert!(!fs::symlink_metadata(run.path().join("best")).unwrap().is_symlink());
    assert!(!files::exists(&run.path().join(".best.albert-train.tmp")).unwrap());
    // Files of somebody else where ours are staged.
    let run = run_with(&[10]);
    fs::create_dir(run.path().join("checkpoints/.staging")).unwrap();
    fs::write(run.path().join("checkpoints/.staging/notes.txt"), "mine").unwrap();
    let disk = SimulatedDisk::new(DiskFault::None, 0);
    let error = Checkpoints::open_with(disk, run.path(), 3).err().unwrap().to_string();
    assert!(error.contains("notes.txt is not a file of this program"), "{error}");
    assert!(run.path().join("checkpoints/.staging/notes.txt").exists());
}

/// A pipe would be waited for.
#[cfg(unix)]
#[test]
fn other_things_than_files_are_not_waited_for() {
    for file in [MODEL, STATE, manifest::MANIFEST] {
        let run = run_with(&[10, 20]);
        let path = run.path().join("checkpoints/step-00000020").join(file);
        fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert_eq!(newest(&mut reliable(run.path())), (Some((10, 0)), 1), "{file}");
    }
    let run = run_with(&[10]);
    fs::write(run.path().join("checkpoints/step-00000020"), "a file").unwrap();
    assert_eq!(newest(&mut reliable(run.path())), (Some((10, 0)), 0));
}

#[test]
fn pruning_spares_damaged_checkpoints_and_files_of_others() {
    let run = run_with(&[0, 10, 20]);
    fs::write(run.path().join("checkpoints/step-00000000/notes.txt"), "mine").unwrap();
    fs::write(run.path().join("checkpoints/step-00000010/state.json"), "damaged").unwrap();
    let mut checkpoints =
        Checkpoints::open_with(SimulatedDisk::new(DiskFault::None, 0), run.path(), 2).unwrap();
    for step in [30, 40, 50] {
        save(&mut checkpoints, step, 0).unwrap();
    }
    assert_eq!(checkpoints.steps().unwrap(), [0, 10, 40, 50]);
}

#[test]
fn a_damaged_newest_checkpoint_is_put_aside_with_the_reason() {
    let run = run_with(&[10, 20]);
    fs::write(run.path().join("checkpoints/step-00000020/state.json"), "{}").unwrap();
    let mut checkpoints = reliable(run.path());
    let found = checkpoints.load_newest::<(u64, u64)>().unwrap();
    assert_eq!(check(&found.checkpoint.unwrap()), (10, 0));
    let [aside] = &found.quarantined[..] else { panic!("one was damaged") };
    assert_eq!(aside.path, run.path().join("quarantine/step-00000020"));
    let reason = fs::read_to_string(run.path().join("quarantine/step-00000020.reason.txt")).unwrap();
    assert_eq!(reason.trim(), aside.reason);
    assert!(reason.starts_with("state.json has 2 bytes, "), "{reason}");
    assert!(aside.path.join(MODEL).exists());
}

#[test]
fn when_none_is_usable_the_run_does_not_start_over_silently() {
    let run = run_with(&[10]);
    fs::remove_file(run.path().join("checkpoints/step-00000010/MANIFEST.json")).unwrap();
    for _ in 0..2 {
        let error = reliable(run.path()).load_newest::<(u64, u64)>().unwrap_err();
        assert!(matches!(error, CheckpointError::NoneUsable { .. }), "{error}");
    }
}

#[test]
fn a_step_asked_for_is_loaded_or_refused() {
    let run = run_with(&[10, 20]);
    let mut checkpoints = reliable(run.path());
    assert_eq!(check(&checkpoints.load(10).unwrap()), (10, 0));
    let error = checkpoints.load::<(u64, u64)>(15).unwrap_err();
    assert!(error.to_string().ends_with("(there are: 10, 20)"), "{error}");
    fs::write(checkpoints.path(20).join(MODEL), "short").unwrap();
    assert!(matches!(checkpoints.load::<(u64, u64)>(20), Err(CheckpointError::Damaged { .. })));
    assert_eq!(checkpoints.steps().unwrap(), [10, 20], "nothing was moved");
}

#[test]
fn a_state_of_another_version_is_an_error_and_stays() {
    let run = run_with(&[10]);
    let error = reliable(run.path()).load_newest::<Vec<String>>().unwrap_err();
    assert!(matches!(error, CheckpointError::State { .. }), "{error}");
    assert_eq!(reliable(run.path()).steps().unwrap(), [10]);
}

#[test]
fn going_back_puts_later_checkpoints_aside() {
    let run = run_with(&[10, 20, 30]);
    let mut checkpoints = reliable(run.path());
    assert_eq!(checkpoints.supersede_after(10).unwrap(), [20, 30]);
    checkpoints.settle(10, None);
    assert_eq!(newest(&mut checkpoints), (Some((10, 0)), 0));
    assert_eq!(fs::read_to_string(run.path().join("latest")).unwrap(), "step-00000010\n");
    assert!(run.path().join("quarantine/step-00000030/model.safetensors").exists());
}

#[test]
fn the_same_step_can_be_saved_twice() {
    let run = run_with(&[10, 20]);
    let mut checkpoints = reliable(run.path());
    save(&mut checkpoints, 20, 0).unwrap();
    assert!(!run.path().join("quarantine").exists(), "the same content needs no second copy");
    save(&mut checkpoints, 20, 10).unwrap();
    assert_eq!(newest(&mut checkpoints), (Some((20, 10)), 0));
    assert!(!run.path().join("quarantine").exists(), "nor do the same weights with a newer state");
    save(&mut checkpoints, 20, 1).unwrap();
    save(&mut checkpoints, 20, 2).unwrap();
    assert_eq!(newest(&mut checkpoints), (Some((20, 2)), 0));
    assert!(run.path().join("quarantine/step-00000020/MANIFEST.json").exists());
    assert!(run.path().join("quarantine/step-00000020.2/MANIFEST.json").exists());
}

#[test]
fn numbers_that_are_not_finite_are_never_saved() {
    let run = run_with(&[10]);
    let mut checkpoints = reliable(run.path());
    for value in [f32::NAN, f32::INFINITY] {
        let model = [NamedTensor { name: "w", shape: &[2], values: &[1.0, value] }];
        let error =
            checkpoints.save(&Snapshot { step: 20, best: None, state: &(), model: &model, optimizer: &[] });
        let error = error.unwrap_err();
        assert!(matches!(error, CheckpointError::NotFinite { last_good: Some(10), .. }), "{error}");
        assert!(error.to_string().contains("tensor `w` holds"), "{error}");
        assert_eq!(newest(&mut checkpoints), (Some((10, 0)), 0));
    }
}

#[test]
fn a_full_disk_costs_old_checkpoints_but_never_the_last_two() {
    let size = fs_size(&run_with(&[10]).path().join("checkpoints/step-00000010"));
    for room in (0..=size).step_by(size as usize / 40) {
        // A third checkpoint can be given up to make room.
        let run = run_with(&[10, 20, 30]);
        let mut checkpoints = Checkpoints::open_with(SimulatedDisk::with_room(room), run.path(), 3).unwrap();
        assert_eq!(save(&mut checkpoints, 40, 0).unwrap().pruned, [10], "room for {room} of {size} bytes");
        assert_eq!(newest(&mut reliable(run.path())), (Some((40, 0)), 0));

        // The last two cannot: the save fails, and says what is safe.
        let run = run_with(&[10, 20]);
        let disk = SimulatedDisk::with_room(room);
        let mut checkpoints = Checkpoints::open_with(disk.clone(), run.path(), 3).unwrap();
        if room < size {
            let error = save(&mut checkpoints, 30, 0).unwrap_err();
            let CheckpointError::NotSaved { step: 30, last_good: Some(20), source, .. } = error else {
                panic!("{error}")
            };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull);
            assert_eq!(newest(&mut reliable(run.path())), (Some((20, 0)), 0));
            disk.add_room(2 * size); // somebody made room: the same process saves again
        }
        save(&mut checkpoints, 30, 0).unwrap();
        assert_eq!(newest(&mut reliable(run.path())), (Some((30, 0)), 0));
    }
}

/// The real thing: a process that may write files of 1 KiB at most.
#[cfg(unix)]
#[test]
fn a_file_size_limit_of_the_system_is_reported_and_loses_nothing() {
    const ROLE: &str = "CHECKPOINT_TEST_RUN";
    if let Some(run) = std::env::var_os(ROLE) {
        let mut checkpoints = Checkpoints::open(Path::new(&run), 2).unwrap();
        let Err(CheckpointError::NotSaved { source, .. }) = save(&mut checkpoints, 20, 0) else {
            panic!("2400 bytes of weights do not fit")
        };
        assert_eq!(source.kind(), io::ErrorKind::FileTooLarge);
        return;
    }
    let run = run_with(&[10]);
    let name = std::thread::current().name().unwrap().to_owned();
    let output = std::process::Command::new("sh")
        // Two blocks, whether the shell counts them as 512 or 1024 bytes. Without the trap the kernel kills the writer.
        .args(["-c", r#"trap '' XFSZ; ulimit -f 2; exec "$0" --exact "$1" --nocapture"#])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(ROLE, run.path())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
    assert_eq!(newest(&mut reliable(run.path())), (Some((10, 0)), 0));
}

#[test]
fn every_truncation_and_a_flip_of_every_byte_is_detected() {
    let run = run_with(&[10]);
    let mut checkpoints = reliable(run.path());
    for file in [MODEL, OPTIMIZER, STATE, manifest::MANIFEST] {
        let path = checkpoints.path(10).join(file);
        let bytes = fs::read(&path).unwrap();
        let mut damaged = fs::File::options().read(true).write(true).open(&path).unwrap();
        let mut is_refused = |what: &str| {
            let result = checkpoints.load::<(u64, u64)>(10);
            assert!(matches!(result, Err(CheckpointError::Damaged { .. })), "{file} with {what}");
        };
        let mut put = |at: usize, byte: u8| {
            damaged.seek(io::SeekFrom::Start(at as u64)).unwrap();
            damaged.write_all(&[byte]).unwrap();
        };
        for (at, byte) in bytes.iter().enumerate() {
            put(at, byte ^ (1 << (at % 8)));
            is_refused(&format!("bit {} of byte {at} flipped", at % 8));
            put(at, *byte);
        }
        put(bytes.len(), b' ');
        is_refused("one byte more");
        for length in (0..bytes.len()).rev() {
            damaged.set_len(length as u64).unwrap();
            is_refused(&format!("{length} of {} bytes", bytes.len()));
        }
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(check(&checkpoints.load(10).unwrap()), (10, 0));
}

fn fs_size(folder: &Path) -> u64 {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}
