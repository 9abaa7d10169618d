//! A run that is killed, loses power, or is refused by the disk, at each single operation.

use super::*;
use crate::run::simulated_disk::{EIO, ENOSPC};

/// One thing a run does to its checkpoints, and which of them may be loaded after it was cut off.
struct Scenario {
    name: &'static str,
    before: fn() -> tempfile::TempDir,
    act: fn(&mut Checkpoints) -> Result<(), CheckpointError>,
    /// Loaded if the act had no effect yet.
    old: Option<(u64, u64)>,
    /// Loaded if it had, and always once it has returned `Ok`.
    new: (u64, u64),
    /// Damaged checkpoints that may have been found.
    damaged: usize,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "first save",
        before: || tempfile::tempdir().unwrap(),
        act: |checkpoints| save(checkpoints, 0, 0).map(drop),
        old: None,
        new: (0, 0),
        damaged: 0,
    },
    Scenario {
        name: "save and prune",
        before: || run_with(&[0, 10, 20]),
        act: |checkpoints| save(checkpoints, 30, 0).map(drop),
        old: Some((20, 0)),
        new: (30, 0),
        damaged: 0,
    },
    Scenario {
        name: "save the only step again with other content",
        before: || run_with(&[5]),
        act: |checkpoints| save(checkpoints, 5, 1).map(drop),
        old: Some((5, 0)),
        new: (5, 1),
        damaged: 0,
    },
    Scenario {
        name: "save the only step again with another state",
        before: || run_with(&[5]),
        act: |checkpoints| save(checkpoints, 5, 10).map(drop),
        old: Some((5, 0)),
        new: (5, 10),
        damaged: 0,
    },
    Scenario {
        name: "load with the newest damaged",
        before: || {
            let run = run_with(&[10, 20]);
            fs::write(run.path().join("checkpoints/step-00000020/state.json"), "{}").unwrap();
            run
        },
        act: |checkpoints| checkpoints.load_newest::<(u64, u64)>().map(drop),
        old: Some((10, 0)),
        new: (10, 0),
        damaged: 1,
    },
    Scenario {
        name: "go back",
        before: || run_with(&[10, 20]),
        act: |checkpoints| checkpoints.supersede_after(10).map(|_| drop(checkpoints.settle(10, None))),
        old: Some((20, 0)),
        new: (10, 0),
        damaged: 0,
    },
];

/// Runs the scenario on a disk with the given fault; returns how many operations it took and whether it succeeded.
fn run_scenario(scenario: &Scenario, fault: DiskFault, at: u64) -> (u64, bool) {
    let context = format!("{}, {fault:?} at operation {at}", scenario.name);
    let run = (scenario.before)();
    let disk = SimulatedDisk::new(fault, at);
    let result = Checkpoints::open_with(disk.clone(), run.path(), 3)
        .and_then(|mut opened| (scenario.act)(&mut opened));
    disk.crash();

    let mut again = reliable(run.path());
    let (found, damaged) = newest(&mut again);
    match result {
        Ok(()) => assert_eq!(found, Some(scenario.new), "{context}"),
        Err(_) => assert!(found == scenario.old || found == Some(scenario.new), "{context}: {found:?}"),
    }
    assert!(damaged <= scenario.damaged, "{context}: {damaged} damaged");
    // Whatever was left behind, the next run can save and prune.
    save(&mut again, 40, 0).unwrap();
    save(&mut again, 50, 0).unwrap();
    assert_eq!(newest(&mut again), (Some((50, 0)), 0), "{context}");
    let left: Vec<_> = fs::read_dir(again.directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("step-"))
        .collect();
    assert!(left.is_empty(), "{context}: {left:?} left behind");
    (disk.operations(), result.is_ok())
}

#[test]
fn every_crash_point_leaves_the_old_or_the_new_checkpoint() {
    for scenario in &SCENARIOS {
        let (operations, _) = run_scenario(scenario, DiskFault::None, 0);
        assert!(operations >= 5, "{}: {operations} operations", scenario.name);
        for fault in [DiskFault::Kill, DiskFault::PowerCutLosingContent, DiskFault::PowerCutLosingNames] {
            for at in 0..operations {
                run_scenario(scenario, fault, at);
            }
        }
    }
}

#[test]
fn every_failing_operation_leaves_the_old_or_the_new_checkpoint() {
    for scenario in &SCENARIOS {
        let (operations, _) = run_scenario(scenario, DiskFault::None, 0);
        for error in [ENOSPC, EIO] {
            for at in 0..operations {
                run_scenario(scenario, DiskFault::Once(error), at);
                run_scenario(scenario, DiskFault::From(error), at);
            }
        }
    }
}

/// What a run is at each of its steps, and whether that is the best so far.
const RUN: [(u64, bool); 6] = [(0, true), (10, false), (20, true), (30, false), (40, false), (50, false)];

/// A session of a run as the trainer makes it: takes up the newest checkpoint and its best, and goes on to the end.
fn session(files: Arc<dyn Files>, run: &Path) -> Result<(), CheckpointError> {
    let mut checkpoints = Checkpoints::open_with(files, run, 2)?;
    let newest = checkpoints.load_newest::<(u64, Option<u64>)>()?.checkpoint;
    let (done, mut best) = newest.map_or((None, None), |found| (Some(found.step), found.state.1));
    if let Some(done) = done {
        checkpoints.settle(done, best);
    }
    for (step, is_best) in RUN.into_iter().filter(|&(step, _)| done.is_none_or(|done| step > done)) {
        best = if is_best { Some(step) } else { best };
        let model = [NamedTensor { name: "w", shape: &[1], values: &[step as f32] }];
        checkpoints.save(&Snapshot { step, best, state: &(step, best), model: &model, optimizer: &[] })?;
    }
    Ok(())
}

/// Every file of a run and its content.
fn content(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for name in files::names(&folder).unwrap() {
            let path = folder.join(name);
            match path.is_dir() {
                true => folders.push(path),
                false => found.push((path.strip_prefix(run).unwrap().to_owned(), fs::read(&path).unwrap())),
            }
        }
    }
    found.sort();
    found
}

/// Killed, without power, or refused by the disk at any operation of the whole run, and then continued, the run ends with
/// the last and the best checkpoint, pointers and nothing else: as if it had been left alone.
#[test]
fn after_every_crash_point_last_and_best_are_those_of_an_uninterrupted_run() {
    let whole = tempfile::tempdir().unwrap();
    let disk = SimulatedDisk::new(DiskFault::None, 0);
    session(disk.clone(), whole.path()).unwrap();
    let expected = content(whole.path());
    assert_eq!(reliable(whole.path()).steps().unwrap(), [20, 40, 50]);
    assert_eq!(fs::read(whole.path().join("best")).unwrap(), b"step-00000020\n");
    for at in 0..disk.operations() {
        for fault in
            [DiskFault::Kill, DiskFault::PowerCutLosingNames, DiskFault::Once(ENOSPC), DiskFault::From(EIO)]
        {
            let run = tempfile::tempdir().unwrap();
            let disk = SimulatedDisk::new(fault, at);
            let _ = session(disk.clone(), run.path());
            disk.crash();
            session(SimulatedDisk::new(DiskFault::None, 0), run.path()).unwrap();
            let found = content(run.path());
            let names: Vec<_> = found.iter().map(|(path, _)| path).collect();
            assert!(found == expected, "{fault:?} at operation {at}: {names:?}");
        }
    }
}

/// An evaluation was cut off, and its result is added to the checkpoint later: nothing is put aside for that, and at no
/// point is there none.
#[test]
fn more_is_known_of_the_same_weights_at_any_crash_point() {
    let save = |checkpoints: &mut Checkpoints, state: (u64, Option<u64>)| {
        let model = [NamedTensor { name: "w", shape: &[2], values: &[0.5, 1.5] }];
        checkpoints.save(&Snapshot {
            step: 5,
            best: state.1,
            state: &state,
            model: &model,
            optimizer: &model,
        })
    };
    let states = [(5, None), (5, Some(5))];
    let attempt = |fault, at| {
        let run = tempfile::tempdir().unwrap();
        save(&mut reliable(run.path()), states[0]).unwrap();
        let disk = SimulatedDisk::new(fault, at);
        let result = Checkpoints::open_with(disk.clone(), run.path(), 2)
            .and_then(|mut checkpoints| save(&mut checkpoints, states[1]));
        disk.crash();
        let found = reliable(run.path()).load_newest::<(u64, Option<u64>)>().unwrap().checkpoint.unwrap();
        let context = format!("{fault:?} at operation {at}: {:?}", found.state);
        assert!(found.state == states[1] || result.is_err() && found.state == states[0], "{context}");
        assert!(!run.path().join("quarantine").exists(), "{context}");
        assert_eq!(files::names(&run.path().join("checkpoints")).unwrap().len(), 1, "{context}");
        disk.operations()
    };
    for at in 0..attempt(DiskFault::None, 0) {
        for fault in [
            DiskFault::Kill,
            DiskFault::PowerCutLosingContent,
            DiskFault::PowerCutLosingNames,
            DiskFault::Once(EIO),
            DiskFault::From(ENOSPC),
        ] {
            attempt(fault, at);
        }
    }
}
