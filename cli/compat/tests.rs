use std::collections::BTreeSet;

use train::config::{Finetune, Pretrain, keys};

use super::flags::{Fate, Kind};
use super::line::quoted_pattern;
use super::*;

const PROGRAMS: [(Program, usize); 6] = [
    (Program::CreatePretrainingData, 17),
    (Program::RunPretraining, 28),
    (Program::RunClassifier, 32),
    (Program::RunSquadV1, 34),
    (Program::RunSquadV2, 35),
    (Program::RunRace, 35),
];

fn given(program: Program, words: &[String]) -> Result<Given, CompatError> {
    Given::parse(program, words).map(|asked| match asked {
        Asked::Work(given) => given,
        Asked::Help => panic!("no help was asked for"),
    })
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(Into::into).collect()
}

fn commands(program: Program, line: &str) -> String {
    let commands = given(program, &words(line)).unwrap().commands().unwrap();
    commands.iter().map(|command| format!("{command}\n")).collect()
}

fn refused(program: Program, line: &str) -> String {
    match given(program, &words(line)) {
        Err(error) => error.to_string(),
        Ok(given) => given.commands().unwrap_err().to_string(),
    }
}

/// All 181, each once in its program, each accepted in every form, and each with a word.
#[test]
fn every_flag_of_the_reference_is_known() {
    assert_eq!(PROGRAMS.iter().map(|(_, count)| count).sum::<usize>(), 181);
    let keys = keys::<Pretrain>().into_iter().chain(keys::<Finetune>());
    let known = keys.map(|key| format!("--{}", key.name.replace('_', "-")));
    let known: BTreeSet<String> = known.chain(["--out".into()]).collect();
    for (program, count) in PROGRAMS {
        let rows = flags(program);
        let names: BTreeSet<_> = rows.iter().map(|row| row.0).collect();
        assert_eq!((rows.len(), names.len()), (count, count), "{program:?}");
        for (name, kind, default, fate) in rows {
            let value = match (default, kind) {
                ("", _) => "x",
                (default, _) => default,
            };
            let mut forms = vec![vec![format!("--{name}={value}")]];
            if kind == Kind::Value {
                forms.push(vec![format!("-{name}"), value.into()]);
            }
            for form in forms {
                let given = given(program, &form).unwrap_or_else(|error| panic!("{form:?}: {error}"));
                assert_eq!(given.value(name), Some(value), "{form:?}");
            }
            if kind == Kind::Flag {
                let given = given(program, &[format!("--no{name}")]).unwrap();
                assert_eq!(given.value(name), Some("false"));
            }
            match fate {
                Fate::Mapped(flag) => assert!(known.contains(flag), "{name}: there is no {flag}"),
                Fate::Read(words) | Fate::Explained(words) | Fate::Refused(words) => {
                    assert!(!words.is_empty(), "{name}");
                }
            }
        }
    }
}

/// Command lines that between them read every flag: `CONFIG` is a file of sizes.
const LINES: [(Program, &str); 21] = [
    (
        Program::CreatePretrainingData,
        "--input_file=a.txt --output_file=o --spm_model_file=s.model --vocab_file=v.txt",
    ),
    (Program::CreatePretrainingData, "--input_file=a.txt --output_file=o"),
    (Program::RunPretraining, "--input_file=a.txt --output_dir=o --albert_config_file=CONFIG"),
    (
        Program::RunPretraining,
        "--input_file=a.txt --output_dir=o --albert_config_file=CONFIG --do_eval --nodo_train",
    ),
    (
        Program::RunClassifier,
        "--data_dir=d --task_name=rte --output_dir=o --init_checkpoint=m --do_train --spm_model_file=s",
    ),
    (Program::RunPretraining, "--input_file=a.txt --output_dir=o --albert_config_file=CONFIG --nodo_train"),
    (
        Program::RunClassifier,
        "--data_dir=d --task_name=rte --output_dir=o --albert_hub_module_handle=h --do_train",
    ),
    (Program::RunClassifier, "--data_dir=d --task_name=rte --output_dir=o --init_checkpoint=m"),
    (
        Program::RunSquadV1,
        "--train_file=t --predict_file=p --output_dir=o --init_checkpoint=m --do_train --spm_model_file=s",
    ),
    (Program::RunSquadV1, "--train_file=t --predict_file=p --output_dir=o --init_checkpoint=m"),
    (
        Program::RunSquadV1,
        "--train_file=t --predict_file=p --output_dir=o --albert_hub_module_handle=h --do_train",
    ),
    (
        Program::RunSquadV2,
        "--train_file=t --predict_file=p --output_dir=o --init_checkpoint=m --do_train --spm_model_file=s",
    ),
    (Program::RunSquadV2, "--train_file=t --predict_file=p --output_dir=o --init_checkpoint=m"),
    (
        Program::RunSquadV2,
        "--train_file=t --predict_file=p --output_dir=o --albert_hub_module_handle=h --do_train",
    ),
    (Program::RunRace, "--data_dir=d --output_dir=o --init_checkpoint=m --spm_model_file=s"),
    (Program::RunRace, "--data_dir=d --output_dir=o --albert_hub_module_handle=h"),
    (Program::RunClassifier, "--data_dir=d --task_name=rte --output_dir=o --init_checkpoint=m --do_train"),
    (Program::RunSquadV1, "--train_file=t --predict_file=p --output_dir=o --init_checkpoint=m --do_train"),
    (Program::RunSquadV2, "--train_file=t --predict_file=p --output_dir=o --init_checkpoint=m --do_train"),
    (Program::RunRace, "--data_dir=d --output_dir=o --init_checkpoint=m"),
    (Program::RunRace, "--data_dir=d --output_dir=o --nodo_train --do_eval"),
];

/// Each of the 181 is in the table, and does what it says there: what is mapped changes the commands or what is kept beside
/// prepared text, what is explained changes nothing and is explained, what is refused is refused.
#[test]
fn every_flag_does_what_the_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, width: usize| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!(r#"{{"hidden_size": {width}}}"#)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (config, other) = (file("config", 24), file("other", 48));
    let said = |program, words: &[String]| -> Option<(Vec<String>, String, usize)> {
        let given = given(program, words).unwrap();
        let commands: Vec<String> = given.commands().ok()?.iter().map(ToString::to_string).collect();
        Some((commands, given.sampling(), given.explained().count()))
    };
    let (table, mut seen) = (table::table(), 0);
    for (program, _) in PROGRAMS {
        let section = table.split("\n## ").find(|part| part.starts_with(&program.name())).unwrap();
        for (name, kind, default, fate) in flags(program) {
            let (word, reason) = fate.in_words();
            let row = format!("| `--{name}` | {default} | {word} | {reason} |\n");
            assert_eq!(section.matches(&row).count(), 1, "{row}");
            let value = match (kind, default) {
                (Kind::Flag, "true") => "false",
                (Kind::Flag, _) => "true",
                (Kind::Value, _) if name == "albert_config_file" => &other,
                (Kind::Value, _) => "7",
            };
            let flag = format!("--{name}={value}");
            let (mut changes, mut explained) = (false, false);
            for (_, line) in LINES.iter().filter(|(of, _)| *of == program) {
                let line = words(&line.replace("CONFIG", &config));
                let more = [&line[..], std::slice::from_ref(&flag)].concat();
                if let Fate::Refused(_) = fate {
                    assert!(matches!(given(program, &more), Err(CompatError::Refused { .. })), "{flag}");
                    continue;
                }
                // A line without anything to do says nothing.
                match [&line, &more].map(|words| said(program, words)) {
                    [Some(before), Some(after)] => {
                        changes |= (before.0, before.1) != (after.0, after.1);
                        explained |= after.2 == before.2 + 1;
                    }
                    [before, after] => changes |= before.is_some() != after.is_some(),
                }
            }
            match fate {
                Fate::Mapped(_) | Fate::Read(_) => {
                    assert!(changes && !explained, "{program:?}: {flag} changes nothing")
                }
                Fate::Explained(_) => assert!(!changes && explained, "{program:?}: {flag}"),
                Fate::Refused(_) => {}
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 181);
}

#[test]
fn a_command_line_is_said_as_it_is_here() {
    let line = "--data_dir=glue --task_name=MNLI --output_dir=out --init_checkpoint=base/model.ckpt-best --do_train --do_eval \
                --nodo_predict --spm_model_file 30k-clean.model --train_step=10000 --warmup_step 1000 --learning_rate=3e-5 \
                --train_batch_size=128 --use_tpu=False";
    assert_eq!(
        commands(Program::RunClassifier, line),
        "albert-train finetune glue mnli --data glue --model base/model.ckpt-best --tokenizer 30k-clean.model --out out \
         --max-seq-length 512 --batch 128 --learning-rate 3e-5 --steps 10000 --warmup-steps 1000 --eval-every 1000 --keep 5 \
         --optimizer adamw\n"
    );
    assert_eq!(
        commands(
            Program::RunClassifier,
            &format!("{line} --nodo_train --do_predict --task_name=mismnli --output_dir=o")
        ),
        "albert-train evaluate glue mnli --data glue --model base/model.ckpt-best\n\
         albert-train predict glue mnli --data glue --model base/model.ckpt-best --out o/predictions\n"
    );
    // A length that is given is not cut to the model's positions.
    assert_eq!(
        commands(Program::RunClassifier, &format!("{line} --nodo_train --max_seq_length=128")),
        "albert-train evaluate glue mnli --data glue --model base/model.ckpt-best --max-seq-length 128\n"
    );
    let squad = "--train_file=squad/train-v2.0.json --predict_file=squad/dev-v2.0.json --output_dir=o --do_predict=true";
    assert_eq!(
        commands(Program::RunSquadV2, squad),
        "albert-train predict squad --version 2.0 --data squad/dev-v2.0.json --model o --max-seq-length 384 --doc-stride 128 \
         --max-question-length 64 --out o\n\
         albert-train evaluate squad --version 2.0 --data squad/dev-v2.0.json --predictions o/predictions.json \
         --null-odds o/null_odds.json --na-prob-thresh 1e30\n"
    );
    let own =
        "--train_file=my/train.json --predict_file=my/dev.json --output_dir=o --init_checkpoint=m --do_train";
    let expected =
        "albert-train finetune squad --version 1.1 --train my/train.json --dev my/dev.json --model m ";
    assert!(commands(Program::RunSquadV1, own).starts_with(expected));
    let race = "--data_dir=RACE --output_dir=r --init_checkpoint=m --high_only --nodo_train --dropout_prob=0 --do_predict";
    assert_eq!(
        commands(Program::RunRace, race),
        "albert-train evaluate race --level high --data RACE --model m --max-question-length 128\n\
         albert-train evaluate race --level high --data RACE --model m --max-question-length 128 \
         --split test --out r/predictions\n"
    );
    assert_eq!(
        commands(Program::RunPretraining, "--input_file=x.txt --output_dir=o --do_eval --nodo_train"),
        "albert-train evaluate text --model o --data x.txt --max-seq-length 512 --sequences 6400\n"
    );
    // A module of TF-Hub brings its vocabulary.
    let module = "--data_dir=d --task_name=RTE --output_dir=o --albert_hub_module_handle=h --init_checkpoint= --do_train";
    let said = commands(Program::RunClassifier, &format!("{module} --spm_model_file=s.model"));
    assert!(said.contains(" --model h ") && !said.contains("--tokenizer"), "{said}");
    assert_eq!(quoted_pattern("my text/part-?.*"), "'my text/part-'?.*");
    let data = "--input_file=a/*.txt,b.txt --output_file=o --vocab_file=v.txt --nodo_whole_word_mask --random_seed=1";
    assert_eq!(
        commands(Program::CreatePretrainingData, data),
        "albert-train prepare --input a/*.txt b.txt --out o --tokenizer v.txt\n"
    );
    // As many a script that glues names together has it.
    let glued = commands(Program::CreatePretrainingData, "--input_file=,a.txt,,b.txt, --output_file=o");
    assert_eq!(glued, "albert-train prepare --input a.txt b.txt --out o\n");
    for (kept, keep) in [("0", "--keep 100000"), ("1", "--keep 2"), ("3", "--keep 3")] {
        let said = commands(Program::RunRace, &format!("{race} --do_train --num_keep_checkpoint={kept}"));
        assert!(said.contains(keep), "{said}");
    }
    let sampling = given(Program::CreatePretrainingData, &words(&format!("{data} --masked_lm_prob=.15")))
        .unwrap()
        .sampling();
    assert!(sampling.contains("masking.masked_lm_prob = 0.15\n"), "{sampling}");
    assert!(
        sampling.contains("\nmasking.whole_word = false\n") && sampling.contains("training.seed = 1\n"),
        "{sampling}"
    );
}

#[test]
fn what_cannot_be_said_is_refused() {
    for (program, line, words) in [
        (Program::RunSquadV1, "--n_best_size=30", "--n_best_size=30 is not supported"),
        (Program::RunSquadV1, "--no_such=1", "run_squad_v1 has no flag --no_such;"),
        (Program::RunSquadV1, "--max_seq_len=1", "--max_seq_len (did you mean --max_seq_length?)"),
        (Program::RunSquadV1, "--do_train=maybe", "is true or false"),
        (Program::RunSquadV1, "--learning_rate", "needs a value"),
        (Program::RunSquadV1, "stray", "is not a flag"),
        (Program::RunPretraining, "--input_file=x --output_dir=o", "--albert_config_file is required"),
        (Program::CreatePretrainingData, "--input_file=x --output_file=o,p", "one folder takes the place"),
        (Program::CreatePretrainingData, "--input_file=x --output_file=o --ngram=abc", "--ngram"),
        (Program::RunSquadV1, "--do_predict --train_file=t --output_dir=o", "--predict_file is required"),
        (Program::RunRace, "--do_train --output_dir=o --data_dir=d", "--init_checkpoint is required"),
    ] {
        let refused = refused(program, line);
        assert!(refused.contains(words), "{line}: {refused}");
    }
    // What TensorFlow reads and writes elsewhere; what is not used may be anywhere.
    let (train, bucket) = ("--output_dir=o --do_train", "files are read and written on this machine alone");
    for (line, flag) in [
        ("--output_dir=gs://b/o --data_dir=d --task_name=rte", "--output_dir=gs://b/o"),
        ("--output_dir=o --data_dir gs://b/glue --task_name=rte", "--data_dir=gs://b/glue"),
        ("--output_dir=o --init_checkpoint=gs://albert_models/base/model.ckpt", "--init_checkpoint=gs://"),
        ("--output_dir=o --spm_model_file=s3://b/30k-clean.model", "--spm_model_file=s3://b/30k"),
        ("--output_dir=hdfs://n/o", "--output_dir=hdfs://n/o"),
    ] {
        let refused = refused(Program::RunClassifier, line);
        assert!(refused.contains(flag) && refused.contains(bucket), "{line}: {refused}");
    }
    let inputs = "--input_file=a.txt,gs://b/*.txt --output_file=o";
    assert!(refused(Program::CreatePretrainingData, inputs).contains("--input_file=gs://b/*.txt: "));
    let module =
        format!("{train} --data_dir=d --task_name=rte --albert_hub_module_handle=https://tfhub.dev/a");
    assert!(refused(Program::RunClassifier, &module).contains("albert-train download albert-base-v2"));
    let unused = "--cached_dir=gs://b/c --export_dir=gs://b/e --tpu_name=grpc://10.0.0.1:8470 --use_tpu=true";
    let given_elsewhere = given(Program::RunClassifier, &words(unused)).unwrap();
    assert_eq!(given_elsewhere.explained().count(), 4);
    let given = given(Program::RunSquadV1, &words("--n_best_size=20.0 --use_tpu")).unwrap();
    assert_eq!(given.explained().map(|(flag, _)| flag).collect::<Vec<_>>(), ["use_tpu"]);
}
