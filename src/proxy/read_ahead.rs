//! The only read-ahead loop: one buffer, one bound, any pure parser. The deadline is the caller's.
//!
//! What is read here is kept, in order, until it is handed to the relay as the first bytes for the upstream.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::task::{Poll, ready};
use std::time::Duration;

use crate::proxy::scratch::Scratch;
use crate::runtime::{Instant, Stream};
use latticegate_core::outcome::RefuseReason;
use latticegate_core::protocol::Verdict;

/// Bytes read from a client and not yet passed on. It holds what the client has sent and no more: an accepted
/// connection that is silent has no buffer.
#[derive(Default)]
pub struct ReadAhead {
    bytes: Vec<u8>,
    /// Bytes before this were for us (the PROXY header) and are not passed on.
    start: usize,
    /// When the first of the bytes not consumed came.
    since: Option<Instant>,
    /// Something has come, consumed or not.
    begun: bool,
    /// The socket was asked once.
    asked: bool,
}

/// One read brings at most this much: what a client sends beyond its hello stays in the kernel, which knows how to hold
/// a sender back, and what is not accounted for yet is small.
const AT_ONCE: usize = 16 * 1024;
/// A consumed PROXY header of this size is not kept beside what follows it.
const LONG_HEADER: usize = 2048;

/// What is read ahead: a parser, and how far it may look.
pub struct Preread<P> {
    pub parse: P,
    /// Bytes that the parser may look at; a parser refuses before it asks for more.
    pub bound: usize,
    /// The reason if it does not.
    pub too_long: RefuseReason,
}

/// Why reading ahead ended without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAheadError {
    Refuse(RefuseReason),
    /// The client closed or reset.
    Left,
}

impl ReadAhead {
    /// Of a connection that was relayed until now, where these bytes were read and not passed on.
    pub fn resume(bytes: Vec<u8>) -> Self {
        let since = (!bytes.is_empty()).then(Instant::now);
        Self { bytes, start: 0, since, begun: true, asked: true }
    }

    /// Memory held, at most twice the bytes that have come.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// For how long what has not been consumed has been coming: silence before its first byte does not count.
    pub fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Reads until the parser has found its value, from the first byte not yet consumed. `wait` is asked each time when
    /// more has to be waited for.
    pub async fn until<T>(
        &mut self,
        stream: &Stream,
        scratch: &Scratch,
        mut preread: Preread<impl FnMut(&[u8]) -> Verdict<T>>,
        mut wait: impl FnMut(&Self) -> Result<(), RefuseReason>,
    ) -> Result<(T, usize), ReadAheadError> {
        loop {
            let pending = self.pending();
            if !pending.is_empty() {
                match (preread.parse)(pending) {
                    Verdict::Found { value, len } => return Ok((value, len)),
                    Verdict::Refuse(reason) => return Err(ReadAheadError::Refuse(reason)),
                    Verdict::NeedMore if pending.len() >= preread.bound => {
                        return Err(ReadAheadError::Refuse(preread.too_long));
                    }
                    Verdict::NeedMore => wait(self).map_err(ReadAheadError::Refuse)?,
                }
            }
            let room = preread.bound.saturating_sub(pending.len());
            self.read(stream, scratch, room).await?;
        }
    }

    /// Waits for the first byte that is not consumed.
    pub async fn begin(&mut self, stream: &Stream, scratch: &Scratch) -> Result<(), ReadAheadError> {
        self.begin_with(stream, scratch, |bytes| !bytes.is_empty()).await
    }

    /// Waits until what is not consumed has begun; silence and what comes before do not count as its [age](Self::age).
    pub async fn begin_with(
        &mut self,
        stream: &Stream,
        scratch: &Scratch,
        has_begun: impl Fn(&[u8]) -> bool,
    ) -> Result<(), ReadAheadError> {
        while !has_begun(self.pending()) {
            self.read(stream, scratch, AT_ONCE).await?;
            self.since = Some(Instant::now());
        }
        Ok(())
    }

    /// The next `n` bytes were for us.
    pub fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.bytes.len());
        if self.start >= LONG_HEADER {
            self.bytes = self.pending().to_vec();
            self.start = 0;
        }
        self.since = (!self.pending().is_empty()).then(Instant::now);
    }

    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// What was [consumed](Self::consume), unless it was too long to be kept.
    pub fn consumed(&self) -> &[u8] {
        self.bytes.get(..self.start).unwrap_or_default()
    }

    /// Whether a first byte has come.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// What the upstream gets to see first. A copy costs less than to move it to the front and to cut off the rest.
    #[inline]
    pub fn into_pending(self) -> Box<[u8]> {
        self.pending().into()
    }

    /// What has come already is read at once, the first time: a listener that defers accepting has waited for it, and the
    /// runtime would take a turn to see it.
    fn first_read(&mut self, stream: &Stream, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        if std::mem::replace(&mut self.asked, true) {
            return None;
        }
        Some(stream.recv_now(buffer))
            .filter(|read| !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock))
    }

    /// Reads what is there, through the worker's scratch buffer.
    async fn read(&mut self, stream: &Stream, scratch: &Scratch, room: usize) -> Result<(), ReadAheadError> {
        poll_fn(|cx| {
            let mut scratch = scratch.borrow();
            let room = room.min(AT_ONCE).min(scratch.len());
            let buffer = scratch.get_mut(..room).unwrap_or_default();
            let n = match self.first_read(stream, buffer) {
                Some(n) => n,
                None => ready!(stream.poll_recv(cx, buffer)),
            };
            let n = n.map_err(|_| ReadAheadError::Left)?;
            let Some(read) = buffer.get(..n).filter(|read| !read.is_empty()) else {
                return Poll::Ready(Err(ReadAheadError::Left));
            };
            self.bytes.extend_from_slice(read);
            self.begun = true;
            self.since.get_or_insert_with(Instant::now);
            Poll::Ready(Ok(()))
        })
        .await
    }
}
