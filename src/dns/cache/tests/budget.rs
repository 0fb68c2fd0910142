//! Unknown names: how many are looked up, whose come first, and which are rejected.

use super::*;

/// As by default: 200 a second, 20 for one client before the others, 2 s of waiting.
fn defaults() -> CacheConfig {
    let per_second = |n| NonZeroU32::new(n);
    CacheConfig {
        capacity: 10_000,
        lookups: Rate::per_second(per_second(200).unwrap()),
        per_client: Quota { concurrent: None, per_second: per_second(20) },
        ..config()
    }
}

fn quick() -> ScriptedServer {
    ScriptedServer::new(|_, _| (Duration::from_millis(1), found(1, 300)))
}

/// Whether one name was resolved, and how long that took.
type PendingLookup = tokio::task::JoinHandle<(bool, Duration)>;

fn request(factory: &ResolverFactory, who: u8, text: String) -> PendingLookup {
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

async fn all(lookups: Vec<PendingLookup>) -> Vec<(bool, Duration)> {
    let mut results = Vec::new();
    for lookup in lookups {
        results.push(lookup.await.unwrap());
    }
    results
}

#[test]
fn sixty_new_names_of_one_client_are_all_served() {
    run(&quick(), defaults(), |factory, _| async move {
        let lookups = (0..60).map(|n| request(&factory, 1, format!("x{n}.example"))).collect();
        let results = all(lookups).await;
        assert!(results.iter().all(|(served, took)| *served && *took < SECOND / 10), "{results:?}");
    });
}

#[test]
fn five_hundred_new_names_of_one_client_wait_in_the_queue() {
    run(&quick(), defaults(), |factory, _| async move {
        let lookups = (0..500).map(|n| request(&factory, 1, format!("x{n}.example"))).collect();
        let results = all(lookups).await;
        assert!(results.iter().all(|(served, took)| *served && *took <= 1600 * SECOND / 1000), "{results:?}");
        // A second's worth is sent at once, then so many a second.
        assert_eq!(results.iter().filter(|(_, took)| *took < SECOND / 100).count(), 201);
    });
}

#[test]
fn names_that_would_wait_too_long_are_rejected_at_once() {
    run(&quick(), defaults(), |factory, _| async move {
        let lookups = (0..1000).map(|n| request(&factory, 1, format!("x{n}.example"))).collect();
        let results = all(lookups).await;
        let served = results.iter().filter(|(served, _)| *served).count();
        // 200 at once and 200 a second for 2 s.
        assert!((599..=601).contains(&served), "{served}");
        assert!(results.iter().all(|(served, took)| *served || took.is_zero()));
        assert!(results.iter().all(|(_, took)| *took <= 2 * SECOND + Duration::from_millis(5)));
    });
}

#[test]
fn the_query_has_its_own_timeout_after_the_wait() {
    let script = ScriptedServer::new(|_, _| (1900 * SECOND / 1000, found(1, 300)));
    run(&script, defaults(), |factory, _| async move {
        let lookups = (0..580).map(|n| request(&factory, 1, format!("x{n}.example"))).collect();
        let results = all(lookups).await;
        assert!(results.iter().all(|(served, _)| *served));
        assert!(results.iter().any(|(_, took)| *took > 3700 * SECOND / 1000));
    });
}

#[test]
fn a_client_with_many_names_does_not_delay_one_with_few() {
    run(&quick(), defaults(), |factory, _| async move {
        let many: Vec<PendingLookup> = (0..1000).map(|n| request(&factory, 1, format!("x{n}.example"))).collect();
        sleep(SECOND / 10).await;
        let few = all((0..10).map(|n| request(&factory, 2, format!("y{n}.example"))).collect()).await;
        assert!(few.iter().all(|(served, took)| *served && *took < SECOND / 10), "{few:?}");
        // No rate is reserved, so none is wasted, and few tickets are lost to the other client.
        let served = all(many).await.iter().filter(|(served, _)| *served).count();
        assert!((585..=601).contains(&served), "{served}");
    });
}

#[test]
fn clients_with_many_names_share_equally_whichever_came_first() {
    run(&quick(), defaults(), |factory, _| async move {
        let first: Vec<PendingLookup> = (0..1000).map(|n| request(&factory, 1, format!("x{n}.example"))).collect();
        sleep(SECOND / 100).await;
        let second: Vec<PendingLookup> = (0..1000).map(|n| request(&factory, 2, format!("y{n}.example"))).collect();
        let served = |results: Vec<(bool, Duration)>| results.iter().filter(|(served, _)| *served).count();
        let (first, second) = (served(all(first).await), served(all(second).await));
        // The second's worth at the beginning is the first one's; of the 400 that could wait each has half, within
        // what each has before others.
        assert!((380..=420).contains(&first) && (180..=220).contains(&second), "{first} and {second}");
    });
}

#[test]
fn a_closed_connection_frees_its_ticket_and_is_not_looked_up() {
    let script = quick();
    let server = script.clone();
    run(&script, defaults(), |factory, _| async move {
        let waiting: Vec<PendingLookup> = (0..600).map(|n| request(&factory, 1, format!("x{n}.example"))).collect();
        sleep(Duration::from_millis(2)).await;
        assert_eq!(request(&factory, 1, "full.example".into()).await.unwrap(), (false, Duration::ZERO));
        let lookups = server.total();
        waiting.iter().for_each(PendingLookup::abort);
        tokio::task::yield_now().await;
        let (served, took) = request(&factory, 1, "free.example".into()).await.unwrap();
        assert!(served && took < SECOND / 50, "{took:?}");
        sleep(3 * SECOND).await;
        assert!(server.total() <= lookups + 2, "{} and then {}", lookups, server.total());
    });
}

#[test]
fn a_waiter_gets_the_answer_to_another_clients_lookup() {
    let script = quick();
    let server = script.clone();
    run(&script, defaults(), |factory, _| async move {
        let many: Vec<PendingLookup> = (0..600).map(|n| request(&factory, 1, format!("x{n}.example"))).collect();
        sleep(Duration::from_millis(2)).await;
        // Far behind in the other client's queue; first in its own.
        let (served, took) = request(&factory, 2, "x550.example".into()).await.unwrap();
        assert!(served && took < SECOND / 50, "{took:?}");
        let joined = all(many).await[550];
        assert!(joined.0 && joined.1 < SECOND / 10, "{joined:?}");
        assert_eq!(server.queries("x550.example"), 1);
    });
}

/// After a start, or where a NAT's clients reconnect: many connections for few names.
#[test]
fn a_name_is_looked_up_once_however_many_wait_for_it() {
    let script = quick();
    let server = script.clone();
    run(&script, defaults(), |factory, _| async move {
        // 240 names use up the second's worth, then 60 names with 10 connections each, and one name with 600.
        let mut lookups: Vec<PendingLookup> = (0..240).map(|n| request(&factory, 1, format!("x{n}.example"))).collect();
        for n in 0..600 {
            lookups.push(request(&factory, 1, format!("y{}.example", n % 60)));
            lookups.push(request(&factory, 2, "one.example".into()));
        }
        let results = all(lookups).await;
        assert!(results.iter().all(|(served, took)| *served && *took <= SECOND), "{results:?}");
        assert_eq!(server.total(), 301);
    });
}

#[test]
fn clients_that_reconnect_all_at_once_cost_one_query_a_name() {
    let script = quick();
    let server = script.clone();
    let config = CacheConfig { lookups: Rate::per_second(NonZeroU32::new(50).unwrap()), ..defaults() };
    run(&script, config, |factory, _| async move {
        let lookups = (0..2000_u32).map(|n| {
            let who = u8::try_from(n % 250).unwrap();
            request(&factory, who, format!("x{}.example", n % 100))
        });
        let results = all(lookups.collect()).await;
        assert!(results.iter().all(|(served, _)| *served));
        assert_eq!(server.total(), 100);
    });
}

#[test]
fn no_connection_waits_longer_than_the_timeout_whichever_come_later() {
    run(&quick(), defaults(), |factory, _| async move {
        let mut lookups: Vec<PendingLookup> = (0..600).map(|n| request(&factory, 1, format!("x{n}.example"))).collect();
        // 20 clients that each have a share of their own: twice of what there is.
        for round in 0..20 {
            lookups.extend((0..20).map(|who| request(&factory, 100 + who, format!("y{round}-{who}.example"))));
            sleep(SECOND / 20).await;
        }
        let results = all(lookups).await;
        assert!(results.iter().all(|(_, took)| *took <= 2 * SECOND + Duration::from_millis(10)));
        let late = results.iter().filter(|(served, took)| !served && !took.is_zero()).count();
        assert!(late > 0, "some have lost their ticket, or waited in vain");
    });
}

#[test]
fn a_known_name_costs_nothing_and_a_rejection_is_no_failure() {
    let config = CacheConfig { timeout: Duration::ZERO, lookups: Rate::per_second(NonZeroU32::MIN), ..defaults() };
    let script = quick();
    let server = script.clone();
    run(&script, config, |factory, _| async move {
        assert!(request(&factory, 1, "used.example".into()).await.unwrap().0);
        for _ in 0..10 {
            assert!(request(&factory, 1, "used.example".into()).await.unwrap().0);
            assert!(!request(&factory, 1, "new.example".into()).await.unwrap().0);
        }
        assert_eq!(server.queries("new.example"), 0);
        sleep(SECOND).await;
        assert!(request(&factory, 1, "new.example".into()).await.unwrap().0);
    });
}

#[test]
fn a_name_in_use_is_renewed_whatever_names_clients_invent() {
    let script = ScriptedServer::new(|_, _| (Duration::ZERO, found(1, 10)));
    let server = script.clone();
    run(&script, config(), |factory, _| async move {
        let resolver = factory.resolver();
        resolver.resolve(&name("used.example"), client(1)).await.unwrap();
        let mut invented = Vec::new();
        for n in 0..600 {
            invented.extend((0..5).map(|attempt| request(&factory, 2, format!("x{n}-{attempt}.example"))));
            let start = Instant::now();
            assert!(resolver.resolve(&name("used.example"), client(1)).await.is_ok());
            assert!(start.elapsed().is_zero(), "{:?}", start.elapsed());
            sleep(Duration::from_millis(100)).await;
        }
        assert!(server.queries("used.example") >= 6);
        all(invented).await;
    });
}

/// Names used once evict each other, whether they exist or not, and none that is in use.
#[test]
fn invented_names_evict_no_name_in_use() {
    for exist in [false, true] {
        let script = ScriptedServer::new(move |name, _| match name.starts_with('x') && !exist {
            true => (Duration::ZERO, Err(LookupError::Unknown)),
            false => (Duration::ZERO, found(1, 300)),
        });
        let server = script.clone();
        run(&script, config(), |factory, _| async move {
            let (workers, attacked) = ([factory.resolver(), factory.resolver()], factory.resolver());
            drop(factory);
            // 60 of the 100 entries are in use, each on one worker, once in 20 s.
            for n in 0..6_000_u32 {
                let used = name(&format!("used{}.example", n % 60));
                workers[usize::from(n % 2 == 0)].resolve(&used, client(1)).await.unwrap();
                for attempt in 0..3 {
                    let _ = attacked.resolve(&name(&format!("x{n}-{attempt}.example")), None).await;
                }
                sleep(Duration::from_millis(333)).await;
            }
            // 2000 s: a renewal each 240 s, and the first time.
            let queries: Vec<usize> = (0..60).map(|n| server.queries(&format!("used{n}.example"))).collect();
            assert!(queries.iter().all(|queries| *queries <= 9), "{queries:?}");
        });
    }
}
