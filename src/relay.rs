//! Bytes both ways between client and upstream until both have ended: half-close, back-pressure, an idle
//! limit and exact counts.
//!
//! A relayed connection on which nothing moves holds no buffer at all. See `relay/direction.rs` for one way,
//! `relay/pipe.rs` for the pipes through which bulk is moved without copying it, `relay/reset.rs` for a bad end.

mod direction;
mod pipe;
mod reset;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use self::direction::{Direction, Ended, Lane};
use self::pipe::PipePool;
pub use self::reset::reset;
use crate::outcome::{Close, RefuseReason};
use crate::socket::set_keepalive;

/// What all relays of one worker share. Only one of them runs at a time, so one buffer serves them all.
pub struct Tools {
    scratch: RefCell<Box<[u8]>>,
    pipes: PipePool,
}

impl Tools {
    /// One read moves at most this many bytes. 64 KiB holds what a socket usually has; more only helps bulk,
    /// and bulk goes through a pipe.
    const SCRATCH: usize = 64 * 1024;

    pub fn new() -> Self {
        Self { scratch: RefCell::new(vec![0; Self::SCRATCH].into_boxed_slice()), pipes: PipePool::default() }
    }

    pub fn scratch(&self) -> &RefCell<Box<[u8]>> {
        &self.scratch
    }

    /// Gives idle pipes back to the system now, because open files are short.
    pub fn close_idle_pipes(&self) {
        self.pipes.close_idle();
    }

    /// Gives idle pipes back to the system after a while; never returns.
    pub fn keep_pipes_few(&self) -> impl Future<Output = ()> + use<> {
        self.pipes.clone().close_unused()
    }
}

impl Default for Tools {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes handed to the receiving socket's kernel buffer, each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub up: u64,
    pub down: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Upstream,
}

/// How a relay ended, and who ended first (none: we did).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub close: Close,
    pub first: Option<Side>,
    /// The judge refused what the client sent; the upstream has had its say.
    pub refused: Option<RefuseReason>,
}

/// Judges what the client sends, byte for byte, before it is passed on.
pub trait Judge {
    /// About all bytes that have come and are not passed on yet.
    fn judge(&mut self, bytes: &[u8]) -> Ruling;

    /// How many bytes may be passed on without being shown.
    fn unseen(&self) -> u64;

    /// So many were, at most `unseen`.
    fn passed(&mut self, bytes: u64);

    /// The upstream has not begun to answer what it got.
    fn awaits_answer(&self) -> bool;

    /// The upstream sent something.
    fn upstream_spoke(&mut self);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// The first so many bytes may be passed on.
    Pass(usize),
    NeedMore,
    /// Nothing more is passed on.
    Refuse(RefuseReason),
}

/// After a refusal the upstream may still be answering earlier requests: it has until it is quiet for this long, not
/// counted before it has begun.
const QUIET: Duration = Duration::from_secs(1);

/// Most connections are over before this. Older ones are asked by keepalive whether the upstream is still there; what
/// the client's socket has is inherited from the listener and costs nothing.
const YOUTH: Duration = Duration::from_secs(15);

/// Relays until both directions have ended, or no byte moved for `idle`. `ahead` is what was read from the
/// client before: it is sent first, unchanged. `judge` sees what the client sends. `tally` is exact at every moment, also when this is dropped.
pub async fn relay<'j>(
    client: &mut TcpStream,
    upstream: &mut TcpStream,
    ahead: Vec<u8>,
    idle: Duration,
    tools: &Tools,
    tally: &mut Tally,
    judge: Option<&'j mut (dyn Judge + 'j)>,
) -> End {
    let (up, down) = (Direction::starting_with(ahead), Direction::default());
    let mut pair = Pair { up, down, judge, first: None, reset: None, refused: None };
    let mut patience = idle;
    let mut last_move = Instant::now();
    let mut timer = pin!(sleep(idle.min(YOUTH)));
    poll_fn(|cx| {
        let before = *tally;
        if let Poll::Ready(end) = pair.poll(cx, client, upstream, tools, tally) {
            return Poll::Ready(end);
        }
        if *tally != before {
            last_move = Instant::now();
        }
        if patience != QUIET && pair.refused.is_some() && !pair.awaits_answer() {
            patience = QUIET;
            timer.as_mut().reset(last_move + patience);
        }
        // The timer is not moved at each byte; when it fires it looks how long ago the last one was.
        while timer.as_mut().poll(cx).is_ready() {
            // Again each time, which is seldom. An error says that the socket is gone, which the next read tells, too.
            let _ = set_keepalive(&SockRef::from(&*upstream));
            let limit = last_move + patience;
            if limit <= Instant::now() {
                return Poll::Ready(End { close: Close::Idle, first: None, refused: pair.refused });
            }
            timer.as_mut().reset(limit);
        }
        Poll::Pending
    })
    .await
}

struct Pair<'a> {
    up: Direction,
    down: Direction,
    judge: Option<&'a mut (dyn Judge + 'a)>,
    first: Option<Side>,
    reset: Option<Side>,
    refused: Option<RefuseReason>,
}

impl Pair<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut TcpStream,
        upstream: &mut TcpStream,
        tools: &Tools,
        tally: &mut Tally,
    ) -> Poll<End> {
        let judge: Option<&mut (dyn Judge + '_)> = match &mut self.judge {
            Some(judge) => Some(&mut **judge),
            None => None,
        };
        let mut lane = Lane { source: client, sink: upstream, tools, tally: &mut tally.up, judge };
        if let Poll::Ready(Some(ended)) = self.up.poll(cx, &mut lane, self.down.is_closed()) {
            self.note(ended, Side::Client, Side::Upstream);
        }
        let before = tally.down;
        let mut lane = Lane { source: upstream, sink: client, tools, tally: &mut tally.down, judge: None };
        if let Poll::Ready(Some(ended)) = self.down.poll(cx, &mut lane, self.up.is_closed()) {
            self.note(ended, Side::Upstream, Side::Client);
        }
        if let Some(judge) = self.judge.as_mut().filter(|_| tally.down != before) {
            judge.upstream_spoke();
        }
        if !(self.up.is_closed() && self.down.is_closed()) {
            return Poll::Pending;
        }
        let close = match self.reset {
            None => Close::Done,
            Some(Side::Client) => Close::ClientReset,
            Some(Side::Upstream) => Close::UpstreamReset,
        };
        Poll::Ready(End { close, first: self.first, refused: self.refused })
    }

    fn awaits_answer(&self) -> bool {
        self.judge.as_ref().is_some_and(|judge| judge.awaits_answer())
    }

    /// A direction from `source` to `sink` has ended.
    fn note(&mut self, ended: Ended, source: Side, sink: Side) {
        match ended {
            Ended::Eof => {
                self.first.get_or_insert(source);
            }
            Ended::Refused(reason) => self.refused = Some(reason),
            // All that the source had sent was read before its reset was seen, so the other direction, which
            // writes to it, is pointless at once.
            Ended::SourceReset => {
                self.first.get_or_insert(source);
                self.note_reset(source);
                self.towards(source).close();
            }
            // What the sink sent before its reset is still in our receive buffer: the other direction reads it.
            Ended::SinkReset => {
                self.first.get_or_insert(sink);
                self.note_reset(sink);
            }
        }
    }

    /// Who has sent its FIN and closes before it has read everything answers with a reset: that is no fault. curl
    /// does so when the service's last TLS record comes after its own.
    fn note_reset(&mut self, side: Side) {
        if self.first != Some(side) || !self.from(side).has_sent_fin() {
            self.reset.get_or_insert(side);
        }
    }

    fn from(&self, side: Side) -> &Direction {
        match side {
            Side::Client => &self.up,
            Side::Upstream => &self.down,
        }
    }

    fn towards(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Client => &mut self.down,
            Side::Upstream => &mut self.up,
        }
    }
}

#[cfg(test)]
mod tests;
