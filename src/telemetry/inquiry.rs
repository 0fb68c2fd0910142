//! What the operator's page asks each worker, and the replies put together.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::runtime::{self, cross_thread};
use crate::telemetry::busiest::Busiest;
use crate::telemetry::live::{Live, Query};
use crate::telemetry::recent::{self, Refusal};

/// A worker that does not reply within this time is left out.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two inquiries there is at least this, and [`REST`] times what the one before took: whoever reloads the page all
/// the time must not keep the workers from their work.
const PAUSE: Duration = Duration::from_millis(500);
const REST: u32 = 5;

/// What one worker is asked.
#[derive(Debug)]
pub(crate) struct Inquiry {
    pub(crate) query: Query,
    /// When all were asked: ages are as of then, since the workers reply at different moments.
    pub(crate) asked: runtime::Instant,
    reply: oneshot::Sender<WorkerView>,
}

/// What it replies.
#[derive(Debug, Default)]
pub(crate) struct WorkerView {
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) busiest: Busiest,
    pub(crate) live: Live,
}

/// The inquiries for one worker.
pub(crate) struct Inquiries(mpsc::UnboundedReceiver<Inquiry>);

impl Inquiries {
    /// None when no more can come.
    pub(crate) async fn next(&mut self) -> Option<Inquiry> {
        cross_thread(self.0.recv()).await
    }
}

impl Inquiry {
    pub(crate) fn reply(self, view: WorkerView) {
        // The requester may have given up.
        let _ = self.reply.send(view);
    }
}

/// What all workers have said.
#[derive(Debug, Default)]
pub struct Workers {
    /// The last refusals and failures, newest first.
    pub refusals: Vec<Refusal>,
    pub busiest: Busiest,
    pub live: Live,
    /// Workers that were asked and have not replied.
    pub silent: usize,
}

/// Asks the workers.
#[derive(Default)]
pub struct Inquirer {
    workers: Vec<mpsc::UnboundedSender<Inquiry>>,
    /// One inquiry at a time.
    last: Mutex<Option<LastInquiry>>,
    /// The reply to the last one, for all who ask the same.
    kept: RefCell<Option<(Query, Rc<Workers>)>>,
}

struct LastInquiry {
    ended: Instant,
    took: Duration,
}

impl Inquirer {
    pub(crate) fn add_worker(&mut self) -> Inquiries {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.workers.push(sender);
        Inquiries(receiver)
    }

    /// What the workers say now, or have said a moment ago.
    pub async fn ask(&self, query: &Query) -> Rc<Workers> {
        let mut last = self.last.lock().await;
        if let Some(LastInquiry { ended, took }) = *last {
            let due = ended + PAUSE.max(took * REST);
            let kept = self.kept.borrow().clone();
            match kept.filter(|(asked, _)| asked == query) {
                Some((_, same)) if Instant::now() < due => return same,
                _ => sleep_until(due).await,
            }
        }
        let begun = Instant::now();
        let workers = Rc::new(self.ask_workers(query).await);
        *last = Some(LastInquiry { ended: Instant::now(), took: begun.elapsed() });
        self.kept.replace(Some((query.clone(), Rc::clone(&workers))));
        workers
    }

    async fn ask_workers(&self, query: &Query) -> Workers {
        let mut replies = Vec::new();
        let asked = runtime::Instant::now();
        for worker in &self.workers {
            let (reply, replied) = oneshot::channel();
            if worker.send(Inquiry { query: query.clone(), asked, reply }).is_ok() {
                replies.push(replied);
            }
        }
        let mut all = Workers::default();
        let deadline = Instant::now() + PATIENCE;
        for reply in replies {
            match timeout_at(deadline, reply).await {
                Ok(Ok(WorkerView { refusals, busiest, live })) => {
                    all.refusals.extend(refusals);
                    all.busiest.merge(busiest);
                    all.live.merge(live, query.most);
                }
                Ok(Err(_)) | Err(_) => all.silent += 1,
            }
        }
        all.refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        all.refusals.truncate(recent::KEPT);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that counts how often it is asked.
    async fn worker(mut inquiries: Inquiries, asked: Rc<RefCell<Vec<Query>>>) {
        while let Some(inquiry) = inquiries.next().await {
            asked.borrow_mut().push(inquiry.query.clone());
            inquiry.reply(WorkerView::default());
        }
    }

    fn query(find: &str) -> Query {
        Query { find: find.into(), most: 1 }
    }

    #[test]
    fn who_asks_all_the_time_is_answered_from_what_is_known() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(tokio::task::LocalSet::new().run_until(async {
            let (mut inquirer, asked) = (Inquirer::default(), Rc::<RefCell<Vec<Query>>>::default());
            tokio::task::spawn_local(worker(inquirer.add_worker(), Rc::clone(&asked)));
            let many = (0..50).map(|_| async { inquirer.ask(&query("a")).await.silent });
            assert!(futures_util::future::join_all(many).await.iter().all(|silent| *silent == 0));
            assert_eq!(*asked.borrow(), [query("a")]);
            let begun = Instant::now();
            inquirer.ask(&query("b")).await;
            inquirer.ask(&query("c")).await;
            assert!(begun.elapsed() >= PAUSE, "each other question waits for its turn");
            assert_eq!(*asked.borrow(), [query("a"), query("b"), query("c")]);
        }));
    }

    #[test]
    fn a_worker_that_does_not_reply_is_left_out() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(tokio::task::LocalSet::new().run_until(async {
            let (mut inquirer, asked) = (Inquirer::default(), Rc::default());
            let _stuck = inquirer.add_worker();
            drop(inquirer.add_worker());
            tokio::task::spawn_local(worker(inquirer.add_worker(), asked));
            let begun = Instant::now();
            let workers = inquirer.ask(&query("")).await;
            assert_eq!((workers.silent, begun.elapsed() >= PATIENCE), (1, true));
        }));
    }
}
