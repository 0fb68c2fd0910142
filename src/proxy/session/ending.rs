//! How a session closes its sockets: a reset where a FIN would look like the end, an answer for a refused client.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::join;

use super::Session;
use crate::proxy::linger::discard_all;
use crate::proxy::refuse::{self, Spoken};
use crate::proxy::relay::{End, delivered};
use crate::proxy::worker::{Phase, Worker};
use crate::runtime::{Stream, race, sleep};
use latticegate_core::config::PolicyRefusal;
use latticegate_core::outcome::{Close, Outcome, RefuseReason};

/// What a side that is cut has not acknowledged has this long to arrive before the reset.
const LAST_DELIVERY: Duration = Duration::from_secs(1);

impl Session {
    /// A reset for a side that would take a FIN for the end of a whole response, behind what can be delivered in time.
    pub(super) async fn reset(&self, End { close, resets, .. }: End, upstream: Stream) {
        let (client, worker) = (&self.stream, &self.worker);
        for stream in [resets.client.then_some(client), resets.upstream.then_some(&upstream)].into_iter().flatten() {
            stream.reset_when_dropped();
        }
        let idle = worker.config().timeouts.idle.get();
        let delivered = |stream, is_reset| async move {
            if is_reset {
                delivered(stream, idle).await;
            }
        };
        let both = join(delivered(client, resets.client), delivered(&upstream, resets.upstream));
        let unhurried = matches!(close, Close::ClientReset | Close::UpstreamReset);
        race(pin!(both), pin!(patience(worker, unhurried))).await;
    }

    /// Closes what was relayed.
    pub(super) async fn close(&mut self, end: End) {
        self.record.closed_by = end.first;
        self.record.close(Outcome::Relayed(end.close));
        if end.client_sends && !end.resets.client {
            Box::pin(end_towards_client(&self.stream, &self.worker, end.close)).await;
        }
    }

    /// Gives the client the reason, ends the record, and closes so that the client can read the answer.
    pub(super) async fn turn_away(&mut self, outcome: Outcome) {
        use RefuseReason::{ClientDenied, NameDenied, PortDenied, TunnelSniDenied};
        self.notice_due = false;
        let reason = if let Outcome::Refused(reason) = outcome { Some(reason) } else { None };
        let denied = matches!(reason, Some(ClientDenied | NameDenied | PortDenied | TunnelSniDenied));
        let silent = denied && self.worker.config().policy_refusal == PolicyRefusal::Silent;
        let scratch = self.worker.resources.scratch();
        let (id, request, now) = (self.record.id, self.request.get(), self.worker.now());
        let spoken = self.spoken.map(|protocol| Spoken::of(protocol, &self.reporter.listener));
        let answer = spoken.and_then(|spoken| refuse::answer(outcome, spoken, id, request, now));
        let answer = answer.filter(|_| !silent && self.may_answer);
        let status = answer.as_deref().and_then(refuse::status);
        self.record.note_status(status);
        if answer.is_none() && (reason.is_none() || !self.may_answer) {
            return self.record.close(outcome);
        }
        if answer.is_none() {
            refuse::discard(&self.stream, scratch);
        }
        let sent = refuse::send(&self.stream, answer.as_deref().unwrap_or_default());
        self.record.count_answer(sent, status);
        self.record.close(outcome);
        // With nothing unread and nothing to come, closing sends no reset that could overtake the answer.
        if answer.is_some() && !self.awaits_answer {
            Box::pin(self.worker.lingering.linger(&self.stream, scratch)).await;
        }
    }
}

/// FIN, and the client reads all that it was sent, also if it goes on sending: closed with bytes unread, the
/// connection would be reset.
async fn end_towards_client(stream: &Stream, worker: &Worker, close: Close) {
    let scratch = worker.resources.scratch();
    stream.finish();
    // A cut, or silence: there is no pace to follow.
    let unhurried = matches!(close, Close::Done | Close::DrainIdle | Close::UpstreamReset);
    {
        // In a block, so that none of it is kept while the connection lingers.
        let idle = worker.config().timeouts.idle.get();
        let (mut delivered, mut discarded) = (pin!(delivered(stream, idle)), pin!(discard_all(stream, scratch)));
        race(race(&mut delivered, &mut discarded), pin!(patience(worker, unhurried))).await;
    }
    if close == Close::Done {
        // The upstream is gone, and the client may be in the middle of a request.
        worker.lingering.linger(stream, scratch).await;
    }
}

/// How long what was sent may take to arrive. `unhurried`: it was not us who ended it, so the rest is delivered at the
/// pace of its reader until the drain is over.
async fn patience(worker: &Worker, unhurried: bool) {
    if unhurried {
        worker.reached(Phase::Ending).await;
    }
    race(pin!(sleep(LAST_DELIVERY)), pin!(worker.reached(Phase::Cut))).await;
}
