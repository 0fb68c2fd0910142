//! The process from its start to its drain.

pub mod gate; // everything put together
pub mod run; // `latticegate run`: signals, start, stop
