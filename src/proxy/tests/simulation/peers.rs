//! Plays one side of a connection: sends at its own pace, reads at its own pace, and notes what it has seen.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join;
use rustix::net::{SendFlags, send};

use super::messages::Messages;
use super::network::Network;
use super::plan::{Behaviour, Ending, Urgent};
use crate::runtime::{Stream, race, sleep, yield_now};

/// What a side sends, and what it waits for in between.
pub(super) enum Step {
    Send(Vec<u8>),
    /// So many bytes have come.
    Bytes(usize),
    /// So many HTTP messages have come.
    Messages(usize),
}

/// What one side has done and seen, in milliseconds since the beginning of the run.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) received: Vec<u8>,
    pub(super) is_http: bool,
    pub(super) messages: Messages,
    /// The other's FIN, and not a reset.
    pub(super) fin: bool,
    pub(super) is_over: bool,
    /// It has sent FIN.
    pub(super) finished: Option<u64>,
    pub(super) closed: Option<u64>,
    /// What the kernel has taken.
    pub(super) sent: usize,
    /// When the kernel took some, in order.
    pub(super) sent_at: Vec<u64>,
    /// When some were read, in order.
    pub(super) received_at: Vec<u64>,
}

impl Seen {
    fn note(&mut self, bytes: &[u8], now: u64) {
        self.received.extend_from_slice(bytes);
        self.received_at.push(now);
        if self.is_http {
            self.messages.read(&self.received, false);
        }
    }

    /// Nothing more comes.
    fn end(&mut self) {
        self.is_over = true;
        if self.is_http {
            self.messages.read(&self.received, true);
        }
    }

    pub(super) fn last_sent(&self) -> u64 {
        self.sent_at.last().copied().unwrap_or(0)
    }

    pub(super) fn last_received(&self) -> u64 {
        self.received_at.last().copied().unwrap_or(0)
    }

    /// Its FIN is sent, or its socket closed.
    pub(super) fn ended(&self) -> Option<u64> {
        self.finished.into_iter().chain(self.closed).min()
    }
}

/// One side, while it is played.
pub(super) struct Peer<'a> {
    pub(super) network: &'a Network,
    pub(super) stream: Stream,
    pub(super) behaviour: &'a Behaviour,
    pub(super) seen: &'a RefCell<Seen>,
}

impl Peer<'_> {
    /// Until it has ended.
    pub(super) async fn play(self, steps: &[Step]) {
        let send = async {
            // Its own connection may be over by then.
            let _ = self.send_all(steps).await;
        };
        self.drive(send).await;
    }

    /// Reads, and does `work` beside it, until both are done or the side leaves.
    pub(super) async fn drive(&self, work: impl Future<Output = ()>) {
        // Reading first: what is sent next depends on it.
        let both = pin!(join(self.read_all(), work));
        match self.behaviour.ending {
            Ending::Abrupt(after) => drop(race(both, pin!(sleep(Duration::from_millis(after)))).await),
            Ending::First | Ending::Second => drop(both.await),
        }
        self.seen.borrow_mut().closed = Some(self.network.now());
    }

    async fn send_all(&self, steps: &[Step]) -> Option<()> {
        let is_within = self.behaviour.urgent == Some(Urgent::Within);
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Send(bytes) => {
                    let urgent_at = (is_within && number + 1 == steps.len()).then_some(bytes.len() / 2);
                    self.send(bytes, urgent_at).await?;
                }
                Step::Bytes(count) => self.until(|seen| seen.received.len() >= *count).await?,
                Step::Messages(count) => self.until(|seen| seen.messages.whole.len() >= *count).await?,
            }
        }
        self.finish().await;
        Some(())
    }

    /// FIN, at its time.
    pub(super) async fn finish(&self) {
        if self.behaviour.ending != Ending::First {
            poll_fn(|_| if self.seen.borrow().is_over { Poll::Ready(()) } else { Poll::Pending }).await;
        }
        if self.behaviour.urgent == Some(Urgent::BeforeFin) {
            self.send_urgent();
        }
        self.stream.finish();
        self.seen.borrow_mut().finished = Some(self.network.now());
    }

    /// None: the connection is over, and it will never be so.
    pub(super) async fn until(&self, is_so: impl Fn(&Seen) -> bool) -> Option<()> {
        poll_fn(|_| {
            let seen = self.seen.borrow();
            match (is_so(&seen), seen.is_over) {
                (true, _) => Poll::Ready(Some(())),
                (false, true) => Poll::Ready(None),
                (false, false) => Poll::Pending,
            }
        })
        .await
    }

    /// None: it cannot be sent.
    pub(super) async fn send(&self, bytes: &[u8], urgent_at: Option<usize>) -> Option<()> {
        let mut sent = 0;
        for piece in bytes.chunks(self.behaviour.piece) {
            let mut rest = piece;
            while !rest.is_empty() {
                let n = poll_fn(|cx| self.stream.poll_send(cx, rest, false)).await.ok()?;
                rest = &rest[n..];
                let mut seen = self.seen.borrow_mut();
                seen.sent += n;
                seen.sent_at.push(self.network.now());
            }
            if urgent_at.is_some_and(|at| (sent..sent + piece.len()).contains(&at)) {
                self.send_urgent();
            }
            sent += piece.len();
            self.pause(self.behaviour.pause).await;
        }
        Some(())
    }

    /// The gate drops it, as it is not of the stream. Kernels without urgent data on local sockets send nothing.
    fn send_urgent(&self) {
        let _ = send(&self.stream, b"!", SendFlags::OOB | SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    /// Others have a turn meanwhile, also without a pause.
    async fn pause(&self, most: u64) {
        let pause = self.network.below(most);
        if pause > 0 {
            return sleep(Duration::from_millis(pause)).await;
        }
        let yielded = Cell::new(false);
        poll_fn(|cx| {
            if yielded.replace(true) {
                return Poll::Ready(());
            }
            yield_now(cx);
            Poll::Pending
        })
        .await;
    }

    async fn read_all(&self) {
        if self.behaviour.reads == 0 {
            return self.never_read().await;
        }
        let mut buffer = vec![0; self.behaviour.reads];
        loop {
            let read = poll_fn(|cx| self.stream.poll_recv(cx, &mut buffer)).await;
            let Ok(n @ 1..) = read else {
                self.seen.borrow_mut().fin = read.is_ok();
                break;
            };
            self.seen.borrow_mut().note(&buffer[..n], self.network.now());
            if self.behaviour.read_pause > 0 {
                self.pause(self.behaviour.read_pause).await;
            }
        }
        self.seen.borrow_mut().end();
    }

    /// Until the gate has given it up.
    async fn never_read(&self) {
        while !self.network.is_closed(&self.stream) {
            sleep(Duration::from_millis(500)).await;
        }
        self.seen.borrow_mut().end();
    }
}
