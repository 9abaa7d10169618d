//! Every command's help.

use crate::program::run;

#[test]
fn help_of_every_command() {
    let commands: [&[&str]; 32] = [
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
        &["fill-mask"],
        &["encode"],
        &["convert"],
        &["plan"],
        &["inspect"],
        &["inspect", "batches"],
        &["bench"],
        &["bench", "step"],
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

#[test]
fn without_arguments_help_is_shown() {
    let shown = run(&[]);
    assert_eq!(shown.code, 2);
    assert!(shown.err.contains("Usage: albert-train"), "{}", shown.err);
}
