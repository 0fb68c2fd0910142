//! The only read-ahead loop: one buffer, one bound, any pure parser. The deadline is the caller's.
//!
//! What is read here is kept, in order, until it is handed to the relay as the first bytes for the upstream.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::Duration;

use crate::sys::runtime::{Instant, Stream};
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
}

/// One read brings at most this much: what a client sends beyond its hello stays in the kernel, which knows how to hold
/// a sender back, and what is not accounted for yet is small.
const AT_ONCE: usize = 16 * 1024;
/// A consumed PROXY header of this size is not kept beside what follows it.
const LONG_HEADER: usize = 2048;

/// Why reading ahead ended without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Refuse(RefuseReason),
    /// The client closed or reset.
    Left,
}

impl ReadAhead {
    /// Memory held, at most twice the bytes that have come.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// For how long what has not been consumed has been coming: silence before its first byte does not count.
    pub fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Reads until the parser has found its value, from the first byte not yet consumed. `bound`: how many
    /// bytes the parser may look at; a parser refuses before it asks for more. `wait` is asked each time when more
    /// has to be waited for.
    pub async fn until<T>(
        &mut self,
        stream: &Stream,
        scratch: &RefCell<Box<[u8]>>,
        bound: usize,
        too_long: RefuseReason,
        mut parse: impl FnMut(&[u8]) -> Verdict<T>,
        mut wait: impl FnMut(&Self) -> Result<(), RefuseReason>,
    ) -> Result<(T, usize), Stop> {
        loop {
            let pending = self.pending();
            if !pending.is_empty() {
                match parse(pending) {
                    Verdict::Found { value, len } => return Ok((value, len)),
                    Verdict::Refuse(reason) => return Err(Stop::Refuse(reason)),
                    Verdict::NeedMore if pending.len() >= bound => return Err(Stop::Refuse(too_long)),
                    Verdict::NeedMore => wait(self).map_err(Stop::Refuse)?,
                }
            }
            let room = bound.saturating_sub(pending.len());
            self.read(stream, scratch, room).await?;
        }
    }

    /// Waits for the first byte that is not consumed.
    pub async fn begin(&mut self, stream: &Stream, scratch: &RefCell<Box<[u8]>>) -> Result<(), Stop> {
        while self.pending().is_empty() {
            self.read(stream, scratch, AT_ONCE).await?;
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

    /// Whether a first byte has come.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// What the upstream gets to see first.
    pub fn into_pending(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    /// Reads what is there, through the worker's scratch buffer.
    async fn read(&mut self, stream: &Stream, scratch: &RefCell<Box<[u8]>>, room: usize) -> Result<(), Stop> {
        poll_fn(|cx| {
            let mut scratch = scratch.borrow_mut();
            let room = room.min(AT_ONCE).min(scratch.len());
            let buffer = scratch.get_mut(..room).unwrap_or_default();
            let n = ready!(stream.poll_recv(cx, buffer)).map_err(|_| Stop::Left)?;
            let Some(read) = buffer.get(..n).filter(|read| !read.is_empty()) else {
                return Poll::Ready(Err(Stop::Left));
            };
            self.bytes.extend_from_slice(read);
            self.begun = true;
            self.since.get_or_insert_with(Instant::now);
            Poll::Ready(Ok(()))
        })
        .await
    }
}
