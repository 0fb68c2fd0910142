//! The tasks of a loop, and which of them are to be polled.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;

use slab::Slab;

/// A task, also after it has ended: no other one has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskId {
    pub(super) index: u32,
    generation: u32,
}

impl TaskId {
    pub(crate) const NONE: Self = Self { index: u32::MAX, generation: 0 };
    /// What `block_on` was given.
    pub(super) const ROOT: Self = Self { index: 0, generation: 1 };
}

pub(super) type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    generation: u32,
    /// It stands in a queue.
    is_queued: bool,
    /// None while it is polled, and of the root.
    work: Option<Work>,
    /// The tick by which it wants to be polled.
    deadline: u64,
    /// With which it stands among the deadlines, not later than that.
    entered: u64,
    /// Who waits for its end.
    joiner: TaskId,
}

pub(super) struct Tasks {
    tasks: Slab<Task>,
    next_generation: u32,
    ready: VecDeque<TaskId>,
    next_turn: Vec<TaskId>,
    /// At most one for each task.
    deadlines: BTreeSet<(u64, u32)>,
}

/// An index of a slab; where it would not fit, one that no slab has.
pub(super) fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// No deadline.
const NEVER: u64 = u64::MAX;

impl Tasks {
    /// With the root, which is to be polled.
    pub(super) fn new() -> Self {
        let mut tasks = Self {
            tasks: Slab::new(),
            next_generation: TaskId::ROOT.generation,
            ready: VecDeque::new(),
            next_turn: Vec::new(),
            deadlines: BTreeSet::new(),
        };
        tasks.insert(None);
        tasks
    }

    pub(super) fn insert(&mut self, work: Option<Work>) -> TaskId {
        let generation = self.next_generation;
        // 0 is that of no task.
        self.next_generation = generation.checked_add(1).unwrap_or(1);
        let index = self.tasks.insert(Task {
            generation,
            is_queued: false,
            work,
            deadline: NEVER,
            entered: NEVER,
            joiner: TaskId::NONE,
        });
        let id = TaskId { index: u32::try_from(index).unwrap_or(u32::MAX), generation };
        self.wake(id);
        id
    }

    fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        let task = self.tasks.get_mut(place(id.index))?;
        (task.generation == id.generation).then_some(task)
    }

    #[inline]
    pub(super) fn wake(&mut self, id: TaskId) {
        if self.enqueue(id) {
            self.ready.push_back(id);
        }
    }

    pub(super) fn wake_next_turn(&mut self, id: TaskId) {
        if self.enqueue(id) {
            self.next_turn.push(id);
        }
    }

    fn enqueue(&mut self, id: TaskId) -> bool {
        self.get_mut(id).is_some_and(|task| !std::mem::replace(&mut task.is_queued, true))
    }

    /// A new turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.ready.extend(self.next_turn.drain(..));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.next_turn.is_empty()
    }

    /// The next one to be polled, and its work, which is to be put back.
    pub(super) fn next(&mut self) -> Option<(TaskId, Option<Work>)> {
        while let Some(id) = self.ready.pop_front() {
            if let Some(task) = self.get_mut(id) {
                task.is_queued = false;
                return Some((id, task.work.take()));
            }
        }
        None
    }

    /// It waits, and wants to be polled by `deadline`. One that moves away is looked at in vain once, where it stood; so most
    /// connections are entered once and taken out once.
    pub(super) fn put_back(&mut self, id: TaskId, work: Option<Work>, deadline: Option<u64>) {
        let Some(task) = self.get_mut(id) else { return };
        task.work = work;
        task.deadline = deadline.unwrap_or(NEVER);
        let (before, now) = (task.entered, task.entered.min(task.deadline));
        task.entered = now;
        self.enter(id.index, before, now);
    }

    fn enter(&mut self, index: u32, before: u64, now: u64) {
        if before == now {
            return;
        }
        if before != NEVER {
            self.deadlines.remove(&(before, index));
        }
        if now != NEVER {
            self.deadlines.insert((now, index));
        }
    }

    /// When it is to be looked next whether a deadline has come.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(tick, _)| *tick)
    }

    /// Wakes those whose deadline has come.
    pub(super) fn expire(&mut self, now: u64) {
        while let Some((entered, index)) = self.deadlines.first().copied().filter(|(tick, _)| *tick <= now) {
            self.deadlines.pop_first();
            let Some(task) = self.tasks.get_mut(place(index)) else { continue };
            let (deadline, generation) = (task.deadline, task.generation);
            let is_due = deadline <= now;
            task.entered = if is_due { NEVER } else { deadline };
            debug_assert!(entered <= deadline);
            if is_due {
                self.wake(TaskId { index, generation });
            } else {
                self.enter(index, NEVER, deadline);
            }
        }
    }

    /// It has ended.
    pub(super) fn remove(&mut self, id: TaskId) {
        if self.get_mut(id).is_none() {
            return;
        }
        if let Some(task) = self.tasks.try_remove(place(id.index)) {
            self.enter(id.index, task.entered, NEVER);
            self.wake(task.joiner);
        }
    }

    /// Whether it has ended; if not, `joiner` is woken then.
    pub(super) fn join(&mut self, id: TaskId, joiner: TaskId) -> bool {
        self.get_mut(id).map(|task| task.joiner = joiner).is_none()
    }

    /// One of those that are left, for the end of the loop.
    pub(super) fn pop(&mut self) -> Option<Option<Work>> {
        let (index, _) = self.tasks.iter().next_back()?;
        self.tasks.try_remove(index).map(|task| task.work)
    }
}

#[cfg(test)]
mod tests;
