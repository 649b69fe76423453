//! The counters of a server, and the other words on the first page of the scoreboard.

/// Calls the macro `$then` with the counters, each once. A row is a
/// description, the name, the word of the scoreboard if it is one, and the
/// version that had it first. The histogram is the last.
#[doc(hidden)]
#[macro_export]
macro_rules! counters_table {
    ($then:ident) => {
        $then! {
            /// Connections taken from the kernel.
            accepted = Accepted, since "0.1.0";
            /// Connections that are being served now.
            live, since "0.1.0";
            /// Children that wait for a connection now.
            idle, since "0.1.0";
            /// Connections held now because `fork` failed: 0 or 1.
            held = Held, since "0.1.0";
            /// Connections that have been served to their end.
            ended = Ended, since "0.1.0";
            /// Of `ended`: with an exit status other than 0.
            failed = Failed, since "0.1.0";
            /// Of `ended`: because a signal ended the child, whoever sent it.
            crashed = Crashed, since "0.1.0";
            /// Of `ended`: with a status that is not known, because someone else took it
            /// (the host ignores SIGCHLD or waits for all of its children), or because a
            /// supervisor was killed.
            unknown = Unknown, since "0.1.0";
            /// Connections closed without being served, for whatever reason.
            refused = Refused, since "0.1.0";
            /// Of `refused`: because of `max_children`.
            refused_capacity = RefusedCapacity, since "0.1.0";
            /// Of `refused`: because of `max_per_source`.
            refused_source = RefusedSource, since "0.1.0";
            /// Of `refused`: because of `max_per_network`.
            refused_network = RefusedNetwork, since "0.1.0";
            /// Of `refused`: because of `max_handshakes`, `early_drop_from` or
            /// `max_handshakes_per_source`.
            refused_handshake = RefusedHandshake, since "0.1.0";
            /// Of `refused`: because `fork` kept failing.
            refused_fork = RefusedFork, since "0.1.0";
            /// Of `refused`: because of `rate`.
            refused_rate = RefusedRate, since "0.1.0";
            /// Of `refused`: because of `rate_per_source`.
            refused_source_rate = RefusedSourceRate, since "0.1.0";
            /// Of `refused`: because of a penalty.
            refused_penalty = RefusedPenalty, since "0.1.0";
            /// Of `refused`: because of `deny` or `allow`.
            refused_denied = RefusedDenied, since "0.1.0";
            /// Of `refused`: because the client left while its connection was held.
            refused_gone = RefusedGone, since "0.1.0";
            /// Of `refused`: because the time for the drain was over.
            refused_draining = RefusedDraining, since "0.1.0";
            /// Of `refused`: because a proxy sent no valid header.
            refused_proxy = RefusedProxy, since "0.1.0";
            /// Of `refused`: because the child could not enter its sandbox.
            refused_sandbox = RefusedSandbox, since "0.1.0";
            /// Of `refused`: because the program could not be executed.
            refused_exec = RefusedExec, since "0.1.0";
            /// Connections whose source was given a penalty for them.
            penalties = Penalties, since "0.1.0";
            /// Connections whose handshake lasted longer than `handshake`.
            handshake_timeouts = HandshakeTimeouts, since "0.1.0";
            /// Connections that were ended in their handshake to make room for others.
            evicted = Evicted, since "0.1.0";
            /// Failed calls of `fork`.
            fork_failures = ForkFailures, since "0.1.0";
            /// Failed calls of `accept` that concern one connection only.
            accept_errors = AcceptErrors, since "0.1.0";
            /// Times that accepting paused for want of descriptors or memory, or because it
            /// failed for one connection after the other.
            starvations = Starvations, since "0.1.0";
            /// Microseconds that the connections of `ended` have lasted, together.
            duration_us_sum = DurationUsSum, since "0.1.0";
            /// In the host, after `start`: the supervisor's process while it lives, and 0
            /// once it has ended. 0 without one.
            supervisor, since "0.1.0";

            histogram
            /// How long the connections of `ended` lasted: entry i counts those of less than
            /// 2^i microseconds that entry i - 1 does not count. The last entry counts all
            /// that were longer.
            durations as duration_us_log2, since "0.1.0";
        }
    };
}

/// The words of the first page, by their place: those of `counters_table`, and
/// others.
macro_rules! counters {
    (
        $($(#[doc = $doc:literal])+ $name:ident $(= $word:ident)?, since $since:literal;)*
        histogram $($rest:tt)*
    ) => {
        #[derive(Clone, Copy)]
        #[repr(usize)]
        pub(crate) enum Counter {
            $($($word,)?)*
            /// How many spares wait, roughly: children count it down, the supervisor
            /// sets it right whenever it looks.
            SparesLeft,
            /// With fewer left than this, a child calls for more.
            SparesLow,
            /// Not zero once a drain has begun.
            Draining,
            /// What a new spare found unusable: the listener's number, and below it the
            /// errno, in 32 bits each.
            Unusable,
            /// In the host of a supervisor: its number, until its end is known.
            Supervisor,
            /// Not zero once that end is known.
            Deserted,
            /// Slots from here on have never had a child.
            Used,
            /// When the token bucket of `rate` is full: see `rate`.
            RateFullAt,
            /// Not zero once a child has shut the gate: see `throttle`.
            GateShut,
            /// The process that has begun to serve: see `owner`.
            Owner,
            /// The most connections that ended well of which the metrics have told.
            ToldOk,
            Last,
        }
    };
}

crate::counters_table!(counters);
