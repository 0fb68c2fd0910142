//! The hash of tables whose keys clients choose and each connection looks something up in.
//!
//! It costs a fifth of the standard library's SipHash and is not one for cryptography. It is seeded by the system's random numbers,
//! once for each table; whoever found keys that collide all the same would make a table of bounded size slower.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use foldhash::SharedSeed;
pub(crate) use foldhash::quality::SeedableRandomState as KeyHash;

/// With a seed of its own.
pub(crate) fn key_hash() -> KeyHash {
    // One from the addresses of the program's memory, as the library makes it, would be easier to guess.
    static SHARED: LazyLock<SharedSeed> = LazyLock::new(|| SharedSeed::from_u64(random()));
    KeyHash::with_seed(random(), &SHARED)
}

/// From what the standard library's own tables are seeded with.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_has_a_seed_of_its_own() {
        let (one, other) = (key_hash(), key_hash());
        assert_eq!(one.hash_one("orders.example"), one.hash_one("orders.example"));
        assert_ne!(one.hash_one("orders.example"), other.hash_one("orders.example"));
    }
}
