//! The access list as a living thing: watches its source, swaps the list whole or not at all.
//!
//! A list that cannot be read, or a source that went away, leaves the last good one in force, with one line in
//! the log and a count. Connections that the new list forbids are counted, and closed if the operator wants that.

mod file;
mod http;
#[cfg(feature = "s3")]
mod s3;
mod source;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

pub use self::source::{Fetched, Source, SourceError, Version};
use crate::metrics::PolicyMetrics;
use crate::policy::Policy;

/// The list in force, and where it came from.
#[derive(Debug)]
pub struct Loaded {
    pub policy: Policy,
    pub version: Version,
    pub since: SystemTime,
}

/// The list in force; every connection asks the one that is here when its header has come.
#[derive(Debug)]
pub struct Current {
    loaded: ArcSwap<Loaded>,
    /// Grows with each reload: sessions wait for it.
    generation: watch::Sender<u64>,
    /// Live connections that the list in force would refuse, found since the last reload.
    forbidden: AtomicUsize,
}

impl From<Policy> for Loaded {
    fn from(policy: Policy) -> Self {
        Self { policy, version: Version::none(), since: SystemTime::now() }
    }
}

impl Current {
    pub fn new(loaded: Loaded) -> Arc<Self> {
        let (generation, _) = watch::channel(0);
        let loaded = ArcSwap::from_pointee(loaded);
        Arc::new(Self { loaded, generation, forbidden: AtomicUsize::new(0) })
    }

    pub fn load(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    pub fn watch(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// A live connection would not be let in any more.
    pub fn note_forbidden(&self) {
        self.forbidden.fetch_add(1, Ordering::Relaxed);
    }

    pub fn swap(&self, loaded: Loaded) {
        self.forbidden.store(0, Ordering::Relaxed);
        self.loaded.store(Arc::new(loaded));
        self.generation.send_modify(|generation| *generation = generation.wrapping_add(1));
    }
}

/// Keeps [`Current`] current, for ever.
pub struct Reloader {
    pub source: Source,
    pub current: Arc<Current>,
    pub poll: Duration,
    pub metrics: PolicyMetrics,
}

/// After a swap, how long live connections are given to judge themselves before their number is told.
const RECOUNT: Duration = Duration::from_secs(1);

impl Reloader {
    pub async fn run(mut self) {
        let hangup = signal(SignalKind::hangup());
        let Ok(mut hangup) = hangup.inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be watched")) else {
            return self.poll_for_ever().await;
        };
        let mut failing = None;
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = sleep(self.poll) => false,
            };
            if asked {
                tracing::info!("SIGHUP: reading the access list again");
                self.source.forget();
            }
            self.look(&mut failing).await;
        }
    }

    async fn poll_for_ever(&mut self) {
        let mut failing = None;
        loop {
            sleep(self.poll).await;
            self.look(&mut failing).await;
        }
    }

    /// Once; `failing` is what was told last, so that a source that stays broken is told about once.
    async fn look(&mut self, failing: &mut Option<String>) {
        let current = self.current.load();
        let result = match self.source.fetch(&current.version).await {
            Ok(None) => {
                if failing.take().is_some() {
                    tracing::info!(version = %current.version, "the access list's source is as it was again");
                }
                return;
            }
            Ok(Some(fetched)) => self.source.parse(fetched),
            Err(error) => Err(error),
        };
        match result {
            Ok(loaded) => {
                *failing = None;
                self.take(&current, loaded).await;
            }
            Err(error) => {
                self.metrics.failed();
                let told = error.to_string();
                if failing.as_ref() != Some(&told) {
                    tracing::error!(in_force = %current.version, "the access list was not reloaded; the old one stays in force: {told}");
                    *failing = Some(told);
                }
            }
        }
    }

    async fn take(&mut self, old: &Loaded, loaded: Loaded) {
        let changes = old.policy.changes_to(&loaded.policy);
        let (added, removed, moved) = (changes.added.len(), changes.removed.len(), changes.moved.len());
        let version = loaded.version.clone();
        self.metrics.loaded(&loaded);
        self.current.swap(loaded);
        sleep(RECOUNT).await;
        let forbidden = self.current.forbidden.load(Ordering::Relaxed);
        tracing::info!(
            %version,
            added,
            removed,
            moved,
            live_connections_forbidden = forbidden,
            "access list reloaded"
        );
    }
}

/// Tells the sessions of one worker that there is a new list, without a lock that workers share.
pub(crate) async fn pass_on(mut changed: watch::Receiver<u64>, sessions: Rc<tokio::sync::Notify>) {
    while changed.changed().await.is_ok() {
        sessions.notify_waiters();
    }
}
