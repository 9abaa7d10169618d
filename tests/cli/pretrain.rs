//! pretrain, as far as a person sees it; that it resumes exactly is shown in `tests/resume.rs`.

use train::exit::ExitCode;

use crate::program::{Run, Scene, program, run, sentences};
use crate::recorded_samples::RecordedSamples;

/// Of a small run.
const SIZES: &str = "--preset micro --hidden-size 16 --embedding-size 8 --intermediate-size 24 --num-hidden-layers 1 \
                 --max-seq-length 32 --batch 4 --steps 4 --eval-every 2 --eval-sequences 8 --held-out-every 4";

/// A small run on the scene's text.
fn pretrain(scene: &Scene, more: &[&str]) -> Run {
    pretrain_on(scene, &scene.arg("text.txt"), more)
}

fn pretrain_on(scene: &Scene, text: &str, more: &[&str]) -> Run {
    pretrain_of_sizes(scene, text, SIZES, more)
}

fn pretrain_of_sizes(scene: &Scene, text: &str, sizes: &str, more: &[&str]) -> Run {
    let (tokenizer, out) = (scene.arg("model"), scene.arg("run"));
    let data = ["pretrain", "--train", text, "--tokenizer", &tokenizer, "--out", &out];
    run(&[&data[..], &sizes.split_whitespace().collect::<Vec<_>>(), more].concat())
}

#[test]
fn a_run_ends_with_its_figures_and_examples() {
    let scene = Scene::new();
    let finished = pretrain(&scene, &[]);
    for step in [2, 4] {
        let line = format!("held out at step {step}: ");
        assert_eq!(finished.err.matches(&line).count(), 1, "{}", finished.err);
    }
    let finished_err = finished.err.clone();
    let shown = finished.done();
    let text = sentences().to_lowercase();
    let (mut masked, mut whole) = (0, 0);
    for line in
        shown.lines().filter_map(|line| line.strip_prefix("  ")).take_while(|line| line.ends_with('.'))
    {
        // The masked word may be any.
        match line.split_once("[MASK]") {
            Some((before, after)) => {
                masked += 1;
                let fits = |sentence: &str| sentence.starts_with(before) && sentence.ends_with(after);
                assert!(text.lines().any(fits), "{line}");
            }
            None => {
                whole += 1;
                assert!(text.lines().any(|sentence| sentence == line), "{line}");
            }
        }
    }
    assert!(masked > 0 && whole > 0, "{shown}");
    let log = std::fs::read_to_string(scene.path("run/train.log")).unwrap();
    for line in finished_err.lines() {
        assert_eq!(log.matches(line).count(), 1, "{line}");
    }
    assert!(log.ends_with("all steps are done\n"), "{log}");
    let permissions =
        |file: &str| std::fs::metadata(scene.path("run/model").join(file)).unwrap().permissions();
    assert_eq!(
        permissions("model.safetensors"),
        permissions("config.json"),
        "both are for whom the system says"
    );
    // A run that is finished says so again, with the same figures, and is no failure.
    let again = pretrain(&scene, &[]);
    assert_eq!(again.err.matches("held out at step 4: ").count(), 1, "{}", again.err);
    assert_eq!(again.done(), shown);
}

#[cfg(unix)]
#[test]
fn a_run_directory_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new();
    let out = scene.path("").join(std::ffi::OsStr::from_bytes(b"run-\xff"));
    let (text, model) = (scene.arg("text.txt"), scene.arg("model"));
    let mut command = program();
    command.args(["pretrain", "--train", &text, "--tokenizer", &model]).args(SIZES.split_whitespace());
    assert_eq!(command.arg("--out").arg(&out).output().unwrap().status.code(), Some(0));
    assert!(out.join("eval_results.json").exists());
}

#[test]
fn a_run_goes_on_when_nobody_listens() {
    let scene = Scene::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (text, out) = (scene.arg("text.txt"), scene.arg("run"));
    let status = program()
        .args(["pretrain", "--train", &text, "--out", &out, "--vocab-size", "50"])
        .args(SIZES.split_whitespace())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .status();
    assert_eq!(status.unwrap().code(), Some(0));
    assert!(scene.path("run/eval_results.json").exists());
    let info = std::fs::read_to_string(scene.path("run/run.json")).unwrap();
    assert!(info.contains("\"status\": \"finished\""), "{info}");
}

#[test]
fn a_run_goes_on_with_its_own_text() {
    let scene = Scene::new();
    pretrain(&scene, &[]).done();
    let other = scene.file("other.txt", sentences().replace("moon", "tree"));
    let complaint = ["was begun with other training data", "--out"];
    let (model, shards) = (scene.arg("model"), scene.arg("other"));
    run(&["prepare", "--input", &other, "--tokenizer", &model, "--out", &shards]).done();
    pretrain_on(&scene, &shards, &[]).complains(ExitCode::Usage, &complaint);
    // With text of its own to measure with, nothing of the training text is held out any more.
    pretrain(&scene, &["--held-out", &other]).complains(ExitCode::Usage, &complaint);
    pretrain(&scene, &[]).done();
}

/// Text that is gone by then is no loss: the run has it prepared. A name that never was its text's is another matter.
#[test]
fn a_run_goes_on_without_its_text() {
    let scene = Scene::new();
    let other = scene.file("other.txt", sentences().replace("moon", "tree"));
    let held_out = ["--held-out", other.as_str()];
    let longer = ["--steps", "6", "--allow-schedule-change"];
    pretrain(&scene, &held_out).done();
    let state =
        || ["config.toml", "metrics.jsonl"].map(|name| std::fs::read(scene.path("run").join(name)).unwrap());
    let (before, typo) = (state(), scene.arg("typo.txt"));
    let (text, out) = (scene.arg("text.txt"), scene.arg("run"));
    for more in [&["--dry-run"][..], &longer] {
        let one_more = pretrain(&scene, &[&["--train", &typo][..], &held_out, more].concat());
        one_more.complains(ExitCode::Io, &["typo.txt: No such file"]);
        let named = ["pretrain", "--train", &text, "--tokenizer", &typo, "--out", &out];
        let sizes: Vec<_> = SIZES.split_whitespace().collect();
        let tokenizer = run(&[&named[..], &sizes, &held_out, more].concat());
        tokenizer.complains(ExitCode::Io, &["typo.txt"]);
        assert_eq!(state(), before);
    }
    for name in ["text.txt", "other.txt", "model"] {
        std::fs::rename(scene.path(name), scene.path(&format!("{name}.moved"))).unwrap();
    }
    for more in [&["--dry-run"][..], &longer] {
        let on = pretrain(&scene, &[&held_out[..], more].concat());
        assert_eq!(
            on.err.matches("is not there any more: going on with what the run has").count(),
            3,
            "{}",
            on.err
        );
        on.done();
    }
    let journal = std::fs::read_to_string(scene.path("run/metrics.jsonl")).unwrap();
    assert!(journal.contains(r#""event":"resume","step":4"#), "{journal}");
    let misspelt = pretrain_on(&scene, &typo, &[&held_out[..], &longer].concat());
    misspelt.complains(ExitCode::Io, &["typo.txt: No such file"]);
    // Of text that was changed, what the run has is named.
    scene.file("text.txt", sentences().replace("moon", "tree"));
    let own = scene.arg("run/data/training");
    let changed = pretrain(&scene, &[&held_out[..], &longer].concat());
    changed.complains(ExitCode::Usage, &["was begun with other training data", &format!("--train {own}")]);
    pretrain_on(&scene, &own, &[&held_out[..], &longer].concat()).done();
}

/// A run does not end before where it is, and stays what it was.
#[test]
fn steps_are_not_taken_back() {
    let scene = Scene::new();
    pretrain(&scene, &[]).done();
    let config = || std::fs::read_to_string(scene.path("run/config.toml")).unwrap();
    let before = config();
    let fewer = ["--steps", "3", "--allow-schedule-change"];
    for more in [&fewer[..], &[&fewer[..], &["--dry-run"]].concat()] {
        pretrain(&scene, more).complains(ExitCode::Usage, &["has done 4 steps, and is to have 3", "--out"]);
    }
    assert_eq!(config(), before);
    pretrain(&scene, &[]).done();
}

/// A run in which no update could be made has learnt nothing, however often it is continued: it does not finish.
#[test]
fn a_run_that_learns_nothing_is_no_success() {
    let scene = Scene::new();
    let more = ["--initializer-range", "1.5e38"];
    let first = pretrain(&scene, &more);
    assert!(
        first.err.contains("step 0 was skipped") && first.err.contains("loss NaN (unigram frequencies alone"),
        "{}",
        first.err
    );
    first.complains(ExitCode::Diverged, &["nothing was learnt", "--initializer-range"]);
    pretrain(&scene, &more).complains(ExitCode::Diverged, &["nothing was learnt"]);
    let info = std::fs::read_to_string(scene.path("run/run.json")).unwrap();
    assert!(info.contains("\"status\": \"failed\""), "{info}");
    assert!(!scene.path("run/model").exists() && !scene.path("run/eval_results.json").exists());
}

/// Nor does one that has learnt the opposite: at a learning rate of 1 the loss grows.
#[test]
fn a_model_worse_than_none_is_no_success() {
    let scene = Scene::new();
    let more = ["--learning-rate", "1", "--warmup-steps", "0", "--optimizer", "adamw"];
    pretrain(&scene, &more).complains(ExitCode::Diverged, &["after 4 steps", "--learning-rate"]);
    assert!(!scene.path("run/model").exists());
}

#[test]
fn settings_that_cannot_teach_anything_are_refused() {
    let scene = Scene::new();
    for (flag, value, key) in [
        ("--masked-lm-prob", "0", "masking.masked_lm_prob"),
        ("--max-predictions-per-seq", "0", "masking.max_predictions_per_seq"),
        ("--type-vocab-size", "1", "model.type_vocab_size"),
        ("--threads", "1000000000000", "device.threads"),
        ("--threads", "0", "device.threads"),
    ] {
        pretrain(&scene, &[flag, value]).complains(ExitCode::Usage, &[key, "help: "]);
        assert!(!scene.path("run").exists(), "{flag} {value}");
    }
    let model = scene.arg("model");
    let masked = run(&["fill-mask", "--model", &model, "--threads", "3000", "a [MASK]"]);
    masked.complains(ExitCode::Usage, &["--threads", "from 1 to"]);
}

/// Before its end, too: a run that was stopped has a model, and the run's own folder stands for it.
#[test]
fn a_stopped_run_has_a_model_to_look_at() {
    let scene = Scene::new();
    let (text, tokenizer, out) = (scene.arg("text.txt"), scene.arg("model"), scene.arg("run"));
    let sizes = SIZES.replace("--steps 4", "--steps 1000000 --max-time 1s");
    let data = ["pretrain", "--train", &text, "--tokenizer", &tokenizer, "--out", &out];
    let stopped = run(&[&data[..], &sizes.split_whitespace().collect::<Vec<_>>()].concat());
    assert_eq!(stopped.code, 75, "{}", stopped.err);
    assert!(stopped.err.contains("the model of step"), "{}", stopped.err);
    for model in ["run", "run/model"] {
        let filled = run(&["fill-mask", "--model", &scene.arg(model), "The [MASK] went."]).done();
        assert!(filled.starts_with("The [MASK] went."), "{filled}");
    }
    std::fs::remove_dir_all(scene.path("run/model")).unwrap();
    let none = run(&["fill-mask", "--model", &scene.arg("run"), "The [MASK] went."]);
    none.complains(ExitCode::Usage, &["is a run without a model", "run its command again"]);
}

/// Whatever becomes of the pointer, it is put right by what the run knows; and nothing is saved twice.
#[test]
fn a_run_knows_its_best_checkpoint() {
    let scene = Scene::new();
    let best = || std::fs::read_to_string(scene.path("run/best")).unwrap();
    let more = ["--save-every", "1", "--keep", "2"];
    let first = pretrain(&scene, &more);
    let told = "checkpoints: every 1 steps, at the best evaluation so far, and at the end; the newest 2 and the best are kept";
    assert!(first.err.contains(told), "{}", first.err);
    first.done();
    let expected = best();
    for wrong in [None, Some("step-00000001\n"), Some("nonsense")] {
        match wrong {
            None => std::fs::remove_file(scene.path("run/best")).unwrap(),
            Some(wrong) => std::fs::write(scene.path("run/best"), wrong).unwrap(),
        }
        pretrain(&scene, &more).done();
        assert_eq!(best(), expected, "{wrong:?}");
        assert!(scene.path("run/checkpoints").join(expected.trim()).is_dir());
    }
    let journal = std::fs::read_to_string(scene.path("run/metrics.jsonl")).unwrap();
    let saves = |step: u64| {
        let of_step = format!(r#""event":"save","step":{step},"#);
        journal.lines().filter(|line| line.contains(&of_step)).count()
    };
    assert_eq!([0, 1, 2, 3, 4].map(saves), [1; 5], "{journal}");

    // Other held-out sequences: nothing is compared with what was measured on the earlier ones.
    let longer = ["--steps", "6", "--allow-schedule-change", "--eval-sequences", "4"];
    let other = pretrain(&scene, &[&more[..], &longer].concat());
    assert!(other.err.contains("the held-out text is not what step"), "{}", other.err);
    other.done();
    assert_eq!(best(), "step-00000006\n");
    // And without its checkpoint there is no best.
    std::fs::remove_dir_all(scene.path("run/checkpoints/step-00000006")).unwrap();
    std::fs::remove_file(scene.path("run/latest")).unwrap();
    let again = pretrain(&scene, &[&more[..], &longer].concat()).done();
    assert!(again.contains("the model is in"), "{again}");
    assert_eq!(best(), "step-00000006\n");
}

/// The weights hardly move: that is said during the run and at its end.
#[test]
fn a_run_that_learns_no_more_than_frequencies_says_so() {
    let scene = Scene::new();
    let warned = |err: &str| -> Vec<bool> {
        let warning = |step| format!("warning: after {step} of 4 steps masked words are predicted no better");
        (1..=4).map(|step| err.contains(&warning(step))).collect()
    };
    // Where the next evaluation is the last one anyway, it is said there alone.
    let brief = pretrain(&Scene::new(), &["--learning-rate", "1e-9", "--eval-every", "2"]);
    assert_eq!(warned(&brief.err), [false, false, false, true], "{}", brief.err);
    let slow = pretrain(&scene, &["--learning-rate", "1e-9", "--eval-every", "1"]);
    assert_eq!(warned(&slow.err), [true, false, false, true], "{}", slow.err);
    assert!(
        slow.err.contains("estimate: a step takes about ") && slow.err.contains("--steps"),
        "{}",
        slow.err
    );
    slow.done();
    let events = std::fs::read_to_string(scene.path("run/metrics.jsonl")).unwrap();
    assert!(events.contains("no_better_than_frequency"), "{events}");
}

/// The reference's own samples, cut and masked: a run on them is a run like any other.
#[test]
fn samples_that_were_masked_before_are_learnt_from() {
    let scene = Scene::new();
    let samples = RecordedSamples::find();
    let records = scene.file("examples.tf_record", std::fs::read(&samples.path).unwrap());
    let length = samples.length;
    let sizes = SIZES.replace("--max-seq-length 32", &format!("--max-seq-length {length}"));
    let vocabulary = samples.vocabulary.to_string();
    let [masked, fewer] = [0, 1].map(|less| samples.masking(samples.predictions - less));
    let settings = |vocabulary: &[&str], masking: &[String; 4]| -> Vec<String> {
        vocabulary.iter().map(|&word| word.to_owned()).chain(masking.iter().cloned()).collect()
    };
    let on_records = |settings: &[String]| {
        let more: Vec<&str> = settings.iter().map(String::as_str).collect();
        pretrain_of_sizes(&scene, &records, &sizes, &more)
    };
    let of_records = settings(&["--vocab-size", &vocabulary], &masked);
    let run = on_records(&of_records);
    let trained = samples.count - samples.count / 4; // every fourth is held out
    let told = format!("masked before, {trained} samples an epoch of at most {length} tokens");
    assert!(run.err.contains(&told), "{}", run.err);
    assert!(run.err.contains("held out at step 4: "), "{}", run.err);
    run.done();

    std::fs::remove_dir_all(scene.path("run")).unwrap();
    let refused = |settings: &[String], code, parts: &[&str]| on_records(settings).complains(code, parts);
    refused(&of_records[2..], ExitCode::Data, &["examples.tf_record: record 1 ", "vocabulary of 50 pieces"]);
    let fewer = settings(&["--vocab-size", &vocabulary], &fewer);
    refused(&fewer, ExitCode::Data, &["record", "masked tokens", "--masked-lm-prob"]);
    let held_out = ["--held-out".to_owned(), scene.arg("text.txt")];
    refused(&held_out, ExitCode::Usage, &["masked already", "give such files alone"]);
    let mut damaged = std::fs::read(&records).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&records, damaged).unwrap();
    refused(&of_records, ExitCode::Data, &["examples.tf_record", "another checksum"]);
}
