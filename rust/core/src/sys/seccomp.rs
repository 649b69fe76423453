//! Filters of system calls: seccomp(2).

use super::raw;
use nix::errno::Errno;
use std::mem::MaybeUninit;

/// `SECCOMP_SET_MODE_FILTER`.
const SET_FILTER: usize = 1;
/// The most instructions that a program has here. The child has a copy on its stack.
pub(crate) const MOST: usize = 512;

/// Installs a program. The instructions of `own` compare with a process number, and get
/// that of this process. For the child: see `raw`.
#[inline(always)]
pub(crate) fn set_filter(program: &[libc::sock_filter], own: &[usize]) -> Result<(), Errno> {
    // SAFETY: takes no pointers and always succeeds.
    let pid = unsafe { raw::call(libc::SYS_getpid, []) } as u32;
    let mut copy = [const { MaybeUninit::<libc::sock_filter>::uninit() }; MOST];
    for (to, from) in copy.iter_mut().zip(program) {
        to.write(*from);
    }
    for index in own {
        if let (Some(to), Some(from)) = (copy.get_mut(*index), program.get(*index)) {
            to.write(libc::sock_filter { k: pid, ..*from });
        }
    }
    let program = libc::sock_fprog {
        len: program.len().min(MOST) as libc::c_ushort,
        filter: copy.as_mut_ptr().cast(),
    };
    let args = [SET_FILTER, 0, &raw const program as usize];
    // SAFETY: so many instructions have been written there.
    raw::check(unsafe { raw::call(libc::SYS_seccomp, args) }).map(drop)
}
