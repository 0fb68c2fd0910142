//! The deadlines of tasks beside a plain map, over random schedules.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// The task is polled, and waits for so long; None: for no moment.
    Wait(usize, Option<u64>),
    End(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let ahead = prop_oneof![1_u64..5, 1_u64..2000, 1_u64..400_000];
    prop_oneof![
        (0_usize..8, prop::option::weighted(0.8, ahead)).prop_map(|(task, ahead)| Step::Wait(task, ahead)),
        (0_usize..8).prop_map(Step::End),
        prop_oneof![0_u64..3, 0_u64..1500, 0_u64..300_000].prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No deadline is missed, nobody is woken early or twice, and nothing is left of those that have ended.
    #[test]
    fn each_deadline_is_kept_to_the_tick(steps in prop::collection::vec(step(), 1..80)) {
        let (mut tasks, mut now) = (Tasks::new(), 0_u64);
        let mut ids: Vec<TaskId> = (0..8).map(|_| tasks.insert(None)).collect();
        while tasks.next().is_some() {}
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Wait(task, ahead) => {
                    let deadline = ahead.map(|ahead| now + ahead);
                    tasks.put_back(ids[task], None, deadline);
                    match deadline {
                        Some(deadline) => drop(model.insert(ids[task].index, deadline)),
                        None => drop(model.remove(&ids[task].index)),
                    }
                }
                Step::End(task) => {
                    model.remove(&ids[task].index);
                    tasks.remove(ids[task]);
                    // Another one in its place.
                    ids[task] = tasks.insert(None);
                    tasks.next();
                }
                Step::Pass(time) => {
                    let until = now + time;
                    while now < until {
                        let first = model.values().min().copied();
                        let next = tasks.next_deadline();
                        prop_assert!(first.is_none_or(|first| next.is_some_and(|next| next <= first)));
                        now = next.map_or(until, |next| next.clamp(now + 1, until));
                        tasks.expire(now);
                        while let Some((id, _)) = tasks.next() {
                            let deadline = model.remove(&id.index);
                            prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "{deadline:?} at {now}");
                        }
                        prop_assert!(model.values().all(|deadline| *deadline > now), "missed at {now}");
                    }
                }
            }
        }
        ids.into_iter().for_each(|id| tasks.remove(id));
        prop_assert!(tasks.deadlines.is_empty());
    }
}
