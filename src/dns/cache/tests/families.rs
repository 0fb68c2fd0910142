//! A and AAAA: the addresses of one family are used, and the missing ones are queried again.

use super::*;

const LOST: LookupResult = Err(LookupError::Timeout);

fn v6(n: u128, ttl: u64) -> LookupResult {
    Ok(AddressSet { addresses: vec![IpAddr::V6((0xfd00 << 112 | n).into())], ttl: Duration::from_secs(ttl) })
}

fn both() -> CacheConfig {
    CacheConfig { ipv6: true, ..config() }
}

/// How long an answer took, and whether it has addresses of each family.
async fn timed(resolver: &Resolver) -> Result<(Duration, bool, bool), LookupError> {
    let start = Instant::now();
    let answer = resolver.resolve(&name("a.example"), client(1)).await?;
    let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) = answer.addresses.iter().partition(|ip| ip.is_ipv4());
    Ok((start.elapsed(), !v4.is_empty(), !v6.is_empty()))
}

#[test]
fn both_families_make_one_answer_with_ipv4_first_and_the_shorter_ttl() {
    let script = ScriptedServer::with_families(|_, family, _| match family {
        Family::V4 => (Duration::from_millis(40), found(1, 60)),
        Family::V6 => (Duration::from_millis(10), v6(1, 30)),
    });
    run(&script, both(), |factory, counts| async move {
        let start = Instant::now();
        let answer = factory.resolver().resolve(&name("a.example"), None).await.unwrap();
        assert_eq!(answer.addresses.len(), 2);
        assert!(answer.addresses[0].is_ipv4());
        assert_eq!(answer.expires - start, 30 * SECOND + Duration::from_millis(10));
        assert_eq!(counts.looked_up.get(), 1, "one name");
    });
}

/// Either family is lost at first: the other one is used 50 ms after it came, and the lost one is there as soon as it
/// has been queried again, though no client waits for it.
#[test]
fn the_family_that_is_there_is_used_and_the_other_one_comes_later() {
    for lost in [Family::V4, Family::V6] {
        let script = ScriptedServer::with_families(move |_, family, before| match (family, before) {
            (family, 0) if family == lost => (2 * SECOND, LOST),
            (Family::V4, _) => (Duration::from_millis(5), found(1, 300)),
            (Family::V6, _) => (Duration::from_millis(5), v6(1, 300)),
        });
        let server = script.clone();
        run(&script, both(), |factory, _| async move {
            let (resolver, start) = (factory.resolver(), Instant::now());
            drop(factory);
            let half = (lost == Family::V6, lost == Family::V4);
            assert_eq!(timed(&resolver).await, Ok((Duration::from_millis(55), half.0, half.1)));
            // No client waits while it is missing, and as soon as it is, it is used: 2 s until it is known to be lost,
            // 1 s of hold.
            let complete = loop {
                sleep(Duration::from_millis(100)).await;
                let (took, v4, v6) = timed(&resolver).await.unwrap();
                assert_eq!(took, Duration::ZERO, "{lost:?}");
                if v4 && v6 {
                    break start.elapsed();
                }
                assert_eq!((v4, v6), half);
            };
            assert!(complete < 4200 * SECOND / 1000, "{lost:?}: {complete:?}");
            // The family that was known was not queried again.
            let sent = (server.queries("a.example"), server.queries_v6("a.example"));
            assert_eq!(sent, if lost == Family::V4 { (2, 1) } else { (1, 2) });
        });
    }
}

#[test]
fn a_family_that_fails_at_once_is_not_waited_for() {
    let script = ScriptedServer::with_families(|_, family, _| match family {
        Family::V4 => (Duration::from_millis(20), found(1, 300)),
        Family::V6 => (Duration::from_millis(5), Err(LookupError::Failed)),
    });
    run(&script, both(), |factory, _| async move {
        assert_eq!(timed(&factory.resolver()).await, Ok((Duration::from_millis(20), true, false)));
    });
}

#[test]
fn a_family_without_addresses_is_not_missing() {
    let script = ScriptedServer::with_families(|_, family, _| match family {
        Family::V4 => (Duration::from_millis(5), found(1, 300)),
        Family::V6 => (Duration::from_millis(5), Err(LookupError::Unknown)),
    });
    let server = script.clone();
    run(&script, both(), |factory, _| async move {
        let resolver = factory.resolver();
        drop(factory);
        let answer = resolver.resolve(&name("a.example"), None).await.unwrap();
        assert_eq!(answer.expires - Instant::now(), 300 * SECOND);
        for _ in 0..2900 {
            assert_eq!(timed(&resolver).await, Ok((Duration::ZERO, true, false)));
            sleep(SECOND / 10).await;
        }
        // With each renewal of what is there, not every `negative_ttl`.
        assert_eq!((server.queries("a.example"), server.queries_v6("a.example")), (2, 2));
    });
}

#[test]
fn a_failure_beside_no_data_is_no_unknown_name() {
    for failing in [Family::V4, Family::V6] {
        let script = ScriptedServer::with_families(move |_, family, _| {
            let outcome = if family == failing { Err(LookupError::Failed) } else { Err(LookupError::Unknown) };
            (Duration::from_millis(5), outcome)
        });
        run(&script, both(), |factory, _| async move {
            assert_eq!(timed(&factory.resolver()).await.unwrap_err(), LookupError::Failed);
        });
    }
    let script = ScriptedServer::with_families(|_, _, _| (Duration::from_millis(5), Err(LookupError::Unknown)));
    run(&script, both(), |factory, _| async move {
        assert_eq!(timed(&factory.resolver()).await.unwrap_err(), LookupError::Unknown);
    });
}

#[test]
fn a_ttl_that_is_over_before_the_other_family_comes_serves_those_who_wait() {
    let config = CacheConfig { min_ttl: Duration::from_millis(20), max_ttl: Duration::from_millis(20), ..both() };
    let script = ScriptedServer::with_families(|_, family, _| match family {
        Family::V4 => (Duration::from_millis(5), found(1, 0)),
        Family::V6 => (2 * SECOND, LOST),
    });
    run(&script, config, |factory, _| async move {
        assert_eq!(timed(&factory.resolver()).await, Ok((Duration::from_millis(55), true, false)));
    });
}
