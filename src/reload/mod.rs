//! The access list as a living thing: watches its source, swaps the list whole or not at all.
//!
//! A list that cannot be read, or a source that went away, leaves the last good one in force, with one line in
//! the log and a count. Connections that the new list forbids are counted, and closed if the operator wants that.

mod file;
mod http;
mod main_file;
#[cfg(feature = "s3")]
mod s3;
mod shadow;
mod source;
mod source_thread;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::sleep;

pub use self::main_file::MainFile;
pub use self::shadow::{Shadow, Shadowed};
use self::source::Looked;
pub use self::source::{Fetched, Source, SourceError, Version};
use self::source_thread::Look;
pub use self::source_thread::SourceThread;
use crate::sys::blocking::Patience;
use crate::sys::runtime::{Notify, Publisher, Watched, watched};
use crate::telemetry::metrics::PolicyMetrics;
use latticegate_core::config::OnReload;
use latticegate_core::policy::changes::Changes;
use latticegate_core::policy::hits::Hits;
use latticegate_core::policy::{Policy, RuleId};

/// The list in force, and where it came from.
#[derive(Debug)]
pub struct Loaded {
    pub policy: Policy,
    pub version: Version,
    pub since: SystemTime,
    /// The same moment, for its age.
    pub since_then: Instant,
    pub hits: Hits,
    /// How many lists were in force before; a session compares it with the one that let it in.
    pub number: u64,
    /// Live connections that this list, coming into force, would not have let in.
    forbidden: AtomicUsize,
}

/// The list in force; every connection asks the one that is here when its header has come.
#[derive(Debug)]
pub struct Current {
    loaded: ArcSwap<Loaded>,
    /// Grows with each reload: sessions wait for it.
    generation: Publisher<u64>,
}

impl From<Policy> for Loaded {
    fn from(policy: Policy) -> Self {
        Self::new(policy, Version::none())
    }
}

impl Loaded {
    pub fn new(policy: Policy, version: Version) -> Self {
        let (hits, since, since_then) = (Hits::new(&policy), SystemTime::now(), Instant::now());
        Self { policy, version, since, since_then, hits, number: 0, forbidden: AtomicUsize::new(0) }
    }

    /// Counts that this list has come into force.
    pub fn count_into(&self, metrics: &PolicyMetrics) {
        metrics.loaded(self.version.hash, self.policy.rules().len(), self.since_then);
    }

    /// A live connection would not be let in any more.
    pub fn note_forbidden(&self) {
        self.forbidden.fetch_add(1, Ordering::Relaxed);
    }

    /// The rule has decided about a connection.
    pub(crate) fn note(&self, rule: Option<RuleId>, now: SystemTime) {
        if let Some(rule) = rule {
            self.hits.note(rule, now);
        }
    }
}

impl Current {
    pub fn new(loaded: Loaded) -> Arc<Self> {
        let (generation, _) = watched(0);
        let loaded = ArcSwap::from_pointee(loaded);
        Arc::new(Self { loaded, generation })
    }

    pub fn load(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    pub fn watch(&self) -> Watched<u64> {
        self.generation.watch()
    }

    /// Puts another list in force. Only one task may do this.
    pub fn swap(&self, mut loaded: Loaded) -> Changes {
        let old = self.loaded.load();
        let changes = old.policy.changes_to(&loaded.policy);
        loaded.hits = old.hits.carried_over(&changes, &loaded.policy);
        loaded.number = old.number.wrapping_add(1);
        self.loaded.store(Arc::new(loaded));
        self.generation.publish(self.generation.value().wrapping_add(1));
        changes
    }
}

/// Keeps [`Current`] current, for ever.
pub struct Reloader {
    pub source: SourceThread,
    pub patience: Patience,
    pub current: Arc<Current>,
    pub poll: Duration,
    pub metrics: PolicyMetrics,
    pub on_reload: OnReload,
    /// Why the source's list is not the one in force, as told: what stays broken is told once.
    pub trouble: Option<String>,
    /// Who hears of it beside the log.
    pub audience: Option<mpsc::UnboundedSender<ReloadEvent>>,
}

#[derive(Debug)]
pub enum ReloadEvent {
    InForce { rules: usize },
    OldStays { why: String },
}

/// What a look at the source came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    AsInForce,
    List,
}

/// After a swap, how long live connections are given to judge themselves before their number is told.
const RECOUNT: Duration = Duration::from_millis(500);

impl Reloader {
    /// For ever. `hangup` is SIGHUP, watched before anybody can know that we run: unwatched it would end the process.
    pub async fn run(mut self, hangup: io::Result<Signal>) {
        let Ok(mut hangup) = hangup.inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be watched")) else {
            return self.poll_for_ever().await;
        };
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = sleep(self.poll) => false,
            };
            if asked {
                tracing::info!("SIGHUP: reading the access list again");
            }
            let found = self.look(asked).await;
            if asked && found == Found::AsInForce {
                tracing::info!("the access list is the one in force");
            }
        }
    }

    async fn poll_for_ever(&mut self) {
        loop {
            sleep(self.poll).await;
            self.look(false).await;
        }
    }

    /// However long that takes: the list in force stays so.
    async fn look(&mut self, anew: bool) -> Found {
        let current = self.current.load();
        let look = self.source.look(Some(current.version.clone()), anew);
        let result = self.patience.wait(format_args!("the access list {}", self.source.name()), look).await;
        match result {
            Ok(Look::Unchanged) => Found::Nothing,
            Ok(Look::AsInForce) => {
                if self.trouble.take().is_some() {
                    self.metrics.in_step(true);
                    tracing::info!(version = %current.version, "the access list's source has the list in force again");
                }
                Found::AsInForce
            }
            Ok(Look::Loaded(loaded)) => {
                self.trouble = None;
                self.take(*loaded);
                Found::List
            }
            Err(error) => {
                self.fail(&current, &error.to_string());
                Found::Nothing
            }
        }
    }

    fn fail(&mut self, current: &Loaded, why: &str) {
        self.metrics.failed();
        self.metrics.in_step(false);
        if self.trouble.as_deref() != Some(why) {
            tracing::error!(
                in_force = %current.version,
                "the access list was not reloaded; the old one stays in force: {why}"
            );
            self.trouble = Some(why.to_owned());
            self.tell(ReloadEvent::OldStays { why: why.to_owned() });
        }
    }

    fn tell(&self, what: ReloadEvent) {
        if let Some(audience) = &self.audience {
            // Whoever listened may have gone.
            let _ = audience.send(what);
        }
    }

    fn take(&mut self, loaded: Loaded) {
        loaded.count_into(&self.metrics);
        let rules = loaded.policy.rules().len();
        let changes = self.current.swap(loaded);
        self.tell(ReloadEvent::InForce { rules });
        let (added, removed, moved) = (changes.added.len(), changes.removed.len(), changes.moved.len());
        let (loaded, on_reload) = (self.current.load(), self.on_reload);
        spawn_local(async move {
            sleep(RECOUNT).await;
            let they_are = match on_reload {
                OnReload::Keep => "kept",
                OnReload::Close => "closed",
            };
            let forbidden = loaded.forbidden.load(Ordering::Relaxed);
            tracing::info!(
                version = %loaded.version,
                added,
                removed,
                moved,
                live_connections_forbidden = forbidden,
                they_are,
                "access list reloaded"
            );
        });
    }
}

/// Tells the sessions of one worker that there is a new list, without a lock that workers share.
pub(crate) async fn pass_on(mut changed: Watched<u64>, sessions: Rc<Notify>) {
    while changed.changed().await {
        sessions.notify_all();
    }
}
