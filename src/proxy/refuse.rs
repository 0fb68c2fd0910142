//! What a refused client is sent: a TLS alert, or one plain sentence in an HTTP response, then FIN.

mod answer;
mod date;
mod forward;
mod request;

use std::time::SystemTime;

use self::answer::AnswerText;
pub use self::request::Request;
use crate::proxy::scratch::Scratch;
use crate::runtime::Stream;
use latticegate_core::config::{self, Protocol};
use latticegate_core::outcome::{Outcome, RefuseReason};

/// How many bytes that have come already are read and thrown away before an immediate close: with bytes unread it would
/// be a reset, which can destroy the answer before the client has read it.
const DISCARDED: usize = 256 * 1024;

/// What the answer to a refused client is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken<'a> {
    Tls,
    Http,
    /// The HTTP of a forward proxy that bears this name in `Proxy-Status`.
    Forward {
        name: &'a str,
    },
}

impl<'a> Spoken<'a> {
    /// For a client of this listener that speaks this protocol.
    pub fn of(protocol: Protocol, listener: &'a config::Listener) -> Self {
        match (protocol, &listener.forward) {
            (Protocol::Tls, _) => Self::Tls,
            (Protocol::Http | Protocol::Forward, Some(forward)) => Self::Forward { name: &forward.via_name },
            (Protocol::Http | Protocol::Forward, None) => Self::Http,
        }
    }
}

/// The answer to a connection that ended so; none where no client is there to read it, or where it would show a
/// stranger that something listens here.
///
/// `request` is what is known of the refused request; `now` goes into its `Date`.
pub fn answer(
    outcome: Outcome,
    spoken: Spoken<'_>,
    connection: u64,
    request: Request,
    now: SystemTime,
) -> Option<Vec<u8>> {
    let answer = AnswerText::of(outcome)?;
    // A client that spoke the other protocol is answered in its own.
    let spoken = match outcome {
        Outcome::Refused(RefuseReason::Http2Preface) => return Some(answer.goaway(outcome.reason(), connection)),
        Outcome::Refused(RefuseReason::PlainHttp) if spoken == Spoken::Tls => Spoken::Http,
        Outcome::Refused(RefuseReason::TlsOnHttp | RefuseReason::TunnelSniMissing | RefuseReason::TunnelSniDenied) => {
            Spoken::Tls
        }
        _ => spoken,
    };
    Some(match spoken {
        Spoken::Tls => answer.alert(),
        Spoken::Http => answer.response(outcome.reason(), connection, request, now, None),
        Spoken::Forward { name } => {
            let status = forward::proxy_status(outcome, name);
            answer.forward(outcome).response(outcome.reason(), connection, request, now, Some(&status))
        }
    })
}

/// The status of an answer, if it is one of HTTP/1.
pub fn status(answer: &[u8]) -> Option<u16> {
    let digits = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The protocol of a client that did not begin with a PROXY header, if it is one that we have an answer in.
pub fn spoken(bytes: &[u8]) -> Option<Protocol> {
    const HANDSHAKE: u8 = 22;
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    match bytes.first() {
        Some(&HANDSHAKE) => Some(Protocol::Tls),
        _ if method.len() < bytes.len() && method.iter().all(u8::is_ascii_uppercase) => Some(Protocol::Http),
        _ => None,
    }
}

/// Sends the answer, which may be empty, and FIN. What does not fit into the socket's buffer at once is not sent: an
/// answer is smaller than any send buffer. Returns how many bytes were sent.
pub fn send(stream: &Stream, answer: &[u8]) -> u16 {
    // The client may be gone; its record says what became of it.
    let sent = if answer.is_empty() { 0 } else { stream.send_now(answer).unwrap_or_default() };
    stream.finish();
    u16::try_from(sent).unwrap_or(u16::MAX)
}

/// Reads and throws away what has come already: closing then sends no reset. It does not wait.
pub fn discard(stream: &Stream, scratch: &Scratch) {
    let mut scratch = scratch.borrow();
    let room = scratch.len();
    for _ in 0..DISCARDED / room.max(1) {
        // A read that does not fill the buffer has emptied the socket.
        match stream.recv_now(&mut scratch) {
            Ok(n) if n == room => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests;
