//! Arguments of commands that a person is told to run.

/// An argument as a shell takes it.
pub fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%".contains(c);
    match argument.chars().all(is_plain) && !argument.is_empty() {
        true => argument.into(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

/// A path as a shell takes it, which no program takes for an option.
pub fn quoted_path(path: &str) -> String {
    if path.starts_with('-') { format!("./{}", quoted(path)) } else { quoted(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_what_is_meant() {
        for (argument, expected) in
            [("a/b.txt", "a/b.txt"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(quoted(argument), expected);
        }
        assert_eq!(quoted_path("-x y"), "./'-x y'");
    }
}
