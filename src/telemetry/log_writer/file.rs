//! The log as a file, and its rotation: once the file has been moved away, a new one is opened at the same path.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::fs::{Access, AtFlags, CWD, accessat, fstat};

use super::lines::{LineOutput, Unwritten};
use crate::sys::mutex::lock;

pub struct LogFile {
    output: LineOutput,
    rotation: Rotation,
}

/// Reopens a [`LogFile`] from another thread.
#[derive(Clone)]
pub struct Rotation {
    path: Arc<Path>,
    /// Opened, not yet written to.
    next: Arc<Mutex<Option<File>>>,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            output: LineOutput::to(append(path)?),
            rotation: Rotation { path: path.into(), next: Arc::default() },
        })
    }

    pub(super) fn rotation(&self) -> Rotation {
        self.rotation.clone()
    }

    pub(super) fn write_size(&self, lines: &[u8]) -> usize {
        self.output.write_size(lines)
    }

    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        if let Some(next) = lock(&self.rotation.next).take() {
            self.output.switch_to(next);
        }
        self.output.write(lines)
    }
}

impl Rotation {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When this returns, the new file exists and takes every line written after that.
    pub fn reopen(&self) -> io::Result<()> {
        let file = append(&self.path)?;
        *lock(&self.next) = Some(file);
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// What to do about a log that cannot be opened. A standard stream that is a socket, or that another user has created,
/// cannot be opened by its path at all.
pub(super) fn open_help(path: &Path) -> &'static str {
    let is = |stream: &dyn AsFd| {
        let (file, stream) = (std::fs::metadata(path).ok(), fstat(stream).ok());
        file.zip(stream).is_some_and(|(file, stream)| (file.dev(), file.ino()) == (stream.st_dev, stream.st_ino))
    };
    if is(&io::stdout()) || is(&io::stderr()) {
        "it is a stream of this process, which a path does not lead to: write `output: stdout`"
    } else {
        "create its directory, or name another file"
    }
}

/// Whether a log could be opened there, without creating one.
pub(super) fn try_open(path: &Path) -> io::Result<()> {
    /// As many as the kernel follows (path_resolution(7)).
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..=MAX_LINKS {
        match std::fs::metadata(&path) {
            // Opening a pipe would wait for its reader.
            Ok(there) if there.is_file() || there.is_dir() => {
                return OpenOptions::new().append(true).open(path).map(drop);
            }
            Ok(there) if there.file_type().is_socket() => return Err(io::Error::from_raw_os_error(libc::ENXIO)),
            Ok(_) => return Ok(accessat(CWD, &path, Access::WRITE_OK, AtFlags::EACCESS)?),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            // No file is created by a name that can only be a directory's.
            Err(_) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                return Err(io::Error::from_raw_os_error(libc::EISDIR));
            }
            Err(_) => {}
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match std::fs::read_link(&path) {
            // A dangling link: the file would be created where it points.
            Ok(target) => path = directory.join(target),
            Err(_) => return Ok(accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}
