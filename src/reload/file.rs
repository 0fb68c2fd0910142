//! A file: polled by its metadata, and read when that has changed and then stayed the same.
//!
//! Unlike notifications, polling works for editors that rename, for symlinks that are switched (as in mounted volumes),
//! for writes in place, and on every file system. The wait keeps a half-written list out, which might be a valid,
//! shorter one. One that ends in the middle of a line has to stay the same for longer.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::fetched::{ListText, SourceError, Update};
use crate::sys::files;
use latticegate_core::diagnostic::Origin;
use latticegate_core::yaml;

/// How long a file that does not end with a newline may be unfinished.
const UNFINISHED: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    /// As it was when it was last read.
    read: Option<Stamp>,
    /// As it was at the last check, if that was different, and since when.
    changed: Option<(Stamp, Instant)>,
    /// The next check reads at once: at start, and when the operator has sent SIGHUP.
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

    pub(super) fn force_read(&mut self) {
        (self.read, self.at_once) = (None, true);
    }

    pub(super) fn fetch(&mut self) -> Result<Update<ListText>, SourceError> {
        let result = self.check();
        if result.is_err() {
            // When the file is back it is read, even if it is the same one.
            self.read = None;
        }
        result.map_err(|error| SourceError::Invalid(vec![yaml::unreadable(&error, Origin::file(&self.path))]))
    }

    fn check(&mut self) -> io::Result<Update<ListText>> {
        let stamp = Stamp::of(&self.path)?;
        if self.read == Some(stamp) {
            return Ok(Update::Unchanged);
        }
        let since = match self.changed {
            Some((changed, since)) if changed == stamp => since,
            _ => {
                let now = Instant::now();
                self.changed = Some((stamp, now));
                if !self.at_once {
                    return Ok(Update::Unchanged);
                }
                now
            }
        };
        let bytes = files::read(&self.path)?;
        // It changed while it was read: try again later. (A pipe always does, and can be read only once.)
        if stamp.is_file && Stamp::of(&self.path)? != stamp && !self.at_once {
            return Ok(Update::Unchanged);
        }
        if !bytes.ends_with(b"\n") && !self.at_once && since.elapsed() < UNFINISHED {
            return Ok(Update::Unchanged);
        }
        (self.read, self.changed, self.at_once) = (Some(stamp), None, false);
        let modified = std::fs::metadata(&self.path).and_then(|meta| meta.modified()).ok();
        Ok(Update::New(ListText { bytes, label: "".into(), modified }))
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
