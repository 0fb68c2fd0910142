//! A run: everything that can be wrong is found before the first request; then the plan is announced to the users, and
//! progress reported, until every planned request has come to its end.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc as channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::pki_types::ServerName;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::addresses::{self, Addresses};
use crate::arguments::Arguments;
use crate::connection::{ByteCounts, Connector};
use crate::credentials::{self, Source};
use crate::failure::Failure;
use crate::limits;
use crate::plan::{Load, Plan};
use crate::report::{Progress, Report};
use crate::say::say;
use crate::signing::Signer;
use crate::tally::Tally;
use crate::target::Target;
use crate::trust;
use crate::user::{Route, Schedule, Shared, User};

/// Planned requests that may wait for one user. More are counted as not sent: memory has a bound, too.
const QUEUE: usize = 64;
/// Between the start of the threads and the first moment of the plan.
const HEAD_START: Duration = Duration::from_millis(100);

/// `environment`: where credentials and the region are looked for.
pub fn run(arguments: &Arguments, environment: &dyn Fn(&str) -> Option<String>) -> Result<Report> {
    arguments.check()?;
    let load = arguments.load()?;
    limits::need_descriptors(load.users)?;
    let runtime = runtime()?;
    let report = runtime.block_on(async {
        let seed = arguments.seed.unwrap_or_else(|| fastrand::u32(..));
        let prepared = prepare(arguments, environment).await?;
        generate(arguments, load, seed, prepared).await
    });
    // A lookup may still wait for its answer.
    runtime.shutdown_background();
    report
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

struct Prepared {
    shared: Arc<Shared>,
    addresses: Vec<Arc<Addresses>>,
    source: Option<Source>,
}

async fn prepare(arguments: &Arguments, environment: &dyn Fn(&str) -> Option<String>) -> Result<Prepared> {
    let encrypted = arguments.urls.iter().any(|target| target.tls);
    let tls = encrypted.then(|| trust::connector(arguments.cacert.as_deref(), arguments.insecure)).transpose()?;
    let mut addresses: Vec<Arc<Addresses>> = Vec::new();
    let mut routes = Vec::new();
    for target in &arguments.urls {
        let connect = arguments.connect.as_ref();
        let host = connect.map_or(&target.host, |connect| &connect.host);
        let port = connect.and_then(|connect| connect.port).unwrap_or(target.port);
        let found = Arc::new(Addresses::of(host, port).await?);
        addresses.push(Arc::clone(&found));
        routes.push(Route { target: target.clone(), addresses: found, name: name(target)? });
    }
    let (signer, source) = match &arguments.sigv4 {
        None => (None, None),
        Some(service) => {
            let region = arguments.region.clone().or_else(|| environment("AWS_REGION"));
            let region = region.context("--sigv4: for which region? Use --region, or set AWS_REGION")?;
            let source = Source::find(environment)?;
            (Some(Signer::new(service, &region, source.fetch().await?)), Some(source))
        }
    };
    let connector = Connector {
        tls,
        proxy_protocol: arguments.proxy_protocol,
        closes: arguments.no_keep_alive,
        bytes: Arc::new(ByteCounts::default()),
    };
    let now = Instant::now();
    let shared = Shared {
        connector,
        routes,
        headers: arguments.headers.clone(),
        signer,
        keep_alive: !arguments.no_keep_alive,
        timeout: arguments.timeout,
        // Set when it begins.
        schedule: Mutex::new(Schedule { steady_from: now, end: now }),
    };
    Ok(Prepared { shared: Arc::new(shared), addresses, source })
}

fn name(target: &Target) -> Result<Option<ServerName<'static>>> {
    if !target.tls {
        return Ok(None);
    }
    ensure!(
        target.host.parse::<IpAddr>().is_err(),
        "{}: an IP address names no service; put it into --connect",
        target.url()
    );
    let name = ServerName::try_from(target.host.clone());
    Ok(Some(name.with_context(|| format!("{} is no name that TLS could ask for", target.host))?))
}

async fn generate(arguments: &Arguments, load: Load, seed: u32, prepared: Prepared) -> Result<Report> {
    let Prepared { shared, addresses, source } = prepared;
    let begun = Instant::now() + HEAD_START;
    let schedule = Schedule { steady_from: begun + load.ramp, end: begun + load.length() };
    *shared.schedule.lock().unwrap_or_else(PoisonError::into_inner) = schedule;

    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = arguments.threads.unwrap_or(cores).clamp(1, load.users);
    let Users { queues, mut tallies, all_ended } = start_users(&shared, load.users, threads)?;
    let (stop, stopped) = channel::channel();
    let announced = Arc::<Mutex<Tally>>::default();
    tallies.push(Arc::clone(&announced));
    let plan = Plan::new(load, seed.into());
    thread::Builder::new()
        .name("plan".into())
        .spawn(move || announce(plan, begun, schedule.steady_from, &queues, &stopped, &announced))?;
    tokio::spawn(refresh(addresses, source, Arc::clone(&shared)));

    let counts = Counts { tallies, shared, load, begun };
    let interrupted = watch(&counts, arguments.report, all_ended, &stop).await?;
    Ok(Report::new(arguments, load, seed, interrupted, counts.sum()))
}

/// All users, each waiting for his plan.
struct Users {
    queues: Vec<mpsc::Sender<Instant>>,
    tallies: Vec<Arc<Mutex<Tally>>>,
    /// Ends when every thread has.
    all_ended: mpsc::Receiver<()>,
}

fn start_users(shared: &Arc<Shared>, users: usize, threads: usize) -> Result<Users> {
    let (queues, mut receivers): (Vec<_>, Vec<_>) = (0..users).map(|_| mpsc::channel(QUEUE)).unzip();
    let (ended, all_ended) = mpsc::channel::<()>(1);
    let mut tallies: Vec<Arc<Mutex<Tally>>> = Vec::new();
    let mut first = 0;
    for thread in 0..threads {
        let tally = Arc::default();
        let share = receivers.len().div_ceil(threads - thread);
        let user = |(number, plan)| (User::new(Arc::clone(shared), Arc::clone(&tally), number), plan);
        let users: Vec<_> = (first..).zip(receivers.drain(..share)).map(user).collect();
        first += share;
        tallies.push(tally);
        let ended = ended.clone();
        thread::Builder::new().name(format!("users-{thread}")).spawn(move || {
            serve(users);
            drop(ended);
        })?;
    }
    Ok(Users { queues, tallies, all_ended })
}

/// Where the counts of all threads come together.
struct Counts {
    tallies: Vec<Arc<Mutex<Tally>>>,
    shared: Arc<Shared>,
    load: Load,
    begun: Instant,
}

impl Counts {
    /// All so far; what counts as recent begins anew.
    fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        for tally in &self.tallies {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            sum += &*tally;
            tally.recent.clear();
        }
        let bytes = &self.shared.connector.bytes;
        sum.bytes_sent = bytes.sent.load(Ordering::Relaxed);
        sum.bytes_received = bytes.received.load(Ordering::Relaxed);
        let elapsed = self.shared.schedule().end.saturating_duration_since(self.begun);
        sum.ramp.seconds = elapsed.min(self.load.ramp).as_secs_f64();
        sum.steady.seconds = elapsed.saturating_sub(self.load.ramp).as_secs_f64();
        sum
    }
}

/// Reports progress until all users have come to their end. Whether it was interrupted: once, and no more is planned, but what
/// was is waited for; twice, and nothing is.
async fn watch(
    counts: &Counts,
    every: Duration,
    mut all_ended: mpsc::Receiver<()>,
    stop: &channel::Sender<()>,
) -> Result<bool> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let mut progress = Progress::new(counts.begun);
    let mut interrupted = false;
    loop {
        tokio::select! {
            _ = all_ended.recv() => return Ok(interrupted),
            _ = ticks.tick() => {
                progress.line(&counts.sum());
                continue;
            }
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if interrupted {
            return Ok(true);
        }
        interrupted = true;
        let mut schedule = counts.shared.schedule.lock().unwrap_or_else(PoisonError::into_inner);
        schedule.end = schedule.end.min(Instant::now());
        drop(schedule);
        let _ = stop.send(());
        say(format_args!("interrupted: waiting for the answers to what was sent; once more: without waiting"));
    }
}

/// The users of one thread, to their end.
fn serve(users: Vec<(User, mpsc::Receiver<Instant>)>) {
    let Ok(runtime) = runtime() else { return };
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let mut running = JoinSet::new();
        for (user, plan) in users {
            running.spawn_local(user.run(plan));
        }
        running.join_all().await;
    });
}

/// Passes each planned moment on when it has come, to the user's queue. A thread of its own sleeps more exactly than the
/// timers of the users' threads, which have a millisecond's grain.
fn announce(
    plan: Plan,
    begun: Instant,
    steady_from: Instant,
    queues: &[mpsc::Sender<Instant>],
    stopped: &channel::Receiver<()>,
    tally: &Mutex<Tally>,
) {
    for planned in plan {
        let due = begun + planned.at;
        let wait = due.saturating_duration_since(Instant::now());
        if !matches!(stopped.recv_timeout(wait), Err(channel::RecvTimeoutError::Timeout)) {
            return;
        }
        let Some(queue) = queues.get(planned.user) else { continue };
        let is_queued = queue.try_send(due).is_ok();
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        let phase = tally.phase(due >= steady_from);
        phase.planned += 1;
        if !is_queued {
            phase.fail(Failure::NotSent);
        }
    }
}

/// Addresses change, and a task's credentials expire.
async fn refresh(addresses: Vec<Arc<Addresses>>, source: Option<Source>, shared: Arc<Shared>) {
    let mut lookups = interval(addresses::REFRESH);
    let mut renewals = interval(credentials::REFRESH);
    lookups.reset();
    renewals.reset();
    loop {
        tokio::select! {
            _ = lookups.tick() => for addresses in &addresses {
                if let Err(error) = addresses.refresh().await {
                    say(format_args!("warning: the addresses stay as they are: {error:#}"));
                }
            },
            _ = renewals.tick() => if let (Some(source), Some(signer)) = (&source, &shared.signer) {
                match source.fetch().await {
                    Ok(credentials) => signer.renew(credentials),
                    Err(error) => say(format_args!("warning: the credentials stay as they are: {error:#}")),
                }
            },
        }
    }
}
