//! More names than the cache holds: each level degrades by degrees, and names in use stay.

use super::*;

const CAPACITY: usize = 1000;
const NAMES: usize = 2 * CAPACITY;

fn full() -> CacheConfig {
    CacheConfig { capacity: CAPACITY, ..config() }
}

/// Names that begin with `x` do not exist.
fn existing() -> ScriptedServer {
    ScriptedServer::new(|name, _| match name.starts_with('x') {
        true => (Duration::ZERO, Err(LookupError::Unknown)),
        false => (Duration::ZERO, found(1, 300)),
    })
}

fn nth(n: usize) -> Hostname {
    name(&format!("n{n}.example"))
}

/// One worker, or a new one for each name, so that only the shared level remembers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Level {
    Both,
    Shared,
}

impl Level {
    async fn resolve(self, worker: &Resolver, factory: &ResolverFactory, name: &Hostname) {
        let answer = match self {
            Self::Both => worker.resolve(name, None).await,
            Self::Shared => factory.resolver().resolve(name, None).await,
        };
        assert!(answer.is_ok());
    }
}

/// Asks for the names that `pick` chooses, and returns how many queries each stretch of `NAMES` requests caused.
fn queries(level: Level, stretches: usize, mut pick: impl FnMut(usize) -> usize + 'static) -> Vec<usize> {
    let (script, caused) = (existing(), Rc::new(RefCell::new(Vec::new())));
    let (server, result) = (script.clone(), Rc::clone(&caused));
    run(&script, full(), |factory, _| async move {
        let worker = factory.resolver();
        for stretch in 0..stretches {
            let before = server.total();
            for n in 0..NAMES {
                level.resolve(&worker, &factory, &nth(pick(stretch * NAMES + n))).await;
                if n % 100 == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            caused.borrow_mut().push(server.total() - before);
        }
    });
    result.take()
}

/// One level cannot answer more than half of them, and one that forgets the oldest answers none. Two levels hold different
/// names, and so together more.
#[test]
fn twice_as_many_names_in_turn_are_answered_nearly_by_half_of_them() {
    for (level, least) in [(Level::Shared, NAMES / 2), (Level::Both, 0)] {
        let caused = queries(level, 6, |n| n % NAMES);
        assert_eq!(caused[0], NAMES);
        let expected = least..NAMES * 65 / 100;
        assert!(caused[1..].iter().all(|caused| expected.contains(caused)), "{level:?} {caused:?}");
    }
}

/// Popularity as 1/n: the best that a cache can do is to hold the more popular half, and answer 92 % from it.
#[test]
fn twice_as_many_names_by_popularity_cost_little_more_than_they_must() {
    let weights: Vec<f64> = (1..=NAMES).map(|n| 1.0 / f64::from(u32::try_from(n).unwrap())).collect();
    let total: f64 = weights.iter().sum();
    let cumulated: Vec<f64> = weights
        .iter()
        .scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        })
        .collect();
    let least = (1.0 - cumulated[CAPACITY - 1]) * f64::from(u32::try_from(NAMES).unwrap());
    for level in [Level::Shared, Level::Both] {
        let (mut random, cumulated) = (Random(1), cumulated.clone());
        let caused = queries(level, 8, move |_| {
            let at = f64::from(u32::try_from(random.below(1 << 30)).unwrap()) / f64::from(1 << 30);
            cumulated.partition_point(|sum| *sum < at).min(NAMES - 1)
        });
        // The first half fills the cache.
        let settled: usize = caused[4..].iter().sum();
        let per_stretch = f64::from(u32::try_from(settled).unwrap()) / 4.0;
        assert!(per_stretch < 1.5 * least, "{level:?} {least} {caused:?}");
    }
}

/// Whatever else is asked for meanwhile, neither level ever forgets a name that is used all the time.
#[test]
fn hot_names_stay_and_no_level_is_ever_emptied() {
    let script = existing();
    let server = script.clone();
    run(&script, full(), |factory, _| async move {
        let worker = factory.resolver();
        let hot: Vec<Hostname> = (0..CAPACITY / 2).map(|n| name(&format!("hot{n}.example"))).collect();
        for hot in hot.iter().flat_map(|hot| [hot, hot]) {
            worker.resolve(hot, None).await.unwrap();
        }
        for round in 0..20 {
            for (n, hot) in hot.iter().enumerate() {
                worker.resolve(hot, None).await.unwrap();
                for m in 0..4 {
                    worker.resolve(&nth(round * NAMES + 4 * n + m), None).await.unwrap();
                }
                let remembered = worker.entries.borrow().len();
                assert!(round == 0 || remembered == CAPACITY, "{remembered} of {CAPACITY}");
            }
            sleep(SECOND).await;
        }
        assert!(hot.iter().all(|hot| server.queries(hot.as_str()) == 1));
    });
}

/// A flood of names that do not exist takes its sixteenth, and nothing from names that were used once or more.
#[test]
fn names_that_do_not_exist_evict_only_each_other() {
    let script = existing();
    let server = script.clone();
    run(&script, full(), |factory, _| async move {
        let known = CAPACITY * 15 / 16;
        for n in 0..known {
            factory.resolver().resolve(&nth(n), None).await.unwrap();
        }
        // Asked twice, which proves nothing.
        for n in (0..5 * CAPACITY).flat_map(|n| [n, n]) {
            assert!(factory.resolver().resolve(&name(&format!("x{n}.example")), None).await.is_err());
        }
        for n in 0..known {
            factory.resolver().resolve(&nth(n), None).await.unwrap();
        }
        let asked_again = (0..known).filter(|n| server.queries(nth(*n).as_str()) > 1).count();
        assert_eq!(asked_again, 0);
    });
}

/// Entries in flight are never removed; once they have an answer, the cache shrinks to its bound again.
#[test]
fn a_cache_full_of_lookups_in_flight_shrinks_again() {
    let script = ScriptedServer::new(|_, _| (SECOND, found(1, 300)));
    let config = CacheConfig { capacity: 10, ..config() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut cache = Cache::new(script, Counts::default(), config);
        let ask = |cache: &mut Cache<_, _>, n: usize| {
            let (waiter, answer) = oneshot::channel();
            cache.resolve(&nth(n), None, Waiter::Queued(waiter), Instant::now());
            answer
        };
        let waiting: Vec<_> = (0..100).map(|n| ask(&mut cache, n)).collect();
        assert_eq!(cache.entries.len(), 100);
        for _ in 0..100 {
            let event = cache.events.next().await.unwrap();
            cache.handle_event(event);
        }
        for answer in waiting {
            assert!(answer.await.unwrap().is_ok());
        }
        for n in 100..300 {
            let _answer = ask(&mut cache, n);
            let event = cache.events.next().await.unwrap();
            cache.handle_event(event);
        }
        assert_eq!(cache.entries.len(), 10);
    });
}

/// What the default of `dns.cache_size` is weighed by.
#[test]
fn a_cached_name_takes_little_room() {
    let sizes = (size_of::<NameEntry>(), size_of::<crate::dns::resolver::LocalEntry>());
    assert!(sizes.0 <= 224 && sizes.1 <= 32, "{sizes:?}");
}
