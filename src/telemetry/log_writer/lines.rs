//! Whole lines to a file, a pipe or a socket. A line that was begun when the system took no more is finished before
//! anything else is written there, so that no reader ever sees half a line in front of another.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::Errno;

/// Where lines go. All that lead to the same file in the end, as standard output and standard error often do, take
/// turns and share the line that was begun.
pub(super) struct Lines<F = File> {
    file: F,
    /// So many bytes are written whole or not at all, if they are whole lines.
    at_once: usize,
    begun: Shared,
}

/// pipe(7): writes of this size are atomic.
const PIPE_BUF: usize = 4096;

type Shared = Arc<Mutex<Begun>>;

/// The line of which a part is written.
#[derive(Debug, Default)]
struct Begun {
    line: Vec<u8>,
    written: usize,
}

/// What a write could not do.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) error: io::Error,
    /// Lines of which nothing was written: they are lost.
    pub(super) lost: u64,
    /// One more line is written in part, and is finished by the next write that succeeds.
    pub(super) begun: bool,
}

/// A descriptor, as a test can imitate it.
pub(super) trait Out {
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno>;
    /// Until it takes bytes again.
    fn wait(&self);
}

impl<F: AsFd> Out for F {
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::write(self, bytes)
    }

    /// The descriptor may be non-blocking because of a process that shares it, and is not ours to change.
    fn wait(&self) {
        // An error shows at the next write.
        let _ = poll(&mut [PollFd::new(self, PollFlags::OUT)], None);
    }
}

impl Lines {
    pub(super) fn to(file: File) -> Self {
        let begun = shared(file.as_fd());
        let is_regular = file.metadata().is_ok_and(|about| about.is_file());
        Self { file, at_once: if is_regular { usize::MAX } else { PIPE_BUF }, begun }
    }

    /// From now on to another file, with the line that was begun as its first.
    pub(super) fn go_on_in(&mut self, file: File) {
        let next = Self::to(file);
        if !Arc::ptr_eq(&next.begun, &self.begun) {
            let line = std::mem::take(&mut *lock(&self.begun)).line;
            *lock(&next.begun) = Begun { line, written: 0 };
        }
        *self = next;
    }
}

impl<F: Out> Lines<F> {
    /// How much of a piece is to be written by one call: whole lines, of which a pipe takes all or none. Of a larger
    /// write that does not return nobody knows how many lines are read, and another process's may come between.
    pub(super) fn part(&self, piece: &[u8]) -> usize {
        if piece.len() <= self.at_once {
            return piece.len();
        }
        let fits = piece.get(..self.at_once).and_then(|fits| memchr::memrchr(b'\n', fits));
        fits.or_else(|| memchr::memchr(b'\n', piece)).map_or(piece.len(), |end| end + 1)
    }

    /// Returns when all is written, however long that takes, or when something is wrong. A piece is whole lines.
    pub(super) fn write(&self, piece: &[u8]) -> Result<(), Unwritten> {
        let mut begun = lock(&self.begun);
        if let Err((_, error)) = self.write_all(begun.rest()).inspect_err(|(written, _)| begun.written += written) {
            return Err(Unwritten { error: error.into(), lost: count(piece), begun: true });
        }
        *begun = Begun::default();
        let Err((written, error)) = self.write_all(piece) else { return Ok(()) };
        let (done, rest) = piece.split_at_checked(written).unwrap_or((piece, &[]));
        let start = memchr::memrchr(b'\n', done).map_or(0, |end| end + 1);
        if start == written {
            return Err(Unwritten { error: error.into(), lost: count(rest), begun: false });
        }
        let end = memchr::memchr(b'\n', rest).map_or(piece.len(), |end| written + end + 1);
        *begun = Begun { line: piece.get(start..end).unwrap_or_default().to_vec(), written: written - start };
        Err(Unwritten { error: error.into(), lost: count(piece.get(end..).unwrap_or_default()), begun: true })
    }

    /// An error comes with the number of bytes that were written before it.
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

impl Begun {
    fn rest(&self) -> &[u8] {
        self.line.get(self.written..).unwrap_or_default()
    }
}

pub(super) fn count(piece: &[u8]) -> u64 {
    u64::try_from(memchr::memchr_iter(b'\n', piece).count()).unwrap_or(u64::MAX)
}

fn lock(begun: &Shared) -> MutexGuard<'_, Begun> {
    begun.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The line that may have been begun in the file behind this descriptor.
fn shared(fd: BorrowedFd<'_>) -> Shared {
    struct Open {
        device_and_inode: (u64, u64),
        begun: Weak<Mutex<Begun>>,
    }
    static ALL: Mutex<Vec<Open>> = Mutex::new(Vec::new());
    // What cannot be looked at is taken for a file of its own.
    let Ok(stat) = fstat(fd) else { return Shared::default() };
    let device_and_inode = (stat.st_dev, stat.st_ino);
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|open| open.begun.strong_count() > 0);
    let same = all.iter().find(|open| open.device_and_inode == device_and_inode);
    if let Some(begun) = same.and_then(|open| open.begun.upgrade()) {
        return begun;
    }
    let begun = Shared::default();
    all.push(Open { device_and_inode, begun: Arc::downgrade(&begun) });
    begun
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::io::Read;

    use proptest::prelude::*;
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    use super::*;

    /// Takes what its script allows: so many bytes, or an error.
    struct Script {
        steps: RefCell<VecDeque<Result<usize, Errno>>>,
        taken: RefCell<Vec<u8>>,
    }

    impl Out for Script {
        fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
            let step = self.steps.borrow_mut().pop_front().unwrap_or(Ok(usize::MAX))?;
            let some = step.min(bytes.len());
            self.taken.borrow_mut().extend_from_slice(&bytes[..some]);
            Ok(some)
        }

        fn wait(&self) {}
    }

    fn script(steps: impl IntoIterator<Item = Result<usize, Errno>>) -> Lines<Script> {
        let file = Script { steps: RefCell::new(steps.into_iter().collect()), taken: RefCell::default() };
        Lines { file, at_once: usize::MAX, begun: Shared::default() }
    }

    fn taken(lines: &Lines<Script>) -> String {
        String::from_utf8(lines.file.taken.borrow().clone()).unwrap()
    }

    #[test]
    fn a_line_that_was_begun_is_finished_before_any_other() {
        let lines = script([Ok(6), Err(Errno::NOSPC), Err(Errno::NOSPC), Ok(1), Err(Errno::NOSPC)]);
        let unwritten = lines.write(b"one\ntwo\nthree\nfour\n").unwrap_err();
        assert_eq!((unwritten.lost, unwritten.begun), (2, true));
        for n in [5, 6] {
            let unwritten = lines.write(format!("{n}\n").as_bytes()).unwrap_err();
            assert_eq!((unwritten.lost, unwritten.begun), (1, true));
        }
        lines.write(b"seven\n").unwrap();
        assert_eq!(taken(&lines), "one\ntwo\nseven\n");
    }

    #[test]
    fn what_is_full_for_a_moment_loses_nothing() {
        let lines = script([Ok(2), Err(Errno::AGAIN), Err(Errno::AGAIN), Err(Errno::INTR), Ok(3), Err(Errno::AGAIN)]);
        lines.write(b"one\ntwo\nthree\n").unwrap();
        assert_eq!(taken(&lines), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_line_that_was_begun_is_whole_in_the_next_file() {
        let directory = tempfile::tempdir().unwrap();
        let [old, next] = ["old", "next"].map(|name| directory.path().join(name));
        let mut lines = Lines::to(File::create(&old).unwrap());
        *lock(&lines.begun) = Begun { line: b"begun\n".to_vec(), written: 2 };
        // The same file, as it is where nobody has moved it away: the line goes on where it is.
        lines.go_on_in(File::options().append(true).open(&old).unwrap());
        lines.write(b"").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "gun\n");
        *lock(&lines.begun) = Begun { line: b"begun\n".to_vec(), written: 2 };
        lines.go_on_in(File::create(&next).unwrap());
        lines.write(b"more\n").unwrap();
        assert_eq!(std::fs::read_to_string(&next).unwrap(), "begun\nmore\n");
    }

    #[test]
    fn a_pipe_gets_whole_lines_that_it_takes_at_once() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let lines = Lines::to(File::from(std::os::fd::OwnedFd::from(writer)));
        let line = |width: usize| format!("{}\n", "x".repeat(width - 1));
        assert_eq!(lines.part(line(4096).as_bytes()), 4096);
        assert_eq!(lines.part([line(3000), line(1000), line(97)].concat().as_bytes()), 4000);
        assert_eq!(lines.part([line(5000), line(10)].concat().as_bytes()), 5000);
    }

    proptest! {
        /// However the system takes them: whole lines in their order, and each is written, lost or begun.
        #[test]
        fn every_line_is_whole_or_counted(
            pieces in prop::collection::vec(prop::collection::vec(0_usize..40, 1..6), 1..12),
            steps in prop::collection::vec(
                prop_oneof![(1_usize..60).prop_map(Ok), Just(Err(Errno::NOSPC)), Just(Err(Errno::AGAIN))], 0..40),
        ) {
            let lines = script(steps);
            let (mut sent, mut lost, mut begun) = (Vec::new(), 0, false);
            for (number, piece) in pieces.iter().enumerate() {
                let text: Vec<String> = piece.iter().enumerate()
                    .map(|(line, &width)| format!("{number}.{line}:{}", "x".repeat(width))).collect();
                let result = lines.write(format!("{}\n", text.join("\n")).as_bytes());
                lost += result.as_ref().err().map_or(0, |unwritten| unwritten.lost);
                begun = result.is_err_and(|unwritten| unwritten.begun);
                sent.extend(text);
            }
            let taken = taken(&lines);
            let whole: Vec<&str> = taken.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).collect();
            let mut sent = sent.iter();
            for line in &whole {
                prop_assert!(sent.any(|one| one == line), "{line:?} is torn or out of order");
            }
            let all = pieces.iter().map(Vec::len).sum::<usize>();
            prop_assert_eq!(whole.len() + usize::try_from(lost).unwrap() + usize::from(begun), all);
        }
    }

    /// Of the same open file, non-blocking and full: the first to come waits, and all is whole.
    #[test]
    fn two_that_share_a_full_pipe_tear_no_line() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        fcntl_setfl(&writer, fcntl_getfl(&writer).unwrap() | OFlags::NONBLOCK).unwrap();
        let other = writer.try_clone().unwrap();
        let ends = [writer, other].map(|end| Lines::to(File::from(std::os::fd::OwnedFd::from(end))));
        assert!(Arc::ptr_eq(&ends[0].begun, &ends[1].begun));
        let writers = ends.into_iter().zip(["a", "b"]).map(|(lines, letter)| {
            // Four times what a pipe holds.
            let piece = format!("{}\n", letter.repeat(100)).repeat(2600);
            std::thread::spawn(move || {
                let mut rest = piece.as_bytes();
                while !rest.is_empty() {
                    let (part, others) = rest.split_at(lines.part(rest));
                    lines.write(part).unwrap();
                    rest = others;
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
