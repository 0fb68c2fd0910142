//! The log as a file, and its rotation: whoever has moved the file away says so, and a new one is opened at the same
//! path.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Access, AtFlags, CWD, accessat};

pub struct LogFile {
    file: File,
    rotation: Rotation,
}

/// The far end of a [`LogFile`], for another thread.
#[derive(Clone)]
pub struct Rotation {
    path: Arc<Path>,
    /// Opened, and not yet written to.
    next: Arc<Mutex<Option<File>>>,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: append(path)?, rotation: Rotation { path: path.into(), next: Arc::default() } })
    }

    pub(super) fn rotation(&self) -> Rotation {
        self.rotation.clone()
    }

    pub(super) fn write_all(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Some(next) = self.rotation.next.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.file = next;
        }
        self.file.write_all(piece)
    }
}

impl Rotation {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The new file is there when this returns, and takes every line written after that.
    pub fn reopen(&self) -> io::Result<()> {
        let file = append(&self.path)?;
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Whether a log could be opened there, without making one.
pub(super) fn try_open(path: &Path) -> io::Result<()> {
    /// As many as the kernel follows (path_resolution(7)).
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..=MAX_LINKS {
        match std::fs::metadata(&path) {
            // To open a pipe would wait for its reader.
            Ok(there) if there.is_file() || there.is_dir() => {
                return OpenOptions::new().append(true).open(path).map(drop);
            }
            Ok(there) if there.file_type().is_socket() => return Err(io::Error::from_raw_os_error(libc::ENXIO)),
            Ok(_) => return Ok(accessat(CWD, &path, Access::WRITE_OK, AtFlags::EACCESS)?),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            // No file is made by a name that can only be a directory's.
            Err(_) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                return Err(io::Error::from_raw_os_error(libc::EISDIR));
            }
            Err(_) => {}
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match std::fs::read_link(&path) {
            // A link to nothing yet: the file would be made where it points to.
            Ok(target) => path = directory.join(target),
            Err(_) => return Ok(accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}
