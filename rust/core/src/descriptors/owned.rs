//! Which descriptors belong to the library, kept up to date as they come and
//! go, so that a new child can close exactly those.
//!
//! One bit a descriptor, and another for those that a spare goes on using until
//! it has its connection. The child walks the bits and closes each run of
//! neighbours with one `close_range`: a few calls, however many children live.
//! The host's own descriptors lie between the runs and are never touched.

use crate::descriptors::neighbours;
use crate::sys::process;
use std::os::fd::{AsFd, AsRawFd, RawFd};

#[derive(Clone, Default)]
pub(crate) struct Owned {
    words: Vec<u64>,
}

impl Owned {
    pub(crate) const fn none() -> Owned {
        Owned { words: Vec::new() }
    }

    /// In the parent, right after the library got `fd`: for long, so that the
    /// children of its other servers are to close it, too.
    pub(crate) fn add_lasting(&mut self, fd: impl AsFd) {
        self.add(&fd);
        neighbours::add(fd);
    }

    /// In the parent, right after the library got `fd`.
    pub(crate) fn add(&mut self, fd: impl AsFd) {
        self.add_number(fd.as_fd().as_raw_fd() as usize);
    }

    /// The same by its number.
    pub(crate) fn add_raw(&mut self, fd: RawFd) {
        self.add_number(fd as usize);
    }

    fn add_number(&mut self, fd: usize) {
        if fd / 64 >= self.words.len() {
            self.words.resize(fd / 64 + 1, 0);
        }
        self.words[fd / 64] |= 1 << (fd % 64);
    }

    /// In the parent, right before the library closes `fd` or gives it away.
    pub(crate) fn remove(&mut self, fd: impl AsFd) {
        self.remove_number(fd.as_fd().as_raw_fd() as usize);
        neighbours::remove(fd);
    }

    fn remove_number(&mut self, fd: usize) {
        if let Some(word) = self.words.get_mut(fd / 64) {
            *word &= !(1 << (fd % 64));
        }
    }

    /// A bit for each descriptor that is among them.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// The runs of neighbouring descriptors, ascending, without those that are in
    /// `but`. Allocates nothing.
    fn runs<'a>(&'a self, but: &'a Owned) -> impl Iterator<Item = (RawFd, RawFd)> + 'a {
        let mut next = 0;
        std::iter::from_fn(move || {
            let first = self.find(but, next, true)?;
            let end = self.find(but, first, false).unwrap_or(self.words.len() * 64);
            next = end;
            Some((first as RawFd, end as RawFd - 1))
        })
    }

    /// The first descriptor from `start` on whose bit is `wanted`.
    fn find(&self, but: &Owned, start: usize, wanted: bool) -> Option<usize> {
        let flip = if wanted { 0 } else { u64::MAX };
        let mut mask = u64::MAX << (start % 64);
        for (index, word) in self.words.iter().enumerate().skip(start / 64) {
            let word = word & !but.words.get(index).copied().unwrap_or(0);
            let found = (word ^ flip) & mask;
            if found != 0 {
                return Some(index * 64 + found.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    /// In the child: closes all that are not in `but`.
    #[inline(always)]
    pub(crate) fn close_in_child(&self, but: &Owned) {
        for (first, last) in self.runs(but) {
            process::close_range(first, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(numbers: &[usize], gone: &[usize]) -> Vec<(RawFd, RawFd)> {
        let mut owned = Owned::default();
        numbers.iter().for_each(|&n| owned.add_number(n));
        gone.iter().for_each(|&n| owned.remove_number(n));
        owned.runs(&Owned::default()).collect()
    }

    #[test]
    fn neighbours_make_one_run() {
        assert_eq!(runs(&[], &[]), []);
        assert_eq!(runs(&[0], &[]), [(0, 0)]);
        assert_eq!(runs(&[3, 4, 5, 9, 11, 12], &[]), [(3, 5), (9, 9), (11, 12)]);
        assert_eq!(runs(&[3, 4, 5], &[4, 700]), [(3, 3), (5, 5)]);
    }

    #[test]
    fn what_is_to_be_kept_is_left_out() {
        let (mut owned, mut kept) = (Owned::default(), Owned::default());
        (3..200).for_each(|n| owned.add_number(n));
        [3, 64, 100].iter().for_each(|&n| kept.add_number(n));
        let runs: Vec<_> = owned.runs(&kept).collect();
        assert_eq!(runs, [(4, 63), (65, 99), (101, 199)]);
    }

    #[test]
    fn runs_cross_words() {
        let all: Vec<usize> = (60..200).collect();
        assert_eq!(runs(&all, &[]), [(60, 199)]);
        assert_eq!(runs(&all, &[63, 128]), [(60, 62), (64, 127), (129, 199)]);
        assert_eq!(runs(&[63], &[]), [(63, 63)]);
        assert_eq!(runs(&[127, 128], &[]), [(127, 128)]);
    }
}
