//! Every command's help.

use crate::program::run;

#[test]
fn help_of_every_command() {
    let commands: [&[&str]; 38] = [
        &[],
        &["pretrain"],
        &["prepare"],
        &["tokenizer"],
        &["tokenizer", "train"],
        &["tokenizer", "encode"],
        &["tokenizer", "inspect"],
        &["finetune"],
        &["finetune", "glue"],
        &["finetune", "squad"],
        &["evaluate"],
        &["evaluate", "text"],
        &["evaluate", "table"],
        &["predict"],
        &["predict", "text"],
        &["recipes"],
        &["runs"],
        &["runs", "ls"],
        &["runs", "show"],
        &["runs", "compare"],
        &["runs", "export"],
        &["runs", "table"],
        &["report"],
        &["compat"],
        &["completions"],
        &["man"],
        &["fill-mask"],
        &["encode"],
        &["download"],
        &["convert"],
        &["plan"],
        &["inspect"],
        &["inspect", "batches"],
        &["bench"],
        &["bench", "step"],
        &["bench", "gemm"],
        &["bench", "kernels"],
        &["doctor"],
    ];
    for command in commands {
        let help = run(&[command, &["--help"]].concat()).done();
        insta::assert_snapshot!(["help"].iter().chain(command).copied().collect::<Vec<_>>().join("-"), help);
    }
}

/// What fits a screen; `--help` tells all.
#[test]
fn short_help_fits_a_screen() {
    for command in [&["pretrain"][..], &["finetune", "table"], &["evaluate", "text"], &["prepare"]] {
        let help = run(&[command, &["-h"]].concat()).done();
        let lines = help.lines().count();
        assert!(lines <= 30, "{command:?}: {lines} lines\n{help}");
        insta::assert_snapshot!(["short"].iter().chain(command).copied().collect::<Vec<_>>().join("-"), help);
    }
}

/// A shell takes the script, and completes commands and flags by it.
#[test]
fn completions_load_in_bash() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("completions");
    std::fs::write(&script, run(&["completions", "bash"]).done()).unwrap();
    let asks = "source \"$0\"; COMP_WORDS=(albert-train $1); COMP_CWORD=$2; _albert__train albert-train \"${COMP_WORDS[$2]}\" x; \
                echo \"${COMPREPLY[@]}\"";
    let completed = |words: &str, place: &str| {
        let shell =
            std::process::Command::new("bash").args(["-c", asks]).arg(&script).args([words, place]).output();
        let shell = shell.unwrap();
        assert!(shell.stderr.is_empty(), "{}", String::from_utf8_lossy(&shell.stderr));
        String::from_utf8(shell.stdout).unwrap()
    };
    assert!(completed("pret", "1").trim() == "pretrain");
    assert!(completed("pretrain --learning", "2").trim() == "--learning-rate");
    assert!(completed("compat run_squad", "2").trim() == "run_squad_v1 run_squad_v2");
    for (shell, word) in [
        ("zsh", "run_squad_v2\\:\"SQuAD 2.0\""),
        ("fish", "run_squad_v2\\t'SQuAD 2.0'"),
        ("fish", "using_subcommand compat; and not __fish_seen_subcommand_from create_pretraining_data run_"),
    ] {
        let script = run(&["completions", shell]).done();
        assert!(script.contains("frequency-bias") && script.contains(word), "{shell}");
    }
}

/// A page for each command; what it says of flags is their help.
#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    run(&["man", folder.path().to_str().unwrap()]).done();
    let page = |name: &str| std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
    assert!(page("albert-train").starts_with(".TH ALBERT\\-TRAIN 1 "), "{}", page("albert-train"));
    assert!(page("albert-train-finetune-glue").contains("\\-\\-learning\\-rate <RATE>"));
    let requests = page("albert-train-pretrain").lines().filter(|line| line.starts_with('.')).count();
    assert_eq!(requests, 5, "no line of help is taken for a request");
}

#[test]
fn without_arguments_help_is_shown() {
    let shown = run(&[]);
    assert_eq!(shown.code, 2);
    assert!(shown.err.contains("Usage: albert-train"), "{}", shown.err);
}
