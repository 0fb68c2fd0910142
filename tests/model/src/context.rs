//! What the code in a task knows: which one it is, and the inbox of its loop.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::inbox::Inbox;
use super::tasks::TaskId;

thread_local! {
    static TASK: Cell<TaskId> = const { Cell::new(TaskId::NONE) };
    static LOOP: RefCell<Option<Arc<Inbox>>> = const { RefCell::new(None) };
}

#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) inbox: Arc<Inbox>,
}

pub(crate) fn task() -> TaskId {
    TASK.get()
}

pub(crate) fn current() -> Option<Current> {
    LOOP.with_borrow(|inbox| inbox.clone().map(|inbox| Current { inbox }))
}

/// Only the loop asks for it, and does so while it polls.
pub(crate) fn polling<T>(inbox: &Arc<Inbox>, task: TaskId, poll: impl FnOnce() -> T) -> T {
    LOOP.set(Some(Arc::clone(inbox)));
    TASK.set(task);
    let result = poll();
    TASK.set(TaskId::NONE);
    LOOP.set(None);
    result
}
