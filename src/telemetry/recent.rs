//! The last refusals and failures of one worker, for the operator's page. A worker writes into a ring of its own;
//! the control thread asks for a copy when somebody looks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::telemetry::record::Record;
use latticegate_core::outcome::Outcome;

/// Kept by each worker, and shown of all.
pub const KEPT: usize = 50;
/// A worker that is busier than this has nothing to say.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct Refusal {
    pub at: SystemTime,
    pub listener: Box<str>,
    /// The client, or the peer where no header told one.
    pub client: std::net::IpAddr,
    pub name: Option<Box<str>>,
    pub outcome: Outcome,
    pub rule: Option<Box<str>>,
    pub detail: Option<Box<str>>,
}

#[derive(Debug, Default)]
pub struct Recent(RefCell<VecDeque<Refusal>>);

impl Recent {
    pub(crate) fn note(&self, listener: &str, record: &Record, outcome: Outcome) {
        if !matches!(outcome, Outcome::Refused(_) | Outcome::Failed(_)) {
            return;
        }
        let mut kept = self.0.borrow_mut();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Refusal {
            at: SystemTime::now(),
            listener: listener.into(),
            client: record.client.as_ref().map_or(record.peer.ip(), |client| client.addr.ip()),
            name: record.name.clone(),
            outcome,
            rule: record.rule.as_deref().map(Into::into),
            detail: record.detail.clone(),
        });
    }

    /// Answers whoever asks, for ever.
    pub(crate) async fn answer(self: Rc<Self>, mut asked: Asked) {
        while let Some(question) = asked.recv().await {
            // Who asked may have gone.
            let _ = question.send(self.0.borrow().iter().cloned().collect());
        }
    }
}

pub(crate) type Question = oneshot::Sender<Vec<Refusal>>;

/// The near end: what one worker is asked.
pub(crate) type Asked = mpsc::UnboundedReceiver<Question>;

/// The far ends of all workers' rings.
#[derive(Debug, Clone, Default)]
pub struct Asker(Vec<mpsc::UnboundedSender<Question>>);

impl Asker {
    /// For one more worker.
    pub(crate) fn add(&mut self) -> Asked {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.push(sender);
        receiver
    }

    /// The last of all workers, the newest first.
    pub async fn ask(&self) -> Vec<Refusal> {
        let mut answers = Vec::new();
        for worker in &self.0 {
            let (question, answer) = oneshot::channel();
            if worker.send(question).is_ok() {
                answers.push(answer);
            }
        }
        let mut refusals = Vec::new();
        for answer in answers {
            if let Ok(Ok(told)) = timeout(PATIENCE, answer).await {
                refusals.extend(told);
            }
        }
        refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        refusals.truncate(KEPT);
        refusals
    }
}
