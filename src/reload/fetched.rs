//! What a source returns.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use latticegate_core::diagnostic::Diagnostic;

/// Identifies a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListVersion {
    /// As the source names it: an ETag, an S3 version ID; empty for a file.
    pub label: Arc<str>,
    /// CRC32C of the text: distinguishes two lists, but is no protection against an adversary.
    pub hash: u32,
}

/// A list as fetched, not yet parsed.
#[derive(Debug, Clone)]
pub(super) struct ListText {
    pub(super) bytes: Vec<u8>,
    pub(super) label: Arc<str>,
    /// When the source says that it was written.
    pub(super) modified: Option<SystemTime>,
}

/// Of a list that cannot be read: the bound is that of all YAML files.
pub(super) const TOO_LARGE: &str = "is larger than 4 MiB";

/// The result of a check of a source.
#[derive(Debug)]
pub(super) enum Update<T> {
    /// Nothing has changed since the last check, whatever its result was.
    Unchanged,
    /// The source has the list that is in force.
    InForce,
    New(T),
}

/// Why the source has no list.
#[derive(Debug)]
pub enum SourceError {
    /// The text is no valid list.
    Invalid(Vec<Diagnostic>),
    /// It could not be fetched.
    Unreachable(String),
}

impl<T> Update<T> {
    /// For a source that was checked without a known version.
    pub(super) fn into_new(self) -> Result<T, SourceError> {
        match self {
            Self::New(new) => Ok(new),
            Self::Unchanged | Self::InForce => {
                Err(SourceError::Unreachable("the source says that nothing has changed".into()))
            }
        }
    }
}

impl ListVersion {
    /// Of a list without a source.
    pub(super) fn none() -> Self {
        Self { label: "".into(), hash: 0 }
    }

    pub(super) fn of(text: &ListText) -> Self {
        Self { label: Arc::clone(&text.label), hash: crc32c::crc32c(&text.bytes) }
    }
}

impl fmt::Display for ListVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.label.is_empty() {
            write!(f, "{:08x}", self.hash)
        } else {
            write!(f, "{} {:08x}", self.label, self.hash)
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::Invalid(diagnostics) => {
                for (index, diagnostic) in diagnostics.iter().enumerate() {
                    write!(f, "{}{diagnostic}", if index == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for SourceError {}
