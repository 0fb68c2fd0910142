//! Calls that may not return for a long time, or never: a file on a file system that hangs, a pipe without a writer.
//! Each has a thread of its own, started when the process starts: later on there may be no thread to be had. A wait
//! for it is logged once, and the metrics show for how long.

use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::mutex::lock;

/// A file that answers later than this hangs.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// A thread that does one thing after another.
pub struct BlockingThread(Sender<Job>);

type Job = Box<dyn FnOnce() + Send>;

impl BlockingThread {
    pub fn start(name: &str) -> io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        spawn(name, move || {
            for job in queue {
                // The caller, who waits for an answer, gets none.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        })?;
        Ok(Self(jobs))
    }

    /// None: the work panicked. Work that is not waited for any more is done all the same.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move || {
            let _ = answer.send(work());
        });
        self.0.send(job).ok()?;
        answered.await.ok()
    }
}

/// Starts a thread. The error says what the system is short of.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let started = thread::Builder::new().name(name.into()).spawn(work);
    started.map(drop).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::other(format!(
            "no thread can be started: {error}; raise the limit of processes (ulimit -u, pids.max of the cgroup)"
        )),
        _ => error,
    })
}

/// Since when something has been waited for, if it is at this moment.
#[derive(Debug, Clone, Default)]
pub struct Pending(Arc<Mutex<Option<Instant>>>);

impl Pending {
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let _waiting = self.begin();
        work()
    }

    pub fn elapsed(&self) -> Duration {
        lock(&self.0).map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn begin(&self) -> Waiting<'_> {
        *lock(&self.0) = Some(Instant::now());
        Waiting(self)
    }
}

/// Until it is dropped.
struct Waiting<'a>(&'a Pending);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *lock(&self.0.0) = None;
    }
}

/// Waits for what may hang. That it does is logged once, and so is that it answers as it should again.
#[derive(Debug, Default)]
pub struct Patience {
    pending: Pending,
    /// When it was found to hang.
    slow: Option<Instant>,
}

impl Patience {
    pub fn new(pending: Pending) -> Self {
        Self { pending, slow: None }
    }

    /// `what` is waited for, as in "waiting for the access list a.yaml".
    pub async fn wait<T>(&mut self, what: impl Display, work: impl Future<Output = T>) -> T {
        let _waiting = self.pending.begin();
        let mut work = pin!(work);
        match timeout(PATIENCE, &mut work).await {
            Ok(done) => {
                if let Some(slow) = self.slow.take() {
                    tracing::warn!(after = ?slow.elapsed(), "{what} can be reached again");
                }
                done
            }
            Err(_) => {
                if self.slow.is_none() {
                    self.slow = Some(Instant::now());
                    tracing::warn!("waiting for {what}: it has not answered for {PATIENCE:?}");
                }
                work.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_outlives_work_that_panics() {
        let thread = BlockingThread::start("test").unwrap();
        assert_eq!(thread.run(|| -> u8 { panic!("as it should") }).await, None);
        assert_eq!(thread.run(|| 7).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_seen_while_it_does() {
        let pending = Pending::default();
        let mut patience = Patience::new(pending.clone());
        assert_eq!(patience.wait("it", async { 1 }).await, 1);
        assert!(patience.slow.is_none());
        let seen = patience.wait("it", async {
            tokio::time::sleep(PATIENCE * 2).await;
            pending.0.lock().unwrap().is_some()
        });
        assert!(seen.await);
        assert!(patience.slow.is_some() && pending.elapsed() == Duration::ZERO);
        patience.wait("it", async {}).await;
        assert!(patience.slow.is_none());
    }
}
