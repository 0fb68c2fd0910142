//! The access list's life: it is read from its source, and replaced as a whole or not at all.
//!
//! If a list cannot be read, or its source fails, the last good one stays in force, with one line in the log and a
//! count. Connections that a new list forbids are counted, and closed if the operator wants that.

mod current; // the list in force
mod fetched; // what a source returns
mod file;
mod http;
mod main_file; // the main configuration, which is only compared
mod reloader;
#[cfg(feature = "s3")]
mod s3;
mod shadow; // a second list that decides nothing
mod source; // file, HTTP or S3
mod source_thread;

pub use self::current::{Current, Loaded};
pub use self::fetched::SourceError;
pub use self::main_file::MainFile;
pub(crate) use self::reloader::notify_sessions;
pub use self::reloader::{ReloadEvent, Reloader};
pub use self::shadow::{Shadow, ShadowList};
pub use self::source::ListSource;
pub use self::source_thread::SourceThread;
