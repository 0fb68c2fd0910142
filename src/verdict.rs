//! Pure: what every parser of network bytes answers about the bytes so far.

use crate::outcome::RefuseReason;

/// A parser is a plain function of all bytes received so far. Once it says `Found` it says the same `Found`
/// however many bytes follow; before that, every prefix gives `NeedMore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<T> {
    /// The value, and how many bytes from the start it takes.
    Found {
        value: T,
        len: usize,
    },
    NeedMore,
    Refuse(RefuseReason),
}
