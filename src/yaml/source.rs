//! From a path to text: bounded, UTF-8, without a byte order mark, or a problem that says what to do.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::problem::{Origin, Position, Problem};

/// Largest file read. 100 000 rules of one line each are about 2 MiB.
pub const MAX_BYTES: usize = 4 << 20;

pub fn load(path: &Path) -> Result<String, Problem> {
    let origin = Origin::file(path);
    let bytes = read(path).map_err(|error| unreadable(&error, origin.clone()))?;
    text(bytes, origin)
}

/// UTF-8 without its byte order mark.
pub(crate) fn text(bytes: Vec<u8>, origin: Origin) -> Result<String, Problem> {
    if bytes.len() > MAX_BYTES {
        let mend = "join neighbouring networks into larger ones, or split the list";
        return Err(Problem::whole(origin, "is larger than 4 MiB", mend));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Problem::whole(origin, "is UTF-16", "save it as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(&error, origin))?;
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}

/// A file's bytes, but not much more than may be read.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    if about.is_file() {
        file.take(limit).read_to_end(&mut bytes)?;
    } else {
        Piped(&file).take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// A pipe is open at once, though nobody may ever write into it.
fn open(path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        // Another process holds a lease on the file, and is given time to let go.
        Err(error) if error.kind() == ErrorKind::WouldBlock => File::open(path),
        opened => opened,
    }
}

/// A pipe or a terminal, such as `<(command)` of a shell: for what may come, one waits, but not for ever.
struct Piped<'a>(&'a File);

impl Read for Piped<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
        loop {
            if poll(&mut [PollFd::new(self.0, PollFlags::IN)], Some(&PATIENCE))? == 0 {
                let silent = format!("it is a pipe or a device, and nothing came for {} s", PATIENCE.tv_sec);
                return Err(io::Error::new(ErrorKind::TimedOut, silent));
            }
            match (&mut self.0).read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

pub(crate) fn unreadable(error: &io::Error, origin: Origin) -> Problem {
    match error.kind() {
        ErrorKind::NotFound => Problem::whole(origin, "does not exist", "name the file that you mean, or create it"),
        ErrorKind::IsADirectory => Problem::whole(origin, "is a directory", "name the file in it"),
        ErrorKind::PermissionDenied => {
            Problem::whole(origin, "may not be read by this user", "let the user that runs latticegate read it")
        }
        _ => Problem::whole(origin, format!("cannot be read: {error}"), ""),
    }
}

fn not_utf8(error: &std::string::FromUtf8Error, origin: Origin) -> Problem {
    let bytes = error.as_bytes();
    let valid = bytes.get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let byte = bytes.get(valid.len()).copied().unwrap_or_default();
    let line_start = valid.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(valid.get(line_start..).unwrap_or_default()).chars().count() + 1;
    let line = memchr::memchr_iter(b'\n', valid).count() + 1;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let latin1 = char::from(byte);
    let message = if latin1.is_alphanumeric() {
        format!("is not UTF-8: byte 0x{byte:02x} here is {latin1:?} in Latin-1")
    } else {
        format!("is not UTF-8: byte 0x{byte:02x} here")
    };
    Problem::whole(origin, message, "save the file as UTF-8")
        .at(Position { line: number(line), column: number(column) })
}
