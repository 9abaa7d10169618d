use super::*;
use crate::exit::{Classify, ExitCode};

fn command() -> Vec<String> {
    vec!["albert-train".into(), "pretrain".into()]
}

#[test]
fn a_run_is_opened_again_and_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs/first");
    let mut run = RunDirectory::open(&path, &command()).unwrap();
    let machine = Machine::new("scalar".into(), 3);
    run.note_machine(machine.clone()).unwrap();
    run.finish(Status::Interrupted, "SIGTERM").unwrap();
    let created = run.info().created.clone();
    drop(run);
    let run = RunDirectory::open(&path, &command()).unwrap();
    assert_eq!(read_info(&path).unwrap().as_ref(), Some(run.info()));
    assert_eq!((&run.info().created, run.info().status), (&created, Status::Running));
    let [first, second] = run.info().sessions.as_slice() else { panic!("{:?}", run.info()) };
    assert_eq!((first.exit_reason.as_deref(), first.machine.as_ref()), (Some("SIGTERM"), Some(&machine)));
    assert_eq!((&second.exit_reason, &second.ended), (&None, &None));
}

/// It is only from the moment a session computes that a finished run is at work again.
#[test]
fn a_finished_run_stays_so_until_it_computes() {
    let folder = tempfile::tempdir().unwrap();
    let session = |computes: bool, status| {
        let mut run = RunDirectory::open(folder.path(), &command()).unwrap();
        if computes {
            run.note_machine(Machine::new("scalar".into(), 3)).unwrap();
        }
        let under_way = read_info(folder.path()).unwrap().unwrap().status;
        run.finish(status, "so it was").unwrap();
        let info = read_info(folder.path()).unwrap().unwrap();
        assert_eq!(info.last().and_then(|last| last.exit_reason.as_deref()), Some("so it was"));
        (under_way, info.status)
    };
    assert_eq!(session(false, Status::Failed), (Status::Running, Status::Failed));
    assert_eq!(session(true, Status::Finished), (Status::Running, Status::Finished));
    for refused in [Status::Failed, Status::Interrupted] {
        assert_eq!(session(false, refused), (Status::Finished, Status::Finished));
    }
    assert_eq!(session(true, Status::Failed), (Status::Running, Status::Failed));
}

#[test]
fn a_run_is_no_file_nor_below_one() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("notes.txt");
    std::fs::write(&mine, "mine").unwrap();
    let linked = folder.path().join("gone");
    #[cfg(unix)]
    std::os::unix::fs::symlink("no/such", &linked).unwrap();
    for path in [mine.clone(), mine.join("run"), mine.join("runs/first"), linked] {
        if !files::exists(&path).unwrap_or(true) {
            continue; // where there are no links
        }
        let error = RunDirectory::open(&path, &command()).unwrap_err();
        assert!(matches!(error, DirectoryError::NoFolder { .. }), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Usage);
        assert_eq!(look_at(&path).unwrap_err().to_string(), error.to_string());
        assert!(error.to_string().contains("name another place with --out"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
    assert_eq!(files::no_folder(folder.path()), None);
    assert_eq!(files::no_folder(&folder.path().join("new/run")), None);
    assert_eq!(files::no_folder("new/run".as_ref()), None);
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDirectory::open(folder.path(), &command()).unwrap();
    let error = RunDirectory::open(folder.path(), &command()).unwrap_err();
    assert!(matches!(error, DirectoryError::Lock(LockError::Held { .. })), "{error}");
    assert_eq!(
        read_info(folder.path()).unwrap().unwrap().sessions.len(),
        1,
        "the refused one changed nothing"
    );
    drop(run);
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thesis");
    fs::create_dir(&path).unwrap();
    for content in ["{}", "{\"program\":\"another\"}", "not json"] {
        fs::write(path.join("run.json"), content).unwrap();
        let error = RunDirectory::open(&path, &command()).unwrap_err();
        assert!(matches!(error, DirectoryError::Foreign { .. }), "{error}");
        assert!(error.to_string().ends_with("thesis-run"), "{error}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "no lock file, nothing");
    }
}

#[test]
fn a_start_that_was_cut_off_does_not_make_a_folder_foreign() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".lock"), "").unwrap();
    fs::write(files::beside(&folder.path().join("run.json")), "{").unwrap();
    assert_eq!(RunDirectory::open(folder.path(), &command()).unwrap().info().sessions.len(), 1);
}

#[test]
fn nothing_of_a_folder_is_taken_for_a_lock_file_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [(".lock", "a lock of mine"), ("run.json.tmp", "{")] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let error = RunDirectory::open(folder.path(), &command()).unwrap_err();
        assert!(matches!(error, DirectoryError::Foreign { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert_eq!(files::names(folder.path()).unwrap().len(), 1);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_run_whose_info_rotted_is_still_ours() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDirectory::open(folder.path(), &command()).unwrap();
    run.checkpoints(2)
        .unwrap()
        .save(&checkpoint::Snapshot { step: 0, best: None, state: &(), model: &[], optimizer: &[] })
        .unwrap();
    drop(run);
    fs::write(folder.path().join("run.json"), "{").unwrap();
    let error = RunDirectory::open(folder.path(), &command()).unwrap_err();
    assert!(matches!(error, DirectoryError::Damaged { .. }), "{error}");
    fs::remove_file(folder.path().join("run.json")).unwrap(); // as the message advises
    RunDirectory::open(folder.path(), &command()).unwrap();
}

#[test]
fn publishing_a_model_replaces_ours_and_keeps_what_was_added() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDirectory::open(folder.path(), &command()).unwrap();
    let publish = |content: &'static str| {
        publish_model(run.path(), |dir| -> Result<(), DirectoryError> {
            fs::write(dir.join("config.json"), content).unwrap();
            Ok(())
        })
        .unwrap()
    };
    let model = publish("1");
    fs::write(model.join("NOTES"), "mine").unwrap();
    publish("2");
    assert_eq!(fs::read_to_string(model.join("config.json")).unwrap(), "2");
    assert_eq!(fs::read_to_string(model.join("NOTES")).unwrap(), "mine");
    assert!(!folder.path().join(".model.staging").exists());
}

#[cfg(unix)]
#[test]
fn a_disk_without_room_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDirectory::open(folder.path(), &command()).unwrap();
    assert_eq!(run.shortage(0), None);
    assert!(run.shortage(u64::MAX).is_some_and(|free| free > 0));
    let mut checkpoints = run.checkpoints(3).unwrap();
    assert_eq!(checkpoints.growth(100).unwrap(), 500);
    let snapshot = checkpoint::Snapshot { step: 0, best: None, state: &(), model: &[], optimizer: &[] };
    checkpoints.save(&snapshot).unwrap();
    assert_eq!(checkpoints.growth(100).unwrap(), 400);
    assert_eq!(checkpoints.growth(u64::MAX).unwrap(), u64::MAX);
}

#[test]
fn a_run_goes_on_with_the_text_it_was_begun_with() {
    let folder = tempfile::tempdir().unwrap();
    let open = || RunDirectory::open(folder.path(), &command()).unwrap();
    let [stories, news] = ["stories", "news"].map(|hash| Identity::new(hash.into(), None));
    open().expect_data(&stories).unwrap();
    let mut begun = open();
    begun.expect_data(&news).unwrap(); // without a checkpoint there is nothing that would mean other text
    let snapshot = checkpoint::Snapshot { step: 0, state: &(), best: None, model: &[], optimizer: &[] };
    begun.checkpoints(2).unwrap().save(&snapshot).unwrap();
    begun.expect_data(&news).unwrap();
    drop(begun);
    let error = open().expect_data(&stories).unwrap_err();
    assert!(matches!(error, DirectoryError::OtherData { .. }), "{error}");
    open().expect_data(&news).unwrap();
}
