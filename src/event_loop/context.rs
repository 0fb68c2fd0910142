//! What the code that runs in a turn knows of its loop: which one it is, which task runs, and what time it is.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::shared::Shared;
use super::tasks::{TaskId, Work};
use crate::sys::instant::{Instant, set_turn};
use crate::sys::recent_longest::RecentLongest;

/// Socket calls of one task in one turn, before others have theirs.
const SHARE: u32 = 64;

thread_local! {
    static LOOP: RefCell<Option<Rc<Shared>>> = const { RefCell::new(None) };
    static TASK: Cell<TaskId> = const { Cell::new(TaskId::NONE) };
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
    static LEFT: Cell<u32> = const { Cell::new(0) };
}

/// The longest turn of this thread's loop; of none, zero.
pub(crate) fn longest_turn() -> RecentLongest {
    current().map(|inner| inner.turns.longest.clone()).unwrap_or_default()
}

/// Starts a task, which is polled in this turn; none where there is no loop.
pub(crate) fn spawn(work: Work) -> TaskId {
    current().map_or(TaskId::NONE, |inner| inner.tasks.borrow_mut().insert(Some(work)))
}

/// Whether the task has ended; if not, the current one is woken then.
pub(crate) fn join(other: TaskId) -> bool {
    current().is_none_or(|inner| inner.tasks.borrow_mut().join(other, task()))
}

/// Has the task polled, in this turn; it may be none, or have ended.
pub(crate) fn wake(task: TaskId) {
    if let Some(inner) = current() {
        inner.wake(task);
    }
}

/// Has the current task polled again in the next turn. `false`: there is none.
pub(crate) fn yield_now() -> bool {
    let (task, inner) = (task(), current());
    inner.filter(|_| task != TaskId::NONE).map(|inner| inner.wake_next_turn(task)).is_some()
}

/// Ready if the current task has not had its share of this turn.
pub(crate) fn poll_share() -> Poll<()> {
    match current() {
        Some(inner) if !take_share(&inner) => Poll::Pending,
        _ => Poll::Ready(()),
    }
}

/// The task that is being polled, or none.
pub(crate) fn task() -> TaskId {
    TASK.get()
}

/// The loop of this thread.
pub(super) fn current_or_fail() -> io::Result<Rc<Shared>> {
    current().ok_or_else(|| io::Error::other("this thread runs no event loop"))
}

pub(super) fn current() -> Option<Rc<Shared>> {
    // Not there any more while the thread ends.
    LOOP.try_with(|inner| inner.borrow().clone()).ok().flatten()
}

/// The current task has to be polled by then.
pub(crate) fn need_by(at: Instant) {
    debug_assert!(task() != TaskId::NONE, "this thread runs no event loop: nothing would wake it");
    let earlier = DEADLINE.get().map_or(at, |deadline| deadline.min(at));
    DEADLINE.set(Some(earlier));
}

/// Whether the current task may do one more socket call in this turn; if not, it is polled again in the next one.
#[inline]
pub(super) fn take_share(inner: &Shared) -> bool {
    let Some(left) = LEFT.get().checked_sub(1) else {
        inner.wake_next_turn(task());
        return false;
    };
    LEFT.set(left);
    true
}

/// Polls a task; says by when it has to be polled again, if it waits for a moment.
pub(super) fn polling<T>(task: TaskId, poll: impl FnOnce() -> T) -> (T, Option<Instant>) {
    TASK.set(task);
    DEADLINE.set(None);
    LEFT.set(SHARE);
    let result = poll();
    TASK.set(TaskId::NONE);
    (result, DEADLINE.take())
}

/// From here on this thread runs `inner`.
pub(super) fn enter(inner: &Rc<Shared>) {
    LOOP.set(Some(Rc::clone(inner)));
    set_turn(Some(Instant::read()));
}

/// This thread runs none any more.
pub(super) fn leave() {
    set_turn(None);
    drop(LOOP.take());
}

/// Polls with a waker that wakes nobody: whatever a task waits for has to know the loop.
#[cfg(not(debug_assertions))]
pub(super) fn poll<F: Future + ?Sized>(work: Pin<&mut F>) -> Poll<F::Output> {
    work.poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// The same, but a waker that is kept or used is a defect of whoever does.
#[cfg(debug_assertions)]
pub(super) fn poll<F: Future + ?Sized>(work: Pin<&mut F>) -> Poll<F::Output> {
    use std::sync::Arc;
    use std::task::{Wake, Waker};

    struct Forbidden;

    impl Wake for Forbidden {
        fn wake(self: Arc<Self>) {
            panic!("this waker wakes nobody: what is awaited does not know the event loop");
        }
    }

    let forbidden = Arc::new(Forbidden);
    let waker = Waker::from(Arc::clone(&forbidden));
    let polled = work.poll(&mut Context::from_waker(&waker));
    let kept = Arc::strong_count(&forbidden) > 2;
    assert!(!kept || polled.is_ready(), "the waker was kept: what is awaited does not know the event loop");
    polled
}
