use std::collections::BTreeSet;

use train::config::{Finetune, Pretrain, keys};

use super::commands::quoted_pattern;
use super::flags::Kind;
use super::*;

const PROGRAMS: [(Program, usize); 6] = [
    (Program::CreatePretrainingData, 17),
    (Program::RunPretraining, 28),
    (Program::RunClassifier, 32),
    (Program::RunSquadV1, 34),
    (Program::RunSquadV2, 35),
    (Program::RunRace, 35),
];

fn commands(program: Program, line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
    let commands = Given::parse(program, &words).unwrap().commands().unwrap();
    commands.iter().map(|command| command.join(" ") + "\n").collect()
}

fn refused(program: Program, line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
    match Given::parse(program, &words) {
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
                let given = Given::parse(program, &form).unwrap_or_else(|error| panic!("{form:?}: {error}"));
                assert_eq!(given.value(name), Some(value), "{form:?}");
            }
            if kind == Kind::Flag {
                let given = Given::parse(program, &[format!("--no{name}")]).unwrap();
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

#[test]
fn a_command_line_is_said_as_it_is_here() {
    let line = "--data_dir=glue --task_name=MNLI --output_dir=out --init_checkpoint=base/model.ckpt-best --do_train --do_eval \
                --nodo_predict --spm_model_file 30k-clean.model --train_step=10000 --warmup_step 1000 --learning_rate=3e-5 \
                --train_batch_size=128 --use_tpu=False";
    assert_eq!(
        commands(Program::RunClassifier, line),
        "albert-train finetune glue mnli --data glue --model base/model.ckpt-best --tokenizer 30k-clean.model --out out \
         --max-seq-length 512 --batch 128 --learning-rate 3e-5 --steps 10000 --warmup-steps 1000 --eval-every 1000 --keep 5 \
         --optimizer adamw\nalbert-train evaluate glue mnli --data glue --model out --max-seq-length 512\n"
    );
    let squad = "--train_file=squad/train-v2.0.json --predict_file=squad/dev-v2.0.json --output_dir=o --do_predict=true";
    assert_eq!(
        commands(Program::RunSquadV2, squad),
        "albert-train predict squad --version 2.0 --data squad/dev-v2.0.json --model o --out o/predictions \
         --max-seq-length 384 --doc-stride 128 --max-question-length 64\n"
    );
    let own =
        "--train_file=my/train.json --predict_file=my/dev.json --output_dir=o --init_checkpoint=m --do_train";
    let expected =
        "albert-train finetune squad --version 1.1 --train my/train.json --dev my/dev.json --model m ";
    assert!(commands(Program::RunSquadV1, own).starts_with(expected));
    let race = "--data_dir=RACE --output_dir=r --init_checkpoint=m --high_only --nodo_train --dropout_prob=0";
    assert_eq!(
        commands(Program::RunRace, race),
        "albert-train evaluate race --data RACE --level high --model r --max-seq-length 512 --max-question-length 128\n"
    );
    let words: Vec<String> = ["--input_file=x.tf_record", "--output_dir=o", "--do_eval", "--nodo_train"]
        .map(String::from)
        .to_vec();
    let given = Given::parse(Program::RunPretraining, &words).unwrap();
    assert_eq!(given.notes().map(|(flag, _)| flag).collect::<Vec<_>>(), ["input_file", "do_eval"]);
    assert_eq!(given.commands().unwrap().len(), 1);
    assert_eq!(quoted_pattern("my text/part-?.*"), "'my text/part-'?.*");
    let data = "--input_file=a/*.txt,b.txt --output_file=o --vocab_file=v.txt --nodo_whole_word_mask --random_seed=1";
    let expected = commands(Program::CreatePretrainingData, data);
    assert!(
        expected.starts_with("albert-train prepare --input a/*.txt b.txt --out o --tokenizer v.txt\n"),
        "{expected}"
    );
    assert!(expected.contains("--whole-word=false") && expected.contains("--seed 1 "), "{expected}");
}

#[test]
fn what_cannot_be_said_is_refused() {
    for (program, line, words) in [
        (Program::RunSquadV1, "--n_best_size=30", "--n_best_size=30 asks for what there is not"),
        (Program::RunSquadV1, "--no_such=1", "run_squad_v1 has no flag --no_such"),
        (Program::RunSquadV1, "--do_train=maybe", "is true or false"),
        (Program::RunSquadV1, "--learning_rate", "needs a value"),
        (Program::RunSquadV1, "stray", "is no flag"),
        (Program::RunPretraining, "--input_file=x --output_dir=o", "--albert_config_file is needed"),
        (Program::RunSquadV1, "--do_predict --train_file=t --output_dir=o", "--predict_file is needed"),
        (Program::RunRace, "--do_train --output_dir=o --data_dir=d", "--init_checkpoint is needed"),
    ] {
        let refused = refused(program, line);
        assert!(refused.contains(words), "{line}: {refused}");
    }
    let given =
        Given::parse(Program::RunSquadV1, &["--n_best_size=20.0".into(), "--use_tpu".into()]).unwrap();
    assert_eq!(given.explained().map(|(flag, _)| flag).collect::<Vec<_>>(), ["use_tpu"]);
}
