//! Names about which nothing is known: how many are asked for, whose come first, and who has to go.

use super::*;

/// As by default: 200 a second, 20 for one client before the others, 2 s of patience.
fn defaults() -> Limits {
    let per_second = |n| NonZeroU32::new(n);
    Limits {
        capacity: 10_000,
        lookups: Rate::per_second(per_second(200).unwrap()),
        per_client: Quota { concurrent: None, per_second: per_second(20) },
        ..limits()
    }
}

fn quick() -> Script {
    Script::new(|_, _| (Duration::from_millis(1), found(1, 300)))
}

/// What became of one name, and how long that took.
type Asking = tokio::task::JoinHandle<(bool, Duration)>;

fn ask(factory: &ResolverFactory, who: u8, text: String) -> Asking {
    let resolver = factory.resolver();
    spawn_local(async move {
        let start = Instant::now();
        match resolver.resolve(&name(&text), client(who)).await {
            Ok(_) => (true, start.elapsed()),
            Err(error) => {
                assert_eq!(error, LookupError::Limited);
                (false, start.elapsed())
            }
        }
    })
}

async fn all(asked: Vec<Asking>) -> Vec<(bool, Duration)> {
    let mut results = Vec::new();
    for asked in asked {
        results.push(asked.await.unwrap());
    }
    results
}

#[test]
fn sixty_new_names_of_one_address_are_all_served() {
    run(&quick(), defaults(), |factory, _| async move {
        let asked = (0..60).map(|n| ask(&factory, 1, format!("x{n}.example"))).collect();
        let results = all(asked).await;
        assert!(results.iter().all(|(served, took)| *served && *took < SECOND / 10), "{results:?}");
    });
}

#[test]
fn five_hundred_new_names_of_one_address_wait_their_turn() {
    run(&quick(), defaults(), |factory, _| async move {
        let asked = (0..500).map(|n| ask(&factory, 1, format!("x{n}.example"))).collect();
        let results = all(asked).await;
        assert!(results.iter().all(|(served, took)| *served && *took <= 1600 * SECOND / 1000), "{results:?}");
        // A second's worth goes at once, then so many a second.
        assert_eq!(results.iter().filter(|(_, took)| *took < SECOND / 100).count(), 201);
    });
}

#[test]
fn whoever_would_wait_longer_than_that_is_refused_at_once() {
    run(&quick(), defaults(), |factory, _| async move {
        let asked = (0..1000).map(|n| ask(&factory, 1, format!("x{n}.example"))).collect();
        let results = all(asked).await;
        let served = results.iter().filter(|(served, _)| *served).count();
        // 200 at once and 200 a second for 2 s.
        assert!((599..=601).contains(&served), "{served}");
        assert!(results.iter().all(|(served, took)| *served || took.is_zero()));
        assert!(results.iter().all(|(_, took)| *took <= 2 * SECOND + Duration::from_millis(5)));
    });
}

#[test]
fn the_question_has_its_own_time_after_the_wait() {
    let script = Script::new(|_, _| (1900 * SECOND / 1000, found(1, 300)));
    run(&script, defaults(), |factory, _| async move {
        let asked = (0..580).map(|n| ask(&factory, 1, format!("x{n}.example"))).collect();
        let results = all(asked).await;
        assert!(results.iter().all(|(served, _)| *served));
        assert!(results.iter().any(|(_, took)| *took > 3700 * SECOND / 1000));
    });
}

#[test]
fn one_who_asks_for_much_does_not_hold_up_one_who_asks_for_little() {
    run(&quick(), defaults(), |factory, _| async move {
        let many: Vec<Asking> = (0..1000).map(|n| ask(&factory, 1, format!("x{n}.example"))).collect();
        sleep(SECOND / 10).await;
        let few = all((0..10).map(|n| ask(&factory, 2, format!("y{n}.example"))).collect()).await;
        assert!(few.iter().all(|(served, took)| *served && *took < SECOND / 10), "{few:?}");
        // What is kept for nobody is not wasted, and places lost to the other are not many.
        let served = all(many).await.iter().filter(|(served, _)| *served).count();
        assert!((585..=601).contains(&served), "{served}");
    });
}

#[test]
fn those_who_ask_for_much_share_alike_whoever_came_first() {
    run(&quick(), defaults(), |factory, _| async move {
        let first: Vec<Asking> = (0..1000).map(|n| ask(&factory, 1, format!("x{n}.example"))).collect();
        sleep(SECOND / 100).await;
        let second: Vec<Asking> = (0..1000).map(|n| ask(&factory, 2, format!("y{n}.example"))).collect();
        let served = |results: Vec<(bool, Duration)>| results.iter().filter(|(served, _)| *served).count();
        let (first, second) = (served(all(first).await), served(all(second).await));
        // The second's worth at the beginning is the first one's; of the 400 that could wait each has half, within
        // what each has before others.
        assert!((380..=420).contains(&first) && (180..=220).contains(&second), "{first} and {second}");
    });
}

#[test]
fn whoever_leaves_frees_the_place_and_is_not_asked_for() {
    let script = quick();
    let seen = script.clone();
    run(&script, defaults(), |factory, _| async move {
        let waiting: Vec<Asking> = (0..600).map(|n| ask(&factory, 1, format!("x{n}.example"))).collect();
        sleep(Duration::from_millis(2)).await;
        assert_eq!(ask(&factory, 1, "full.example".into()).await.unwrap(), (false, Duration::ZERO));
        let asked = seen.total();
        waiting.iter().for_each(Asking::abort);
        tokio::task::yield_now().await;
        let (served, took) = ask(&factory, 1, "free.example".into()).await.unwrap();
        assert!(served && took < SECOND / 50, "{took:?}");
        sleep(3 * SECOND).await;
        assert!(seen.total() <= asked + 2, "{} and then {}", asked, seen.total());
    });
}

#[test]
fn who_waits_for_a_name_that_somebody_else_asks_for_has_the_answer_too() {
    let script = quick();
    let seen = script.clone();
    run(&script, defaults(), |factory, _| async move {
        let many: Vec<Asking> = (0..600).map(|n| ask(&factory, 1, format!("x{n}.example"))).collect();
        sleep(Duration::from_millis(2)).await;
        // Far behind in the other's queue; first in one's own.
        let (served, took) = ask(&factory, 2, "x550.example".into()).await.unwrap();
        assert!(served && took < SECOND / 50, "{took:?}");
        let joined = all(many).await[550];
        assert!(joined.0 && joined.1 < SECOND / 10, "{joined:?}");
        assert_eq!(seen.asked("x550.example"), 1);
    });
}

/// After a start, or where a NAT's clients reconnect: many connections for few names.
#[test]
fn a_name_has_one_place_however_many_wait_for_it() {
    let script = quick();
    let seen = script.clone();
    run(&script, defaults(), |factory, _| async move {
        // 240 names use up the second's worth, then 60 names with 10 connections each, and one name with 600.
        let mut asked: Vec<Asking> = (0..240).map(|n| ask(&factory, 1, format!("x{n}.example"))).collect();
        for n in 0..600 {
            asked.push(ask(&factory, 1, format!("y{}.example", n % 60)));
            asked.push(ask(&factory, 2, "one.example".into()));
        }
        let results = all(asked).await;
        assert!(results.iter().all(|(served, took)| *served && *took <= SECOND), "{results:?}");
        assert_eq!(seen.total(), 301);
    });
}

#[test]
fn clients_that_come_back_all_at_once_are_served_by_one_question_a_name() {
    let script = quick();
    let seen = script.clone();
    let limits = Limits { lookups: Rate::per_second(NonZeroU32::new(50).unwrap()), ..defaults() };
    run(&script, limits, |factory, _| async move {
        let asked = (0..2000_u32).map(|n| {
            let who = u8::try_from(n % 250).unwrap();
            ask(&factory, who, format!("x{}.example", n % 100))
        });
        let results = all(asked.collect()).await;
        assert!(results.iter().all(|(served, _)| *served));
        assert_eq!(seen.total(), 100);
    });
}

#[test]
fn nobody_waits_longer_than_the_patience_whoever_comes_later() {
    run(&quick(), defaults(), |factory, _| async move {
        let mut asked: Vec<Asking> = (0..600).map(|n| ask(&factory, 1, format!("x{n}.example"))).collect();
        // 20 clients that each have a share of their own: twice of what there is.
        for round in 0..20 {
            asked.extend((0..20).map(|who| ask(&factory, 100 + who, format!("y{round}-{who}.example"))));
            sleep(SECOND / 20).await;
        }
        let results = all(asked).await;
        assert!(results.iter().all(|(_, took)| *took <= 2 * SECOND + Duration::from_millis(10)));
        let late = results.iter().filter(|(served, took)| !served && !took.is_zero()).count();
        assert!(late > 0, "some have lost their place, or waited in vain");
    });
}

#[test]
fn what_is_known_costs_nothing_and_what_was_refused_is_no_failure() {
    let limits = Limits { timeout: Duration::ZERO, lookups: Rate::per_second(NonZeroU32::MIN), ..defaults() };
    let script = quick();
    let seen = script.clone();
    run(&script, limits, |factory, _| async move {
        assert!(ask(&factory, 1, "used.example".into()).await.unwrap().0);
        for _ in 0..10 {
            assert!(ask(&factory, 1, "used.example".into()).await.unwrap().0);
            assert!(!ask(&factory, 1, "new.example".into()).await.unwrap().0);
        }
        assert_eq!(seen.asked("new.example"), 0);
        sleep(SECOND).await;
        assert!(ask(&factory, 1, "new.example".into()).await.unwrap().0);
    });
}

#[test]
fn a_name_in_use_is_renewed_whatever_clients_invent() {
    let script = Script::new(|_, _| (Duration::ZERO, found(1, 10)));
    let seen = script.clone();
    run(&script, limits(), |factory, _| async move {
        let resolver = factory.resolver();
        resolver.resolve(&name("used.example"), client(1)).await.unwrap();
        let mut invented = Vec::new();
        for n in 0..600 {
            invented.extend((0..5).map(|attempt| ask(&factory, 2, format!("x{n}-{attempt}.example"))));
            let start = Instant::now();
            assert!(resolver.resolve(&name("used.example"), client(1)).await.is_ok());
            assert!(start.elapsed().is_zero(), "{:?}", start.elapsed());
            sleep(Duration::from_millis(100)).await;
        }
        assert!(seen.asked("used.example") >= 6);
        all(invented).await;
    });
}

/// Names that nobody asks for twice push each other out, whether they exist or not, and none that is in use.
#[test]
fn invented_names_push_out_no_answer_in_use() {
    for exist in [false, true] {
        let script = Script::new(move |name, _| match name.starts_with('x') && !exist {
            true => (Duration::ZERO, Err(LookupError::Unknown)),
            false => (Duration::ZERO, found(1, 300)),
        });
        let seen = script.clone();
        run(&script, limits(), |factory, _| async move {
            let (workers, attacked) = ([factory.resolver(), factory.resolver()], factory.resolver());
            drop(factory);
            // 60 of the 100 places are in use, each on one worker, once in 20 s.
            for n in 0..6_000_u32 {
                let used = name(&format!("used{}.example", n % 60));
                workers[usize::from(n % 2 == 0)].resolve(&used, client(1)).await.unwrap();
                for attempt in 0..3 {
                    let _ = attacked.resolve(&name(&format!("x{n}-{attempt}.example")), None).await;
                }
                sleep(Duration::from_millis(333)).await;
            }
            // 2000 s: a renewal each 240 s, and the first time.
            let asked: Vec<usize> = (0..60).map(|n| seen.asked(&format!("used{n}.example"))).collect();
            assert!(asked.iter().all(|asked| *asked <= 9), "{asked:?}");
        });
    }
}
