//! Command lines of the reference's programs: run as they stand, they leave the reference's files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use train::exit::ExitCode;

use crate::convert::checkpoint;
use crate::program::{Scene, run, run_with};
use crate::recorded_samples::RecordedSamples;

/// A run of a program with its flags, in the form `--name=value`.
fn compat(program: &str, flags: &[String]) -> crate::program::Run {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    run(&[&["compat", program], &flags[..]].concat())
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The evaluations in an `eval_results.txt`, which are divided by lines of `=`: `key = value`, sorted, and what follows.
fn evaluations(folder: &Path) -> Vec<BTreeMap<String, f64>> {
    let text = read(folder, "eval_results.txt");
    let divided = format!("{}\n", "=".repeat(50));
    let of_block = |block: &str| {
        let lines: Vec<(&str, f64)> = (block.lines().filter_map(|line| line.split_once(" = ")))
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect();
        let names: Vec<&str> =
            lines.iter().map(|line| line.0).filter(|name| !name.starts_with("best")).collect();
        assert!(names.is_sorted(), "{block}");
        lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    text.split(&divided).filter(|block| block.contains(" = ")).map(of_block).collect()
}

fn names(evaluation: &BTreeMap<String, f64>) -> Vec<&str> {
    evaluation.keys().map(String::as_str).collect()
}

/// The flags that begin with the recorded checkpoint, as its release has them.
fn released(scene: &Scene, out: &str) -> Vec<String> {
    vec![
        flag("albert_config_file", scene.arg("release/albert_config.json")),
        flag("init_checkpoint", scene.arg("release/model.ckpt-best")),
        flag("output_dir", scene.arg(out)),
        flag("max_seq_length", 24),
        "--use_tpu=False".into(),
    ]
}

#[test]
fn text_is_prepared_and_a_model_pretrained() {
    let scene = Scene::new();
    let (text, data, out) = (scene.arg("text.txt"), scene.arg("samples"), scene.arg("pretrained"));
    let sizes = json!({
        "vocab_size": 50, "embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_hidden_groups": 1,
        "num_attention_heads": 2, "intermediate_size": 24, "inner_group_num": 1, "hidden_act": "gelu",
        "max_position_embeddings": 40, "type_vocab_size": 2, "initializer_range": 0.02,
    });
    let sizes = scene.file("albert_config.json", sizes.to_string());
    let vocabulary = scene.arg("model/tokenizer.json");
    let flags = [
        flag("input_file", scene.arg("te?t.txt")),
        flag("output_file", &data),
        flag("vocab_file", &vocabulary),
        flag("ngram", 2),
        flag("dupe_factor", 3),
    ];
    let prepared = compat("create_pretraining_data", &flags);
    assert!(prepared.err.contains("--dupe_factor: masks are drawn anew"), "{}", prepared.err);
    prepared.done();
    let train = [
        flag("input_file", &data),
        flag("output_dir", &out),
        flag("albert_config_file", &sizes),
        "--max_seq_length=32".into(),
        "--do_eval".into(),
        "--train_batch_size=4".into(),
        "--eval_batch_size=4".into(),
        "--max_eval_steps=2".into(),
        "--num_train_steps=3".into(),
        "--num_warmup_steps=1".into(),
    ];
    let trained = compat("run_pretraining.py", &train);
    let shown =
        trained.err.lines().find(|line| line.starts_with("+ albert-train pretrain ")).unwrap_or_default();
    assert!(
        shown.contains(" --eval-sequences 8 ") && shown.contains(" --hidden-act gelu_new "),
        "{}",
        trained.err
    );
    trained.done();
    let wanted = [
        "global_step",
        "loss",
        "masked_lm_accuracy",
        "masked_lm_loss",
        "sentence_order_accuracy",
        "sentence_order_loss",
    ];
    let found = evaluations(Path::new(&out));
    assert_eq!(names(&found[0]), wanted);
    assert_eq!(found[0]["global_step"], 3.0);
    // What was said when the text was prepared holds here, but for what is said anew.
    let settings = read(Path::new(&out), "config.toml");
    for line in ["ngram = 2", "max_seq_length = 32", "seed = 12345", "single_segment"] {
        assert!(settings.contains(line), "{line}: {settings}");
    }

    // Measured alone, on text of its own.
    let evaluate = [
        flag("input_file", &text),
        flag("output_dir", &out),
        flag("albert_config_file", &sizes),
        "--max_seq_length=32".into(),
        "--nodo_train".into(),
        "--do_eval=true".into(),
    ];
    compat("run_pretraining", &evaluate).done();
    let found = evaluations(Path::new(&out));
    assert_eq!((found.len(), names(&found[0])), (1, wanted.to_vec()));
    assert_eq!(found[0]["global_step"], 3.0);
}

/// Record files say nothing of their vocabulary: it lies beside the configuration, as in a release, or must be named.
#[test]
fn record_files_are_learnt_from_and_measured_with() {
    let scene = checkpoint();
    let flags = |config: String, more: &[&str]| {
        let mut flags = vec![
            flag("input_file", scene.arg("release/*.tfrecord")),
            flag("output_dir", scene.arg("out")),
            flag("albert_config_file", config),
            format!("--max_seq_length={}", RecordedSamples::find().length),
            "--train_batch_size=2".into(),
            "--num_train_steps=2".into(),
            "--num_warmup_steps=0".into(),
        ];
        flags.extend(more.iter().map(|&flag| flag.to_owned()));
        flags
    };
    let bare = scene.file("albert_config.json", read(&scene.path("release"), "albert_config.json"));
    compat("run_pretraining", &flags(bare, &[]))
        .complains(ExitCode::Usage, &["says nothing of their vocabulary", "ALBERT_TRAIN_DATA_TOKENIZER"]);
    let beside = scene.arg("release/albert_config.json");
    // Of few records more are held out.
    let trained = {
        let mut command = crate::program::program();
        command.args(["compat", "run_pretraining"]).args(flags(beside.clone(), &["--do_eval"]));
        command.env("ALBERT_TRAIN_DATA_HELD_OUT_EVERY", "2").output().unwrap()
    };
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    compat("run_pretraining", &flags(beside, &["--nodo_train", "--do_eval"])).done();
    let found = &evaluations(&scene.path("out"))[0];
    assert!(
        (found["loss"] - found["masked_lm_loss"] - found["sentence_order_loss"]).abs() < 1e-6,
        "{found:?}"
    );
}

/// The official files of MRPC, and of STS-B: a few rows of each.
fn glue(scene: &Scene) -> String {
    let words = ["cat", "dog", "bird", "river"];
    for (split, column) in [("train", "Quality"), ("dev", "Quality"), ("test", "index")] {
        let first = |n: usize| if split == "test" { n } else { n % 2 };
        let rows: String = (0..12)
            .map(|n| {
                format!("{}\t{n}\t{n}\tThe {} slept.\tA {} slept.\n", first(n), words[n % 4], words[n / 4])
            })
            .collect();
        fs::create_dir_all(scene.path("glue/MRPC")).unwrap();
        let text = format!("{column}\t#1 ID\t#2 ID\t#1 String\t#2 String\n{rows}");
        fs::write(scene.path(&format!("glue/MRPC/{split}.tsv")), text).unwrap();
        let score = |n: usize| if split == "test" { String::new() } else { format!("\t{}.5", n % 5) };
        let rows: String =
            (0..12).map(|n| format!("{n}\tThe {} slept.\tIt slept.{}\n", words[n % 4], score(n))).collect();
        fs::create_dir_all(scene.path("glue/STS-B")).unwrap();
        let label = if split == "test" { "" } else { "\tscore" };
        fs::write(
            scene.path(&format!("glue/STS-B/{split}.tsv")),
            format!("index\tsentence1\tsentence2{label}\n{rows}"),
        )
        .unwrap();
    }
    scene.arg("glue")
}

#[test]
fn a_task_of_glue_leaves_its_files() {
    let scene = checkpoint();
    let data = glue(&scene);
    let line = |task: &str, more: &[&str]| {
        let mut flags = released(&scene, task);
        flags.extend([flag("data_dir", &data), flag("task_name", task)]);
        flags.extend(
            ["--train_batch_size=4", "--train_step=4", "--save_checkpoints_steps=2"].map(String::from),
        );
        flags.extend(more.iter().map(|&flag| flag.to_owned()));
        flags
    };
    compat("run_classifier", &line("MRPC", &["--do_train", "--do_eval", "--do_predict"])).done();
    let out = scene.path("MRPC");
    let found = evaluations(&out);
    assert_eq!(names(&found[0]), ["best", "eval_accuracy", "eval_loss", "global_step", "loss"]);
    assert_eq!(found.iter().map(|of| of["global_step"]).collect::<Vec<_>>(), [2.0, 4.0]);
    assert_eq!((found[0]["best"], found[1]["best"]), (-1.0, found[0]["eval_accuracy"]));
    let best = found[0]["eval_accuracy"].max(found[1]["eval_accuracy"]);
    let trial = read(&out, "best_trial.txt");
    let parts: Vec<f64> = trial.split(':').map(|part| part.parse().unwrap()).collect();
    assert_eq!((parts[0], parts[2]), (4.0, best), "{trial}");
    let probabilities = read(&out, "test_results.tsv");
    let rows: Vec<Vec<f64>> = probabilities
        .lines()
        .map(|line| line.split('\t').map(|value| value.parse().unwrap()).collect())
        .collect();
    let submitted = read(&out, "submit_results.tsv");
    let labels: Vec<&str> = submitted.lines().collect();
    assert_eq!((rows.len(), labels.len(), labels[0]), (12, 13, "index\tprediction"));
    for (n, (row, label)) in rows.iter().zip(&labels[1..]).enumerate() {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-5 && row.len() == 2, "{row:?}");
        assert_eq!(**label, format!("{n}\t{}", u8::from(row[1] > row[0])));
    }

    // What is measured again is what was measured while it was trained.
    compat("run_classifier", &line("MRPC", &["--do_eval"])).done();
    assert_eq!((evaluations(&out), read(&out, "best_trial.txt")), (found.clone(), trial.clone()));
    // On other examples it is another evaluation, though its accuracy may be the same.
    let dev = scene.path("glue/MRPC/dev.tsv");
    let rows = fs::read_to_string(&dev).unwrap();
    fs::write(&dev, rows.lines().take(3).collect::<Vec<_>>().join("\n") + "\n").unwrap();
    compat("run_classifier", &line("MRPC", &["--do_eval"])).done();
    let again = &evaluations(&out)[0];
    assert_eq!((evaluations(&out).len(), again["global_step"]), (1, parts[1]));
    assert!(
        found.iter().all(|of| (of["eval_loss"] - again["eval_loss"]).abs() > 1e-4),
        "{again:?} {found:?}"
    );
    // What another program left is kept.
    fs::create_dir(scene.path("other")).unwrap();
    let theirs = scene.file("other/eval_results.txt", "eval_accuracy = 0.9\n");
    let (model, other) = (scene.arg("MRPC"), scene.arg("other"));
    compat(
        "run_classifier",
        &line("MRPC", &["--do_eval", "--init_checkpoint", &model, "--output_dir", &other]),
    )
    .done();
    assert_eq!(fs::read_to_string(format!("{theirs}.before")).unwrap(), "eval_accuracy = 0.9\n");
    assert_eq!(evaluations(&scene.path("other"))[0]["eval_loss"], again["eval_loss"]);

    compat("run_classifier", &line("sts-b", &["--do_train", "--do_eval", "--do_predict"])).done();
    let out = scene.path("sts-b");
    assert_eq!(names(&evaluations(&out)[0]), ["MSE", "best", "eval_loss", "global_step", "loss", "pearson"]);
    let value = |line: &str| line.rsplit('\t').next().unwrap().parse::<f64>().unwrap();
    let (raw, submitted) = (read(&out, "test_results.tsv"), read(&out, "submit_results.tsv"));
    assert!(raw.lines().map(value).eq(submitted.lines().skip(1).map(value)), "{raw}{submitted}");
}

/// Questions about sentences in SQuAD's form; of version 2.0 some have no answer.
fn squad(scene: &Scene, version: &str) -> [String; 2] {
    let paragraphs: Vec<Value> = (0..12)
        .map(|n| {
            let is_impossible = version == "v2.0" && n % 3 == 0;
            let answer = json!({ "text": "near the river", "answer_start": 14 });
            let mut question = json!({
                "id": format!("q{n}"), "question": "Where did it sleep?", "answers": if is_impossible { vec![] } else { vec![answer] },
            });
            if version == "v2.0" {
                question["is_impossible"] = is_impossible.into();
            }
            json!({ "context": "The cat slept near the river.", "qas": [question] })
        })
        .collect();
    let file = json!({ "version": version, "data": [{ "title": "t", "paragraphs": paragraphs }] });
    ["train", "dev"].map(|split| scene.file(&format!("{split}-{version}.json"), file.to_string()))
}

fn squad_flags(scene: &Scene, version: &str) -> Vec<String> {
    let [train, dev] = squad(scene, version);
    let mut flags = released(scene, version);
    flags.extend([
        flag("train_file", train),
        flag("predict_file", dev),
        flag("train_feature_file", "unused"),
    ]);
    let more = ["--max_query_length=8", "--do_predict", "--train_batch_size=6", "--save_checkpoints_steps=2"];
    flags.extend(more.map(String::from));
    flags
}

#[test]
fn squad_1_leaves_its_files() {
    let scene = checkpoint();
    let mut flags = squad_flags(&scene, "v1.1");
    let trained = compat("run_squad_v1", &[&flags[..], &["--do_train".into()]].concat());
    assert!(trained.err.contains("--train_feature_file: features are made in memory"), "{}", trained.err);
    trained.done();
    let out = scene.path("v1.1");
    let predictions: Value = serde_json::from_str(&read(&out, "predictions.json")).unwrap();
    let candidates: Value = serde_json::from_str(&read(&out, "nbest_predictions.json")).unwrap();
    assert_eq!(
        (predictions.as_object().unwrap().len(), &predictions["q3"]),
        (12, &candidates["q3"][0]["text"])
    );
    assert!(candidates["q3"][0]["start_log_prob"].is_number() && !out.join("null_odds.json").exists());
    let found = evaluations(&out);
    let (last, checkpoints) = found.split_last().unwrap();
    assert!(checkpoints.len() >= 3, "an evaluation of every second step: {found:?}");
    assert_eq!(names(&found[0]), ["best f1", "exact_match", "f1"]);
    assert_eq!(last["f1"], checkpoints.last().unwrap()["best f1"], "the best is asked once more");
    let text = read(&out, "eval_results.txt");
    let (_, step) = text.rsplit_once("best perf happened at step: ").unwrap();
    let best = &checkpoints[step.parse::<usize>().unwrap() / 2 - 1];
    assert_eq!(best["f1"], last["f1"]);

    // Questions whose answers somebody else has are answered all the same.
    let mut unknown: Value =
        serde_json::from_str(&fs::read_to_string(scene.path("dev-v1.1.json")).unwrap()).unwrap();
    for paragraph in unknown["data"][0]["paragraphs"].as_array_mut().unwrap() {
        paragraph["qas"][0].as_object_mut().unwrap().remove("answers");
    }
    let unknown = scene.file("test-v1.1.json", unknown.to_string());
    flags.push(flag("predict_file", unknown));
    let predicted = compat("run_squad_v1", &flags);
    assert!(predicted.err.contains("has no answers to compare with"), "{}", predicted.err);
    predicted.done();
}

#[test]
fn squad_2_leaves_its_files() {
    let scene = checkpoint();
    let flags = squad_flags(&scene, "v2.0");
    compat("run_squad_v2", &[&flags[..], &["--do_train".into(), "--num_train_epochs=1.0".into()]].concat())
        .done();
    let out = scene.path("v2.0");
    for name in ["predictions.json", "nbest_predictions.json", "null_odds.json"] {
        let of: Value = serde_json::from_str(&read(&out, name)).unwrap();
        assert_eq!(of.as_object().unwrap().len(), 12, "{name}");
    }
    let found = evaluations(&out);
    let last = found.last().unwrap();
    assert_eq!(names(last), ["exact", "f1", "null_score_diff_threshold", "total"]);
    assert_eq!(last["total"], 12.0);
    let checkpoints = &found[..found.len() - 1];
    assert_eq!(last["f1"], checkpoints.last().unwrap()["best f1"], "one definition of the figures");
}

#[test]
fn race_leaves_its_files() {
    let scene = checkpoint();
    for (split, level) in [("train", "middle"), ("dev", "middle"), ("test", "middle")] {
        let folder = scene.path(&format!("data/RACE/{split}/{level}"));
        fs::create_dir_all(&folder).unwrap();
        for n in 0..4 {
            let passage = json!({
                "article": "The cat slept.", "questions": ["Who slept?"], "options": [["cat", "dog", "bird", "moon"]],
                "answers": ["A"], "id": format!("{n}.txt"),
            });
            fs::write(folder.join(format!("{n}.txt")), passage.to_string()).unwrap();
        }
    }
    let mut flags = released(&scene, "race");
    flags.extend([flag("data_dir", scene.arg("data")), flag("train_file", "unused"), "--middle_only".into()]);
    flags.extend(
        ["--do_predict", "--max_qa_length=8", "--train_step=2", "--warmup_step=1", "--train_batch_size=2"]
            .map(String::from),
    );
    compat("run_race", &flags).done();
    let out = scene.path("race");
    let found = evaluations(&out);
    assert_eq!(names(&found[0]), ["best", "eval_accuracy", "eval_loss", "global_step", "loss"]);
    let predicted = read(&out, "predict_results.txt");
    assert!(predicted.starts_with("***** Predict results *****\neval_accuracy = "), "{predicted}");
    assert!(predicted.ends_with(&format!("best = {:?}\n", found[0]["eval_accuracy"])), "{predicted}");
    assert_eq!(read(&out.join("predictions"), "predictions.tsv").lines().count(), 5);
    // The length of a question with an option is that of what is learnt from.
    let (data, model) = (scene.arg("data"), scene.arg("release"));
    let tokens = |most: &str| {
        let line = ["finetune", "race", "--data", &data, "--model", &model, "--out", "o", "--dry-run"];
        let said = run(&[&line[..], &["--max-question-length", most, "--max-seq-length", "24"]].concat()).err;
        said.lines().find(|line| line.contains("tokens on average")).unwrap().to_owned()
    };
    assert_ne!(tokens("2"), tokens("8"));
}

#[test]
fn a_command_can_be_only_printed() {
    let scene = Scene::new();
    let out = scene.arg("out");
    let flags =
        scene.file("flags", format!("# A recipe.\n--task_name=RTE\n\n--output_dir={out}\n-do_train\n"));
    let line = [
        "run_classifier",
        "--flagfile",
        &flags,
        "--data_dir=my data",
        "--init_checkpoint=m",
        "--logtostderr",
    ];
    let printed = run(&[&["compat", "--print"], &line[..]].concat());
    assert!(printed.err.contains("--logtostderr: messages go to standard error"), "{}", printed.err);
    let shown = printed.done();
    assert!(shown.starts_with("albert-train finetune glue rte --data 'my data' --model m --out "), "{shown}");
    assert_eq!(shown, run(&[&["compat"], &line[..], &["--only_check_args"]].concat()).done());
    assert_eq!(shown, run(&[&["compat"], &line[..], &["--flagfile=", "--print"]].concat()).done());
    assert!(!Path::new(&out).exists());
    for help in ["--helpfull", "--helpshort"] {
        assert!(run(&["compat", "run_race", help]).done().contains("--max_qa_length [128]"));
    }
    let nothing = run(&["compat", "run_classifier", "--task_name=RTE", "--data_dir=d", "--output_dir=o"]);
    nothing.complains(ExitCode::Usage, &["give one of --do_train, --do_eval, --do_predict"]);
    let stray = run_with(&["compat", "run_race", "--do_train", "true"], "");
    stray.complains(ExitCode::Usage, &["`true` is not a flag", "--do_train=true"]);
    run(&[
        "compat",
        "run_squad_v1",
        "--do_predict",
        "--output_dir=o",
        "--predict_file=d",
        "--undefok=a,b",
        "--noa",
        "--c=1",
    ])
    .complains(ExitCode::Usage, &["has no flag --c;"]);
    let module = "--albert_hub_module_handle=https://tfhub.dev/google/albert_base/1";
    run(&["compat", "run_race", "--data_dir=d", "--output_dir=o", module])
        .complains(ExitCode::Usage, &["is not fetched", "--init_checkpoint"]);
    run(&["compat", "create_pretraining_data", "--input_file=no-such-*.txt", "--output_file=o"])
        .complains(ExitCode::Usage, &["no file has a name like no-such-*.txt"]);
}

/// What is printed is understood: settings are all there and in range.
#[test]
fn printed_commands_are_understood() {
    let line = ["--train_file=squad/train-v1.1.json", "--output_dir=o", "--init_checkpoint=m", "--do_train"];
    let said = run(&[&["compat", "--print", "run_squad_v1"], &line[..]].concat()).done();
    let expected =
        "albert-train finetune squad --version 1.1 --train squad/train-v1.1.json --model m --out o ";
    assert!(said.starts_with(expected), "{said}");
    let words: Vec<&str> = said.split_whitespace().skip(1).chain(["--print-config"]).collect();
    assert!(run(&words).done().contains("task = \"squad-1.1\""));
    let listed = run(&["compat", "albert.run_race"]).done();
    assert_eq!(listed.lines().count(), 35, "{listed}");
    run(&["compat", "run_race", "--n_best_size=3"]).complains(ExitCode::Usage, &["run_race has no flag"]);
}

#[test]
fn every_flag_is_in_the_table() {
    insta::assert_snapshot!("compat-flags", run(&["compat", "--flags"]).done());
}
