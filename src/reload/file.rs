//! A file: looked at by its metadata, and read when that has changed and then stood still.
//!
//! Looking instead of being told works for editors that rename, for symlinks that are switched (as in mounted
//! volumes), for writes in place and on every file system. Standing still keeps a half-written list out: it might
//! well be a valid, shorter one.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Fetched, SourceError};
use crate::problem::Origin;
use crate::yaml;

#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    /// As it was when it was read.
    read: Option<Stamp>,
    /// As it was at the last look, if that was different.
    changed: Option<Stamp>,
}

/// What changes when a file does, behind all symlinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileSource {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: None, changed: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn forget(&mut self) {
        self.read = None;
    }

    pub(super) fn fetch(&mut self) -> Result<Option<Fetched>, SourceError> {
        let unreadable =
            |error: io::Error| SourceError::Problems(vec![yaml::unreadable(&error, Origin::file(&self.path))]);
        let stamp = Stamp::of(&self.path).map_err(unreadable)?;
        if self.read == Some(stamp) {
            return Ok(None);
        }
        if self.read.is_some() && self.changed.replace(stamp) != Some(stamp) {
            return Ok(None);
        }
        let bytes = yaml::read_file(&self.path).map_err(unreadable)?;
        // It changed while it was read: next time.
        if Stamp::of(&self.path).map_err(unreadable)? != stamp {
            return Ok(None);
        }
        (self.read, self.changed) = (Some(stamp), None);
        Ok(Some(Fetched { bytes, label: "".into() }))
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}
