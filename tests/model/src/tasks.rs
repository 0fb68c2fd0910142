//! Names of tasks.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskId(pub(crate) usize);

impl TaskId {
    pub(crate) const NONE: Self = Self(usize::MAX);
}
