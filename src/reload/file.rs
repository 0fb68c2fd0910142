//! A file: looked at by its metadata, and read when that has changed and then stood still.
//!
//! Looking instead of being told works for editors that rename, for symlinks that are switched (as in mounted
//! volumes), for writes in place and on every file system. Standing still keeps a half-written list out: it might
//! well be a valid, shorter one. One that ends in the middle of a line has to stand still for longer.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Fetched, Looked, SourceError};
use crate::sys::files;
use latticegate_core::diagnostic::Origin;
use latticegate_core::yaml;

/// How long a file that does not end with a newline may still be in the making.
const UNFINISHED: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    /// As it was when it was read.
    read: Option<Stamp>,
    /// As it was at the last look, if that was different, and since when.
    changed: Option<(Stamp, Instant)>,
    /// The next look reads at once: at start, and when the operator says that the file is ready.
    at_once: bool,
}

/// What changes when a file does, behind all symlinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    is_file: bool,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileSource {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: None, changed: None, at_once: true }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn forget(&mut self) {
        (self.read, self.at_once) = (None, true);
    }

    pub(super) fn fetch(&mut self) -> Result<Looked, SourceError> {
        let result = self.look();
        if result.is_err() {
            // What comes back is read, even if it is the very same file.
            self.read = None;
        }
        result.map_err(|error| SourceError::Problems(vec![yaml::unreadable(&error, Origin::file(&self.path))]))
    }

    fn look(&mut self) -> io::Result<Looked> {
        let stamp = Stamp::of(&self.path)?;
        if self.read == Some(stamp) {
            return Ok(Looked::Unchanged);
        }
        let since = match self.changed {
            Some((seen, since)) if seen == stamp => since,
            _ => {
                let now = Instant::now();
                self.changed = Some((stamp, now));
                if !self.at_once {
                    return Ok(Looked::Unchanged);
                }
                now
            }
        };
        let bytes = files::read(&self.path)?;
        // It changed while it was read: next time. (A pipe always does, and can be read once.)
        if stamp.is_file && Stamp::of(&self.path)? != stamp && !self.at_once {
            return Ok(Looked::Unchanged);
        }
        if !bytes.ends_with(b"\n") && !self.at_once && since.elapsed() < UNFINISHED {
            return Ok(Looked::Unchanged);
        }
        (self.read, self.changed, self.at_once) = (Some(stamp), None, false);
        Ok(Looked::Fetched(Fetched { bytes, label: "".into() }))
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        Ok(Self {
            is_file: meta.is_file(),
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}
