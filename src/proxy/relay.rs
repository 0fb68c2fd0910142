//! Bytes both ways between client and upstream until both have ended: half-close, back-pressure, an idle
//! limit and exact counts.
//!
//! A relayed connection on which nothing moves holds no buffer at all. See `relay/direction.rs` for one way,
//! `relay/pipe.rs` for the pipes through which bulk is moved without copying it, `relay/delivery.rs` for what has to
//! arrive before a reset.

mod direction;
mod pipe;
mod delivery;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub use self::delivery::delivered;
use self::direction::{Direction, Ended, OneWay, Transfer};
use self::pipe::PipePool;
use crate::proxy::scratch::Scratch;
use crate::runtime::{Instant, Stream, sleep};
use crate::telemetry::metrics::WorkerMetrics;
use latticegate_core::outcome::{ByteCounts, Close, RefuseReason, Side};

/// What all relays of one worker share. Only one of them runs at a time, so one buffer serves them all.
pub struct RelayResources {
    scratch: Scratch,
    pipes: PipePool,
    metrics: WorkerMetrics,
}

impl RelayResources {
    pub fn new(metrics: WorkerMetrics) -> Self {
        Self { scratch: Scratch::new(), pipes: PipePool::default(), metrics }
    }

    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Pipes in use.
    #[cfg(test)]
    pub(crate) fn pipes_leased(&self) -> usize {
        self.pipes.leased()
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

impl Default for RelayResources {
    fn default() -> Self {
        Self::new(WorkerMetrics::default())
    }
}

/// How a relay ended, and who ended first (none: we did).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub close: Close,
    pub first: Option<Side>,
    /// The filter refused what the client sent; the upstream has answered all that came before.
    pub refused: Option<RefuseReason>,
    pub resets: Resets,
    /// The client has not sent its FIN: it may still be sending.
    pub client_sends: bool,
}

/// Whose connection has to end with a reset, because a FIN would make what was cut look whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resets {
    pub client: bool,
    pub upstream: bool,
}

/// Follows HTTP/1 both ways, and decides what is passed on.
pub trait HttpFilter {
    /// About all bytes of the client that have come and are not passed on yet.
    fn request(&mut self, bytes: &[u8]) -> FilterStatus;

    /// About all bytes of the upstream that have come and are not passed on yet.
    fn response(&mut self, bytes: &[u8]) -> FilterStatus;

    /// How many bytes from this side may be passed on without being shown.
    fn unseen(&self, from: Side) -> u64;

    /// So many were, at most `unseen`.
    fn passed(&mut self, from: Side, bytes: u64);

    /// Something of the client was refused, or is not for this upstream, and no answer is due before that of its own.
    fn is_settled(&self) -> bool;

    /// Every request that was passed on has its whole response.
    fn is_whole(&self) -> bool;

    /// All that was let through so far is with the sockets: so many bytes since the relay's connection began.
    fn delivered(&mut self, _bytes: ByteCounts) {}

    /// The connection is between two requests, and is to end there.
    fn may_close(&self) -> bool;

    /// The client's connection does not depend on the upstream's: when that one ends, its FIN is not passed on and the relay is
    /// over; and it is over when the client has sent FIN and has its last response.
    fn outlives_upstream(&self) -> bool {
        false
    }

    /// All is whole, and one of the connections is to end there, although none has.
    fn is_done(&self) -> bool {
        false
    }

    /// What the client had sent and was not passed on when the relay ended.
    fn take_back(&mut self, _undecided: Vec<u8>) {}
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterStatus {
    /// The first so many bytes may be passed on.
    Pass(usize),
    /// The first `len` bytes, at least one, are passed on as `with`.
    Replace {
        len: usize,
        with: Vec<u8>,
    },
    NeedMore,
    /// Nothing more is passed on.
    Refuse(RefuseReason),
    /// Nothing more is passed on, and the relay ends: at once if the upstream sent it; if the client did, once the filter
    /// [is settled](HttpFilter::is_settled).
    Stop,
}

/// A client that has sent FIN and then a reset takes no answer any more. Its upstream has this long to end in good order
/// as well, which makes it a client like curl: it closes before it has read the last TLS record.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Most connections are over before this. Older ones are asked by keepalive whether the upstream is still there; what
/// the client's socket has is inherited from the listener and costs nothing.
const YOUTH: Duration = Duration::from_secs(15);

/// Two connected streams, and what relaying between them needs.
pub struct Relay<'a> {
    pub client: &'a Stream,
    pub upstream: &'a Stream,
    /// Ends when no byte has moved either way for so long.
    pub idle: Duration,
    pub resources: &'a RelayResources,
    /// Once set, and the relay polled again, it ends so.
    pub cut: &'a Cell<Option<Close>>,
}

impl<'a> Relay<'a> {
    /// Relays until both directions have ended, no byte moved for `idle`, or it is cut. `ahead` is what was read from
    /// the client before: it is sent first, unchanged. `filter` sees what either side sends. `bytes` is exact at every
    /// moment, also when this is dropped.
    #[inline]
    pub fn run<'f>(
        self,
        ahead: Box<[u8]>,
        bytes: &'f Cell<ByteCounts>,
        filter: Option<&'f mut (dyn HttpFilter + 'f)>,
    ) -> impl Future<Output = End> + use<'a, 'f> {
        let mut last_move = Instant::now();
        // Made here and not inside: an async block stores captured values twice.
        let mut pair = Pair::new(self, ahead, filter);
        async move {
            let mut timer = pin!(sleep(pair.relay.idle.min(YOUTH)));
            poll_fn(|cx| {
                let before = bytes.get();
                let mut now = before;
                let polled = pair.poll(cx, &mut now);
                bytes.set(now);
                if let Poll::Ready(end) = polled {
                    return Poll::Ready(end);
                }
                if now != before {
                    last_move = Instant::now();
                }
                // Not before what the client had sent is with the upstream.
                if pair.down.is_discarding() && pair.up.holds_nothing() && !pair.last_words {
                    pair.last_words = true;
                    timer.as_mut().reset(Instant::now() + LAST_WORDS);
                }
                // The timer is not moved at each byte; when it fires it looks how long ago the last one was.
                while timer.as_mut().poll(cx).is_ready() {
                    if pair.last_words {
                        return Poll::Ready(pair.end(Close::ClientReset));
                    }
                    // Again each time, which is seldom.
                    pair.relay.upstream.keep_alive();
                    let limit = last_move + pair.relay.idle;
                    if limit <= Instant::now() {
                        return Poll::Ready(pair.end(Close::Idle));
                    }
                    timer.as_mut().reset(limit);
                }
                Poll::Pending
            })
            .await
        }
    }
}

struct Pair<'a, 'f> {
    relay: Relay<'a>,
    up: Direction,
    down: Direction,
    filter: Option<&'f mut (dyn HttpFilter + 'f)>,
    first: Option<Side>,
    reset: Option<Side>,
    refused: Option<RefuseReason>,
    /// What this side sent is not for the other one.
    stopped: Option<Side>,
    /// The upstream's last words are waited for, with a deadline.
    last_words: bool,
}

impl<'a, 'f> Pair<'a, 'f> {
    fn new(relay: Relay<'a>, ahead: Box<[u8]>, filter: Option<&'f mut (dyn HttpFilter + 'f)>) -> Self {
        let (up, down) = (Direction::starting_with(ahead), Direction::default());
        Self { relay, up, down, filter, first: None, reset: None, refused: None, stopped: None, last_words: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>, bytes: &mut ByteCounts) -> Poll<End> {
        if let Some(close) = self.relay.cut.get() {
            return Poll::Ready(self.end(close));
        }
        // No request is sent to an upstream that is known to have ended, where the client has another choice.
        let upstream_first = self.filter.as_ref().is_some_and(|filter| filter.outlives_upstream());
        loop {
            if upstream_first {
                self.poll_direction(cx, Side::Upstream, &mut bytes.down);
            }
            if !(upstream_first && self.is_over()) {
                self.poll_direction(cx, Side::Client, &mut bytes.up);
            }
            if !upstream_first {
                self.poll_direction(cx, Side::Upstream, &mut bytes.down);
            }
            if let Some(filter) = self.filter.as_mut().filter(|_| self.down.holds_nothing() && self.up.has_sent_all()) {
                filter.delivered(*bytes);
            }
            if self.is_over() {
                let close = match self.reset {
                    None => Close::Done,
                    Some(Side::Client) => Close::ClientReset,
                    Some(Side::Upstream) => Close::UpstreamReset,
                };
                return Poll::Ready(self.end(close));
            }
            if self.may_close() {
                return Poll::Ready(self.end(Close::DrainIdle));
            }
            let broken = [Side::Client, Side::Upstream].map(|side| self.poll_broken(cx, side));
            if broken == [false, false] {
                return Poll::Pending;
            }
        }
    }

    /// Moves what `source` sends.
    fn poll_direction(&mut self, cx: &mut Context<'_>, source: Side, bytes: &mut u64) {
        if self.from(source).is_closed() {
            return;
        }
        let outlives = || self.filter.as_ref().is_some_and(|filter| filter.outlives_upstream());
        let last = self.from(source.other()).is_closed() || (source == Side::Upstream && outlives());
        let Self { relay, up, down, filter, .. } = self;
        let metrics = &relay.resources.metrics;
        let (direction, from, to, total) = match source {
            Side::Client => (up, relay.client, relay.upstream, metrics.up()),
            Side::Upstream => (down, relay.upstream, relay.client, metrics.down()),
        };
        let filter = filter.as_mut().map(|filter| OneWay { filter: &mut **filter, from: source });
        let mut transfer = Transfer { source: from, sink: to, resources: relay.resources, bytes, total, filter };
        if let Poll::Ready(Some(ended)) = direction.poll(cx, &mut transfer, last) {
            self.note(ended, source);
        }
    }

    fn is_over(&self) -> bool {
        if self.up.is_closed() && self.down.is_closed() {
            return true;
        }
        let Some(filter) = &self.filter else { return false };
        let answered = |is: bool| is && self.down.holds_nothing();
        match (self.refused, self.stopped) {
            (_, Some(Side::Upstream)) => true,
            (Some(_), _) | (_, Some(Side::Client)) if answered(filter.is_settled()) => true,
            _ if !filter.outlives_upstream() => false,
            _ if self.down.has_passed_fin() => true,
            _ => answered(filter.is_done() || (self.up.has_passed_fin() && filter.is_whole())),
        }
    }

    fn may_close(&self) -> bool {
        let may_close = || self.filter.as_ref().is_some_and(|filter| filter.may_close());
        self.up.holds_nothing() && self.down.holds_nothing() && may_close()
    }

    fn end(&mut self, close: Close) -> End {
        // No answer can follow half a response: what has cut it is the reason, and its connection is reset.
        if !self.down.holds_nothing() {
            self.refused = None;
        }
        let undecided = self.up.take_undecided();
        if let Some(filter) = &mut self.filter {
            filter.take_back(undecided.into_vec());
        }
        let ours = matches!(close, Close::Idle | Close::Forbidden | Close::Drained | Close::DrainIdle);
        let first = self.first.filter(|_| !ours);
        let client_sends = !self.up.has_sent_fin();
        End { close, first, refused: self.refused, resets: self.resets(close), client_sends }
    }

    /// A side that was sent the other's FIN knows the end already.
    fn resets(&self, close: Close) -> Resets {
        let http = self.filter.is_some();
        let whole = self.filter.as_ref().is_some_and(|filter| filter.is_whole()) && self.down.holds_nothing();
        let incomplete = Resets { client: !self.down.has_passed_fin(), upstream: !self.up.has_passed_fin() };
        match close {
            Close::ClientReset => Resets { client: false, upstream: true },
            Close::UpstreamReset => Resets { client: !self.down.has_passed_fin(), upstream: false },
            _ if self.refused.is_some() => Resets { client: incomplete.client && !whole, upstream: false },
            Close::Done | Close::DrainIdle => Resets::default(),
            // TLS says by itself that it is incomplete, and a peer that was idle for so long has lost nothing.
            Close::Idle if !http => Resets::default(),
            Close::Idle | Close::Forbidden | Close::Drained if whole => Resets::default(),
            Close::Idle | Close::Forbidden | Close::Drained => incomplete,
        }
    }

    /// The direction from `source` has ended.
    fn note(&mut self, ended: Ended, source: Side) {
        let sink = source.other();
        match ended {
            Ended::Eof => {
                self.first.get_or_insert(source);
            }
            Ended::Refused(reason) => self.refused = Some(reason),
            Ended::Stopped => self.stopped = Some(source),
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
                self.note_broken(sink);
            }
            Ended::Unheard => self.note_reset(sink),
        }
    }

    /// `side` takes nothing any more.
    fn note_broken(&mut self, side: Side) {
        let ended_first = self.first == Some(side) && self.from(side).has_sent_fin();
        match side {
            // It closes before it has read everything: whether that is a fault depends on how much more there is.
            Side::Client if ended_first && !self.down.has_sent_fin() => self.down.discard(),
            // It had sent everything.
            _ if ended_first => self.towards(side).close(),
            _ => {
                self.note_reset(side);
                self.towards(side).close();
                // The write has taken the error; a read would see a plain end.
                self.towards(side.other()).note_source_reset();
            }
        }
    }

    fn note_reset(&mut self, side: Side) {
        self.reset.get_or_insert(side);
    }

    /// A side is not read from once it has sent its FIN, or while the other one does not take its bytes: that its connection
    /// has broken is seen here. True if it was seen now.
    fn poll_broken(&mut self, cx: &mut Context<'_>, side: Side) -> bool {
        let unread = self.from(side).is_closed() || self.from(side).is_stalled();
        let heard = !self.towards(side).is_closed() && !self.towards(side).is_discarding();
        let stream = match side {
            Side::Client => self.relay.client,
            Side::Upstream => self.relay.upstream,
        };
        if !(unread && heard) {
            return false;
        }
        if stream.poll_broken(cx).is_pending() {
            return false;
        }
        self.first.get_or_insert(side);
        self.note_broken(side);
        true
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
