//! How much memory a process took.

/// The most that a process has had so far, in bytes; `process` is its number, or `self`. `None` once it has ended, and where
/// the system does not tell.
pub fn peak_memory(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}
