//! Users and groups of options: from names to numbers, before anything is forked.

use crate::error::Error;
use crate::escape::escaped;
use crate::options::Options;
use crate::sys::account;
use crate::sys::membership::{self, User};
use nix::errno::Errno;
use std::ffi::CString;

/// Who a child is to be, as far as an option says it.
pub(super) struct Identity {
    pub(super) user: Option<libc::uid_t>,
    pub(super) group: Option<libc::gid_t>,
    /// The supplementary groups, where they are to be others than those of the host.
    pub(super) groups: Option<Vec<libc::gid_t>>,
}

impl Identity {
    pub(super) fn of(options: &Options) -> Result<Identity, Error> {
        let user = options.user.as_deref().map(find_user).transpose()?;
        let mut group = options.group.as_deref().map(find_group).transpose()?;
        let uid = user.as_ref().map(|(uid, _)| *uid);
        let entry = user.as_ref().and_then(|(_, entry)| entry.as_ref());
        if let (Some((uid, entry)), None) = (&user, group) {
            let gid = entry.as_ref().map(|entry| entry.gid);
            group = Some(gid.ok_or_else(|| {
                let text = format!("user {uid}: not in the user database: set group, too");
                Error::new(Errno::EINVAL, text)
            })?);
        }
        let groups = match (entry, group) {
            (_, Some(gid)) if options.primary_group_only => Some(vec![gid]),
            (Some(entry), Some(gid)) => Some(membership::groups_of(entry, gid)),
            (None, Some(gid)) => Some(vec![gid]),
            (_, None) => None,
        };
        // A process that has no others needs no privilege to stay as it is.
        let (own_group, own_groups) = membership::own_groups();
        let groups = match group {
            None if options.primary_group_only => Some(vec![own_group]),
            _ => groups,
        };
        let stays = group.unwrap_or(own_group) == own_group;
        let groups = groups.filter(|groups| !stays || *groups != own_groups);
        Ok(Identity { user: uid, group, groups })
    }
}

/// The number of a user, and its entry if it has one.
fn find_user(name: &str) -> Result<(libc::uid_t, Option<User>), Error> {
    let fail = |errno| Error::os("user", &escaped(name), errno);
    if let Some(uid) = number(name) {
        return Ok((uid, membership::user_by_number(uid).map_err(fail)?));
    }
    let entry = membership::user_by_name(&c_string("user", name)?).map_err(fail)?;
    let entry = entry.ok_or_else(|| unknown("user", name))?;
    Ok((entry.uid, Some(entry)))
}

fn find_group(name: &str) -> Result<libc::gid_t, Error> {
    if let Some(gid) = number(name) {
        return Ok(gid);
    }
    let found = account::group(&c_string("group", name)?);
    let found = found.map_err(|errno| Error::os("group", &escaped(name), errno))?;
    found.ok_or_else(|| unknown("group", name))
}

/// The last number stands for none in the calls that set it.
fn number(name: &str) -> Option<u32> {
    let digits = Some(name).filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    digits?.parse().ok().filter(|number| *number != u32::MAX)
}

fn c_string(option: &str, name: &str) -> Result<CString, Error> {
    CString::new(name).map_err(|_| unknown(option, name))
}

fn unknown(option: &str, name: &str) -> Error {
    Error::new(Errno::EINVAL, format!("{option} {}: there is no such {option}", escaped(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(user: Option<&str>, group: Option<&str>) -> Result<Identity, String> {
        let [user, group] = [user, group].map(|name| name.map(str::to_owned));
        let options = Options { user, group, ..Options::default() };
        Identity::of(&options).map_err(|error| error.to_string())
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the system's databases")]
    fn a_name_and_a_number_are_the_same_user() {
        for name in ["root", "0"] {
            let root = identity(Some(name), None).unwrap();
            assert_eq!((root.user, root.group), (Some(0), Some(0)));
        }
        let apart = identity(Some("0"), Some("77")).unwrap();
        assert_eq!((apart.user, apart.group), (Some(0), Some(77)));
        let group = identity(None, Some("77")).unwrap();
        assert_eq!((group.user, group.groups), (None, Some(vec![77])));
        let none = identity(None, None).unwrap();
        assert!(none.user.is_none() && none.group.is_none() && none.groups.is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the system's databases")]
    fn what_nobody_knows_is_an_error_that_names_it() {
        let text = |user, group| identity(user, group).err();
        let expected = "user no such one: there is no such user";
        assert_eq!(text(Some("no such one"), None).as_deref(), Some(expected));
        let expected = "group a\\nb: there is no such group";
        assert_eq!(text(None, Some("a\nb")).as_deref(), Some(expected));
        let expected = "user 4000000000: not in the user database: set group, too";
        assert_eq!(text(Some("4000000000"), None).as_deref(), Some(expected));
        assert_eq!(text(Some("4000000000"), Some("0")), None);
    }
}
