//! Lingering close (RFC 9112 §9.6): a client that is still sending would get a reset instead of the answer, if the
//! connection were closed with bytes unread. So what it sends is read and thrown away for a while.
//!
//! Only so many linger at a time; past that the one that has lingered longest is closed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Whoever sends more than this, or for longer, is closed in the middle.
const MOST_BYTES: usize = 16 * 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(10);
/// A client that has sent nothing for so long has stopped sending: it read the answer, or it never will.
const SILENCE: Duration = Duration::from_secs(2);
/// In the whole process. Each costs a descriptor and about as much memory as a connection that is being established.
const MOST: usize = 256;

/// Those of one worker.
#[derive(Debug)]
pub(crate) struct Lingering {
    most: usize,
    next: Cell<u64>,
    /// In the order in which they began. Dropping the sender ends the lingering.
    open: RefCell<BTreeMap<u64, oneshot::Sender<()>>>,
}

impl Lingering {
    pub(crate) fn new(workers: usize) -> Self {
        let most = (MOST / workers.max(1)).max(1);
        Self { most, next: Cell::new(0), open: RefCell::default() }
    }

    /// Reads and throws away what the client still sends, until it has closed, has stopped sending, or a bound is reached.
    /// FIN was sent before.
    pub(crate) async fn linger(&self, stream: &TcpStream, scratch: &RefCell<Box<[u8]>>) {
        let (_entry, evicted) = self.enter();
        tokio::select! {
            biased;
            _ = evicted => {}
            _ = timeout(LONGEST, discard(stream, scratch)) => {}
        }
    }

    fn enter(&self) -> (Entry<'_>, oneshot::Receiver<()>) {
        let key = self.next.get();
        self.next.set(key.wrapping_add(1));
        let (sender, evicted) = oneshot::channel();
        let mut open = self.open.borrow_mut();
        if open.len() >= self.most {
            drop(open.pop_first());
        }
        open.insert(key, sender);
        (Entry { list: self, key }, evicted)
    }
}

struct Entry<'a> {
    list: &'a Lingering,
    key: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.list.open.borrow_mut().remove(&self.key);
    }
}

async fn discard(stream: &TcpStream, scratch: &RefCell<Box<[u8]>>) {
    let mut left = MOST_BYTES;
    while left > 0 && matches!(timeout(SILENCE, stream.readable()).await, Ok(Ok(()))) {
        match stream.try_read(&mut scratch.borrow_mut()) {
            Ok(0) => return,
            Ok(n) => left = left.saturating_sub(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
