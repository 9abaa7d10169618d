//! Settings on the command line, and what a start that failed leaves of them.

use train::exit::ExitCode;

use crate::program::{Run, Scene, program, run, sentences};

fn settings(arguments: &[&str]) -> String {
    run(&[&["pretrain", "--print-config"], arguments].concat()).done()
}

#[track_caller]
fn shows(shown: &str, line: &str) {
    assert!(shown.lines().any(|shown| shown.starts_with(line)), "`{line}` is not in: {shown}");
}

#[test]
fn flags_are_taken_as_people_give_them() {
    let shown = settings(&["--steps", "10", "--steps", "20", "--learning-rate", ".00001"]);
    shows(&shown, "steps = 20 ");
    shows(&shown, "learning_rate = 0.00001 ");
    for (given, value) in [
        (&["--bias-correction", "true"][..], true),
        (&["--bias-correction"], true),
        (&["--bias-correction=true"], true),
        (&["--bias-correction", "--steps", "5"], true),
        (&["--bias-correction", "no"], false),
        (&["--bias-correction", "--bias-correction=false"], false),
    ] {
        shows(&settings(given), &format!("bias_correction = {value} "));
    }
    let lists = settings(&["--train", "a", "b", "--train", "c"]);
    let train = lists.lines().find(|line| line.starts_with("train = ")).unwrap();
    assert_eq!(train.matches(", ").count(), 2, "all three: {train}");
}

#[test]
fn settings_come_from_standard_input_too() {
    let mut command = assert_cmd::Command::from(program());
    let output = command.args(["pretrain", "--print-config", "--config", "-"]);
    let output = output.write_stdin("[training]\nsteps = 77\n").output().unwrap();
    shows(&String::from_utf8(output.stdout).unwrap(), "steps = 77 ");
}

/// A start with too few documents to hold one out, and what its error advises.
#[test]
fn a_start_that_failed_binds_nobody() {
    let scene = Scene::new();
    let few: String = sentences().split_inclusive("\n\n").take(12).collect();
    let (few, text, out) = (scene.file("few.txt", few), scene.arg("text.txt"), scene.arg("run"));
    let pretrain = |more: &[&str]| -> Run {
        const SIZES: &str = "--preset micro --hidden-size 16 --embedding-size 8 --intermediate-size 24 \
                     --num-hidden-layers 1 --max-seq-length 32 --batch 4 --eval-sequences 8 --steps 2";
        let sizes: Vec<&str> = SIZES.split_whitespace().collect();
        run(&[&["pretrain", "--out", &out][..], &sizes, more].concat())
    };
    // Memory for a million sequences in a hundred layers, more than a terabyte, there is not.
    let too_much = ["--batch", "1000000", "--micro-batch", "1000000", "--num-hidden-layers", "100"];
    pretrain(&[&["--train", &few, "--held-out-every", "3", "--vocab-size", "45"][..], &too_much].concat())
        .complains(ExitCode::Memory, &["--micro-batch"]);
    let vocabulary = std::fs::read_to_string(scene.path("run/data/tokenizer/tokenizer.json")).unwrap();
    // Another vocabulary, other text, another share of it to measure with.
    pretrain(&["--train", &text, "--held-out-every", "7", "--vocab-size", "50"]).done();
    let now = std::fs::read_to_string(scene.path("run/data/tokenizer/tokenizer.json")).unwrap();
    assert_ne!(now, vocabulary);
    let info = std::fs::read_to_string(scene.path("run/run.json")).unwrap();
    assert!(info.contains("\"status\": \"finished\""), "{info}");
    // Now it has begun.
    pretrain(&["--train", &text, "--held-out-every", "3"])
        .complains(ExitCode::Usage, &["held_out_every", "was begun with 7"]);
    // Where its values came from, it knows as before.
    let config = std::fs::read_to_string(scene.path("run/config.toml")).unwrap();
    run(&["pretrain", "--out", &out]).done();
    assert_eq!(std::fs::read_to_string(scene.path("run/config.toml")).unwrap(), config);
    shows(&config, "held_out_every = 7                       # --held-out-every");
}

/// Combinations that no model can be trained with are refused before anything is written.
#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    let scene = Scene::new();
    let (text, out) = (scene.arg("text.txt"), scene.arg("run"));
    for (flag, value, key) in [
        ("--type-vocab-size", "1", "model.type_vocab_size"),
        ("--isa", "avx1024", "device.isa"),
        ("--max-time", "9000000000000d", "training.max_time"),
        ("--max-time", "0s", "training.max_time"),
        ("--keep", "18446744073709551615", "training.keep"),
        ("--epsilon", "1e-300", "optimizer.epsilon"),
        ("--beta2", "0.999999999", "optimizer.beta2"),
        ("--clip-norm", "1e-300", "optimizer.clip_norm"),
        ("--learning-rate", "1e-300", "optimizer.learning_rate"),
        ("--hidden-dropout-prob", "0.999999999", "model.hidden_dropout_prob"),
        ("--save-every", "0s", "training.save_every"),
    ] {
        run(&["pretrain", "--train", &text, "--out", &out, flag, value]).complains(ExitCode::Usage, &[key]);
        assert!(!scene.path("run").exists(), "{flag} {value}");
    }
}

/// run.json keeps who worked on the run with what, and the run says where its last bits may change.
#[test]
fn all_sessions_are_kept() {
    let scene = Scene::new();
    let (text, model, out) = (scene.arg("text.txt"), scene.arg("model"), scene.arg("run"));
    const SIZES: &str = "--preset micro --hidden-size 16 --embedding-size 8 --intermediate-size 24 --num-hidden-layers 1 \
                 --max-seq-length 32 --batch 4 --eval-sequences 8 --held-out-every 7 --steps 2 --threads 2";
    let sizes: Vec<&str> = SIZES.split_whitespace().collect();
    let start = ["pretrain", "--train", &text, "--tokenizer", &model, "--out", &out];
    run(&[&start[..], &sizes, &["--isa", "scalar"]].concat()).done();
    let info = || -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(scene.path("run/run.json")).unwrap()).unwrap()
    };
    let first = info();
    // What is refused is no session, and leaves the run as it was.
    run(&["pretrain", "--out", &out, "--seed", "9"]).failed(ExitCode::Usage);
    run(&["pretrain", "--out", &out, "--device", "cuda"]).failed(ExitCode::Device);
    assert_eq!(info(), first);
    let again = run(&["pretrain", "--out", &out, "--micro-batch", "2", "--threads", "1"]);
    assert!(again.err.contains("micro-batches of another size"), "{}", again.err);
    assert!(!again.err.contains("before it was"), "the instruction set is the same: {}", again.err);
    again.done();
    let info = info();
    let [first, second] = info["sessions"].as_array().unwrap().as_slice() else { panic!("{info}") };
    for (session, threads) in [(first, 2), (second, 1)] {
        assert_eq!(session["machine"]["isa"], "scalar", "{info}");
        assert_eq!(session["machine"]["threads"], threads, "{info}");
        assert!(session["machine"]["processor"].as_str().is_some_and(|name| !name.is_empty()), "{info}");
        assert_eq!(
            (&session["version"], &session["exit_reason"]),
            (&env!("CARGO_PKG_VERSION").into(), &"all steps are done".into())
        );
    }
    assert_eq!((&info["status"], &first["command"][1]), (&"finished".into(), &"pretrain".into()));
    for isa in kernels::cpu::Isa::available().filter(|isa| *isa != kernels::cpu::Isa::Scalar) {
        let other = run(&["pretrain", "--out", &out, "--isa", &isa.to_string()]);
        assert!(
            other.err.contains(&format!("computing with {isa} from here on, before it was")),
            "{}",
            other.err
        );
    }
}
