//! The process from its start to its drain.

pub mod gate; // the parts put together, from start to drain
pub mod run; // `latticegate run`: signals, start, stop
