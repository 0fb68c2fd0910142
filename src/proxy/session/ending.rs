//! How a session closes its sockets: a reset for whom a FIN would look like the end, an answer for who is refused.

use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Session;
use crate::proxy::linger::discard_all;
use crate::proxy::refuse;
use crate::proxy::relay::{End, delivered};
use crate::proxy::worker::{Phase, Worker};
use latticegate_core::config::{PolicyRefusal, Protocol};
use latticegate_core::outcome::{Close, Outcome, RefuseReason};

/// What a side that is cut has not acknowledged has this long to arrive before the reset.
const LAST_DELIVERY: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// A reset for whom a FIN would tell a lie, behind what can be delivered in time.
    pub(super) async fn reset(&self, End { close, resets, .. }: End, upstream: TcpStream) {
        let (client, worker) = (&*self.stream, self.worker);
        for stream in [resets.client.then_some(client), resets.upstream.then_some(&upstream)].into_iter().flatten() {
            // From here on dropping the stream sends a reset. An error says that there is no connection any more.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        let idle = worker.config().timeouts.idle.get();
        let delivered = async {
            tokio::join!(
                async {
                    if resets.client {
                        delivered(client, idle).await
                    }
                },
                async {
                    if resets.upstream {
                        delivered(&upstream, idle).await
                    }
                },
            )
        };
        tokio::select! {
            biased;
            _ = delivered => {}
            () = patience(worker, matches!(close, Close::ClientReset | Close::UpstreamReset)) => {}
        }
    }

    /// Closes what was relayed.
    pub(super) async fn close(mut self, end: End) {
        self.record.closed_by = end.first;
        self.record.close(Outcome::Relayed(end.close));
        if end.client_sends && !end.resets.client {
            Box::pin(end_towards_client(self.stream, self.worker, end.close)).await;
        }
    }

    /// Gives the client the reason, ends the record, and closes so that the client can read the answer.
    pub(super) async fn turn_away(self, outcome: Outcome) {
        use RefuseReason::{ClientDenied, NameDenied};
        self.notice_due.set(false);
        let reason = if let Outcome::Refused(reason) = outcome { Some(reason) } else { None };
        let denied = matches!(reason, Some(ClientDenied | NameDenied));
        let silent = denied && self.worker.config().policy_refusal == PolicyRefusal::Silent;
        let scratch = self.worker.resources.scratch();
        let unread = self.spoken == Some(Protocol::Http) && self.request.get() == refuse::Request::default();
        if unread && reason == Some(ClientDenied) {
            // The request may have come, but there was no need to read it.
            self.request.set(refuse::Request::waiting(self.stream, &mut scratch.borrow_mut()));
        }
        let (id, request, now) = (self.record.id, self.request.get(), self.worker.clock().now());
        let answer = self.spoken.and_then(|spoken| refuse::answer(outcome, spoken, id, request, now));
        let answer = answer.filter(|_| !silent && self.may_answer);
        if answer.is_none() && (reason.is_none() || !self.may_answer) {
            return self.record.close(outcome);
        }
        if answer.is_none() {
            refuse::discard(self.stream, scratch);
        }
        refuse::send(self.stream, answer.as_deref().unwrap_or_default());
        self.record.close(outcome);
        if answer.is_some() {
            Box::pin(self.worker.lingering.linger(self.stream, scratch)).await;
        }
    }
}

/// FIN, and the client reads all that it was sent, also if it goes on sending: closed with bytes unread, the
/// connection would be reset.
async fn end_towards_client(stream: &TcpStream, worker: &Worker, close: Close) {
    let scratch = worker.resources.scratch();
    // An error says that there is no connection any more.
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
    // A cut, or silence: there is no pace to follow.
    let unhurried = matches!(close, Close::Done | Close::DrainIdle | Close::UpstreamReset);
    let delivered = async {
        tokio::select! {
            () = delivered(stream, worker.config().timeouts.idle.get()) => {}
            () = discard_all(stream, scratch) => {}
        }
    };
    tokio::select! {
        biased;
        () = delivered => {}
        () = patience(worker, unhurried) => {}
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
    tokio::select! {
        () = sleep(LAST_DELIVERY) => {}
        () = worker.reached(Phase::Cut) => {}
    }
}
