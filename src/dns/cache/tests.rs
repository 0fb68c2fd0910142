//! The cache under tokio's paused clock, with a scripted server: every rule, then random schedules.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use super::super::{Resolver, ResolverFactory};
use super::*;
use crate::limits::Rate;
use crate::sys::random::Random;
use latticegate_core::client::Client;
use latticegate_core::config::Quota;

const SECOND: Duration = Duration::from_secs(1);

type LookupResult = Result<AddressSet, LookupError>;

/// What the server does: for a name, its family and the number of queries before, how long it takes and the result.
type Behaviour = dyn FnMut(&str, Family, usize) -> (Duration, LookupResult);

/// By name and family.
type QueryTimes = HashMap<(String, Family), Vec<Instant>>;

#[derive(Clone)]
struct ScriptedServer {
    behaviour: Rc<RefCell<Box<Behaviour>>>,
    /// When each query arrived.
    queries: Rc<RefCell<QueryTimes>>,
    in_flight: Rc<RefCell<HashMap<(String, Family), usize>>>,
}

impl ScriptedServer {
    fn new(mut behaviour: impl FnMut(&str, usize) -> (Duration, LookupResult) + 'static) -> Self {
        Self::with_families(move |name, _, before| behaviour(name, before))
    }

    fn with_families(behaviour: impl FnMut(&str, Family, usize) -> (Duration, LookupResult) + 'static) -> Self {
        let behaviour: Box<Behaviour> = Box::new(behaviour);
        Self { behaviour: Rc::new(RefCell::new(behaviour)), queries: Rc::default(), in_flight: Rc::default() }
    }

    fn queries(&self, name: &str) -> usize {
        self.times(name, Family::V4).len()
    }

    fn queries_v6(&self, name: &str) -> usize {
        self.times(name, Family::V6).len()
    }

    fn times(&self, name: &str, family: Family) -> Vec<Instant> {
        self.queries.borrow().get(&(name.to_owned(), family)).cloned().unwrap_or_default()
    }

    /// All queries so far.
    fn total(&self) -> usize {
        self.queries.borrow().values().map(Vec::len).sum()
    }
}

impl Lookup for ScriptedServer {
    fn lookup(&self, name: &Hostname, family: Family) -> impl Future<Output = LookupResult> + 'static {
        let key = (name.as_str().to_owned(), family);
        let before = self.times(&key.0, family).len();
        self.queries.borrow_mut().entry(key.clone()).or_default().push(Instant::now());
        let (delay, outcome) = (self.behaviour.borrow_mut())(&key.0, family, before);
        let in_flight = Rc::clone(&self.in_flight);
        let flying = in_flight.borrow().get(&key).copied().unwrap_or(0) + 1;
        assert_eq!(flying, 1, "{key:?} is queried twice at the same time");
        in_flight.borrow_mut().insert(key.clone(), flying);
        async move {
            sleep(delay).await;
            in_flight.borrow_mut().remove(&key);
            match outcome {
                // "No such name", for as long as the configuration says.
                Err(LookupError::Unknown) => Ok(AddressSet { addresses: Vec::new(), ttl: Duration::MAX }),
                outcome => outcome,
            }
        }
    }
}

#[derive(Clone, Default)]
struct Counts {
    looked_up: Rc<Cell<usize>>,
    stale: Rc<Cell<usize>>,
}

impl Observer for Counts {
    fn looked_up(&self, _: Result<(), LookupError>, _: Duration) {
        self.looked_up.set(self.looked_up.get() + 1);
    }

    fn served_stale(&self) {
        self.stale.set(self.stale.get() + 1);
    }
}

fn config() -> CacheConfig {
    CacheConfig {
        ipv6: false,
        timeout: 2 * SECOND,
        min_ttl: SECOND,
        max_ttl: 300 * SECOND,
        negative_ttl: 5 * SECOND,
        max_stale: 3600 * SECOND,
        capacity: 100,
        lookups: Rate::per_second(NonZeroU32::new(10).unwrap()),
        per_client: Quota { concurrent: None, per_second: NonZeroU32::new(3) },
    }
}

fn name(text: &str) -> Hostname {
    Hostname::parse(text.as_bytes()).unwrap()
}

fn ip(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

fn found(n: u32, ttl: u64) -> LookupResult {
    Ok(AddressSet { addresses: vec![ip(n)], ttl: Duration::from_secs(ttl) })
}

/// Runs `test` with the clock paused; it has resolvers of as many workers as it makes.
fn run<F: Future<Output = ()>>(
    script: &ScriptedServer,
    config: CacheConfig,
    test: impl FnOnce(ResolverFactory, Counts) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (factory, requests) = ResolverFactory::new(config.capacity);
    let counts = Counts::default();
    LocalSet::new().block_on(&runtime, async {
        let cache = spawn_local(Cache::new(script.clone(), counts.clone(), config).run(requests));
        test(factory, counts).await;
        // All resolvers are dropped.
        cache.await.unwrap();
    });
}

async fn address(resolver: &Resolver, host: &str) -> Result<(IpAddr, bool), LookupError> {
    let answer = resolver.resolve(&name(host), None).await?;
    assert!(answer.expires >= Instant::now(), "an expired answer");
    Ok((answer.addresses[0], answer.stale))
}

#[test]
fn however_many_wait_one_query_is_sent() {
    let script = ScriptedServer::new(|_, _| (SECOND, found(1, 60)));
    let server = script.clone();
    run(&script, config(), |factory, counts| async move {
        let start = Instant::now();
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let resolver = factory.resolver();
            waiting.push(spawn_local(async move { address(&resolver, "a.example").await }));
        }
        for answer in waiting {
            assert_eq!(answer.await.unwrap(), Ok((ip(1), false)));
        }
        assert_eq!(start.elapsed(), SECOND);
        assert_eq!((server.queries("a.example"), counts.looked_up.get()), (1, 1));
    });
}

#[test]
fn a_slow_name_delays_no_other() {
    let script =
        ScriptedServer::new(|name, _| (if name == "slow.example" { 60 * SECOND } else { SECOND }, found(1, 60)));
    run(&script, config(), |factory, _| async move {
        let (slow, quick) = (factory.resolver(), factory.resolver());
        let start = Instant::now();
        let slow = spawn_local(async move { address(&slow, "slow.example").await });
        assert!(address(&quick, "quick.example").await.is_ok());
        assert_eq!(start.elapsed(), SECOND);
        assert!(slow.await.unwrap().is_ok());
    });
}

#[test]
fn a_ttl_is_kept_within_its_bounds() {
    // (the TTL in the response, how long the answer is used)
    for (ttl, used) in [(0, 1), (1, 1), (60, 60), (300, 300), (86_400, 300)] {
        let script = ScriptedServer::new(move |_, before| (Duration::ZERO, found(before.try_into().unwrap(), ttl)));
        run(&script, config(), |factory, _| async move {
            let resolver = factory.resolver();
            let answer = resolver.resolve(&name("a.example"), None).await.unwrap();
            assert_eq!(answer.expires - Instant::now(), used * SECOND, "{ttl}");
            sleep(used * SECOND).await;
            assert_eq!(address(&resolver, "a.example").await, Ok((ip(1), false)));
        });
    }
}

#[test]
fn a_name_in_use_is_renewed_before_it_expires_without_a_wait() {
    let script = ScriptedServer::new(|_, before| (2 * SECOND, found(before.try_into().unwrap(), 60)));
    let server = script.clone();
    run(&script, config(), |factory, _| async move {
        let workers = [factory.resolver(), factory.resolver()];
        drop(factory);
        address(&workers[0], "a.example").await.unwrap();
        for _ in 0..600 {
            for worker in &workers {
                let start = Instant::now();
                address(worker, "a.example").await.unwrap();
                assert_eq!(start.elapsed(), Duration::ZERO);
            }
            sleep(SECOND).await;
        }
        // Once in four fifths of the TTL, not once for each worker.
        let sent = server.queries("a.example");
        assert!((12..=13).contains(&sent), "{sent}");
    });
}

#[test]
fn an_unused_name_is_not_renewed() {
    let script = ScriptedServer::new(|_, _| (SECOND, found(1, 60)));
    let server = script.clone();
    run(&script, config(), |factory, _| async move {
        let resolver = factory.resolver();
        drop(factory);
        address(&resolver, "a.example").await.unwrap();
        sleep(24 * 3600 * SECOND).await;
        assert_eq!(server.queries("a.example"), 1);
    });
}

#[test]
fn a_stale_answer_serves_within_its_bound_and_is_marked() {
    for error in [LookupError::Timeout, LookupError::Failed] {
        let script = ScriptedServer::new(move |_, before| match before {
            0 => (Duration::ZERO, found(1, 60)),
            _ => (2 * SECOND, Err(error)),
        });
        let server = script.clone();
        run(&script, config(), |factory, counts| async move {
            let resolver = factory.resolver();
            assert_eq!(address(&resolver, "a.example").await, Ok((ip(1), false)));
            sleep(61 * SECOND).await;
            for minute in 0..59 {
                assert_eq!(address(&resolver, "a.example").await, Ok((ip(1), true)), "{minute}");
                sleep(60 * SECOND).await;
            }
            assert!(counts.stale.get() >= 59);
            sleep(60 * SECOND).await;
            assert_eq!(address(&resolver, "a.example").await, Err(error), "past `max_stale`");
            // The failing server is not queried for `negative_ttl`.
            let sent = server.queries("a.example");
            for _ in 0..100 {
                assert!(address(&resolver, "a.example").await.is_err());
            }
            assert_eq!(server.queries("a.example"), sent);
        });
    }
}

#[test]
fn during_an_outage_no_client_waits_for_the_next_query() {
    let script = ScriptedServer::new(|_, before| match before {
        0 => (Duration::ZERO, found(1, 60)),
        _ => (2 * SECOND, Err(LookupError::Timeout)),
    });
    let server = script.clone();
    run(&script, config(), |factory, _| async move {
        let resolver = factory.resolver();
        drop(factory);
        address(&resolver, "a.example").await.unwrap();
        sleep(61 * SECOND).await;
        // No failure is cached yet, so this request waits.
        assert_eq!(address(&resolver, "a.example").await, Ok((ip(1), true)));
        for _ in 0..600 {
            let start = Instant::now();
            assert_eq!(address(&resolver, "a.example").await, Ok((ip(1), true)));
            assert_eq!(start.elapsed(), Duration::ZERO);
            sleep(SECOND).await;
        }
        // A query of 2 s, then 5 s without one.
        let sent = server.queries("a.example");
        assert!((80..=90).contains(&sent), "{sent}");
    });
}

#[test]
fn a_failed_renewal_leaves_a_fresh_answer_in_use() {
    let script = ScriptedServer::new(|_, before| match before {
        0 => (Duration::ZERO, found(1, 100)),
        _ => (Duration::ZERO, Err(LookupError::Timeout)),
    });
    let server = script.clone();
    run(&script, config(), |factory, counts| async move {
        let resolver = factory.resolver();
        drop(factory);
        for _ in 0..99 {
            assert_eq!(address(&resolver, "a.example").await, Ok((ip(1), false)));
            sleep(SECOND).await;
        }
        assert_eq!(counts.stale.get(), 0);
        assert!(server.queries("a.example") >= 2);
    });
}

#[test]
fn new_answers_are_used_as_soon_as_the_server_responds() {
    let script = ScriptedServer::new(|_, before| match before {
        0 => (Duration::ZERO, found(1, 10)),
        1..=3 => (SECOND, Err(LookupError::Failed)),
        _ => (SECOND, found(2, 10)),
    });
    run(&script, config(), |factory, _| async move {
        let resolver = factory.resolver();
        address(&resolver, "a.example").await.unwrap();
        sleep(10 * SECOND).await;
        let start = Instant::now();
        while address(&resolver, "a.example").await.unwrap() != (ip(2), false) {
            sleep(SECOND).await;
        }
        assert!(start.elapsed() < 25 * SECOND, "{:?}", start.elapsed());
    });
}

#[test]
fn a_negative_answer_replaces_the_addresses() {
    let script = ScriptedServer::new(|_, before| match before {
        0 => (Duration::ZERO, found(1, 10)),
        _ => (Duration::ZERO, Err(LookupError::Unknown)),
    });
    run(&script, config(), |factory, counts| async move {
        let resolver = factory.resolver();
        address(&resolver, "a.example").await.unwrap();
        sleep(10 * SECOND).await;
        assert_eq!(address(&resolver, "a.example").await, Err(LookupError::Unknown));
        assert_eq!(counts.stale.get(), 0);
    });
}

#[test]
fn a_negative_answer_is_cached_briefly() {
    let script = ScriptedServer::new(|_, before| match before {
        0 => (Duration::ZERO, Err(LookupError::Unknown)),
        _ => (Duration::ZERO, found(1, 10)),
    });
    let server = script.clone();
    run(&script, config(), |factory, _| async move {
        let workers = [factory.resolver(), factory.resolver()];
        drop(factory);
        for worker in &workers {
            assert_eq!(address(worker, "a.example").await, Err(LookupError::Unknown));
        }
        sleep(5 * SECOND - Duration::from_millis(1)).await;
        assert_eq!(address(&workers[0], "a.example").await, Err(LookupError::Unknown));
        assert_eq!(server.queries("a.example"), 1);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(address(&workers[1], "a.example").await, Ok((ip(1), false)));
        // This one has just asked, and does not ask again at once.
        assert_eq!(address(&workers[0], "a.example").await, Err(LookupError::Unknown));
        sleep(Resolver::UNKNOWN_FOR).await;
        assert_eq!(address(&workers[0], "a.example").await, Ok((ip(1), false)));
    });
}

#[test]
fn invented_names_take_bounded_room() {
    let script = ScriptedServer::new(|_, _| (Duration::ZERO, Err(LookupError::Unknown)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut cache = Cache::new(script, Counts::default(), config());
        for n in 0..10_000 {
            let (waiter, answer) = oneshot::channel();
            cache.resolve(&name(&format!("x{n}.example")), None, Waiter::Queued(waiter), Instant::now());
            let event = cache.events.next().await.unwrap();
            cache.handle_event(event);
            assert_eq!(answer.await.unwrap().unwrap_err(), LookupError::Unknown);
            assert!(cache.entries.len() <= 100, "{}", cache.entries.len());
            if n % 7 == 0 {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        }
    });
}

#[test]
fn a_name_in_use_outlives_unused_ones() {
    let script = ScriptedServer::new(|_, _| (Duration::ZERO, found(1, 300)));
    let server = script.clone();
    run(&script, config(), |factory, _| async move {
        for n in 0..5_000 {
            // New workers, so that each request reaches the cache.
            address(&factory.resolver(), "used.example").await.unwrap();
            sleep(Duration::from_millis(1)).await;
            address(&factory.resolver(), &format!("x{n}.example")).await.unwrap();
        }
        assert_eq!(server.queries("used.example"), 1);
    });
}

#[test]
fn a_worker_remembers_no_more_than_it_may() {
    let script = ScriptedServer::new(|_, _| (Duration::ZERO, found(1, 300)));
    run(&script, config(), |factory, _| async move {
        let resolver = factory.resolver();
        drop(factory);
        for n in 0..1_000 {
            address(&resolver, &format!("x{n}.example")).await.unwrap();
            assert!(resolver.entries.borrow().len() <= 100);
        }
    });
}

fn client(last: u8) -> Option<ClientKey> {
    Some(ClientKey::from(&Client::new((Ipv4Addr::new(192, 0, 2, last), 1).into(), None)))
}

mod budget;
mod capacity;
mod failures;
mod families;

#[test]
fn a_cancelled_request_does_not_affect_the_others() {
    let script = ScriptedServer::new(|_, _| (SECOND, found(1, 60)));
    run(&script, config(), |factory, _| async move {
        let (cancelled, other) = (factory.resolver(), factory.resolver());
        let mut request = Box::pin(async { address(&cancelled, "a.example").await });
        poll_fn(|cx| {
            assert!(request.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(request);
        assert_eq!(address(&other, "a.example").await, Ok((ip(1), false)));
    });
}

/// Each result for a name, with the time of its arrival.
type History = Vec<(Instant, LookupResult)>;

/// A success for a name: which address, and until when it may serve as fresh.
#[derive(Clone, Copy)]
struct Truth {
    address: IpAddr,
    arrived: Instant,
    expires: Instant,
}

/// Many workers, names, delays and failures at random; what must hold always is checked at each answer.
fn simulate(seed: u64) {
    const NAMES: u64 = 4;
    const LONGEST_LOOKUP: Duration = Duration::from_secs(3);
    let config = CacheConfig { max_stale: 40 * SECOND, ..config() };
    // What the server has answered, in the order of arrival.
    let said: Rc<RefCell<HashMap<String, History>>> = Rc::default();
    let mut random = Random(seed);
    let history = Rc::clone(&said);
    let script = ScriptedServer::new(move |name, before| {
        let delay = Duration::from_millis(random.below(3000));
        let outcome = match random.below(10) {
            0 => Err(LookupError::Unknown),
            1 | 2 => Err(LookupError::Timeout),
            3 => Err(LookupError::Failed),
            _ => found(u32::try_from(before).unwrap(), random.below(20)),
        };
        let arrives = Instant::now() + delay;
        history.borrow_mut().entry(name.to_owned()).or_default().push((arrives, outcome.clone()));
        (delay, outcome)
    });
    let server = script.clone();
    run(&script, config.clone(), |factory, _| async move {
        let start = Instant::now();
        let mut workers = Vec::new();
        for worker in 0..3 {
            let mut random = Random(seed ^ (worker + 1) << 32);
            let (resolver, said, config) = (factory.resolver(), Rc::clone(&said), config.clone());
            workers.push(spawn_local(async move {
                for _ in 0..200 {
                    let name = format!("n{}.example", random.below(NAMES));
                    let asked_at = Instant::now();
                    let answer = address(&resolver, &name).await;
                    assert!(asked_at.elapsed() <= LONGEST_LOOKUP, "seed {seed}: {:?}", asked_at.elapsed());
                    let history = said.borrow().get(&name).cloned().unwrap_or_default();
                    check(seed, &config, &history, asked_at, answer);
                    let pause = if random.below(5) == 0 { random.below(30_000) } else { random.below(500) };
                    sleep(Duration::from_millis(pause)).await;
                }
            }));
        }
        drop(factory);
        for worker in workers {
            worker.await.unwrap();
        }
        // A name costs at most one query per second of TTL or `negative_ttl`.
        let bound = usize::try_from(start.elapsed().as_secs()).unwrap() + 2;
        for n in 0..NAMES {
            assert!(server.queries(&format!("n{n}.example")) <= bound, "seed {seed}");
        }
    });
}

/// Whether `answer` is valid now, given all results so far.
fn check(
    seed: u64,
    config: &CacheConfig,
    history: &[(Instant, LookupResult)],
    asked_at: Instant,
    answer: Result<(IpAddr, bool), LookupError>,
) {
    let now = Instant::now();
    let arrived: Vec<_> = history.iter().filter(|(at, _)| *at <= now).collect();
    let successes = arrived.iter().filter_map(|(at, outcome)| {
        let found = outcome.as_ref().ok()?;
        let ttl = found.ttl.clamp(config.min_ttl, config.max_ttl);
        Some(Truth { address: found.addresses[0], arrived: *at, expires: *at + ttl })
    });
    let successes: Vec<Truth> = successes.collect();
    let known = |address| successes.iter().find(|truth| truth.address == address);
    match answer {
        Ok((address, false)) => {
            let truth = known(address).unwrap_or_else(|| panic!("seed {seed}: {address} was never answered"));
            assert!(truth.expires >= now, "seed {seed}: expired {:?} ago", now - truth.expires);
        }
        Ok((address, true)) => {
            let truth = known(address).unwrap_or_else(|| panic!("seed {seed}: {address} was never answered"));
            assert!(truth.expires <= now, "seed {seed}: called stale, but is not");
            // It is marked when it is handed out, and then holds for `negative_ttl`.
            let bound = truth.expires + config.max_stale + config.negative_ttl;
            assert!(now < bound, "seed {seed}: stale for {:?}", now - truth.expires);
            // A worker repeats it for so long; a newer one may arrive meanwhile, by a query for another worker.
            let is_late = |other: &&Truth| other.arrived + CacheConfig::FIRST_HOLD < asked_at;
            let newer = successes.iter().filter(|other| other.arrived > truth.arrived).filter(is_late);
            assert_eq!(newer.count(), 0, "seed {seed}: not the newest answer");
        }
        Err(error) => {
            let recent = arrived.iter().rev().find(|(_, outcome)| *outcome == Err(error));
            let (at, _) = recent.unwrap_or_else(|| panic!("seed {seed}: {error:?} was never answered"));
            let repeated = if error == LookupError::Unknown { Resolver::UNKNOWN_FOR } else { Duration::ZERO };
            assert!(asked_at <= *at + config.negative_ttl + repeated, "seed {seed}: an old error");
        }
    }
}

#[test]
fn random_schedules_break_no_rule() {
    for seed in 0..80 {
        simulate(seed);
    }
}
