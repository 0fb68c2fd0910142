//! Covers a set of combinations with few blocks, so that a difference can be described in few lines.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A combination: one value of each of five kinds, by its number.
pub(super) type Combination = [usize; KINDS];

/// All combinations of some values of each kind.
pub(super) type Block = [BTreeSet<usize>; KINDS];

const KINDS: usize = 5;

/// Blocks that together hold exactly these combinations, each in one of them, of those that exist: one that holds others is
/// as good.
///
/// Blocks that differ in one kind only are joined, kind after kind. The number of blocks left depends on the kind that is
/// joined first, so each is tried.
pub(super) fn cover(combinations: &[Combination], exists: impl Fn(&Combination) -> bool) -> Vec<Block> {
    let whole = spanned(combinations);
    let held: HashSet<&Combination> = combinations.iter().collect();
    if all_in(&whole).filter(exists).all(|combination| held.contains(&combination)) {
        return vec![whole];
    }
    let single: Vec<Block> =
        combinations.iter().map(|combination| combination.map(|value| BTreeSet::from([value]))).collect();
    let tries = (0..KINDS).map(|first| {
        let mut blocks = single.clone();
        loop {
            let before = blocks.len();
            for kind in (0..KINDS).map(|step| (first + step) % KINDS) {
                blocks = joined(blocks, kind);
            }
            if blocks.len() == before {
                return blocks;
            }
        }
    });
    tries.min_by_key(Vec::len).unwrap_or_default()
}

/// The least block that holds all of them.
fn spanned(combinations: &[Combination]) -> Block {
    let mut whole = Block::default();
    for combination in combinations {
        for (values, value) in whole.iter_mut().zip(combination) {
            values.insert(*value);
        }
    }
    whole
}

fn all_in([a, b, c, d, e]: &Block) -> impl Iterator<Item = Combination> {
    let pairs = a.iter().flat_map(move |&a| b.iter().map(move |&b| [a, b]));
    let triples = pairs.flat_map(move |[a, b]| c.iter().map(move |&c| [a, b, c]));
    triples.flat_map(move |[a, b, c]| d.iter().flat_map(move |&d| e.iter().map(move |&e| [a, b, c, d, e])))
}

/// Joins the blocks that are equal in all kinds but this one.
fn joined(blocks: Vec<Block>, kind: usize) -> Vec<Block> {
    let mut alike: BTreeMap<Block, BTreeSet<usize>> = BTreeMap::new();
    for mut block in blocks {
        let values = block.get_mut(kind).map(std::mem::take).unwrap_or_default();
        alike.entry(block).or_default().extend(values);
    }
    let whole = |(mut block, values): (Block, BTreeSet<usize>)| {
        if let Some(slot) = block.get_mut(kind) {
            *slot = values;
        }
        block
    };
    alike.into_iter().map(whole).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn combinations(blocks: &[Block]) -> Vec<Combination> {
        let mut all: Vec<Combination> = blocks.iter().flat_map(all_in).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn all_but_one_corner_is_two_blocks() {
        let all = (0..54).map(|n| [n % 3, n / 3 % 3, n / 9 % 3, n / 27, 0]);
        let without: Vec<Combination> = all.filter(|values| (values[1], values[3]) != (1, 1)).collect();
        assert_eq!(cover(&without, |_| true).len(), 2);
        // What does not exist is not left out.
        assert_eq!(cover(&without, |values| (values[1], values[3]) != (1, 1)).len(), 1);
    }

    proptest! {
        #[test]
        fn the_same_combinations_each_once(all in prop::collection::btree_set([0..3_usize, 0..3, 0..2, 0..2, 0..2], 0..40)) {
            let all: Vec<Combination> = all.into_iter().collect();
            prop_assert_eq!(combinations(&cover(&all, |_| true)), all);
        }
    }
}
