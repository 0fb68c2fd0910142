//! The only read-ahead loop: one buffer, one bound, any pure parser. The deadline is the caller's.
//!
//! What is read here is kept, in order, until it is handed to the relay as the first bytes for the upstream.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::outcome::RefuseReason;
use crate::verdict::Verdict;

/// Bytes read from a client and not yet passed on. It holds what the client has sent and no more: an accepted
/// connection that is silent has no buffer.
#[derive(Default)]
pub struct ReadAhead {
    bytes: Vec<u8>,
    /// Bytes before this were for us (the PROXY header) and are not passed on.
    start: usize,
}

/// Why reading ahead ended without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Refuse(RefuseReason),
    /// The client closed or reset.
    Left,
}

impl ReadAhead {
    /// Bytes read so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Reads until the parser has found its value, from the first byte not yet consumed. `bound`: how many
    /// bytes the parser may look at; a parser refuses before it asks for more. `wait` is asked each time when more
    /// has to be waited for.
    pub async fn until<T>(
        &mut self,
        stream: &mut TcpStream,
        scratch: &RefCell<Box<[u8]>>,
        bound: usize,
        too_long: RefuseReason,
        parse: impl Fn(&[u8]) -> Verdict<T>,
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

    /// The next `n` bytes were for us.
    pub fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.bytes.len());
    }

    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// True until the first byte has come.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What the upstream gets to see first.
    pub fn into_pending(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    /// Reads what is there, through the worker's scratch buffer. By `poll_read` and not `try_read`, as it notes that a
    /// read which did not fill the buffer has emptied the socket: the relay begins without a read that finds nothing.
    async fn read(&mut self, stream: &mut TcpStream, scratch: &RefCell<Box<[u8]>>, room: usize) -> Result<(), Stop> {
        poll_fn(|cx| {
            let mut scratch = scratch.borrow_mut();
            let room = room.min(scratch.len());
            let mut buffer = ReadBuf::new(scratch.get_mut(..room).unwrap_or_default());
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)).map_err(|_| Stop::Left)?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(Stop::Left));
            }
            self.bytes.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(()))
        })
        .await
    }
}
