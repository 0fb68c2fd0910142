//! The loop itself: waits for events, finds who is concerned, and polls them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event};
use rustix::io::Errno;

use super::context;
use super::shared::{INBOX, Shared};
use super::tasks::{TaskId, Work};
use crate::sys::instant::{Instant, set_turn};

/// Events taken from the kernel at once; what is left comes in the next turn.
const EVENTS: usize = 128;
/// Polls of one turn. A task that wakes another has it polled in the same turn, so there has to be an end of it.
const POLLS: usize = 512;

/// Runs the tasks of the thread that made it.
pub struct EventLoop {
    inner: Rc<Shared>,
}

impl EventLoop {
    /// From here on this thread runs it.
    pub fn new() -> io::Result<Self> {
        let inner = Rc::new(Shared::new()?);
        context::enter(&inner);
        Ok(Self { inner })
    }

    /// Until `work` is done. Tasks that are still running then are dropped with the loop.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut events = Vec::with_capacity(EVENTS);
        self.inner.wake(TaskId::ROOT);
        loop {
            let done = self.inner.poll_ready(&mut || match context::poll(work.as_mut()) {
                Poll::Ready(done) => Some(done),
                Poll::Pending => None,
            });
            self.inner.close_now();
            if let Some(done) = done {
                return done;
            }
            self.inner.wait(&mut events);
        }
    }

    /// How often it has looked for events.
    #[cfg(test)]
    pub(crate) fn turns(&self) -> u64 {
        self.inner.number_of_turns.get()
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.inner
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        loop {
            // Not while it is borrowed: what is dropped may wake others, or close its sockets.
            let Some(work) = self.inner.tasks.borrow_mut().pop() else { break };
            let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
        }
        self.inner.close_now();
        context::leave();
    }
}

impl Shared {
    /// Polls who is ready, and who becomes so meanwhile, up to a bound. Ends with the root.
    fn poll_ready<T>(&self, root: &mut dyn FnMut() -> Option<T>) -> Option<T> {
        self.tasks.borrow_mut().begin_turn();
        for _ in 0..POLLS {
            let next = self.tasks.borrow_mut().next();
            let (task, work) = next?;
            if task == TaskId::ROOT {
                let (done, deadline) = context::polling(task, &mut *root);
                if done.is_some() {
                    return done;
                }
                self.put_back(task, None, deadline);
            } else if let Some(work) = work {
                self.poll(task, work);
            }
        }
        None
    }

    fn poll(&self, task: TaskId, mut work: Work) {
        let (polled, deadline) =
            context::polling(task, || catch_unwind(AssertUnwindSafe(|| context::poll(work.as_mut()))));
        if let Ok(Poll::Pending) = polled {
            return self.put_back(task, Some(work), deadline);
        }
        // A panic ends one session, with its record, which is written as it is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
        self.tasks.borrow_mut().remove(task);
    }

    fn put_back(&self, task: TaskId, work: Option<Work>, deadline: Option<Instant>) {
        self.tasks.borrow_mut().put_back(task, work, deadline.map(Instant::tick));
    }

    /// Waits for events, and wakes whom they concern.
    fn wait(&self, events: &mut Vec<Event>) {
        let began = Instant::now();
        let timeout = if self.tasks.borrow().is_idle() {
            let now = self.clock();
            self.turns.note(now, now.saturating_duration_since(began));
            self.tasks.borrow().next_deadline().map(|tick| Instant::of_tick(tick).saturating_duration_since(now))
        } else {
            Some(Duration::ZERO)
        };
        let is_busy = timeout == Some(Duration::ZERO);
        #[cfg_attr(
            not(any(test, debug_assertions)),
            expect(unused_mut, reason = "what checks this loop may change it")
        )]
        let mut timeout = timeout.map(whole_milliseconds);
        events.clear();
        #[cfg(debug_assertions)]
        if !is_busy && self.find_lost_wakeups(events) {
            timeout = Some(Timespec::default());
        }
        #[cfg(test)]
        if self.simulated.get().is_some() {
            timeout = Some(Timespec::default());
        }
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // Nothing that could be done about it, and nothing that the kernel says of a valid epoll.
            Err(error) => tracing::error!(%error, "epoll_wait failed"),
        }
        #[cfg(test)]
        if events.is_empty() && !is_busy {
            self.skip_to_deadline();
        }
        #[cfg(test)]
        self.number_of_turns.set(self.number_of_turns.get() + 1);
        let now = self.clock();
        if is_busy {
            self.turns.note(now, now.saturating_duration_since(began));
        }
        set_turn(Some(now));
        self.is_lone.set(events.len() == 1);
        for event in &*events {
            match event.data.u64() {
                INBOX => self.inbox.take().into_iter().for_each(|task| self.wake(task)),
                key => {
                    let waiter = self.sources.borrow_mut().note(&self.epoll, key, event.flags);
                    self.wake(waiter);
                }
            }
        }
        self.tasks.borrow_mut().expire(now.last_tick());
    }

    /// Before it sleeps: a task that waits for a socket that is readable would wait in vain, if no event is on its way.
    /// Returns whether there are events, which `events` has then.
    #[cfg(debug_assertions)]
    fn find_lost_wakeups(&self, events: &mut Vec<Event>) -> bool {
        /// The kernel shows bytes before it reports them, and may be interrupted in between.
        const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
        let mut readable: Vec<Event> = Vec::with_capacity(EVENTS);
        let _ = epoll::wait(&self.watch, rustix::buffer::spare_capacity(&mut readable), Some(&Timespec::default()));
        let mut parked = readable.iter().filter(|event| self.sources.borrow_mut().is_parked(event.data.u64()));
        if parked.next().is_none() {
            return false;
        }
        let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&PATIENCE));
        assert!(waited != Ok(0), "a task waits for a socket that is readable: a wake-up was lost");
        true
    }
}

/// Rounded up, or the loop would spin through the last part of one; as much as the kernel takes.
fn whole_milliseconds(timeout: Duration) -> Timespec {
    const LONGEST: Duration = Duration::from_secs(3600);
    let timeout = timeout.min(LONGEST);
    let milliseconds = timeout.subsec_nanos().div_ceil(1_000_000);
    let (seconds, milliseconds) = (timeout.as_secs() + u64::from(milliseconds / 1000), milliseconds % 1000);
    Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: i64::from(milliseconds * 1_000_000) }
}
