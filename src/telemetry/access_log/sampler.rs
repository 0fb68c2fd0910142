//! Which relayed connections have a line.

use std::cell::Cell;

use latticegate_core::config::LogKeep;

/// Of a sample the first is kept, and then each Nth after it, so that a worker with little to do is seen too.
pub(super) struct Sampler {
    keep: LogKeep,
    /// Relayed connections until the next line about one.
    until_next: Cell<u32>,
}

impl Sampler {
    pub(super) fn new(keep: LogKeep) -> Self {
        Self { keep, until_next: Cell::default() }
    }

    pub(super) fn keeps(&self) -> bool {
        match self.keep {
            LogKeep::All => true,
            LogKeep::Failures => false,
            LogKeep::Sample(one_of) => {
                let left = self.until_next.get();
                self.until_next.set(left.checked_sub(1).unwrap_or(one_of.get() - 1));
                left == 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of ten relayed connections have a line.
    fn kept(keep: LogKeep) -> Vec<usize> {
        let sampler = Sampler::new(keep);
        (0..10).filter(|_| sampler.keeps()).collect()
    }

    #[test]
    fn of_relayed_connections_all_none_or_one_of_n_are_kept() {
        assert_eq!(kept(LogKeep::All).len(), 10);
        assert!(kept(LogKeep::Failures).is_empty());
        for (one_of, expected) in [(1, (0..10).collect()), (3, vec![0, 3, 6, 9]), (10, vec![0]), (u32::MAX, vec![0])] {
            let keep = LogKeep::Sample(one_of.try_into().unwrap());
            assert_eq!(kept(keep), expected, "1 of {one_of}");
        }
    }
}
