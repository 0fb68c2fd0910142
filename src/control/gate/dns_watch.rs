//! Whether the resolver answers, for `/readyz`, the metrics and the log.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::dns::{LookupError, Observer, Resolver};
use crate::telemetry::metrics::DnsMetrics;
use crate::telemetry::status::Status;
use latticegate_core::hostname::Hostname;

/// Reports what the resolver's cache observes.
pub(super) struct DnsReporter {
    pub(super) metrics: DnsMetrics,
    pub(super) status: Arc<Status>,
    /// Notified of each failed lookup.
    pub(super) doubt: Rc<Notify>,
}

impl Observer for DnsReporter {
    fn looked_up(&self, result: Result<(), LookupError>, took: Duration) {
        self.metrics.looked_up(took);
        match result {
            Ok(()) => self.metrics.found.increment(1),
            Err(LookupError::Unknown) => self.metrics.unknown.increment(1),
            Err(LookupError::Timeout) => self.metrics.timeout.increment(1),
            Err(LookupError::Failed | LookupError::Limited | LookupError::Shortage) => self.metrics.failed.increment(1),
        }
        match result {
            Ok(()) | Err(LookupError::Unknown) => self.status.set_dns_answered(),
            Err(LookupError::Timeout | LookupError::Failed) => self.doubt.notify_one(),
            Err(LookupError::Limited | LookupError::Shortage) => {}
        }
    }

    fn served_stale(&self) {
        self.metrics.served_stale();
    }
}

/// Between two queries, short enough to notice the end of an outage soon.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks up a name of our own until the resolver has answered once, and again whenever a client's name could not be
/// looked up: that may be the fault of its zone, and is no reason to call the resolver dead. That our name does not
/// exist is an answer.
pub(super) async fn watch_dns(resolver: Resolver, status: Arc<Status>, doubt: Rc<Notify>) {
    let Ok(name) = Hostname::parse(b"readiness.latticegate.internal") else { return };
    loop {
        let result = resolver.probe(&name).await;
        let silent = matches!(result, Err(LookupError::Timeout | LookupError::Failed));
        if status.set_dns_silent(silent) {
            if silent {
                tracing::warn!(?result, "dns.server does not answer");
            } else {
                tracing::warn!("dns.server answers again");
            }
        }
        if !silent {
            doubt.notified().await;
        }
        sleep(PAUSE).await;
    }
}
