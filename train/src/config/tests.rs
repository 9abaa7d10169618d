use insta::assert_snapshot;

use super::resolve::flatten;
use super::*;
use crate::optimization::OptimizerKind;
use crate::pretraining::recipes::RECIPES;
use crate::training::RunSettings;

fn resolve(toml: &str) -> Result<Resolved<Pretrain>, ConfigError> {
    let mut layers = Layers::new();
    layers.toml(toml, "run.toml".as_ref());
    layers.resolve()
}

fn here(name: &str) -> PathBuf {
    std::path::absolute(name).unwrap()
}

fn errors(toml: &str) -> String {
    resolve(toml).unwrap_err().to_string()
}

#[test]
fn every_key_is_listed_once_and_has_help_and_a_flag_of_its_own() {
    let mut listed: Vec<&str> = Pretrain::keys().map(|(key, _)| *key).collect();
    listed.sort_unstable();
    assert_eq!(listed, flatten(&Pretrain::default()).into_keys().collect::<Vec<_>>());
    assert!(Pretrain::keys().all(|(_, help)| !help.is_empty()));
    let mut flags: Vec<&str> = listed.iter().map(|key| key.split_once('.').unwrap().1).collect();
    flags.sort_unstable();
    flags.dedup();
    assert_eq!(flags.len(), listed.len(), "two sections have a key of one name");
}

#[test]
fn nothing_said_is_the_built_in_run() {
    let resolved = Layers::<Pretrain>::new().resolve().unwrap();
    let toml = resolved.to_toml();
    assert_snapshot!(toml);
}

#[test]
fn what_is_saved_reads_back_as_the_same_settings() {
    let mut layers = Layers::<Pretrain>::new();
    layers.toml(
        "[model]\npreset = 'small'\nhidden_act = 'relu'\n[data]\ntrain = ['a b.txt', 'ü/\"q\".jsonl']\ntokenizer = 't'\n\
         [training]\nmax_time = '7h50m'\nsave_every = 500\n[device]\nthreads = 3\n[optimizer]\noptimizer = 'adamw'",
        "run.toml".as_ref(),
    );
    let first = layers.resolve().unwrap();
    let again = resolve(&first.to_toml()).unwrap();
    assert_eq!(again.settings, first.settings);
    assert_eq!(again.settings.optimizer.learning_rate, Some(3e-4));
    assert!(
        again.settings.data.train[1].is_absolute() && again.settings.data.train[1].ends_with("ü/\"q\".jsonl")
    );
    let built_in = Layers::<Pretrain>::new().resolve().unwrap();
    assert_eq!(resolve(&built_in.to_toml()).unwrap().settings, built_in.settings);
}

#[test]
fn later_layers_win_and_are_named() {
    let mut layers = Layers::<Pretrain>::new();
    layers.toml("[training]\nsteps = 1\nbatch = 2\nseed = 3\nkeep = 4\n", "run.toml".as_ref());
    let variable = |name: &str, value: &str| (name.into(), value.into());
    layers.environment([
        variable("ALBERT_TRAIN_TRAINING_BATCH", "20"),
        variable("ALBERT_TRAIN_TRAINING_SEED", "30"),
        variable("ALBERT_TRAIN_TRAINING_KEEP", "40"),
        variable("ALBERT_ISA", "scalar"),
    ]);
    layers.set("training.seed = 300");
    layers.set("training.keep=400");
    layers.flag("training.keep", "--keep", &["4000"]);
    let resolved = layers.resolve().unwrap();
    let training = &resolved.settings.training;
    assert_eq!((training.steps, training.batch, training.seed, training.keep), (1, 20, 300, 4000));
    let sources = ["steps", "batch", "seed", "keep", "eval_every", "max_time"]
        .map(|key| resolved.source(&format!("training.{key}")).to_string());
    assert_eq!(
        sources,
        [
            "run.toml:2",
            "environment variable ALBERT_TRAIN_TRAINING_BATCH",
            "--set",
            "--keep",
            "built-in stories",
            "default"
        ]
    );
}

#[test]
fn a_preset_gives_way_to_what_is_said() {
    let resolved =
        resolve("[model]\nhidden_dropout_prob = 0.2\npreset = 'base-v1'\n[data]\ntrain = 'x'").unwrap();
    let model = &resolved.settings.model;
    assert_eq!((model.hidden_dropout_prob, model.attention_probs_dropout_prob), (0.2, 0.1));
    assert_eq!(resolved.source("model.attention_probs_dropout_prob").to_string(), "preset base-v1");
}

#[test]
fn a_small_preset_is_trained_as_a_small_machine_can() {
    let resolved = resolve("data.train = 'x'\nmodel.preset = 'tiny'").unwrap();
    let recipe = RECIPES.iter().find(|recipe| recipe.name == "small-machine").unwrap();
    let said = resolve(&format!("data.train = 'x'\n{}", recipe.toml)).unwrap();
    assert_eq!(resolved.settings, said.settings);
    assert_eq!(resolved.settings.training.batch, 32);
    assert_eq!(resolved.source("training.batch").to_string(), "recipe small-machine, for a small preset");

    let schedule = |toml: &str| {
        let schedule = resolve(&format!("data.train = 'x'\n{toml}")).unwrap().settings.schedule();
        (schedule.learning_rate, schedule.steps, schedule.warmup_steps)
    };
    assert_eq!(schedule("model.preset = 'tiny'"), (1e-3, 10_000, 1000));
    assert_eq!(schedule("model.preset = 'small'\ntraining.steps = 150000"), (3e-4, 150_000, 1500));
    assert_eq!(schedule("model.preset = 'small'\ntraining.steps = 50"), (3e-4, 50, 10));

    let lamb = resolve("data.train = 'x'\nmodel.preset = 'tiny'\noptimizer.optimizer = 'lamb'").unwrap();
    assert_eq!(
        lamb.source("optimizer.learning_rate").to_string(),
        "rule: 2e-3 for batch 32, the least for a small one"
    );
    assert_eq!((lamb.settings.optimizer.beta2, lamb.settings.training.batch), (0.999, 32));

    let base = resolve("data.train = 'x'\nmodel.preset = 'base'").unwrap().settings;
    assert_eq!((base.optimizer.kind, base.training.batch), (OptimizerKind::Lamb, 256));
    let short =
        resolve("data.train = 'x'\nmodel.preset = 'tiny'\nmodel.max_position_embeddings = 32").unwrap();
    assert_eq!(short.settings.sampling.max_seq_length, 32);
    let long =
        resolve("data.train = 'x'\nmodel.preset = 'tiny'\nmodel.max_position_embeddings = 256").unwrap();
    assert_eq!(long.settings.sampling.max_seq_length, 128);
}

/// A saved file has a value for every key: these are what they are where only the epochs were chosen.
#[test]
fn the_usual_lengths_are_those_of_the_recipes() {
    let steps = |name: &str| {
        let mut layers = Layers::<Pretrain>::new();
        layers.toml(RECIPES.iter().find(|recipe| recipe.name == name).unwrap().toml, name.as_ref());
        layers.resolve().unwrap().settings.training.steps
    };
    let usual = [Pretrain::default().training.steps, steps("built-in"), steps("small-machine")];
    assert_eq!(Pretrain::LENGTHS[0], ("training.steps", &usual[..]));
}

#[test]
fn the_learning_rate_follows_the_batch_unless_given() {
    let rate = |toml: &str| {
        let resolved = resolve(&format!("data.train = 'x'\n{toml}")).unwrap();
        (resolved.settings.schedule().learning_rate, resolved.source("optimizer.learning_rate").to_string())
    };
    assert_eq!(rate("training.batch = 1024"), (0.00088, "rule 0.00176·√(batch 1024/4096)".into()));
    assert_eq!(rate("training.batch = 1024\noptimizer.learning_rate = 1e-3"), (0.001, "run.toml:3".into()));
    assert_eq!(rate("training.batch = 256\noptimizer.optimizer = 'adamw'").0, 1e-4);
}

#[test]
fn text_is_read_as_the_key_needs_it() {
    let mut layers = Layers::<Pretrain>::new();
    layers.toml("[optimizer]\nlearning_rate = 1\n[training]\nsteps = 1e4\nmax_time = '1h'\n", "f".as_ref());
    layers.flag("model.preset", "--preset", &["base"]);
    layers.flag("data.train", "--train", &["2024"]); // a folder of that name
    layers.flag("data.held_out", "--held-out", &["a", "b"]);
    layers.flag("training.max_time", "--max-time", &["none"]);
    layers.flag("training.save_every", "--save-every", &["250"]);
    layers.flag("device.device", "--device", &["cuda"]);
    layers.set("optimizer.learning_rate=auto");
    let settings = layers.resolve().unwrap().settings;
    assert_eq!((settings.model.preset.as_deref(), settings.training.steps), (Some("base"), 10_000));
    assert_eq!(settings.data.train, [here("2024")]);
    assert_eq!(settings.data.held_out, [here("a"), here("b")]);
    assert_eq!((settings.training.max_time, settings.training.save_every), (None, Interval::Steps(250)));
    assert_eq!(settings.device.device, Device::Cuda(0));
    assert_eq!(settings.optimizer.learning_rate, Some(0.00044), "auto: the rule again");
}

/// Numbers and switches as other programs take them; of a flag's values the last.
#[test]
fn numbers_and_switches_are_read_as_people_write_them() {
    let rate = |text: &str| {
        let mut layers = Layers::<Pretrain>::new();
        layers.flag("optimizer.learning_rate", "--learning-rate", &[text]);
        layers.resolve().unwrap().settings.optimizer.learning_rate.unwrap()
    };
    for (text, expected) in [(".00001", 1e-5), ("1.", 1.0), ("+1e-3", 1e-3), ("1E-3", 1e-3), ("00.5", 0.5)] {
        assert_eq!(rate(text), expected, "{text}");
    }
    let mut layers = Layers::<Pretrain>::new();
    layers.flag("training.seed", "--seed", &["007"]);
    layers.flag("optimizer.bias_correction", "--bias-correction", &["off"]);
    layers.environment([
        ("ALBERT_TRAIN_MASKING_WHOLE_WORD".into(), "True".into()),
        ("ALBERT_TRAIN_MASKING_PERMUTATION".into(), "1".into()),
    ]);
    layers.flag("data.train", "--train", &["1"]); // a file of that name
    let settings = layers.resolve().unwrap().settings;
    assert_eq!((settings.training.seed, settings.optimizer.bias_correction), (7, false));
    assert!(settings.masking.whole_word && settings.masking.permutation);
    assert_eq!(settings.data.train, [here("1")]);
    for text in ["inf", "NaN", "1e999", "infinity"] {
        let mut layers = Layers::<Pretrain>::new();
        layers.flag("optimizer.learning_rate", "--learning-rate", &[text]);
        assert!(layers.resolve().is_err(), "{text}");
    }
}

#[test]
fn the_highest_layer_that_says_a_length_says_all_of_it() {
    let of = |file: &str, flags: &[&str]| {
        let mut layers = Layers::<Pretrain>::new();
        layers.toml(&format!("data.train = 'x'\n{file}"), "run.toml".as_ref());
        flags.iter().for_each(|name| layers.flag(&format!("training.{name}"), &format!("--{name}"), &["2"]));
        layers.resolve().map(|resolved| {
            let TrainingSettings { steps, epochs, tokens, .. } = resolved.settings.training;
            (steps, epochs, tokens)
        })
    };
    assert_eq!(of("training.steps = 800", &["epochs"]), Ok((125_000, Some(2.0), None)));
    assert_eq!(of("training.epochs = 3", &["tokens"]), Ok((125_000, None, Some(2))));
    assert_eq!(of("training.epochs = 3", &["steps"]), Ok((2, None, None)));
    assert_eq!(of("training.steps = 125000\ntraining.epochs = 3", &[]), Ok((125_000, Some(3.0), None)));
    for twice in [of("", &["steps", "epochs"]), of("training.steps = 8\ntraining.epochs = 3", &[])] {
        let error = twice.unwrap_err().to_string();
        assert!(error.contains("more than once") && error.contains("--epochs, --tokens"), "{error}");
    }
    let mut layers = Layers::<Finetune>::new();
    layers.toml("task.task = 'mrpc'\ntraining.steps = 800", "mrpc.toml".as_ref());
    layers.flag("training.epochs", "--epochs", &["2"]);
    let resolved = layers.resolve().unwrap();
    assert_eq!((resolved.settings.training.steps, resolved.settings.training.epochs), (None, Some(2.0)));
}

#[test]
fn sequences_are_as_long_as_the_model_allows() {
    let length = |toml: &str| {
        let resolved = resolve(toml).unwrap();
        (resolved.settings.sampling.max_seq_length, resolved.source("sampling.max_seq_length").to_string())
    };
    let own_text = "data.train = 'x'\nmodel.preset = 'micro'\n";
    assert_eq!(length(own_text), (128, "the model's 128 positions".into()));
    assert_eq!(length(&format!("{own_text}model.max_position_embeddings = 1000")), (512, "default".into()));
    assert_eq!(length(&format!("{own_text}sampling.max_seq_length = 99")), (99, "run.toml:3".into()));
    assert_eq!(length("model.preset = 'micro'"), (64, "built-in stories".into()));
    assert_eq!(length("model.max_position_embeddings = 32"), (32, "the model's 32 positions".into()));
}

/// Saved settings that do not say whether the last layer is gathered are those of a version that did not.
#[test]
fn a_run_of_an_earlier_version_goes_on_as_it_was_begun() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let resolved = |text: &str, is_saved: bool| {
        std::fs::write(&path, text).unwrap();
        let mut layers = Layers::<Pretrain>::new();
        if is_saved {
            layers.saved(&path)
        } else {
            layers.file(&path)
        }
        layers.resolve().unwrap()
    };
    let gathers = |text: &str, is_saved| resolved(text, is_saved).settings.training.gather_last_layer;
    let earlier = "data.train = 'x'\n[training]\nsteps = 10\n";
    assert!(gathers(earlier, false), "a new run");
    assert!(!gathers(earlier, true), "one that was begun by an earlier version");
    assert!(gathers(&resolved(earlier, false).to_toml(), true), "one that was begun by this version");
    let shown = resolved(earlier, true).to_toml();
    assert!(shown.contains("# as the version did that the run was begun with"), "{shown}");
}

/// A run that is continued remembers where its values came from when it was begun.
#[test]
fn sources_survive_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("config.toml"), folder.path().join("a # b.toml"));
    std::fs::write(&other, "[data]\ntrain = ['a # b', '\\\"c']\n[training]\nseed = 3").unwrap();
    let mut layers = Layers::<Pretrain>::new();
    layers.file(&other);
    layers.flag("training.steps", "--steps", &["20"]);
    layers.flag("model.preset", "--preset", &["micro"]);
    let begun = layers.resolve().unwrap();
    std::fs::write(&path, begun.to_toml()).unwrap();
    let mut layers = Layers::<Pretrain>::new();
    layers.saved(&path);
    let resumed = layers.resolve().unwrap();
    assert_eq!(resumed.to_toml(), begun.to_toml());
    assert!(resumed.source("training.steps").to_string().contains("config.toml:"), "errors name the line");
    let mut layers = Layers::<Pretrain>::new();
    layers.saved(&path);
    layers.flag("training.max_time", "--max-time", &["1h"]);
    let resumed = layers.resolve().unwrap().to_toml();
    assert_eq!(
        resumed.replace("max_time = \"1h\"                          # --max-time", "# max_time is not set"),
        begun.to_toml()
    );
}

#[test]
fn a_variable_without_its_section_is_understood() {
    for (variable, meant) in [
        ("ALBERT_TRAIN_STEPS", "ALBERT_TRAIN_TRAINING_STEPS"),
        ("ALBERT_TRAIN_TRAIN", "ALBERT_TRAIN_DATA_TRAIN"),
        ("ALBERT_TRAIN_LEARNING_RATE", "ALBERT_TRAIN_OPTIMIZER_LEARNING_RATE"),
        ("ALBERT_TRAIN_LERNING_RATE", "ALBERT_TRAIN_OPTIMIZER_LEARNING_RATE"),
        ("ALBERT_TRAIN_TRAINING_STEP", "ALBERT_TRAIN_TRAINING_STEPS"),
        ("ALBERT_TRAIN_OPTIMISER_BETA1", "ALBERT_TRAIN_OPTIMIZER_BETA1"),
    ] {
        let mut layers = Layers::<Pretrain>::new();
        layers.environment([(variable.into(), "5".into())]);
        let error = layers.resolve().unwrap_err().to_string();
        assert!(error.contains(&format!("did you mean {meant}?")), "{variable}: {error}");
    }
}

/// What no memory holds is refused before anything is reserved for it.
#[test]
fn numbers_beyond_reason_are_refused_in_fine_tuning_too() {
    for (key, value, most) in [
        ("training.batch", u64::MAX, "1048576"),
        ("training.batch", 9_000_000_000_000, "1048576"),
        ("training.micro_tokens", 1_000_000_000_000, "1073741824"),
        ("task.options", 27, "26"),
    ] {
        let mut layers = Layers::<Finetune>::new();
        layers.flag("task.task", "the command", &["race"]);
        layers.flag(key, "--flag", &[&value.to_string()]);
        let error = layers.resolve().unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(&format!("at most {most}")), "{error}");
    }
}

/// A name of a megabyte is refused at once, and not repeated.
#[test]
fn names_without_end_are_refused_in_few_words() {
    let name = "x".repeat(1 << 20);
    let mut layers = Layers::<Pretrain>::new();
    layers.toml(&format!("{name} = 1\n[training]\n{name} = 1\n[{name}.y]\nx = 1\n"), "f".as_ref());
    layers.set(&name);
    layers.set(&format!("{name}=1"));
    layers.environment([(format!("ALBERT_TRAIN_{name}").into(), "1".into())]);
    for key in [
        "model.preset",
        "model.hidden_act",
        "device.isa",
        "device.device",
        "optimizer.learning_rate",
        "training.max_time",
        "training.save_every",
        "data.format",
    ] {
        layers.flag(key, "--flag", &[&name]);
    }
    let error = layers.resolve().unwrap_err();
    assert!(error.problems.len() >= 12, "{}", error.problems.len());
    assert!(error.to_string().len() < 5_000, "{} bytes", error.to_string().len());
}

#[test]
fn differences_are_told() {
    let old = resolve("training.steps = 10").unwrap();
    let new = resolve("training.steps = 20\ntraining.max_time = '1h'").unwrap();
    let changed = |key: &'static str, a: &str, b: &str| (key, a.to_owned(), b.to_owned());
    assert_eq!(
        new.differences(&old.settings),
        [changed("training.steps", "20", "10"), changed("training.max_time", "\"1h\"", "not set")]
    );
}

#[test]
fn a_resumed_run_must_stay_the_same_run() {
    let begun = resolve("data.train = 'x'\ntraining.steps = 10").unwrap().settings;
    let now =
        resolve("data.train = 'y'\ntraining.steps = 20\ntraining.keep = 9\nmodel.hidden_size = 24").unwrap();
    let keys = |allow| {
        let problems = now.changes_at_resume(&begun, Pretrain::FREE_AT_RESUME, allow);
        problems.into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>().join("\n")
    };
    let report = keys(false);
    assert_snapshot!(report);
    assert!(!keys(true).contains("steps") && keys(true).contains("hidden_size"));
}

/// The sizes of a begun run are saved and win over a preset's: another one would be taken without effect.
#[test]
fn another_preset_is_another_run() {
    let begun = resolve("model.preset = 'micro'").unwrap();
    let now = resolve(&begun.to_toml().replace("preset = \"micro\"", "preset = \"tiny\"")).unwrap();
    let problems = now.changes_at_resume(&begun.settings, Pretrain::FREE_AT_RESUME, true);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("`model.preset` is \"tiny\", but the run was begun with"));
}

#[test]
fn keys_are_offered_as_flags() {
    let keys = keys::<Pretrain>();
    let of = |path: &str| keys.iter().find(|key| key.path == path).unwrap();
    let batch = of("training.batch");
    assert_eq!((batch.section, batch.name, batch.default.as_deref()), ("training", "batch", Some("256")));
    assert_eq!(of("optimizer.epsilon").default.as_deref(), Some("1e-6"));
    assert_eq!(of("device.threads").default, None);
    assert!(of("data.train").is_list && !of("data.format").is_list);
    assert!(of("masking.permutation").is_switch && !of("training.seed").is_switch);
}

#[test]
fn misspelt_keys() {
    let report = errors(
        "learning_rate = 1e-3\n\
         [optimiser]\nbeta1 = 0.9\n\
         [optimizer]\nlearning_rat = 1e-3\nsteps = 10\nlearnig_rate = 1\nfoo = 1\n\
         [training]\nsetps = 5\nmax_seq_len = 128\n\
         [warmup]\nx = 1\n\
         [model.extra]\nx = 1\n",
    );
    assert_snapshot!(report);
}

#[test]
fn wrong_types() {
    let report = errors(
        "device = 'cpu'\n\
         [training]\nsteps = 'many'\nbatch = -4\nseed = 1.5\nsave_every = '3 weeks'\nmax_time = 90\n\
         [optimizer]\noptimizer = 'sgd'\nlearning_rate = nan\nbias_correction = 1\n\
         [sampling]\nsingle_segment = 'drop'\n",
    );
    assert_snapshot!(report);
}

#[test]
fn impossible_values() {
    let report = errors(
        "[model]\npreset = 'bsae'\nhidden_size = 100\nnum_attention_heads = 12\nnum_hidden_groups = 20\n\
         hidden_dropout_prob = 1.0\nvocab_size = 0\n\
         [sampling]\nmax_seq_length = 1024\n\
         [masking]\nngram = 0\n\
         [training]\nsteps = 100\nmicro_batch = 1000\nkeep = 1\n\
         [optimizer]\nwarmup_steps = 101\nlearning_rate = 0\n\
         [data]\ntrain = 'x'\nheld_out_every = 1\n",
    );
    assert_snapshot!(report);
}

#[test]
fn broken_files_and_arguments() {
    let mut layers = Layers::<Pretrain>::new();
    layers.toml("[training]\nsteps = \nbatch = 4\n[training]\nkeep = 3", "run.toml".as_ref());
    layers.file("/no/such/file.toml".as_ref());
    layers.set("training.steps");
    layers.set("steps=5");
    layers.flag("training.step", "--step", &["5"]);
    layers.environment([("ALBERT_TRAIN_TRAINING_STEP".into(), "5".into())]);
    let report = layers.resolve().unwrap_err().to_string();
    assert_snapshot!(report);
}

#[test]
fn a_configuration_error_has_its_exit_code() {
    let error = resolve("x = 1").unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Usage);
}

/// A run that was begun on a larger machine goes on here, with the threads that are asked for here or those there are.
#[test]
fn threads_of_another_machine_bind_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let of = |threads: usize| {
        std::fs::write(&path, format!("[training]\nsteps = 7\n[device]\nthreads = {threads}\n")).unwrap();
        let mut layers = Layers::<Pretrain>::new();
        layers.saved(&path);
        layers
    };
    let threads = |layers: Layers<Pretrain>| {
        let settings = layers.resolve().unwrap().settings;
        assert_eq!(settings.training.steps, 7);
        settings.device.threads
    };
    let too_many = most_threads() + 1;
    assert_eq!((threads(of(3)), threads(of(too_many))), (Some(3), None));
    let mut given = of(too_many);
    given.flag("device.threads", "--threads", &["2"]);
    assert_eq!(threads(given), Some(2));
    // What is asked for here is looked at here.
    let mut asked = Layers::<Pretrain>::new();
    asked.file(&path);
    assert!(asked.resolve().unwrap_err().to_string().contains("device.threads"));
}
