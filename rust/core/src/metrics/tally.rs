//! The numbers of one reading.
//!
//! What is a part of another number is counted before it, and read after it. So what is
//! left of the whole may be too small for a moment, and is never too large; and too small is
//! less than the last time, which is then told once more.

use crate::counters::Counter;
use crate::metrics::families;
use crate::shared::board::{Board, Doing, DURATIONS};
use crate::stats::StatsReader;
use std::sync::atomic::{fence, Ordering::AcqRel, Ordering::Acquire};

pub(super) struct Tally<'a> {
    board: &'a Board,
    /// The supervisor has ended: what was being served has ended, and nobody knows how.
    deserted: bool,
    refused: u64,
    ok: u64,
    idle: u64,
    serving: u64,
    handshake: u64,
    established: u64,
    ending: u64,
    pub(super) max_children: u64,
    pub(super) durations: [u64; DURATIONS],
    pub(super) sum_us: u64,
}

impl Tally<'_> {
    pub(super) fn of(stats: &StatsReader) -> Tally<'_> {
        let board = &stats.0;
        let mut tally = Tally {
            board,
            deserted: stats.deserted(),
            refused: board.get(Counter::Refused),
            ok: board.get(Counter::Ended),
            idle: 0,
            serving: 0,
            handshake: 0,
            established: 0,
            ending: 0,
            max_children: board.head().map_or(0, |head| head.max_children),
            durations: board.durations(),
            sum_us: board.get(Counter::DurationUsSum),
        };
        fence(Acquire);
        for (_, state) in board.states() {
            // Children may have written anything there: no sum is trusted.
            tally.ok = tally.ok.wrapping_add(state.served);
            match state.doing {
                Doing::Waiting if !state.leaving => tally.idle += 1,
                Doing::Serving if !state.leaving => tally.serving += 1,
                _ => tally.ending += 1,
            }
            match state.established {
                true => tally.established += u64::from(state.busy()),
                false => tally.handshake += u64::from(state.busy()),
            }
        }
        fence(Acquire);
        let parts = families::outcomes().map(|(_, counter)| board.get(counter));
        let ok = tally.ok.saturating_sub(parts.fold(0, u64::wrapping_add));
        let told = board.word(Counter::ToldOk).fetch_max(ok, AcqRel);
        tally.ok = ok.max(told);
        tally
    }

    pub(super) fn counter(&self, counter: Counter) -> u64 {
        self.board.get(counter)
    }

    fn live(&self) -> u64 {
        self.handshake + self.established
    }

    fn held(&self) -> u64 {
        self.counter(Counter::Held)
    }

    /// Refusals by their reasons, and those for which there is none: a killed supervisor
    /// held them.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counted = families::reasons().map(|(reason, counter)| (reason, self.counter(counter)));
        let sum = families::reasons()
            .fold(0, |sum: u64, (_, counter)| sum.wrapping_add(self.counter(counter)));
        let lost = if self.deserted { self.held() } else { 0 };
        let unknown = self.refused.saturating_sub(sum).wrapping_add(lost);
        counted.chain([("unknown", unknown)])
    }

    pub(super) fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counted = families::outcomes().map(|(outcome, counter)| {
            let lost = if self.deserted && outcome == "unknown" { self.live() } else { 0 };
            (outcome, self.counter(counter).wrapping_add(lost))
        });
        [("ok", self.ok)].into_iter().chain(counted)
    }

    pub(super) fn connections(&self) -> [(&'static str, u64); 3] {
        let all = [
            ("handshake", self.handshake),
            ("established", self.established),
            ("held", self.held()),
        ];
        all.map(|(state, count)| (state, if self.deserted { 0 } else { count }))
    }

    pub(super) fn children(&self) -> [(&'static str, u64); 3] {
        let all = [("idle", self.idle), ("serving", self.serving), ("ending", self.ending)];
        all.map(|(state, count)| (state, if self.deserted { 0 } else { count }))
    }
}
