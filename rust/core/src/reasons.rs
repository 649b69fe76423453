//! Why a connection was refused, accepting paused, or the spares were renewed: each
//! reason once.
//!
//! From this table come the enums here, the constants of C, the texts of Python,
//! and by `make tables` the tables of the pages. A reason is also an event's and,
//! for some, a counter's: see `counters_table`.

use crate::counters::Counter;

/// Calls the macro `$then` with the reasons. A row is a description, the name,
/// the number in C, the variants, and what people are told in a few words.
/// `(errno)`: the variant has the errno. `counted`: the counter of these
/// refusals.
#[doc(hidden)]
#[macro_export]
macro_rules! reasons_table {
    ($then:ident) => {
        $then! {
            refused and paused {
                /// `max_children` children live.
                capacity = 1, Capacity and Capacity,
                    counted RefusedCapacity, words "as many children as allowed";

                /// `fork` fails. A connection is refused for it when `fork` kept failing for
                /// `fork_retry`, and held until then.
                fork = 3, Fork(errno) and Fork,
                    counted RefusedFork, words "no child can be made";

                /// More than `rate` connections came.
                rate = 7, Rate and Rate,
                    counted RefusedRate, words "more than the rate";
            }
            refused {
                /// `max_per_source` children serve this source already.
                source = 2, Source,
                    counted RefusedSource, words "too many from this address";

                /// `max_per_network` children serve this network already.
                network = 14, Network,
                    counted RefusedNetwork, words "too many from this network";

                /// Too many connections are in their handshake: `max_handshakes`,
                /// `early_drop_from` or `max_handshakes_per_source`.
                handshake = 16, Handshake,
                    counted RefusedHandshake, words "too many handshakes";

                /// The client left while its connection was held.
                gone = 4, Gone,
                    counted RefusedGone, words "the client has left";

                /// The time for the drain was over before a child could be had.
                draining = 5, Draining,
                    counted RefusedDraining, words "no time left";

                /// More than `rate_per_source` connections of this source came.
                source_rate = 8, SourceRate,
                    counted RefusedSourceRate, words "more than the rate from this address";

                /// The source has a penalty for crashes.
                penalty = 9, Penalty,
                    counted RefusedPenalty, words "penalty for crashes";

                /// The address is in `deny`, or not in `allow`.
                denied = 10, Denied,
                    counted RefusedDenied, words "address not allowed";

                /// No header of the PROXY protocol came from a proxy, or one that is forbidden
                /// (EPROTO), of the version that is not expected (EPROTONOSUPPORT), too long
                /// (EMSGSIZE), with a wrong checksum (EBADMSG), cut off (ENODATA), or not in time
                /// (ETIMEDOUT).
                proxy = 20, Proxy(errno),
                    counted RefusedProxy, words "no valid PROXY header";

                /// A child could not enter its sandbox, though one could when serving began.
                sandbox = 13, Sandbox(errno),
                    counted RefusedSandbox, words "no sandbox";
                /// The program that was to serve it could not be executed.
                exec = 15, Exec(errno),
                    counted RefusedExec, words "the program cannot be executed";
            }
            paused {
                /// `accept` has no descriptor or no memory (EMFILE, ENFILE, ENOBUFS, ENOMEM), or
                /// failed for one connection after the other, as where a sandbox hides it
                /// (EPERM).
                resources = 6, Resources(errno),
                    words "accept fails";
            }
            renewed {
                /// A child has spoilt the socket by which children report to the supervisor.
                channel = 11, Channel,
                    words "a child has spoilt the way by which children report";

                /// A child has taken the words by which spares are told to leave.
                leave = 12, Leave,
                    words "a child has spoilt the way by which spares are told to leave";
            }
            reduced {
                /// The kernel has no Landlock: `isolate`, `read_paths` and `write_paths` have no
                /// effect.
                no_landlock = 17, NoLandlock,
                    words "no Landlock: isolate and paths have no effect";

                /// Its Landlock has no borders for signals: `isolate` keeps children from
                /// debugging others, and not from signals and abstract sockets.
                no_scopes = 18, NoScopes,
                    words "isolate does not keep from signals";

                /// Its Landlock does not know truncate(2): a file that cannot be written can be
                /// emptied by its name.
                no_truncate = 19, NoTruncate,
                    words "paths do not keep from truncate";
            }
        }
    };
}

/// What `(errno)` of a variant is.
macro_rules! payload {
    (errno) => {
        i32
    };
}

/// Its value.
macro_rules! payload_of {
    (errno $errno:ident) => {
        $errno
    };
}

macro_rules! reasons {
    (
        refused and paused {$(
            $(#[doc = $both_doc:literal])+
            $both:ident = $both_number:literal,
                $refusal:ident $(($errno:ident))? and $pause:ident $(($pause_errno:ident))?,
                $(counted $both_counter:ident,)? words $both_words:literal;
        )*}
        refused {$(
            $(#[doc = $refused_doc:literal])+
            $refused:ident = $refused_number:literal,
                $only_refusal:ident $(($only_errno:ident))?,
                $(counted $counter:ident,)? words $refused_words:literal;
        )*}
        paused {$(
            $(#[doc = $paused_doc:literal])+
            $paused:ident = $paused_number:literal,
                $only_pause:ident $(($only_pause_errno:ident))?,
                words $paused_words:literal;
        )*}
        renewed {$(
            $(#[doc = $renewed_doc:literal])+
            $renewed:ident = $renewed_number:literal, $renewal:ident,
                words $renewed_words:literal;
        )*}
        reduced {$(
            $(#[doc = $reduced_doc:literal])+
            $reduced:ident = $reduced_number:literal, $reduction:ident,
                words $reduced_words:literal;
        )*}
    ) => {
        /// What a sandbox does without: see [`Event::SandboxReduced`](crate::Event::SandboxReduced).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Reduction {
            $($(#[doc = $reduced_doc])+ $reduction,)*
        }

        impl Reduction {
            /// The reason in a word, as Python has it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Reduction::$reduction => stringify!($reduced),)*
                }
            }

            /// Its number in C.
            #[doc(hidden)]
            pub fn number(self) -> i32 {
                match self {
                    $(Reduction::$reduction => $reduced_number,)*
                }
            }
        }

        /// Why the spares were renewed: see [`Event::SparesRenewed`](crate::Event::SparesRenewed).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Renewal {
            $($(#[doc = $renewed_doc])+ $renewal,)*
        }

        impl Renewal {
            /// The reason in a word, as Python has it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Renewal::$renewal => stringify!($renewed),)*
                }
            }

            /// Its number in C.
            #[doc(hidden)]
            pub fn number(self) -> i32 {
                match self {
                    $(Renewal::$renewal => $renewed_number,)*
                }
            }
        }

        /// Why a connection was closed without a child.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Refusal {
            $($(#[doc = $both_doc])+ $refusal $((payload!($errno)))?,)*
            $($(#[doc = $refused_doc])+ $only_refusal $((payload!($only_errno)))?,)*
        }

        /// Why accepting has paused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Pause {
            $($(#[doc = $both_doc])+ $pause $((payload!($pause_errno)))?,)*
            $($(#[doc = $paused_doc])+ $only_pause $((payload!($only_pause_errno)))?,)*
        }

        impl Refusal {
            /// The reason in a word, as Python and the counters have it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Refusal::$refusal { .. } => stringify!($both),)*
                    $(Refusal::$only_refusal { .. } => stringify!($refused),)*
                }
            }

            /// The errno behind it; 0 without one.
            pub fn errno(self) -> i32 {
                match self {
                    $(Refusal::$refusal $(($errno))? => 0 $(+ $errno)?,)*
                    $(Refusal::$only_refusal $(($only_errno))? => 0 $(+ $only_errno)?,)*
                }
            }

            /// Its number in C.
            #[doc(hidden)]
            pub fn number(self) -> i32 {
                match self {
                    $(Refusal::$refusal { .. } => $both_number,)*
                    $(Refusal::$only_refusal { .. } => $refused_number,)*
                }
            }

            /// The reason with this number.
            pub(crate) fn of_number(number: u64, errno: i32) -> Option<Refusal> {
                match number {
                    $($both_number => Some(Refusal::$refusal $((payload_of!($errno errno)))?),)*
                    $($refused_number => Some(Refusal::$only_refusal $((payload_of!($only_errno errno)))?),)*
                    _ => None,
                }
            }

            /// Its counter beside that of all refusals.
            pub(crate) fn counter(self) -> Option<Counter> {
                match self {
                    $($(Refusal::$refusal { .. } => Some(Counter::$both_counter),)?)*
                    $($(Refusal::$only_refusal { .. } => Some(Counter::$counter),)?)*
                    #[allow(unreachable_patterns)]
                    _ => None,
                }
            }
        }

        impl Pause {
            /// The reason in a word, as Python has it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Pause::$pause { .. } => stringify!($both),)*
                    $(Pause::$only_pause { .. } => stringify!($paused),)*
                }
            }

            /// The errno behind it; 0 without one.
            pub fn errno(self) -> i32 {
                match self {
                    $(Pause::$pause $(($pause_errno))? => 0 $(+ $pause_errno)?,)*
                    $(Pause::$only_pause $(($only_pause_errno))? => 0 $(+ $only_pause_errno)?,)*
                }
            }

            /// Its number in C.
            #[doc(hidden)]
            pub fn number(self) -> i32 {
                match self {
                    $(Pause::$pause { .. } => $both_number,)*
                    $(Pause::$only_pause { .. } => $paused_number,)*
                }
            }
        }
    };
}

crate::reasons_table!(reasons);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_one_name_and_one_number_in_both_enums() {
        let refused = [Refusal::Capacity, Refusal::Fork(11), Refusal::Rate];
        let paused = [Pause::Capacity, Pause::Fork, Pause::Rate];
        for (refused, paused) in refused.into_iter().zip(paused) {
            assert_eq!(refused.name(), paused.name());
            assert_eq!(refused.number(), paused.number());
        }
        assert_eq!((Refusal::Fork(11).name(), Refusal::Fork(11).errno()), ("fork", 11));
        assert_eq!((Refusal::Gone.errno(), Pause::Resources(24).errno()), (0, 24));
        assert!(Refusal::Gone.counter().is_some() && Refusal::Rate.counter().is_some());
        for reason in [Refusal::Network, Refusal::Fork(0), Refusal::Denied] {
            assert_eq!(Refusal::of_number(reason.number() as u64, 0), Some(reason));
        }
        assert_eq!(Refusal::of_number(20, 71), Some(Refusal::Proxy(71)));
        assert_eq!(Refusal::of_number(6, 0), None, "of a pause only");
    }
}
