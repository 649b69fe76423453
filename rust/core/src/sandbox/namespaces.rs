//! Namespaces of the child's own.

use crate::error::Error;
use crate::options::{Namespaces, Options};
use crate::sys::{confine, privilege};
use nix::errno::Errno;

/// What is to be done, with the texts that the kernel wants.
pub(super) struct Unshared {
    kinds: Namespaces,
    /// For a namespace of users: which numbers are known there. The child's own, each as
    /// itself.
    users: String,
    groups: String,
}

impl Unshared {
    /// In the parent. `None`: no namespace is wanted.
    pub(super) fn of(options: &Options) -> Result<Option<Unshared>, Error> {
        let kinds = options.namespaces;
        if kinds.are_none() {
            return Ok(None);
        }
        if kinds.with_users() && (options.user.is_some() || options.group.is_some()) {
            let text = "namespaces user: not together with user or group, whose numbers are not \
                        known there";
            return Err(Error::new(Errno::EINVAL, text));
        }
        let (user, group) = privilege::effective();
        let same = |id: u32| format!("{id} {id} 1");
        Ok(Some(Unshared { kinds, users: same(user), groups: same(group) }))
    }

    /// In the child.
    pub(super) fn enter(&self) -> Result<(), Errno> {
        confine::unshare(self.kinds.flags())?;
        if self.kinds.with_users() {
            // The kernel wants it of a process without privileges: a group that is left could
            // open what it keeps its members from.
            confine::write_file(c"/proc/self/setgroups", b"deny")?;
            confine::write_file(c"/proc/self/uid_map", self.users.as_bytes())?;
            confine::write_file(c"/proc/self/gid_map", self.groups.as_bytes())?;
        }
        if self.kinds.with_mounts() {
            // What it mounts, if it may, is not seen outside.
            confine::make_mounts_private()?;
        }
        Ok(())
    }
}
