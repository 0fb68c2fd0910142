//! Lingering close (RFC 9112 §9.6): a client that is still sending would get a reset instead of the answer, if the
//! connection were closed with bytes unread. So what it sends is read and thrown away for a while.
//!
//! Only so many linger at a time; past that the one that has lingered longest is closed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::proxy::scratch::Scratch;
use crate::runtime::{Notify, Stream, race, timeout};

/// A client that sends more than this, or for longer, is closed in the middle.
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
    /// In the order in which they began, each with what ends it.
    open: RefCell<BTreeMap<u64, Rc<Notify>>>,
}

impl Lingering {
    pub(crate) fn new(workers: usize) -> Self {
        let most = (MOST / workers.max(1)).max(1);
        Self { most, next: Cell::new(0), open: RefCell::default() }
    }

    /// Reads and throws away what the client still sends, until it has closed, has stopped sending, or a bound is reached.
    /// FIN was sent before.
    pub(crate) async fn linger(&self, stream: &Stream, scratch: &Scratch) {
        let (_entry, evicted) = self.enter();
        race(pin!(evicted.notified()), pin!(timeout(LONGEST, discard(stream, scratch)))).await;
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    fn enter(&self) -> (LingeringConnection<'_>, Rc<Notify>) {
        let key = self.next.get();
        self.next.set(key.wrapping_add(1));
        let evicted = Rc::new(Notify::new());
        let mut open = self.open.borrow_mut();
        if open.len() >= self.most
            && let Some((_, oldest)) = open.pop_first()
        {
            oldest.notify_one();
        }
        open.insert(key, Rc::clone(&evicted));
        (LingeringConnection { list: self, key }, evicted)
    }
}

struct LingeringConnection<'a> {
    list: &'a Lingering,
    key: u64,
}

impl Drop for LingeringConnection<'_> {
    fn drop(&mut self) {
        self.list.open.borrow_mut().remove(&self.key);
    }
}

async fn discard(stream: &Stream, scratch: &Scratch) {
    let mut left = MOST_BYTES;
    while let (true, Ok(Some(n))) = (left > 0, timeout(SILENCE, discard_some(stream, scratch)).await) {
        left = left.saturating_sub(n);
    }
}

/// Reads and throws away for as long as the client sends.
pub(crate) async fn discard_all(stream: &Stream, scratch: &Scratch) {
    while discard_some(stream, scratch).await.is_some() {}
}

/// None: the client has ended.
async fn discard_some(stream: &Stream, scratch: &Scratch) -> Option<usize> {
    poll_fn(|cx| stream.poll_recv(cx, &mut scratch.borrow())).await.ok().filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::runtime::testing::{block_on, in_virtual_time, pair};
    use crate::runtime::{Instant, sleep};

    #[test]
    fn it_ends_with_the_client() {
        block_on(async {
            let (ours, mut theirs) = pair();
            let (lingering, scratch) = (Lingering::new(1), Scratch::new());
            let upload = async {
                theirs.write_all(&vec![1; 4 << 20]).await.unwrap();
                drop(theirs);
            };
            tokio::join!(lingering.linger(&ours, &scratch), upload);
            assert!(lingering.open.borrow().is_empty());
            // All was read: closing sends no reset.
            assert_eq!(ours.recv_now(&mut [0]).unwrap(), 0);
        });
    }

    #[test]
    fn it_ends_at_its_bound_of_bytes() {
        block_on(async {
            let (ours, mut theirs) = pair();
            let (lingering, scratch) = (Lingering::new(1), Scratch::new());
            let upload = async {
                let mut sent = 0;
                while theirs.write_all(&[1; 64 * 1024]).await.is_ok() {
                    sent += 64 * 1024;
                }
                sent
            };
            let linger = async {
                lingering.linger(&ours, &scratch).await;
                drop(ours);
            };
            let ((), sent) = tokio::join!(linger, upload);
            assert!(sent >= MOST_BYTES, "{sent}");
        });
    }

    #[test]
    fn a_client_that_has_stopped_sending_is_left_and_so_is_one_that_never_stops() {
        in_virtual_time(async {
            let (ours, mut theirs) = pair();
            let (lingering, scratch) = (Lingering::new(1), Scratch::new());
            let start = Instant::now();
            lingering.linger(&ours, &scratch).await;
            assert_eq!(start.elapsed(), SILENCE);
            let start = Instant::now();
            let upload = async {
                loop {
                    sleep(SILENCE / 2).await;
                    theirs.write_all(b"x").await.unwrap();
                }
            };
            tokio::select! {
                () = lingering.linger(&ours, &scratch) => {}
                () = upload => {}
            }
            assert_eq!(start.elapsed(), LONGEST);
        });
    }

    #[test]
    fn the_oldest_goes_where_too_many_linger() {
        in_virtual_time(async {
            let lingering = Lingering { most: 2, ..Lingering::new(1) };
            let scratch = Scratch::new();
            let (first, mut one) = pair();
            let (second, _two) = pair();
            let (third, _three) = pair();
            let start = Instant::now();
            let evicted = async {
                lingering.linger(&first, &scratch).await;
                drop(first);
                start.elapsed()
            };
            let late = async {
                sleep(Duration::from_millis(10)).await;
                lingering.linger(&third, &scratch).await;
            };
            let (after, (), ()) = tokio::join!(evicted, lingering.linger(&second, &scratch), late);
            assert_eq!(after, Duration::from_millis(10));
            assert_eq!(one.read(&mut [0]).await.unwrap(), 0);
            assert_eq!(Lingering::new(2).most + Lingering::new(2).most, MOST);
        });
    }
}
