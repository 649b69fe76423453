//! Every limit and time-out, with its default and its range.
//!
//! Options are checked once, when a server is made; an error names the option
//! and the range. Nothing in the library has a limit that is not in `table`.

mod cgroup;
mod choice;
mod misfit;
mod namespaces;
mod rlimits;
mod syscalls;
mod table;

pub use cgroup::Cgroup;
pub use choice::{AtCapacity, AtRate, Choice, Landlock, Notify, Orphans, ProcessGroup, Proxy};
use misfit::Check;
pub use misfit::{Amount, Misfit};
pub use namespaces::Namespaces;
pub(crate) use rlimits::Rlimit;
pub use rlimits::Rlimits;
pub use syscalls::Syscalls;

use crate::cidr::CidrList;
use crate::error::Error;
use crate::sys::socket::RawAddress;
use nix::errno::Errno;
use std::path::PathBuf;
use std::time::Duration;

/// The longest time-out: about 31 years, far from any overflow of `Instant`.
pub(crate) const MAX_TIME: Duration = Duration::from_millis(1_000_000_000_000);

macro_rules! option_type {
    (number $arguments:tt) => { u32 };
    (flag $arguments:tt) => { bool };
    (time $arguments:tt) => { Duration };
    (limit $arguments:tt) => { Option<Duration> };
    (bytes $arguments:tt) => { Vec<u8> };
    (choice ($choice:ident)) => { $choice };
    (networks $arguments:tt) => { CidrList };
    (statuses $arguments:tt) => { Vec<u8> };
    (mode $arguments:tt) => { Option<u32> };
    (account $arguments:tt) => { Option<String> };
    (signed $arguments:tt) => { i32 };
    (setting $arguments:tt) => { Option<i32> };
    (text ($type:ident, $example:tt)) => { $type };
    (path $arguments:tt) => { Option<PathBuf> };
    (paths $arguments:tt) => { Vec<PathBuf> };
}

macro_rules! default_value {
    (number $default:tt) => {
        $default
    };
    (flag $default:tt) => {
        $default
    };
    (signed $default:tt) => {
        $default
    };
    (time $default:tt) => {
        Duration::from_millis($default)
    };
    (limit None) => {
        None
    };
    (limit $default:tt) => {
        Some(Duration::from_millis($default))
    };
    // Of a choice the first; of a list, a mode and an account none.
    ($kind:ident $default:tt) => {
        Default::default()
    };
}

/// The last line of a description.
macro_rules! note {
    (number ($least:tt, $most:tt) $default:tt) => {
        concat!("Range: ", $least, " to ", $most, ". Default: ", $default, ".")
    };
    (flag () $default:tt) => {
        concat!("Default: ", $default, ".")
    };
    (time ($least:tt, $most:tt) $default:tt) => {
        concat!("Range: ", $least, " to ", $most, " ms. Default: ", $default, " ms.")
    };
    (limit ($none:expr, $most:tt, $meaning:tt) None) => {
        concat!("At most ", $most, " ms. Default: `None`, ", $meaning, ".")
    };
    (limit ($none:expr, $most:tt, $meaning:tt) $default:tt) => {
        concat!("At most ", $most, " ms; `None`: ", $meaning, ". Default: ", $default, " ms.")
    };
    (bytes ($most:tt) $default:tt) => {
        concat!("At most ", $most, " bytes. Default: none.")
    };
    (choice $choice:tt $default:tt) => {
        concat!("Default: `", stringify!($default), "`.")
    };
    (mode () none) => {
        "Range: 0 to 0o777. Default: none."
    };
    (signed ($least:literal, $most:literal) $default:tt) => {
        concat!("Range: ", $least, " to ", $most, ". Default: ", $default, ".")
    };
    (setting ($none:literal, $least:literal, $most:literal, $meaning:tt) none) => {
        concat!("Range: ", $least, " to ", $most, ". Default: `None`, ", $meaning, ".")
    };
    (text ($type:ident, $example:tt) none) => {
        concat!("As text: `", $example, "`. Default: none.")
    };
    ($kind:ident () none) => {
        "Default: none."
    };
}

macro_rules! check {
    (number ($least:tt, $most:tt) $check:ident $name:ident $value:expr) => {
        $check.number(stringify!($name), $value, $least, $most)
    };
    (time ($least:tt, $most:tt) $check:ident $name:ident $value:expr) => {
        $check.time(stringify!($name), $value, $least, $most)
    };
    (signed ($least:literal, $most:literal) $check:ident $name:ident $value:expr) => {
        $check.signed(stringify!($name), $value, $least, $most)
    };
    (setting ($none:literal, $least:literal, $most:literal, $meaning:tt)
        $check:ident $name:ident $value:expr) => {
        $check.signed(stringify!($name), $value.unwrap_or($least), $least, $most)
    };
    (limit ($none:expr, $most:tt, $meaning:tt) $check:ident $name:ident $value:expr) => {
        $check.time(stringify!($name), $value.unwrap_or_default(), 0, $most)
    };
    (bytes ($most:tt) $check:ident $name:ident $value:expr) => {
        $check.bytes(stringify!($name), $value.len(), $most)
    };
    (mode () $check:ident $name:ident $value:expr) => {
        $check.mode(stringify!($name), $value)
    };
    ($kind:ident $arguments:tt $check:ident $name:ident $value:expr) => {};
}

macro_rules! options {
    ($($topic:literal {$(
        $(#[doc = $doc:literal])+
        $name:ident $(as $c_name:ident)?: $kind:ident $arguments:tt = $default:tt
            $(, $word:ident $text:literal)*;
    )*})*) => {
        /// The settings of a server. `Options::default()` has the defaults.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Options {
            $($(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = note!($kind $arguments $default)]
                pub $name: option_type!($kind $arguments),
            )*)*
        }

        impl Default for Options {
            fn default() -> Options {
                Options { $($($name: default_value!($kind $default),)*)* }
            }
        }

        impl Options {
            /// The first option that is out of its own range.
            fn first_misfit(&self) -> Option<Misfit> {
                let mut check = Check::default();
                $($(check!($kind $arguments check $name self.$name);)*)*
                check.0
            }
        }
    };
}

crate::options_table!(options);

impl Options {
    /// Checks each option against its range. The error, EINVAL, names the first
    /// that is out of it.
    pub fn validate(&self) -> Result<(), Error> {
        match self.misfit() {
            Some(misfit) => Err(Error::new(Errno::EINVAL, misfit.to_string())),
            None => self.check_networks(),
        }
    }

    /// Whether each list of networks is one for its option. For bindings.
    #[doc(hidden)]
    pub fn check_networks(&self) -> Result<(), Error> {
        let lists =
            [("source_exempt", &self.source_exempt), ("allow", &self.allow), ("deny", &self.deny)];
        if let Some((name, _)) = lists.iter().find(|(_, list)| list.contains_unix()) {
            let text = format!("{name}: \"unix:\" is for proxy_from only");
            return Err(Error::new(Errno::EINVAL, text));
        }
        if self.proxy != Proxy::Off && self.proxy_from.is_empty() {
            let text = "proxy_from: proxy needs the networks that the proxies are in";
            return Err(Error::new(Errno::EINVAL, text));
        }
        Ok(())
    }

    /// Whether connections of this peer begin with a header of the PROXY protocol.
    pub(crate) fn is_proxy(&self, peer: &RawAddress) -> bool {
        self.proxy != Proxy::Off && self.proxy_from.contains_peer(peer)
    }

    /// Whether a connection may be ended because of its time.
    pub(crate) fn has_deadlines(&self) -> bool {
        self.lifetime.is_some() || self.handshake.is_some()
    }

    /// Whether a handler can make use of saying that a connection is established.
    #[doc(hidden)]
    pub fn has_handshakes(&self) -> bool {
        self.handshake.is_some()
            || self.max_handshakes > 0
            || self.max_handshakes_per_source > 0
            || self.evicts()
    }

    /// Whether connections are ended to make room for others.
    pub(crate) fn evicts(&self) -> bool {
        matches!(self.at_capacity, AtCapacity::Evict | AtCapacity::EvictSource)
    }

    /// The first option that is out of its range, for bindings, which have
    /// names and units of their own.
    #[doc(hidden)]
    pub fn misfit(&self) -> Option<Misfit> {
        let found = self.first_misfit();
        if found.is_some() {
            return found;
        }
        let mut check = Check::default();
        check.number("spares", self.spares, 0, self.max_children);
        let by = |other, misfit| Misfit { other: Some(other), ..misfit };
        if let Some(misfit) = check.0 {
            return Some(by("max_children", misfit));
        }
        check.number("early_drop_from", self.early_drop_from, 0, self.max_handshakes);
        if let Some(misfit) = check.0 {
            return Some(by("max_handshakes", misfit));
        }
        let most = self.penalty_max.as_millis() as u64;
        check.time("penalty", self.penalty.unwrap_or_default(), 0, most);
        check.0.map(|misfit| by("penalty_max", misfit))
    }
}

#[cfg(test)]
mod tests;
