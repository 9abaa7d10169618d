//! The `albert-train` command line.

fn main() {}
