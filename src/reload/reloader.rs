//! Watches the source of the access list, and puts each new list in force.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::runtime::Watched;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::current::{Current, Loaded};
use super::fetched::Update;
use super::source_thread::SourceThread;
use crate::sys::blocking::Patience;
use crate::telemetry::metrics::PolicyMetrics;
use latticegate_core::config::OnReload;

/// Keeps [`Current`] up to date.
pub struct Reloader {
    pub source: SourceThread,
    pub patience: Patience,
    pub current: Arc<Current>,
    pub poll: Duration,
    pub metrics: PolicyMetrics,
    pub on_reload: OnReload,
    /// Why the source's list is not the one in force, as logged: a lasting error is logged once.
    pub last_error: Option<String>,
    /// Receives each reload, in addition to the log.
    pub events: Option<mpsc::UnboundedSender<ReloadEvent>>,
}

#[derive(Debug)]
pub enum ReloadEvent {
    Loaded {
        rules: usize,
    },
    /// The old list stays in force.
    Failed {
        why: String,
    },
}

/// After a reload, how long the sessions are given to check themselves before the number of forbidden ones is logged.
const RECOUNT: Duration = Duration::from_millis(500);

impl Reloader {
    /// Never returns. `hangup` is SIGHUP, caught before the process can be known to run: uncaught it would end the
    /// process.
    pub async fn run(mut self, hangup: io::Result<Signal>) {
        let Ok(mut hangup) = hangup.inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be caught")) else {
            return self.poll().await;
        };
        loop {
            let is_hangup = tokio::select! {
                _ = hangup.recv() => true,
                () = sleep(self.poll) => false,
            };
            if is_hangup {
                tracing::info!("SIGHUP: reading the access list again");
            }
            let is_in_force = self.check(is_hangup).await;
            if is_hangup && is_in_force {
                tracing::info!("the access list is the one in force");
            }
        }
    }

    async fn poll(&mut self) {
        loop {
            sleep(self.poll).await;
            self.check(false).await;
        }
    }

    /// Takes as long as the source does; meanwhile the list in force stays so. Returns whether the source has that
    /// list.
    async fn check(&mut self, force: bool) -> bool {
        let current = self.current.load();
        let update = self.source.check(Some(current.version.clone()), force);
        let result = self.patience.wait(format_args!("the access list {}", self.source.name()), update).await;
        match result {
            Ok(Update::Unchanged) => false,
            Ok(Update::InForce) => {
                if self.last_error.take().is_some() {
                    self.metrics.in_step();
                    tracing::info!(version = %current.version, "the access list's source has the list in force again");
                }
                true
            }
            Ok(Update::New(loaded)) => {
                self.last_error = None;
                self.put_in_force(*loaded);
                false
            }
            Err(error) => {
                self.fail(&current, &error.to_string());
                false
            }
        }
    }

    fn fail(&mut self, current: &Loaded, why: &str) {
        self.metrics.failed(why);
        if self.last_error.as_deref() != Some(why) {
            tracing::error!(
                in_force = %current.version,
                "the access list was not reloaded; the old one stays in force: {why}"
            );
            self.last_error = Some(why.to_owned());
            self.send(ReloadEvent::Failed { why: why.to_owned() });
        }
    }

    fn send(&self, event: ReloadEvent) {
        if let Some(events) = &self.events {
            // The receiver may be gone.
            let _ = events.send(event);
        }
    }

    fn put_in_force(&mut self, loaded: Loaded) {
        loaded.count_into(&self.metrics);
        let rules = loaded.policy.rules().len();
        let changes = self.current.swap(loaded);
        self.send(ReloadEvent::Loaded { rules });
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

/// Notifies the sessions of one worker of each new list, without a lock shared by workers.
pub(crate) async fn notify_sessions(mut changed: Watched<u64>, notify: impl Fn()) {
    while changed.changed().await {
        notify();
    }
}
