//! The wheel beside a plain map, over random schedules.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Set(u32, u64),
    Remove(u32),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let ahead = prop_oneof![0_u64..5, 0_u64..2100, 0_u64..400_000, 0_u64..100_000_000];
    let pass = prop_oneof![0_u64..3, 0_u64..1500, 0_u64..300_000];
    prop_oneof![
        (0_u32..12, ahead).prop_map(|(task, ahead)| Step::Set(task, ahead)),
        (0_u32..12).prop_map(Step::Remove),
        pass.prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// As the loop uses it: who is looked at too early is entered again. No deadline is missed, and nobody is due early.
    #[test]
    fn each_deadline_is_kept_to_the_tick(steps in prop::collection::vec(step(), 1..60)) {
        let (mut wheel, mut model, mut now) = (Wheel::new(), BTreeMap::new(), 0_u64);
        for step in steps {
            match step {
                Step::Set(task, ahead) => {
                    wheel.set(task, now + 1 + ahead);
                    model.insert(task, now + 1 + ahead);
                }
                Step::Remove(task) => {
                    wheel.remove(task);
                    model.remove(&task);
                }
                Step::Pass(time) => {
                    let until = now + time;
                    // The loop sleeps until `next` at the latest.
                    while now < until {
                        let first = model.values().min().copied();
                        let next = wheel.next();
                        if let Some(first) = first {
                            prop_assert!(next.is_some_and(|next| next <= first), "{next:?} is after {first}");
                        }
                        now = next.map_or(until, |next| next.clamp(now + 1, until));
                        let mut due = Vec::new();
                        wheel.advance(now, &mut due);
                        for task in due {
                            match model.get(&task) {
                                Some(tick) if *tick <= now => drop(model.remove(&task)),
                                Some(tick) => wheel.set(task, *tick),
                                None => prop_assert!(false, "{task} has no deadline"),
                            }
                        }
                        prop_assert!(model.values().all(|tick| *tick > now), "missed at {now}: {model:?}");
                    }
                }
            }
        }
        while let Some(task) = model.keys().next().copied() {
            wheel.remove(task);
            model.remove(&task);
        }
        prop_assert_eq!(wheel.next(), None);
    }
}

/// Nobody is looked at more than a handful of times, however far away the deadline is.
#[test]
fn a_distant_deadline_is_looked_at_seldom() {
    let mut wheel = Wheel::new();
    wheel.set(0, 350_000);
    let mut looks = 0;
    while let Some(next) = wheel.next() {
        looks += 1;
        let mut due = Vec::new();
        wheel.advance(next, &mut due);
        if next < 350_000 {
            assert!(due.is_empty());
        } else {
            assert_eq!((next, due), (350_000, vec![0]));
            break;
        }
    }
    assert!(looks <= 4, "{looks}");
}
