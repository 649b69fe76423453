//! What a fork of a process has to copy.

use procfs::process::Process;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ForkCost {
    pub(crate) threads: u64,
    pub(crate) mappings: u64,
    /// Anonymous memory that is resident: `fork` makes an entry for each page, and both
    /// sides copy the pages that they write to.
    pub(crate) private_kib: u64,
    pub(crate) page_tables_kib: u64,
}

impl ForkCost {
    /// That of a process, if the caller may see it.
    pub(crate) fn of(pid: i32) -> Option<ForkCost> {
        let process = Process::new(pid).ok()?;
        let status = process.status().ok()?;
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        Some(ForkCost {
            threads: status.threads,
            mappings: maps.lines().count() as u64,
            private_kib: status.rssanon?,
            page_tables_kib: status.vmpte?,
        })
    }
}
