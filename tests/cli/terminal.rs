//! What is written to a terminal.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::ptr::null_mut;

use crate::program::program;

/// What the program writes to a terminal, with `variables` in its environment.
fn written(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let (mut ours, mut theirs) = (0, 0);
    // SAFETY: both numbers have a place to be written to; a name, settings and a size need not be given.
    let opened = unsafe { libc::openpty(&mut ours, &mut theirs, null_mut(), null_mut(), null_mut()) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    for end in [ours, theirs] {
        // SAFETY: it is open. A program that another test starts would else keep it open, and be waited for below.
        assert_eq!(unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) }, 0);
    }
    // SAFETY: both are open, and nobody else's.
    let (mut ours, theirs) = unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) };
    let mut command = program();
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.args(arguments).env("TERM", "xterm").envs(variables.iter().copied());
    command.stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    drop(command); // its end of the terminal is the program's alone now
    let mut text = Vec::new();
    let _ = ours.read_to_end(&mut text); // ends with an error when the program has closed it
    child.wait().unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn nothing_is_coloured_for_whoever_wants_no_colour() {
    for arguments in [&["doctor"][..], &["pretrain", "--no-such"]] {
        let [coloured, plain] =
            [&[][..], &[("NO_COLOR", "1")]].map(|variables| written(arguments, variables));
        assert!(coloured.contains("\x1b["), "{arguments:?}: {coloured:?}");
        assert!(!plain.contains('\x1b') && plain.len() > 100, "{arguments:?}: {plain:?}");
    }
}
