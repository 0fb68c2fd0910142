//! Whole lines to a file, a pipe or a socket. A line that was written in part is completed before anything else is
//! written there, so that no reader sees half a line followed by another.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, Weak};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::Errno;

use crate::sys::mutex::lock;

/// An open descriptor for lines. Descriptors of the same file, as standard output and standard error often are, take
/// turns and share the partial line.
pub(super) struct LineOutput<F = File> {
    file: F,
    /// A write of at most this size is atomic.
    atomic: usize,
    partial: SharedPartialLine,
}

/// pipe(7): writes of this size are atomic.
const PIPE_BUF: usize = 4096;

type SharedPartialLine = Arc<Mutex<PartialLine>>;

/// A line of which only the beginning is written.
#[derive(Debug, Default)]
struct PartialLine {
    line: Vec<u8>,
    written: usize,
}

/// What a write could not do.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) error: io::Error,
    /// Lines of which nothing was written.
    pub(super) lost: u64,
    /// One more line is written in part; the next write completes it.
    pub(super) partial: bool,
}

/// A descriptor, as a test can imitate it.
pub(super) trait Descriptor {
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno>;
    /// Waits until it is writable.
    fn wait(&self);
}

impl<F: AsFd> Descriptor for F {
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::write(self, bytes)
    }

    /// The descriptor may be non-blocking because another process shares it; it is not ours to change.
    fn wait(&self) {
        // An error shows at the next write.
        let _ = poll(&mut [PollFd::new(self, PollFlags::OUT)], None);
    }
}

impl LineOutput {
    pub(super) fn to(file: File) -> Self {
        let partial = shared(file.as_fd());
        let is_regular = file.metadata().is_ok_and(|about| about.is_file());
        Self { file, atomic: if is_regular { usize::MAX } else { PIPE_BUF }, partial }
    }

    /// Continues in another file, beginning with the partial line.
    pub(super) fn switch_to(&mut self, file: File) {
        let next = Self::to(file);
        if !Arc::ptr_eq(&next.partial, &self.partial) {
            let line = std::mem::take(&mut *lock(&self.partial)).line;
            *lock(&next.partial) = PartialLine { line, written: 0 };
        }
        *self = next;
    }
}

impl<F: Descriptor> LineOutput<F> {
    /// How many of these bytes one write may take: whole lines, of which a pipe takes all or none. While a larger write
    /// blocks, it is unknown how many lines are read, and another process's lines may come between.
    pub(super) fn write_size(&self, lines: &[u8]) -> usize {
        if lines.len() <= self.atomic {
            return lines.len();
        }
        let fits = lines.get(..self.atomic).and_then(|fits| memchr::memrchr(b'\n', fits));
        fits.or_else(|| memchr::memchr(b'\n', lines)).map_or(lines.len(), |end| end + 1)
    }

    /// Returns when all of these whole lines are written, however long that takes, or on an error.
    pub(super) fn write(&self, lines: &[u8]) -> Result<(), Unwritten> {
        let mut partial = lock(&self.partial);
        if let Err((_, error)) = self.write_all(partial.rest()).inspect_err(|(written, _)| partial.written += written) {
            return Err(Unwritten { error: error.into(), lost: count(lines), partial: true });
        }
        *partial = PartialLine::default();
        let Err((written, error)) = self.write_all(lines) else { return Ok(()) };
        let (done, rest) = lines.split_at_checked(written).unwrap_or((lines, &[]));
        let start = memchr::memrchr(b'\n', done).map_or(0, |end| end + 1);
        if start == written {
            return Err(Unwritten { error: error.into(), lost: count(rest), partial: false });
        }
        let end = memchr::memchr(b'\n', rest).map_or(lines.len(), |end| written + end + 1);
        *partial = PartialLine { line: lines.get(start..end).unwrap_or_default().to_vec(), written: written - start };
        Err(Unwritten { error: error.into(), lost: count(lines.get(end..).unwrap_or_default()), partial: true })
    }

    /// An error has with it the number of bytes written before.
    fn write_all(&self, bytes: &[u8]) -> Result<(), (usize, Errno)> {
        /// A terminal may call itself writable and take nothing.
        const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        let (mut written, mut refused) = (0, false);
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err((written, Errno::NOSPC)),
                Ok(some) => (written, refused) = (written + some, false),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if refused {
                        let _ = poll(&mut [], Some(&PAUSE));
                    }
                    self.file.wait();
                    refused = true;
                }
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

impl PartialLine {
    fn rest(&self) -> &[u8] {
        self.line.get(self.written..).unwrap_or_default()
    }
}

pub(super) fn count(lines: &[u8]) -> u64 {
    u64::try_from(memchr::memchr_iter(b'\n', lines).count()).unwrap_or(u64::MAX)
}

/// The partial line of the file behind this descriptor.
fn shared(fd: BorrowedFd<'_>) -> SharedPartialLine {
    struct OpenFile {
        device_and_inode: (u64, u64),
        partial: Weak<Mutex<PartialLine>>,
    }
    static ALL: Mutex<Vec<OpenFile>> = Mutex::new(Vec::new());
    // One that cannot be inspected counts as a file of its own.
    let Ok(stat) = fstat(fd) else { return SharedPartialLine::default() };
    let device_and_inode = (stat.st_dev, stat.st_ino);
    let mut all = lock(&ALL);
    all.retain(|open| open.partial.strong_count() > 0);
    let same = all.iter().find(|open| open.device_and_inode == device_and_inode);
    if let Some(partial) = same.and_then(|open| open.partial.upgrade()) {
        return partial;
    }
    let partial = SharedPartialLine::default();
    all.push(OpenFile { device_and_inode, partial: Arc::downgrade(&partial) });
    partial
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::io::Read;

    use proptest::prelude::*;
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    use super::*;

    /// Accepts what its script allows: so many bytes, or an error.
    struct ScriptedDescriptor {
        steps: RefCell<VecDeque<Result<usize, Errno>>>,
        taken: RefCell<Vec<u8>>,
    }

    impl Descriptor for ScriptedDescriptor {
        fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
            let step = self.steps.borrow_mut().pop_front().unwrap_or(Ok(usize::MAX))?;
            let some = step.min(bytes.len());
            self.taken.borrow_mut().extend_from_slice(&bytes[..some]);
            Ok(some)
        }

        fn wait(&self) {}
    }

    fn script(steps: impl IntoIterator<Item = Result<usize, Errno>>) -> LineOutput<ScriptedDescriptor> {
        let file = ScriptedDescriptor { steps: RefCell::new(steps.into_iter().collect()), taken: RefCell::default() };
        LineOutput { file, atomic: usize::MAX, partial: SharedPartialLine::default() }
    }

    fn taken(lines: &LineOutput<ScriptedDescriptor>) -> String {
        String::from_utf8(lines.file.taken.borrow().clone()).unwrap()
    }

    #[test]
    fn a_partial_line_is_completed_before_any_other() {
        let lines = script([Ok(6), Err(Errno::NOSPC), Err(Errno::NOSPC), Ok(1), Err(Errno::NOSPC)]);
        let unwritten = lines.write(b"one\ntwo\nthree\nfour\n").unwrap_err();
        assert_eq!((unwritten.lost, unwritten.partial), (2, true));
        for n in [5, 6] {
            let unwritten = lines.write(format!("{n}\n").as_bytes()).unwrap_err();
            assert_eq!((unwritten.lost, unwritten.partial), (1, true));
        }
        lines.write(b"seven\n").unwrap();
        assert_eq!(taken(&lines), "one\ntwo\nseven\n");
    }

    #[test]
    fn a_pipe_that_is_full_for_a_moment_loses_no_line() {
        let lines = script([Ok(2), Err(Errno::AGAIN), Err(Errno::AGAIN), Err(Errno::INTR), Ok(3), Err(Errno::AGAIN)]);
        lines.write(b"one\ntwo\nthree\n").unwrap();
        assert_eq!(taken(&lines), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_partial_line_is_whole_in_the_next_file() {
        let directory = tempfile::tempdir().unwrap();
        let [old, next] = ["old", "next"].map(|name| directory.path().join(name));
        let mut lines = LineOutput::to(File::create(&old).unwrap());
        *lock(&lines.partial) = PartialLine { line: b"begun\n".to_vec(), written: 2 };
        // The same file, as it is when it was not moved away: the line continues there.
        lines.switch_to(File::options().append(true).open(&old).unwrap());
        lines.write(b"").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "gun\n");
        *lock(&lines.partial) = PartialLine { line: b"begun\n".to_vec(), written: 2 };
        lines.switch_to(File::create(&next).unwrap());
        lines.write(b"more\n").unwrap();
        assert_eq!(std::fs::read_to_string(&next).unwrap(), "begun\nmore\n");
    }

    #[test]
    fn a_pipe_gets_whole_lines_in_atomic_writes() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let lines = LineOutput::to(File::from(std::os::fd::OwnedFd::from(writer)));
        let line = |width: usize| format!("{}\n", "x".repeat(width - 1));
        assert_eq!(lines.write_size(line(4096).as_bytes()), 4096);
        assert_eq!(lines.write_size([line(3000), line(1000), line(97)].concat().as_bytes()), 4000);
        assert_eq!(lines.write_size([line(5000), line(10)].concat().as_bytes()), 5000);
    }

    proptest! {
        /// Whatever the system accepts: whole lines in their order, and each is written, lost or partial.
        #[test]
        fn every_line_is_whole_or_counted(
            pieces in prop::collection::vec(prop::collection::vec(0_usize..40, 1..6), 1..12),
            steps in prop::collection::vec(
                prop_oneof![(1_usize..60).prop_map(Ok), Just(Err(Errno::NOSPC)), Just(Err(Errno::AGAIN))], 0..40),
        ) {
            let lines = script(steps);
            let (mut sent, mut lost, mut partial) = (Vec::new(), 0, false);
            for (number, batch) in pieces.iter().enumerate() {
                let text: Vec<String> = batch.iter().enumerate()
                    .map(|(line, &width)| format!("{number}.{line}:{}", "x".repeat(width))).collect();
                let result = lines.write(format!("{}\n", text.join("\n")).as_bytes());
                lost += result.as_ref().err().map_or(0, |unwritten| unwritten.lost);
                partial = result.is_err_and(|unwritten| unwritten.partial);
                sent.extend(text);
            }
            let taken = taken(&lines);
            let whole: Vec<&str> = taken.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).collect();
            let mut sent = sent.iter();
            for line in &whole {
                prop_assert!(sent.any(|one| one == line), "{line:?} is torn or out of order");
            }
            let all = pieces.iter().map(Vec::len).sum::<usize>();
            prop_assert_eq!(whole.len() + usize::try_from(lost).unwrap() + usize::from(partial), all);
        }
    }

    /// Of the same open file, non-blocking and full: writers wait, and every line is whole.
    #[test]
    fn two_that_share_a_full_pipe_tear_no_line() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        fcntl_setfl(&writer, fcntl_getfl(&writer).unwrap() | OFlags::NONBLOCK).unwrap();
        let other = writer.try_clone().unwrap();
        let ends = [writer, other].map(|end| LineOutput::to(File::from(std::os::fd::OwnedFd::from(end))));
        assert!(Arc::ptr_eq(&ends[0].partial, &ends[1].partial));
        let writers = ends.into_iter().zip(["a", "b"]).map(|(lines, letter)| {
            // Four times what a pipe holds.
            let batch = format!("{}\n", letter.repeat(100)).repeat(2600);
            std::thread::spawn(move || {
                let mut rest = batch.as_bytes();
                while !rest.is_empty() {
                    let (part, later) = rest.split_at(lines.write_size(rest));
                    lines.write(part).unwrap();
                    rest = later;
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(read.lines().count(), 2 * 2600);
        assert!(read.lines().all(|line| line == "a".repeat(100) || line == "b".repeat(100)));
    }
}
