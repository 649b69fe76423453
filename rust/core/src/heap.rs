//! Makes a large process cheap to fork.
//!
//! A fork copies the page tables, an entry for each 4 KiB page in use, and the
//! child's end takes them down again: in a host of 1 GiB that is most of a
//! connection's time. Memory in huge pages has one entry for 2 MiB. This asks
//! the kernel to collapse what is there already.

use crate::sys::memory;
use std::io::{BufRead, BufReader};
use std::ops::Range;

/// The size of a huge page on x86-64, and on aarch64 with 4 KiB pages.
const HUGE: usize = 2 << 20;

/// Collapses the private anonymous memory of this process into huge pages, and
/// returns how many bytes are in huge pages now that this call has put there or
/// found there.
///
/// For a host that is large by the time it starts to fork and cannot call
/// [`Server::start`](crate::Server::start) early. To be called once everything is
/// loaded, before the first connection; it takes up to some seconds per GiB, and
/// up to 2 MiB more memory for each region. Pages that host or child write to
/// afterwards are copied in 4 KiB pieces; the huge page is split then, and the
/// gain for its 2 MiB is gone (docs/benchmarks.md has figures). Blocks.
///
/// `MADV_COLLAPSE` is in Linux 6.1 and newer; elsewhere, and where memory is
/// short, this does nothing and returns 0.
pub fn prepare_heap() -> usize {
    let Ok(maps) = std::fs::File::open("/proc/self/maps") else {
        return 0;
    };
    // Read whole before the first change: collapsing may change the list.
    let lines = BufReader::new(maps).lines().map_while(Result::ok);
    let ranges: Vec<Range<usize>> = lines.filter_map(|line| private_anonymous(&line)).collect();
    let mut collapsed = 0;
    for range in ranges {
        let first = range.start.next_multiple_of(HUGE);
        for start in (first..range.end.saturating_sub(HUGE - 1)).step_by(HUGE) {
            match memory::collapse(start, HUGE) {
                Ok(()) => collapsed += HUGE,
                // This memory is to have small pages (MADV_NOHUGEPAGE), or the
                // call is not known to this kernel: no more of this region.
                Err(nix::errno::Errno::EINVAL) => break,
                // This piece is not resident or cannot be had; the next may be.
                Err(_) => {}
            }
        }
    }
    collapsed
}

/// The addresses of a line of /proc/self/maps, if it is memory that only this
/// process has: the heap, or without a name, and writable.
fn private_anonymous(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let inode = fields.nth(2)?;
    let name = fields.next().unwrap_or("");
    let ours = name.is_empty() || name == "[heap]" || name.starts_with("[anon:");
    if permissions != "rw-p" || inode != "0" || !ours {
        return None;
    }
    let parse = |text| usize::from_str_radix(text, 16).ok();
    Some(parse(start)?..parse(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_anonymous_memory_is_meant() {
        let heap = "55d0c8a1b000-55d0c8a3c000 rw-p 00000000 00:00 0                  [heap]";
        assert_eq!(private_anonymous(heap), Some(0x55d0_c8a1_b000..0x55d0_c8a3_c000));
        let unnamed = "7f0000000000-7f0000200000 rw-p 00000000 00:00 0 ";
        assert_eq!(private_anonymous(unnamed), Some(0x7f00_0000_0000..0x7f00_0020_0000));
        let others = [
            "7f00-7f01 rw-s 00000000 00:01 1234 /dev/zero (deleted)",
            "7f00-7f01 r-xp 00000000 fe:00 42 /usr/lib/libc.so.6",
            "7f00-7f01 rw-p 00001000 fe:00 42 /usr/lib/libc.so.6",
            "7ffc-7ffd rw-p 00000000 00:00 0 [stack]",
            "7ffc-7ffd r--p 00000000 00:00 0 [vvar]",
            "",
            "nonsense",
        ];
        for line in others {
            assert_eq!(private_anonymous(line), None, "{line}");
        }
    }
}
