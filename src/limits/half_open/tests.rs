//! Which connection is evicted, and that the sum of held bytes is exact.

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::runtime::spawn;
use crate::runtime::testing::{block_on, next_turn};

fn is_evicted(waiting: &HalfOpenConnection) -> bool {
    waiting.evicted().now_or_never().is_some()
}

/// A connection that has had to wait.
fn waiting(list: &Rc<HalfOpenList>) -> HalfOpenConnection {
    let connection = list.connection();
    assert!(!is_evicted(&connection));
    connection
}

#[test]
fn a_connection_that_never_waits_takes_no_place() {
    let (registry, lists) = lists_with_bytes(800);
    let quick = lists[0].connection();
    assert!(quick.settle(SMALL).unwrap().is_none());
    assert_eq!((registry.count(), quick.eviction_reason()), (0, None));
    let _waiting = waiting(&lists[0]);
    drop(quick);
    assert_eq!(registry.count(), 1);
}

/// Two workers; the second has all connections but one.
#[test]
fn the_oldest_is_evicted_whichever_worker_has_it() {
    let registry = Arc::new(HalfOpenRegistry::new(3, u64::MAX, 2));
    let lists = [0, 1].map(|worker| HalfOpenList::new(Arc::clone(&registry), worker));
    block_on(async {
        for list in &lists {
            spawn(Rc::clone(list).run_evictions());
        }
        let old = [(); 3].map(|()| waiting(&lists[1]));
        // The first worker has none of its own to close for this one.
        let new = waiting(&lists[0]);
        next_turn().await;
        assert_eq!(old.each_ref().map(is_evicted), [true, false, false]);
        let [first, second, third] = old;
        drop(first);
        // Three again: one more, and the next oldest is evicted, which is still on the other worker.
        let newer = waiting(&lists[0]);
        next_turn().await;
        assert_eq!([&second, &third, &new, &newer].map(is_evicted), [true, false, false, false]);
        drop((second, third));
        // Two: room for one more.
        let newest = waiting(&lists[1]);
        next_turn().await;
        assert_eq!([&new, &newer, &newest].map(is_evicted), [false, false, false]);
        registry.evict(16);
        next_turn().await;
        assert_eq!([&new, &newer, &newest].map(is_evicted), [true, true, false]);
    });
}

fn lists_with_bytes(bytes: u64) -> (Arc<HalfOpenRegistry>, [Rc<HalfOpenList>; 2]) {
    let registry = Arc::new(HalfOpenRegistry::new(1000, bytes, 2));
    let lists = [0, 1].map(|worker| HalfOpenList::new(Arc::clone(&registry), worker));
    (registry, lists)
}

#[test]
fn for_too_many_bytes_the_oldest_that_holds_any_is_evicted_whichever_worker_has_it() {
    let (registry, lists) = lists_with_bytes(800);
    block_on(async {
        for list in &lists {
            spawn(Rc::clone(list).run_evictions());
        }
        let [silent, first, second] = [(); 3].map(|()| waiting(&lists[1]));
        first.hold(300).unwrap();
        second.hold(300).unwrap();
        next_turn().await;
        assert!(!is_evicted(&first));
        // Past three quarters.
        let new = waiting(&lists[0]);
        new.hold(150).unwrap();
        next_turn().await;
        assert_eq!([&silent, &first, &second, &new].map(is_evicted), [false, true, false, false]);
        assert_eq!((first.eviction_reason(), second.eviction_reason()), (Some(EvictionReason::Bytes), None));
        // An evicted connection counts as gone before it has released its bytes: no other is evicted meanwhile.
        new.hold(160).unwrap();
        next_turn().await;
        assert!(!is_evicted(&second));
        assert_eq!(registry.bytes().0, 760);
        drop(first);
        assert_eq!(registry.bytes().0, 460);
    });
}

#[test]
fn no_more_bytes_are_held_than_the_limit() {
    let (registry, lists) = lists_with_bytes(800);
    let old = waiting(&lists[0]);
    old.hold(600).unwrap();
    let new = waiting(&lists[1]);
    // The other worker has had no time yet to evict the old one.
    new.hold(201).unwrap_err();
    assert_eq!(
        (registry.bytes().0, new.eviction_reason(), old.eviction_reason()),
        (600, Some(EvictionReason::Bytes), None)
    );
    drop(new);
    let small = waiting(&lists[1]);
    small.hold(200).unwrap();
    assert_eq!(registry.bytes().0, 800);
}

#[test]
fn what_waits_for_its_upstream_is_counted_and_not_evicted() {
    let (registry, lists) = lists_with_bytes(80_000);
    let small = waiting(&lists[0]);
    small.hold(6000).unwrap();
    assert!(small.settle(SMALL).unwrap().is_none());
    drop(small);
    assert_eq!(registry.bytes().0, 0);
    let large = waiting(&lists[0]);
    let buffered = large.settle(60_000).unwrap();
    drop(large);
    assert_eq!(registry.bytes().0, 60_000);
    let other = waiting(&lists[0]);
    // All but this one's bytes are settled, so it is evicted itself.
    other.hold(5000).unwrap();
    assert_eq!(other.eviction_reason(), Some(EvictionReason::Bytes));
    drop((other, buffered));
    assert_eq!(registry.bytes().0, 0);
}

#[test]
fn a_later_head_counts_once_it_is_long() {
    let (registry, lists) = lists_with_bytes(20_000);
    let mut head = Buffered::none(&registry);
    head.hold(SMALL).unwrap();
    assert_eq!(registry.bytes().0, 0);
    head.hold(15_000).unwrap();
    head.hold(20_001).unwrap_err();
    assert_eq!(registry.bytes().0, 15_000);
    waiting(&lists[0]).hold(6000).unwrap_err();
    head.hold(0).unwrap();
    assert_eq!(registry.bytes().0, 0);
}

proptest! {
    /// Whatever they do, the sum is that of the connections present, within the limit, and 0 in the end.
    #[test]
    fn the_sum_of_bytes_is_that_of_the_connections_present(
        steps in prop::collection::vec((0..8_usize, 0..3_u8, 0..5000_usize), 1..200),
    ) {
        let (registry, lists) = lists_with_bytes(20_000);
        let mut slots: [Option<(HalfOpenConnection, u64)>; 8] = std::array::from_fn(|_| None);
        for (slot, what, bytes) in steps {
            match (&mut slots[slot], what) {
                (None, _) => slots[slot] = Some((waiting(&lists[slot % 2]), 0)),
                (Some(_), 0) => slots[slot] = None,
                (Some((waiting, held)), _) => {
                    if waiting.hold(bytes).is_ok() {
                        *held = u64::try_from(bytes).unwrap();
                    }
                }
            }
            let sum: u64 = slots.iter().flatten().map(|(_, held)| held).sum();
            prop_assert_eq!(registry.bytes().0, sum);
            prop_assert!(sum <= 20_000);
        }
        drop(slots);
        prop_assert_eq!((registry.bytes().0, registry.bytes.releasing.load(Ordering::Relaxed)), (0, 0));
    }
}
