//! How big this machine is: processors and memory, as the control group allows.

/// Part of the memory that operators of all processes together may use, in percent.
const OPERATORS_PERCENT: u64 = 70;
/// Assumed when the system does not say.
const MEMORY_FALLBACK_BYTES: u64 = 4 << 30;

/// Processors that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
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
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(u64::MAX);
    machine.min(group)
}

/// Memory for the operators of one of `processes` equal processes, in bytes.
pub(crate) fn operator_bytes(processes: usize) -> usize {
    let share = memory_bytes() / 100 * OPERATORS_PERCENT / processes.max(1) as u64;
    usize::try_from(share).unwrap_or(usize::MAX)
}
