//! CONNECT: the answer that opens the tunnel, and what may come through it.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::pin;
use std::task::ready;

use super::{Session, view};
use crate::proxy::read_ahead::ReadAhead;
use crate::runtime::{Either, race, timeout};
use crate::telemetry::record::as_written;
use latticegate_core::config::{Protocol, Tunnel};
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::{Outcome, RefuseReason, Unfinished};
use latticegate_core::protocol::{client_hello, first_bytes};

/// No field belongs into it (RFC 9110 §9.3.6).
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

impl Session {
    /// Tells the client that the tunnel to `name` is open. Where it has to be TLS, the ClientHello is read first, and the
    /// upstream sees no byte before its name is allowed. `ahead` begins behind the CONNECT.
    pub(super) async fn open_tunnel(&mut self, name: &Hostname, ahead: &mut ReadAhead) -> Result<(), Outcome> {
        // From here on an answer in HTTP would be taken for a part of what comes through the tunnel.
        self.spoken = None;
        self.establish_tunnel().await?;
        if self.reporter.listener.forward.as_ref().is_some_and(|forward| forward.tunnel == Tunnel::Any) {
            return Ok(());
        }
        (self.spoken, self.notice_due) = (Some(Protocol::Tls), true);
        self.judge_hello(name, ahead).await.inspect_err(|outcome| {
            if *outcome == Outcome::Refused(RefuseReason::TunnelNotTls) {
                self.spoken = None;
            }
        })?;
        self.notice_due = false;
        Ok(())
    }

    async fn establish_tunnel(&mut self) -> Result<(), Outcome> {
        let mut rest = ESTABLISHED;
        let sent = poll_fn(|cx| {
            while !rest.is_empty() {
                let n = ready!(self.stream.poll_send(cx, rest, false))?;
                rest = rest.get(n..).unwrap_or_default();
            }
            std::io::Result::Ok(()).into()
        });
        // It fits into an empty send buffer: only a client that has left is waited for.
        let sent = timeout(self.worker.config().timeouts.handshake.get(), sent).await;
        match sent {
            Ok(Ok(())) => {
                self.record.count_answer(u16::try_from(ESTABLISHED.len()).unwrap_or(u16::MAX), Some(200));
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(Outcome::Unfinished(Unfinished::ClientLeft)),
        }
    }

    /// Under the same bounds as a hello on a `tls` listener.
    async fn judge_hello(&mut self, name: &Hostname, ahead: &mut ReadAhead) -> Result<(), Outcome> {
        let deadline = self.worker.config().timeouts.handshake.get();
        let waiting = self.worker.half_open.connection();
        // A silent one is counted, too: an upstream waits for it.
        let late = self.record.client.as_ref().filter(|_| ahead.pending().is_empty());
        let late = late.map(|client| self.worker.limits().enter_half_open(client)).transpose();
        let late = late.map_err(Outcome::Refused)?;
        let read = {
            let hello = pin!(self.read_hello(ahead, &waiting, late));
            timeout(deadline, race(hello, pin!(waiting.evicted()))).await
        };
        let hello = match read {
            Ok(Either::First(hello)) => hello,
            Ok(Either::Second(())) => Err(Outcome::Refused(RefuseReason::Overloaded)),
            Err(_) => Err(Outcome::Refused(RefuseReason::HandshakeTimeout)),
        };
        let settled = hello.and_then(|hello| {
            let settled = waiting.settle(ahead.capacity());
            self.buffered = settled.map_err(|_| Outcome::Refused(RefuseReason::Overloaded))?;
            Ok(hello.name)
        });
        if let Err(Outcome::Refused(reason)) = settled {
            if reason == RefuseReason::Overloaded {
                self.note_overload(&waiting);
            }
            self.note_refused_sni(reason, ahead);
        }
        let judged = settled.map_err(in_tunnel).and_then(|sni| self.judge_sni(name, &sni));
        if let (Some(kept), Err(Outcome::Refused(reason))) = (self.worker.refused_bytes(), judged) {
            let (listener, now) = (&self.reporter.listener.name, self.worker.now());
            kept.add(listener, &self.record, reason, now, [&[], ahead.pending()]);
        }
        judged
    }

    /// A CONNECT name that differs from the SNI is a known hole in allow lists: both have to be allowed.
    fn judge_sni(&mut self, name: &Hostname, sni: &Hostname) -> Result<(), Outcome> {
        if let Some(forward) = &mut self.record.forward {
            forward.sni = Some(sni.to_text());
        }
        let Some(client) = &self.record.client else { return Ok(()) };
        if sni == name {
            return Ok(());
        }
        let loaded = self.worker.policy();
        let view = view(&self.reporter.listener, &self.worker, self.record.forward.as_deref());
        let decision = loaded.policy.route(client, &view, sni);
        if let Some(shadow) = &self.worker.shadow {
            shadow.compare(decision, client, &view, sni);
        }
        if decision.allowed {
            return Ok(());
        }
        self.note_rule(&loaded, decision.rule);
        Err(Outcome::Refused(RefuseReason::TunnelSniDenied))
    }

    /// The record's name is that of the CONNECT.
    fn note_refused_sni(&mut self, reason: RefuseReason, ahead: &ReadAhead) {
        let mut names = client_hello::refused_names(reason, ahead.pending());
        if reason.precedes_hello() {
            names.extend(first_bytes::name(ahead.pending()).map(Cow::into_owned));
        }
        let mut names = names.iter().map(|name| as_written(name));
        if let (Some(forward), Some(name)) = (&mut self.record.forward, names.next()) {
            forward.sni = Some(name.into());
        }
        if let Some(other) = names.next() {
            self.record.detail = Some(format!("the ClientHello also names {other}").into());
        }
    }
}

/// What a refused hello is called in a tunnel.
fn in_tunnel(outcome: Outcome) -> Outcome {
    use RefuseReason::{NotTls, PlainHttp, SniMissing, Sslv2, TunnelNotTls, TunnelSniMissing};
    match outcome {
        Outcome::Refused(NotTls | PlainHttp | Sslv2) => Outcome::Refused(TunnelNotTls),
        Outcome::Refused(SniMissing) => Outcome::Refused(TunnelSniMissing),
        other => other,
    }
}
