//! The last refusals and failures of one worker, for the operator's page. Each worker writes into its own ring; the
//! control thread requests a copy when the page is shown.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::event_loop::cross_thread;
use crate::telemetry::record::Record;
use latticegate_core::outcome::Outcome;

/// Kept by each worker, and shown in total.
pub const KEPT: usize = 50;
/// The refusals of a worker that does not reply within this time are left out.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct Refusal {
    pub at: SystemTime,
    pub listener: Box<str>,
    /// The client, or the peer where no header named one.
    pub client: std::net::IpAddr,
    pub name: Option<Box<str>>,
    pub outcome: Outcome,
    pub rule: Option<Box<str>>,
    pub detail: Option<Box<str>>,
}

#[derive(Debug, Default)]
pub struct Recent(RefCell<VecDeque<Refusal>>);

impl Recent {
    pub(crate) fn add(&self, listener: &str, record: &Record, outcome: Outcome, at: SystemTime) {
        if !matches!(outcome, Outcome::Refused(_) | Outcome::Failed(_)) {
            return;
        }
        let mut kept = self.0.borrow_mut();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Refusal {
            at,
            listener: listener.into(),
            client: record.client.as_ref().map_or(record.peer.get().ip(), |client| client.ip.get()),
            name: record.name.clone(),
            outcome,
            rule: record.rule.as_deref().map(Into::into),
            detail: record.detail.clone(),
        });
    }

    /// Sends a copy for each request; returns when no more can come.
    pub(crate) async fn serve(self: Rc<Self>, mut requests: RecentRequests) {
        while let Some(reply) = cross_thread(requests.recv()).await {
            // The requester may have given up.
            let _ = reply.send(self.0.borrow().iter().cloned().collect());
        }
    }
}

/// What one worker is asked.
pub(crate) type RecentRequests = mpsc::UnboundedReceiver<RecentRequest>;

pub(crate) type RecentRequest = oneshot::Sender<Vec<Refusal>>;

/// Reads the rings of all workers.
#[derive(Debug, Clone, Default)]
pub struct RecentReader(Vec<mpsc::UnboundedSender<RecentRequest>>);

impl RecentReader {
    pub(crate) fn add_worker(&mut self) -> RecentRequests {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.push(sender);
        receiver
    }

    /// The last refusals of all workers, newest first.
    pub async fn read(&self) -> Vec<Refusal> {
        let mut replies = Vec::new();
        for worker in &self.0 {
            let (request, reply) = oneshot::channel();
            if worker.send(request).is_ok() {
                replies.push(reply);
            }
        }
        let mut refusals = Vec::new();
        for reply in replies {
            if let Ok(Ok(kept)) = timeout(PATIENCE, reply).await {
                refusals.extend(kept);
            }
        }
        refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        refusals.truncate(KEPT);
        refusals
    }
}
