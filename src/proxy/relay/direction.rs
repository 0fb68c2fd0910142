//! One direction of a relay: read what the source has, write it to the sink, own memory only for what the
//! sink could not take.
//!
//! Small exchanges are copied through the worker's scratch buffer. A source that keeps sending large pieces
//! is moved through a pipe with splice(2), which costs more per call and nothing per byte.

use std::io;
use std::task::{Context, Poll, ready};

use super::pipe::Lease;
use super::{FilterStatus, HttpFilter, RelayResources};
use crate::runtime::{Stream, yield_now};
use crate::telemetry::metrics::Adder;
use latticegate_core::outcome::{RefuseReason, Side};

/// What one turn of a direction works with.
pub(super) struct Transfer<'a> {
    pub(super) source: &'a Stream,
    pub(super) sink: &'a Stream,
    pub(super) resources: &'a RelayResources,
    /// Of the connection, and of the worker.
    pub(super) bytes: &'a mut u64,
    pub(super) total: Adder<'a>,
    /// Asked before anything is passed on.
    pub(super) filter: Option<OneWay<'a>>,
}

impl Transfer<'_> {
    /// The sink has taken so many bytes.
    fn count(&mut self, n: usize) {
        *self.bytes = self.bytes.saturating_add(count(n));
        self.total.add(count(n));
    }
}

/// A filter, for what comes from one side.
pub(super) struct OneWay<'a> {
    pub(super) filter: &'a mut (dyn HttpFilter + 'a),
    pub(super) from: Side,
}

impl OneWay<'_> {
    fn decide(&mut self, bytes: &[u8]) -> FilterStatus {
        match self.from {
            Side::Client => self.filter.request(bytes),
            Side::Upstream => self.filter.response(bytes),
        }
    }

    fn unseen(&self) -> u64 {
        self.filter.unseen(self.from)
    }

    fn passed(&mut self, bytes: u64) {
        self.filter.passed(self.from, bytes);
    }
}

/// Why a direction is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The source sent its FIN; everything before it was passed on, and the FIN too.
    Eof,
    SourceReset,
    SinkReset,
    /// The filter refused what came next; what it had let through was passed on, but no FIN.
    Refused(RefuseReason),
    /// The filter passes no more on; what it had let through was passed on, but no FIN, and the rest is kept.
    Stopped,
    /// The sink was gone, and the source sent more than the end of its answer.
    Unheard,
}

/// As small as it can be: each idle connection has two. What is empty most of the time is in boxes.
#[derive(Default)]
pub(super) struct Direction {
    state: State,
    /// Read but not yet taken by the sink: `held[sent..]`. Empty most of the time.
    held: Box<[u8]>,
    sent: usize,
    /// Read, but not let through by the filter yet; at first, what was read ahead. Kept when the direction is closed: it
    /// may belong to what comes after this relay.
    undecided: Box<[u8]>,
    pipe: Option<Box<Lease>>,
    bulk: Bulk,
    fin: bool,
    /// At the last turn the sink took no more, so the source was not read.
    stalled: bool,
    /// The source is known to have reset its connection: after what it had sent, the kernel may report a plain end.
    source_reset: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// What was read ahead comes first.
    Starting,
    #[default]
    Open,
    /// The source has ended so; what is held still has to reach the sink.
    Draining(Ended),
    /// The sink is gone; so many more bytes of the source are read and thrown away.
    Discarding {
        left: u32,
    },
    Closed,
}

impl Direction {
    /// Fewer bytes that the filter need not see are not worth a pipe.
    const WORTH_A_PIPE: u64 = 64 * 1024;
    /// What a source may still say to a sink that is gone: a TLS record, with room to spare.
    const LAST_WORDS: u32 = 32 * 1024;
    /// Bytes moved in one turn before other connections get theirs.
    const TURN: u64 = 1 << 20;

    /// `ahead` is passed on first.
    pub(super) fn starting_with(ahead: Box<[u8]>) -> Self {
        Self { undecided: ahead, state: State::Starting, ..Self::default() }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The source ended it in good order.
    pub(super) fn has_sent_fin(&self) -> bool {
        self.fin
    }

    /// A FIN was sent to the sink, behind the last byte, or the sink was gone.
    pub(super) fn has_passed_fin(&self) -> bool {
        self.fin && self.is_closed()
    }

    /// All that was let through was passed on.
    pub(super) fn has_sent_all(&self) -> bool {
        self.held.is_empty() && self.pipe.as_ref().is_none_or(|pipe| pipe.is_empty())
    }

    /// All that was read was passed on, or will not be.
    pub(super) fn holds_nothing(&self) -> bool {
        self.has_sent_all() && (self.undecided.is_empty() || self.is_closed())
    }

    /// What was read and not let through.
    pub(super) fn take_undecided(&mut self) -> Box<[u8]> {
        std::mem::take(&mut self.undecided)
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Whatever end of the source is read from now on is that of a reset.
    pub(super) fn note_source_reset(&mut self) {
        self.source_reset = true;
    }

    pub(super) fn is_discarding(&self) -> bool {
        matches!(self.state, State::Discarding { .. })
    }

    /// The sink is gone: only whether the source ends as well is of interest.
    pub(super) fn discard(&mut self) {
        self.close();
        self.undecided = Box::default();
        self.state = State::Discarding { left: Self::LAST_WORDS };
    }

    /// Ends this direction without passing anything on.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.held = Box::default();
        self.pipe = None;
    }

    /// Moves bytes until the source is empty or the sink is full. Says once how the direction ended, then None.
    /// `last`: it sends no FIN, as the other direction is over and closing the socket sends it, or the sink is to go on.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut Transfer<'_>,
        last: bool,
    ) -> Poll<Option<Ended>> {
        let turn_ends = transfer.bytes.saturating_add(Self::TURN);
        loop {
            match self.state {
                State::Closed => return Poll::Ready(None),
                State::Discarding { left } => return self.poll_discard(cx, transfer, left).map(Some),
                _ => {}
            }
            self.stalled = true;
            if ready!(self.poll_flush(cx, transfer)).is_err() {
                self.close();
                return Poll::Ready(Some(Ended::SinkReset));
            }
            if let State::Draining(ended) = self.state {
                match ended {
                    // An error says that the sink is gone, which the other direction will meet by itself.
                    Ended::Eof if !last => transfer.sink.finish(),
                    Ended::Refused(_) => self.undecided = Box::default(),
                    _ => {}
                }
                self.close();
                return Poll::Ready(Some(ended));
            }
            if *transfer.bytes >= turn_ends {
                yield_now(cx);
                return Poll::Pending;
            }
            // Nothing is read that could not be passed on: this is the back-pressure.
            let _ = ready!(transfer.sink.poll_writable(cx));
            self.stalled = false;
            match self.poll_move(cx, transfer, last) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) if self.source_reset => self.state = State::Draining(Ended::SourceReset),
                Poll::Ready(Ok(false)) => (self.state, self.fin) = (State::Draining(Ended::Eof), true),
                Poll::Ready(Err(Broken::Source)) => self.state = State::Draining(Ended::SourceReset),
                Poll::Ready(Err(Broken::Sink)) => {
                    self.close();
                    return Poll::Ready(Some(Ended::SinkReset));
                }
                Poll::Pending => {
                    // An idle direction keeps no pipe.
                    self.pipe = None;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Gives the sink what it could not take before.
    fn poll_flush(&mut self, cx: &mut Context<'_>, transfer: &mut Transfer<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.held.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let n = ready!(transfer.sink.poll_send(cx, rest, false))?;
            self.sent = self.sent.saturating_add(n);
            transfer.count(n);
        }
        self.held = Box::default();
        self.sent = 0;
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| !pipe.is_empty()) {
            let n = ready!(transfer.sink.poll_write_by(cx, |sink| pipe.drain_to(sink)))?;
            transfer.count(n);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and writes once. `false`: the source has sent its FIN.
    fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut Transfer<'_>,
        last: bool,
    ) -> Poll<Result<bool, Broken>> {
        if self.state == State::Starting {
            self.state = State::Open;
            let ahead = std::mem::take(&mut self.undecided);
            return Poll::Ready(self.pass_on(cx, &ahead, transfer, false).map(|()| true));
        }
        let unseen = transfer.filter.as_ref().map_or(u64::MAX, OneWay::unseen);
        if unseen > 0 && !self.undecided.is_empty() {
            // The upstream has agreed to another protocol: what was taken for a part of a request is not one.
            return Poll::Ready(self.pass_on(cx, &[], transfer, false).map(|()| true));
        }
        if self.bulk.is_on() && unseen >= Self::WORTH_A_PIPE {
            self.pipe = self.pipe.take().or_else(|| transfer.resources.pipes.lease().map(Box::new));
            if self.pipe.is_some() {
                return self.poll_splice(cx, transfer, unseen);
            }
        }
        self.pipe = None;
        self.poll_copy(cx, transfer, last)
    }

    /// From the source into the pipe; the next flush takes it out.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut Transfer<'_>,
        most: u64,
    ) -> Poll<Result<bool, Broken>> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let Some(pipe) = self.pipe.as_mut() else { return Poll::Ready(Ok(true)) };
        // The pipe is empty here, so EAGAIN can only mean that the source is.
        let read = transfer.source.poll_read_by(cx, |source| pipe.fill_from(source, most));
        let n = ready!(read).map_err(|_| Broken::Source)?;
        if n > 0 {
            self.bulk.note(n);
            if let Some(filter) = &mut transfer.filter {
                filter.passed(count(n));
            }
        }
        Poll::Ready(Ok(n > 0))
    }

    /// Through the scratch buffer; what the sink does not take is kept. The source's FIN, if it is known to have come, is
    /// read as well: sent together, the last bytes and the FIN are one packet.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut Transfer<'_>,
        last: bool,
    ) -> Poll<Result<bool, Broken>> {
        let mut scratch = transfer.resources.scratch.borrow();
        let mut n = ready!(transfer.source.poll_recv(cx, &mut scratch)).map_err(|_| Broken::Source)?;
        if n == 0 {
            return Poll::Ready(Ok(false));
        }
        let mut fin = false;
        let rest = scratch.get_mut(n..).filter(|rest| !rest.is_empty() && !self.source_reset);
        if let Some(rest) = rest {
            // Emptied by the first read, the socket is asked only if more is known to have come.
            match transfer.source.poll_recv(cx, rest) {
                Poll::Ready(Ok(0)) => fin = true,
                Poll::Ready(Ok(more)) => n = n.saturating_add(more),
                // It says so once.
                Poll::Ready(Err(_)) => self.source_reset = true,
                Poll::Pending => {}
            }
        }
        let read = scratch.get(..n).unwrap_or_default();
        self.bulk.note(read.len());
        self.pass_on(cx, read, transfer, fin && !last)?;
        if fin && self.state == State::Open {
            (self.state, self.fin) = (State::Draining(Ended::Eof), true);
        }
        Poll::Ready(Ok(true))
    }

    /// Reads what is not taken any more, until the source ends or has sent too much.
    fn poll_discard(&mut self, cx: &mut Context<'_>, transfer: &mut Transfer<'_>, mut left: u32) -> Poll<Ended> {
        loop {
            let read = ready!(transfer.source.poll_recv(cx, &mut transfer.resources.scratch.borrow()));
            let ended = match read.map(|n| (n, u32::try_from(n).ok().and_then(|n| left.checked_sub(n)))) {
                Ok((0, _)) => {
                    self.fin = true;
                    Ended::Eof
                }
                Ok((_, Some(rest))) => {
                    left = rest;
                    self.state = State::Discarding { left };
                    continue;
                }
                Ok((_, None)) => Ended::Unheard,
                Err(_) => Ended::SourceReset,
            };
            self.close();
            return Poll::Ready(ended);
        }
    }

    /// Writes what the filter lets through, at once as far as the sink takes it. `fin`: the sink is sent a FIN next.
    fn pass_on(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        transfer: &mut Transfer<'_>,
        fin: bool,
    ) -> Result<(), Broken> {
        let Some(filter) = &mut transfer.filter else { return self.write(cx, bytes, transfer, fin) };
        if self.undecided.is_empty() {
            let (taken, replaced) = self.ask(filter, bytes);
            self.undecided = bytes.get(taken..).unwrap_or_default().into();
            let unchanged = bytes.get(..taken).unwrap_or_default();
            return self.write(cx, replaced.as_deref().unwrap_or(unchanged), transfer, fin);
        }
        let mut all = std::mem::take(&mut self.undecided).into_vec();
        all.extend_from_slice(bytes);
        let (taken, replaced) = self.ask(filter, &all);
        self.undecided = all.split_off(taken).into();
        self.write(cx, replaced.as_deref().unwrap_or(&all), transfer, fin)
    }

    /// How many of the bytes the filter has decided about, and what is passed on instead of them, if not they themselves. A
    /// refusal ends this direction, and so does a stop.
    fn ask(&mut self, filter: &mut OneWay<'_>, bytes: &[u8]) -> (usize, Option<Vec<u8>>) {
        let mut taken = 0_usize;
        let mut replaced: Option<Vec<u8>> = None;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match filter.decide(rest) {
                FilterStatus::Pass(n) => {
                    let n = n.min(rest.len());
                    if let Some(replaced) = &mut replaced {
                        replaced.extend_from_slice(rest.get(..n).unwrap_or_default());
                    }
                    taken = taken.saturating_add(n);
                }
                FilterStatus::Replace { len, with } => {
                    let replaced = replaced.get_or_insert_with(|| bytes.get(..taken).unwrap_or_default().to_vec());
                    replaced.extend_from_slice(&with);
                    taken = taken.saturating_add(len).min(bytes.len());
                }
                FilterStatus::NeedMore => break,
                FilterStatus::Refuse(reason) => {
                    self.state = State::Draining(Ended::Refused(reason));
                    break;
                }
                FilterStatus::Stop => {
                    self.state = State::Draining(Ended::Stopped);
                    break;
                }
            }
        }
        (taken, replaced)
    }

    /// What the sink does not take is kept.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        transfer: &mut Transfer<'_>,
        fin: bool,
    ) -> Result<(), Broken> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Not behind a refusal or a stop.
        let fin = fin && self.state == State::Open;
        let taken = match transfer.sink.poll_send(cx, bytes, fin) {
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(_)) => return Err(Broken::Sink),
            Poll::Pending => 0,
        };
        transfer.count(taken);
        if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            self.held = rest.into();
        }
        Ok(())
    }
}

enum Broken {
    Source,
    Sink,
}

/// Whether the source sends so much at once that a pipe pays.
#[derive(Default)]
struct Bulk {
    score: u8,
    on: bool,
}

impl Bulk {
    /// A piece from this size on is cheaper through a pipe than through memory (docs/performance.md).
    const LARGE: usize = 16 * 1024;
    /// This many large pieces in a row start it, as many small ones end it.
    const RUN: u8 = 4;

    fn note(&mut self, piece: usize) {
        if piece >= Self::LARGE {
            self.score = self.score.saturating_add(1).min(Self::RUN);
            self.on |= self.score == Self::RUN;
        } else {
            self.score = self.score.saturating_sub(1);
            self.on &= self.score > 0;
        }
    }

    fn is_on(&self) -> bool {
        self.on
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_large_pieces_starts_bulk_and_as_many_small_ones_end_it() {
        let mut bulk = Bulk::default();
        for _ in 1..Bulk::RUN {
            bulk.note(Bulk::LARGE);
            assert!(!bulk.is_on());
        }
        bulk.note(Bulk::LARGE);
        assert!(bulk.is_on());
        for _ in 1..Bulk::RUN {
            bulk.note(Bulk::LARGE - 1);
            assert!(bulk.is_on());
        }
        bulk.note(1);
        assert!(!bulk.is_on());
    }

    #[test]
    fn a_small_piece_now_and_then_does_not_end_bulk() {
        let mut bulk = Bulk::default();
        for _ in 0..100 {
            bulk.note(Bulk::LARGE);
            bulk.note(Bulk::LARGE);
            bulk.note(7);
        }
        assert!(bulk.is_on());
    }
}
