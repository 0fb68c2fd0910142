//! How long a failure is held against a name, and how the end of an outage is noticed (RFC 9520 §3.2).

use super::*;

#[test]
fn a_failure_is_held_for_a_second_at_first_and_longer_while_it_continues() {
    let script = ScriptedServer::new(|_, _| (Duration::ZERO, Err(LookupError::Failed)));
    let server = script.clone();
    run(&script, config(), |factory, _| async move {
        let resolver = factory.resolver();
        drop(factory);
        while server.queries("a.example") < 7 {
            assert_eq!(address(&resolver, "a.example").await, Err(LookupError::Failed));
            sleep(Duration::from_millis(10)).await;
        }
        let times = server.times("a.example", Family::V4);
        let pauses: Vec<u128> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis() / 50 * 50).collect();
        assert_eq!(pauses, [1000, 2000, 4000, 5000, 5000, 5000]);
        // Long after the last failure it begins anew.
        sleep(60 * SECOND).await;
        let sent = server.queries("a.example");
        for _ in 0..2 {
            let _ = address(&resolver, "a.example").await;
            sleep(1100 * SECOND / 1000).await;
        }
        let times = server.times("a.example", Family::V4).split_off(sent);
        assert_eq!(times.len(), 2);
        assert!(times[1] - times[0] < 1050 * SECOND / 1000);
    });
}

#[test]
fn no_failure_is_held_longer_than_negative_ttl_says() {
    let config = CacheConfig { negative_ttl: SECOND / 5, ..config() };
    let script = ScriptedServer::new(|_, before| match before {
        0 => (Duration::ZERO, Err(LookupError::Timeout)),
        _ => (Duration::ZERO, found(1, 10)),
    });
    run(&script, config, |factory, _| async move {
        let resolver = factory.resolver();
        assert_eq!(address(&resolver, "a.example").await, Err(LookupError::Timeout));
        sleep(SECOND / 5).await;
        assert_eq!(address(&resolver, "a.example").await, Ok((ip(1), false)));
    });
}

/// The second client comes after the outage: it does not pay for noticing.
#[test]
fn a_wanted_name_is_looked_up_again_without_a_client() {
    let script = ScriptedServer::new(|_, before| match before {
        0 => (2 * SECOND, Err(LookupError::Timeout)),
        _ => (SECOND, found(1, 10)),
    });
    let server = script.clone();
    run(&script, config(), |factory, _| async move {
        let resolver = factory.resolver();
        drop(factory);
        assert_eq!(resolver.resolve(&name("a.example"), client(1)).await, Err(LookupError::Timeout));
        sleep(2 * SECOND).await;
        assert_eq!(server.queries("a.example"), 2);
        let start = Instant::now();
        assert_eq!(address(&resolver, "a.example").await, Ok((ip(1), false)));
        assert!(start.elapsed().is_zero());
    });
}

#[test]
fn an_unwanted_name_is_retried_once() {
    let script = ScriptedServer::new(|_, _| (Duration::ZERO, Err(LookupError::Timeout)));
    let server = script.clone();
    run(&script, config(), |factory, _| async move {
        let resolver = factory.resolver();
        drop(factory);
        let _ = resolver.resolve(&name("a.example"), client(1)).await;
        sleep(3600 * SECOND).await;
        // Those who heard of the first failure may come again, so it was tried once more.
        assert_eq!(server.queries("a.example"), 2);
    });
}

/// Invented names in a broken zone: each costs the budget, retries as well.
#[test]
fn retries_of_names_that_never_had_an_answer_are_paid_for() {
    let config = CacheConfig { capacity: 10_000, ..config() };
    let script = ScriptedServer::new(|_, _| (Duration::ZERO, Err(LookupError::Failed)));
    let server = script.clone();
    run(&script, config, |factory, _| async move {
        let resolver = Rc::new(factory.resolver());
        drop(factory);
        for n in 0..400 {
            let resolver = Rc::clone(&resolver);
            spawn_local(async move { drop(resolver.resolve(&name(&format!("x{n}.example")), client(1)).await) });
            sleep(Duration::from_millis(50)).await;
        }
        sleep(5 * SECOND).await;
        drop(resolver);
        // 10 a second for 25 s, and a second's worth at the beginning.
        assert!(server.total() <= 260, "{}", server.total());
    });
}

/// After a long outage each name is held for 5 s, but the server responds again: what our own query or another
/// name's shows counts for all.
#[test]
fn the_end_of_an_outage_is_noticed_for_all_names() {
    let up = Rc::new(Cell::new(false));
    let is_up = Rc::clone(&up);
    let script = ScriptedServer::new(move |_, _| match is_up.get() {
        true => (Duration::from_millis(1), found(1, 60)),
        false => (2 * SECOND, Err(LookupError::Timeout)),
    });
    run(&script, config(), |factory, _| async move {
        let resolver = factory.resolver();
        drop(factory);
        let start = Instant::now();
        while start.elapsed() < 60 * SECOND {
            for n in 0..5 {
                assert!(resolver.resolve(&name(&format!("n{n}.example")), client(1)).await.is_err());
            }
            sleep(SECOND / 10).await;
        }
        // The last query has failed, and the hold has just begun.
        sleep(SECOND).await;
        up.set(true);
        assert!(resolver.probe(&name("probe.example")).await.is_ok());
        let noticed = Instant::now();
        for n in 0..5 {
            // A query sent during the outage may still be in flight, for `timeout` at most.
            while resolver.resolve(&name(&format!("n{n}.example")), client(1)).await.is_err() {}
            assert!(noticed.elapsed() <= 2 * SECOND, "{n}: {:?}", noticed.elapsed());
        }
    });
}

/// A machine without a free file has sent no query: nothing is held against the name.
#[test]
fn a_shortage_of_our_own_is_no_failure_of_the_name() {
    let script = ScriptedServer::new(|_, before| match before {
        0 => (Duration::ZERO, Err(LookupError::Shortage)),
        _ => (Duration::ZERO, found(1, 10)),
    });
    run(&script, config(), |factory, _| async move {
        let resolver = factory.resolver();
        assert_eq!(address(&resolver, "a.example").await, Err(LookupError::Shortage));
        assert_eq!(address(&resolver, "a.example").await, Ok((ip(1), false)));
    });
}
