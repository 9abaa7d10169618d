//! How much memory this process may still take.

use std::fs;
use std::path::Path;

/// Bytes that this process can still take without swapping and within its limits: the least of what the machine has, what its
/// control groups allow (a container, a batch job), and `ulimit -v`. `None` where the system says nothing.
pub fn available_memory() -> Option<usize> {
    available_under(Path::new("/"))
}

/// Bytes of physical memory that this process takes now, where the system says so.
pub fn resident_memory() -> Option<usize> {
    kilobytes(Path::new("/proc/self/status"), "VmRSS:")
}

fn available_under(root: &Path) -> Option<usize> {
    let machine = kilobytes(&root.join("proc/meminfo"), "MemAvailable:");
    machine.into_iter().chain(address_space(root)).chain(control_groups(root)).min()
}

/// The number in the line of `file` that begins with `name`, in bytes.
fn kilobytes(file: &Path, name: &str) -> Option<usize> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// What `ulimit -v` leaves.
fn address_space(root: &Path) -> Option<usize> {
    let limits = fs::read_to_string(root.join("proc/self/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: usize = line.split_whitespace().next()?.parse().ok()?; // "unlimited" is no number
    Some(limit.saturating_sub(kilobytes(&root.join("proc/self/status"), "VmSize:")?))
}

/// What each control group leaves that this process is in, and each group around that. Version 2 has one tree of groups;
/// version 1 one for memory alone. In a container the group's path is that of the host, and only its last part may be there.
fn control_groups(root: &Path) -> Vec<usize> {
    let Ok(groups) = fs::read_to_string(root.join("proc/self/cgroup")) else { return Vec::new() };
    let mut available = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (trees, files): (&[&str], _) = match controllers {
            "" => (
                &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
                ["memory.max", "memory.current", "inactive_file "],
            ),
            _ if controllers.split(',').any(|name| name == "memory") => (
                &["sys/fs/cgroup/memory"],
                ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "],
            ),
            _ => continue,
        };
        for tree in trees {
            for group in Path::new(path.trim_start_matches('/')).ancestors() {
                available.extend(left_in(&root.join(tree).join(group), files));
            }
        }
    }
    available
}

/// Bytes that one control group leaves: its limit without its use, of which pages of files that nobody uses do not count.
fn left_in(group: &Path, [limit, usage, inactive]: [&str; 3]) -> Option<usize> {
    let number = |text: &str| text.trim().parse::<usize>().ok(); // "max" is none
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let (limit, used) = (number(&read(limit)?)?, number(&read(usage)?)?);
    let idle = read("memory.stat")
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix(inactive)).and_then(number))
        .unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(idle)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// A machine with 8 GiB free, whose files are these.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in
            [("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\n")].iter().chain(files)
        {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_narrowest_limit_counts() {
        let free = |files: &[(&str, &str)]| available_under(machine(files).path()).map(|bytes| bytes / MIB);
        assert_eq!(free(&[]), Some(8192));
        // Version 2, the limit two groups above this process; 60 MiB of the used 300 are files nobody needs.
        let second = [
            ("proc/self/cgroup", "0::/job_7/step_0/user\n"),
            ("sys/fs/cgroup/job_7/step_0/user/memory.max", "max\n"),
            ("sys/fs/cgroup/job_7/step_0/user/memory.current", "1048576\n"),
            ("sys/fs/cgroup/job_7/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/job_7/memory.current", "314572800\n"),
            ("sys/fs/cgroup/job_7/memory.stat", "active_file 9\ninactive_file 62914560\n"),
        ];
        assert_eq!(free(&second), Some(1024 - 300 + 60));
        // Version 1, in a container that sees its own group as the root.
        let first = [
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/0123\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "104857600\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 52428800\n"),
        ];
        assert_eq!(free(&first), Some(512 - 100 + 50));
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax address space         419430400   unlimited   bytes\n";
        let address_space = [("proc/self/limits", limits), ("proc/self/status", "VmSize:\t  102400 kB\n")];
        assert_eq!(free(&address_space), Some(400 - 100));
        assert_eq!(
            free(&[("proc/self/limits", "Max address space  unlimited  unlimited  bytes\n")]),
            Some(8192)
        );
        assert_eq!(available_under(Path::new("/nowhere")), None);
    }
}
