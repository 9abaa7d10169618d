//! A program that was built without `download`.

use train::exit::ExitCode;

use crate::program::run;

#[test]
fn what_cannot_be_done_is_said_with_the_way_to_it() {
    run(&["download", "albert-base-v2"])
        .complains(ExitCode::Usage, &["its feature `download`", "hf download albert/albert-base-v2"]);
    assert!(run(&["download", "--list"]).done().contains("albert-xxlarge-v1"));
}
