//! Which connection is evicted, and that the sum of held bytes is exact.

use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::*;

fn is_evicted(waiting: &Waiting) -> bool {
    waiting.evicted().now_or_never().is_some()
}

/// Two workers, of which the second has all the others.
#[tokio::test]
async fn the_oldest_goes_whichever_worker_has_it() {
    let crowd = Arc::new(HalfOpenRegistry::new(3, u64::MAX, 2));
    let lists = [0, 1].map(|worker| HalfOpen::new(Arc::clone(&crowd), worker));
    LocalSet::new()
        .run_until(async {
            for list in &lists {
                spawn_local(Rc::clone(list).run_evictions());
            }
            let old = [(); 3].map(|()| lists[1].wait());
            // The first worker has none of its own to close for this one.
            let new = lists[0].wait();
            yield_now().await;
            assert_eq!(old.each_ref().map(is_evicted), [true, false, false]);
            let [first, second, third] = old;
            drop(first);
            // Three again: one more, and the next oldest goes, which is on the other worker still.
            let newer = lists[0].wait();
            yield_now().await;
            assert_eq!([&second, &third, &new, &newer].map(is_evicted), [true, false, false, false]);
            drop((second, third));
            // Two: room for one more.
            let newest = lists[1].wait();
            yield_now().await;
            assert_eq!([&new, &newer, &newest].map(is_evicted), [false, false, false]);
            crowd.evict(16);
            yield_now().await;
            assert_eq!([&new, &newer, &newest].map(is_evicted), [true, true, false]);
        })
        .await;
}

fn crowd_of_bytes(bytes: u64) -> (Arc<HalfOpenRegistry>, [Rc<HalfOpen>; 2]) {
    let crowd = Arc::new(HalfOpenRegistry::new(1000, bytes, 2));
    let lists = [0, 1].map(|worker| HalfOpen::new(Arc::clone(&crowd), worker));
    (crowd, lists)
}

#[tokio::test]
async fn for_too_many_bytes_the_oldest_that_holds_any_goes_whichever_worker_has_it() {
    let (crowd, lists) = crowd_of_bytes(800);
    LocalSet::new()
        .run_until(async {
            for list in &lists {
                spawn_local(Rc::clone(list).run_evictions());
            }
            let [silent, first, second] = [(); 3].map(|()| lists[1].wait());
            first.hold(300).unwrap();
            second.hold(300).unwrap();
            yield_now().await;
            assert!(!is_evicted(&first));
            // Past three quarters.
            let new = lists[0].wait();
            new.hold(150).unwrap();
            yield_now().await;
            assert_eq!([&silent, &first, &second, &new].map(is_evicted), [false, true, false, false]);
            assert_eq!((first.why(), second.why()), (Some(Why::Bytes), None));
            // Who is about to give its bytes back counts as gone: nobody else has to go meanwhile.
            new.hold(160).unwrap();
            yield_now().await;
            assert!(!is_evicted(&second));
            assert_eq!(crowd.bytes().0, 760);
            drop(first);
            assert_eq!(crowd.bytes().0, 460);
        })
        .await;
}

#[test]
fn never_are_more_bytes_held_than_the_limit() {
    let (crowd, lists) = crowd_of_bytes(800);
    let old = lists[0].wait();
    old.hold(600).unwrap();
    let new = lists[1].wait();
    // The other worker has had no time yet to have the old one go.
    new.hold(201).unwrap_err();
    assert_eq!((crowd.bytes().0, new.why(), old.why()), (600, Some(Why::Bytes), None));
    drop(new);
    let small = lists[1].wait();
    small.hold(200).unwrap();
    assert_eq!(crowd.bytes().0, 800);
}

#[test]
fn what_waits_for_its_upstream_is_counted_and_no_longer_goes() {
    let (crowd, lists) = crowd_of_bytes(80_000);
    let small = lists[0].wait();
    small.hold(6000).unwrap();
    assert!(small.settle(SMALL).unwrap().is_none());
    drop(small);
    assert_eq!(crowd.bytes().0, 0);
    let large = lists[0].wait();
    let buffered = large.settle(60_000).unwrap();
    drop(large);
    assert_eq!(crowd.bytes().0, 60_000);
    let other = lists[0].wait();
    // All but this one's bytes are settled, so it goes itself.
    other.hold(5000).unwrap();
    assert_eq!(other.why(), Some(Why::Bytes));
    drop((other, buffered));
    assert_eq!(crowd.bytes().0, 0);
}

#[test]
fn a_later_head_counts_from_where_it_is_long() {
    let (crowd, lists) = crowd_of_bytes(20_000);
    let mut head = Buffered::none(&crowd);
    head.hold(SMALL).unwrap();
    assert_eq!(crowd.bytes().0, 0);
    head.hold(15_000).unwrap();
    head.hold(20_001).unwrap_err();
    assert_eq!(crowd.bytes().0, 15_000);
    lists[0].wait().hold(6000).unwrap_err();
    head.hold(0).unwrap();
    assert_eq!(crowd.bytes().0, 0);
}

proptest! {
    /// Whatever they do, the sum is that of those that are there, within the limit, and nothing is left of it.
    #[test]
    fn the_sum_of_bytes_is_that_of_those_that_are_there(
        steps in prop::collection::vec((0..8_usize, 0..3_u8, 0..5000_usize), 1..200),
    ) {
        let (crowd, lists) = crowd_of_bytes(20_000);
        let mut slots: [Option<(Waiting, u64)>; 8] = std::array::from_fn(|_| None);
        for (slot, what, bytes) in steps {
            match (&mut slots[slot], what) {
                (None, _) => slots[slot] = Some((lists[slot % 2].wait(), 0)),
                (Some(_), 0) => slots[slot] = None,
                (Some((waiting, held)), _) => {
                    if waiting.hold(bytes).is_ok() {
                        *held = u64::try_from(bytes).unwrap();
                    }
                }
            }
            let sum: u64 = slots.iter().flatten().map(|(_, held)| held).sum();
            prop_assert_eq!(crowd.bytes().0, sum);
            prop_assert!(sum <= 20_000);
        }
        drop(slots);
        prop_assert_eq!((crowd.bytes().0, crowd.bytes.going.load(Ordering::Relaxed)), (0, 0));
    }
}
