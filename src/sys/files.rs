//! An operator's files: read as a whole, within bounds of size and time.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sys::machine;
use latticegate_core::config::{self, Config};
use latticegate_core::diagnostic::{Diagnostic, Origin};
use latticegate_core::yaml;

/// The environment of this process.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// The configuration in a file (none: defaults alone) overridden by the environment, with warnings or every problem found.
pub fn configuration(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    with_file(file, |file| Config::parse(file, environment, &machine::of_process()))
}

/// The same for a question about an access list, which does not depend on whose PROXY header is believed.
pub fn configuration_for_list(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    with_file(file, |file| Config::parse_for_list(file, environment, &machine::of_process()))
}

fn with_file<T>(
    path: Option<&Path>,
    parse: impl FnOnce(Option<config::File<'_>>) -> Result<T, Vec<Diagnostic>>,
) -> Result<T, Vec<Diagnostic>> {
    let Some(path) = path else { return parse(None) };
    let text = text(path).map_err(|diagnostic| vec![diagnostic])?;
    parse(Some(config::File { path, text: &text }))
}

/// A file's text, or what is wrong with it.
pub fn text(path: &Path) -> Result<String, Diagnostic> {
    let origin = Origin::file(path);
    let bytes = read(path).map_err(|error| yaml::unreadable(&error, origin.clone()))?;
    yaml::text(bytes, origin)
}

/// A file's bytes, but not much more than may be read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(yaml::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    if about.is_file() {
        file.take(limit).read_to_end(&mut bytes)?;
    } else {
        Piped(&file).take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// A pipe is open at once, even if no process ever writes into it.
fn open(path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        // Another process holds a lease on the file, and is given time to let go.
        Err(error) if error.kind() == ErrorKind::WouldBlock => File::open(path),
        opened => opened,
    }
}

/// A pipe or a terminal, such as `<(command)` of a shell: it is waited for, but not without end.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_read_say_why() {
        let directory = tempfile::tempdir().unwrap();
        let message = |path: &std::path::Path| text(path).unwrap_err().to_string();
        assert!(message(directory.path()).ends_with("is a directory; name the file in it"));
        assert!(message(&directory.path().join("none.yaml")).contains("does not exist"));
        // Endless, and still answered.
        assert!(message("/dev/zero".as_ref()).contains("larger than 4 MiB"));
    }
}
