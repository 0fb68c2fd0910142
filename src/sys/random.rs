//! Numbers that are the same for the same seed: for the order of addresses, for the place of a key by its hash, and for
//! simulations in tests. Nothing that must not be guessed, unless the seed must not be either.

#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        // SplitMix64, by its published constants.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// One of the first `n` places of a list.
    pub(crate) fn index(&mut self, n: usize) -> usize {
        u64::try_from(n).map_or(0, |n| usize::try_from(self.below(n.max(1))).unwrap_or(0))
    }
}
