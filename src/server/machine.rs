//! How big this machine is: processors and memory, as the control group allows.

use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Part of the memory that operators and caches of all processes together may use, in percent.
const TARN_PERCENT: u64 = 70;
/// Assumed when the system does not say.
const MEMORY_FALLBACK_BYTES: u64 = 4 << 30;
/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// Processors that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Lets this process open as many files as it may: each spill file and each socket is one, and the usual 1024 are few.
pub(crate) fn allow_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of open files stays as limited as it was");
    }
}

/// Memory of the machine or of its control group, whichever is less, in bytes.
pub(crate) fn memory_bytes() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
            let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            Some(kib * 1024)
        })
        .unwrap_or(MEMORY_FALLBACK_BYTES);
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    machine.min(group_bytes(Path::new(GROUPS), &own))
}

/// The least limit of a process's control groups and those above them. `own` is its `/proc/self/cgroup`.
///
/// Source: Linux, `cgroups(7)`: a line `0::/path` is version 2, `N:memory:/path` version 1. In a container the root of
/// the hierarchy is the container's own group, and the path may be one of the host that is not there.
fn group_bytes(groups: &Path, own: &str) -> u64 {
    let mut least = u64::MAX;
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, files): (PathBuf, &[&str]) = if controllers.is_empty() {
            (groups.to_owned(), &["memory.max", "memory.high"])
        } else if controllers.split(',').any(|name| name == "memory") {
            (groups.join("memory"), &["memory.limit_in_bytes"])
        } else {
            continue;
        };
        let group = root.join(path.trim_start_matches('/'));
        for folder in group.ancestors().take_while(|f| f.starts_with(&root)) {
            for file in files {
                let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
                // "max" is no limit.
                least = least.min(text.trim().parse().unwrap_or(u64::MAX));
            }
        }
    }
    least
}

/// Memory for the operators of one of `processes` equal processes whose caches take `cache_bytes`, in bytes.
pub(crate) fn operator_bytes(processes: usize, cache_bytes: u64) -> usize {
    let share = memory_bytes() / 100 * TARN_PERCENT / processes.max(1) as u64;
    usize::try_from(share.saturating_sub(cache_bytes)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], own: &str, wanted: u64) {
        let groups = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = groups.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert_eq!(group_bytes(groups.path(), own), wanted, "{own}");
    }

    #[test]
    fn the_least_limit_of_the_groups_counts() {
        // Version 2: a service in a slice.
        let files = [
            ("a.slice/memory.max", "4000\n"),
            ("a.slice/t.service/memory.max", "max\n"),
            ("a.slice/t.service/memory.high", "5000\n"),
            ("b.slice/memory.max", "1\n"),
        ];
        check(&files, "0::/a.slice/t.service\n", 4000);
        // In a container the group is the root, whatever the path says.
        check(&[("memory.max", "3000\n")], "0::/../x\n", 3000);
        // Version 1, with version 2 mounted beside it for other things.
        let files = [
            ("memory/docker/1/memory.limit_in_bytes", "2000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        check(&files, "5:cpu,memory:/docker/1\n4:pids:/p\n0::/\n", 2000);
        check(&[], "", u64::MAX);
    }
}
