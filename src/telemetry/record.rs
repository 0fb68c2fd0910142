//! What is known of one connection when it ends: the access log, the metrics and the operator's page all read it.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::Instant;
use latticegate_core::canonical_ip::CanonicalIp;
use latticegate_core::client::Client;
use latticegate_core::outcome::{ByteCounts, Outcome, Side};
use latticegate_core::protocol::client_hello::{Alpn, Group, Hello};
use latticegate_core::protocol::forward_head::{Asked, ForwardHead, RefusedRequest};

/// Kept for as long as the connection is open: what makes it larger costs each idle connection as much.
pub struct Record {
    pub id: u64,
    /// The TCP peer, its IP canonical.
    pub peer: Address,
    pub client: Option<Client>,
    /// The rule that decided, as `ipcontrol.yaml:12`.
    pub rule: Option<Rc<str>>,
    /// The requested name in its normal form; one that was refused [as the client wrote it](as_written).
    pub name: Option<Arc<str>>,
    pub upstream: Option<Address>,
    /// What an operator should know in addition to the reason word.
    pub detail: Option<Box<str>>,
    /// What was relayed.
    pub bytes: ByteCounts,
    pub closed_by: Option<Side>,
    /// The addresses came from an expired answer, because the resolver was silent.
    pub stale: bool,
    /// ClientHello facts, for TLS.
    pub hello: Option<HelloFacts>,
    /// On a `forward` listener, once a request was read, or refused without that.
    pub forward: Option<Box<ForwardFacts>>,
    pub times: Times,
}

/// What is logged of a ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloFacts {
    pub size: u16,
    pub records: u16,
    pub alpn: Option<Alpn>,
    pub ech: bool,
    pub key_share: Option<Group>,
}

impl From<&Hello> for HelloFacts {
    fn from(hello: &Hello) -> Self {
        let &Hello { name: _, size, records, alpn, ech, key_share } = hello;
        Self { size, records, alpn, ech, key_share }
    }
}

/// What the record of a connection on a `forward` listener has beside what all have. In a box, as only those have it.
#[derive(Debug, Clone, Default)]
pub struct ForwardFacts {
    /// `CONNECT`, or the method of the last request. Empty if that cannot be read.
    pub method: Box<str>,
    /// Of the URL of the last request, if it is not `http`.
    pub scheme: Option<Box<str>>,
    /// The port asked for, of the last request. 0 if its target is not valid.
    pub port: u16,
    /// The server name in the tunnel's ClientHello; one that was refused [as the client wrote it](as_written).
    pub sni: Option<Arc<str>>,
    /// Absolute-form requests whose first line was read, refused ones included.
    pub requests: u32,
    /// The one that is not over. It ends with the connection at the latest.
    pub open: Option<OpenRequest>,
    /// What those that are over have in the connection's bytes.
    pub reported: ByteCounts,
    /// Bytes of answers of ours that the client was sent, which are not among the connection's.
    pub answered: u16,
    /// The status of the last of them: 200 where a tunnel was opened.
    pub answer_status: Option<u16>,
}

impl ForwardFacts {
    /// The client has asked for a tunnel.
    pub fn is_connect(&self) -> bool {
        &*self.method == "CONNECT"
    }

    /// Begins with a request whose head was read.
    pub(crate) fn begin(&mut self, head: &ForwardHead) {
        (self.method, self.scheme, self.port) = (head.method.clone(), None, head.port);
        self.answer_status = None;
        if !head.is_connect() {
            self.open();
        }
    }

    /// Begins with a request that was refused without its whole head, or because of it.
    fn begin_refused(&mut self, asked: Option<Asked>) {
        let is_url = asked.as_ref().is_some_and(|asked| asked.scheme.is_some());
        let (method, scheme, port) =
            asked.map_or_else(Default::default, |asked| (asked.method, asked.scheme, asked.port.unwrap_or_default()));
        self.answer_status = None;
        (self.method, self.scheme, self.port) = (method, scheme.filter(|scheme| &**scheme != "http"), port);
        if is_url {
            self.open();
        }
    }

    fn open(&mut self) {
        self.requests = self.requests.saturating_add(1);
        self.open = Some(OpenRequest { began: Instant::now(), status: None });
    }
}

/// An absolute-form request that is not over.
#[derive(Debug, Clone, Copy)]
pub struct OpenRequest {
    /// When its head had been read, or was refused.
    pub began: Instant,
    /// Of the final answer, once its head was sent to the client.
    pub status: Option<u16>,
}

/// One absolute-form request, answered or not. Never its path or query, which carry secrets.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// Of its connection.
    pub id: u64,
    pub peer: Address,
    pub client: Option<&'a Client>,
    /// The rule that decided about it, as `ipcontrol.yaml:12`.
    pub rule: Option<&'a str>,
    pub method: &'a str,
    /// If it is not `http`.
    pub scheme: Option<&'a str>,
    /// Empty if none can be read without what may be a secret.
    pub host: &'a str,
    /// 0 if its target is not valid: what can be logged of that is in `host`.
    pub port: u16,
    /// The address that was dialled.
    pub upstream: Option<Address>,
    /// Of the final answer that the client was sent, ours included. None: there was none.
    pub status: Option<u16>,
    /// What was passed on, heads included; an answer of ours does not count.
    pub bytes: ByteCounts,
    /// The bytes of such an answer.
    pub answered: u16,
    /// From its head to the end of its answer.
    pub duration: Duration,
    /// What ended it otherwise than by a whole answer of the upstream.
    pub cut: Option<Outcome>,
}

/// A socket's address without what only IPv6 has beside address and port, and no connection of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    ip: IpAddr,
    port: u16,
}

impl Address {
    pub fn get(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip(), port: address.port() }
    }
}

/// When each step was completed. How long the whole connection took is known when it ends.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub accepted: Instant,
    pub header: Option<SinceAccept>,
    pub hello: Option<SinceAccept>,
    pub dns: Option<SinceAccept>,
    pub connect: Option<SinceAccept>,
}

/// In microseconds, rounded. Steps have timeouts of seconds; with one of hours, which may be configured, a step that took
/// more than 71 minutes is logged as if it had taken 71.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinceAccept {
    /// One more than there were, so that an Option needs no more room.
    micros: NonZero<u32>,
}

impl SinceAccept {
    pub fn after(self, earlier: Self) -> Duration {
        Duration::from(self).saturating_sub(earlier.into())
    }
}

/// Accept itself.
impl Default for SinceAccept {
    fn default() -> Self {
        Duration::ZERO.into()
    }
}

impl From<Duration> for SinceAccept {
    fn from(duration: Duration) -> Self {
        let rounded = duration.saturating_add(Duration::from_nanos(500)).as_micros();
        let micros = u32::try_from(rounded).unwrap_or(u32::MAX);
        Self { micros: NonZero::<u32>::MIN.saturating_add(micros) }
    }
}

impl From<SinceAccept> for Duration {
    fn from(SinceAccept { micros }: SinceAccept) -> Self {
        Self::from_micros(u64::from(micros.get() - 1))
    }
}

impl Times {
    fn new() -> Self {
        Self { accepted: Instant::now(), header: None, hello: None, dns: None, connect: None }
    }

    pub fn elapsed(&self) -> Duration {
        self.accepted.elapsed()
    }

    /// When a step is completed now.
    pub fn now(&self) -> SinceAccept {
        self.elapsed().into()
    }
}

impl Record {
    /// Of a connection accepted now.
    pub fn new(id: u64, peer: SocketAddr) -> Self {
        Self {
            id,
            peer: CanonicalIp::new(peer.ip()).with_port(peer.port()).into(),
            client: None,
            rule: None,
            name: None,
            upstream: None,
            detail: None,
            bytes: ByteCounts::default(),
            closed_by: None,
            stale: false,
            hello: None,
            forward: None,
            times: Times::new(),
        }
    }

    /// The absolute-form request that is not over; `cut` is what ended it, if not a whole answer of the upstream.
    pub(crate) fn open_request(&self, cut: Option<Outcome>) -> Option<RequestFacts<'_>> {
        let forward = self.forward.as_deref()?;
        let open = forward.open?;
        Some(RequestFacts {
            id: self.id,
            peer: self.peer,
            client: self.client.as_ref(),
            rule: self.rule.as_deref(),
            method: &forward.method,
            scheme: forward.scheme.as_deref(),
            host: self.name.as_deref().unwrap_or_default(),
            port: forward.port,
            upstream: self.upstream,
            status: open.status,
            bytes: self.bytes.since(forward.reported),
            answered: forward.answered,
            duration: open.began.elapsed(),
            cut,
        })
    }

    /// Begins with a request that a `forward` listener has refused without its whole head, or because of it.
    pub(crate) fn begin_refused(&mut self, refused: RefusedRequest) {
        self.set_refused_names(&refused.names);
        self.forward.get_or_insert_default().begin_refused(refused.asked);
    }

    /// The status of an answer of ours is that of the request that is not over, unless it has one.
    pub(crate) fn note_status(&mut self, status: Option<u16>) {
        if let Some(open) = self.forward.as_mut().and_then(|forward| forward.open.as_mut()) {
            open.status = open.status.or(status);
        }
    }

    /// Counts an answer of ours; an alert has no status. Only the format that is for `forward` listeners has its bytes.
    pub(crate) fn count_answer(&mut self, bytes: u16, status: Option<u16>) {
        if let Some(forward) = &mut self.forward {
            forward.answered = forward.answered.saturating_add(bytes);
            forward.answer_status = status.or(forward.answer_status);
        }
    }

    /// The names for which a client was refused: the first, and where there are two the other as the detail.
    pub(crate) fn set_refused_names(&mut self, names: &[Vec<u8>]) {
        let mut names = names.iter().map(|name| as_written(name));
        self.name = names.next().map(Arc::from);
        if let Some(other) = names.next() {
            self.detail = Some(format!("it also names {other}").into());
        }
    }
}

/// Of a name that was refused, in bytes.
const MAX_WRITTEN: usize = 255;

/// What a client wrote where a name belongs, as text: cut to a length that suits a log line, and without the control
/// characters beyond ASCII, which JSON does not escape and a terminal may interpret.
pub fn as_written(bytes: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(bytes.get(..MAX_WRITTEN).unwrap_or(bytes));
    let harmless = |c: char| if c.is_control() && c > '\u{7e}' { char::REPLACEMENT_CHARACTER } else { c };
    let mut text: String = text.chars().map(harmless).collect();
    while text.len() > MAX_WRITTEN {
        text.pop();
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_and_harmful_text_is_cut_and_replaced() {
        for (written, logged) in [
            (&b"10.0.0.1"[..], "10.0.0.1"),
            (b"", ""),
            (b"a\0b\x1b[31m", "a\0b\x1b[31m"),
            (b"\xff.example", "\u{fffd}.example"),
            (b"\xc2\x9b31m\x7f", "\u{fffd}31m\u{fffd}"),
            (&[b'x'; 9000], &"x".repeat(255)),
            ("é".repeat(200).as_bytes(), &"é".repeat(127)),
        ] {
            assert_eq!(&*as_written(written), logged);
        }
    }

    /// Memory per connection is a reviewed number: a change that raises it says why.
    #[test]
    fn a_record_is_small() {
        let bytes = size_of::<Record>();
        assert!(bytes <= 216, "{bytes} bytes");
    }

    #[test]
    fn a_step_is_known_to_the_microsecond_for_71_minutes() {
        let longest = Duration::from_micros(u64::from(u32::MAX) - 1);
        for (taken, known) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::from_nanos(499), Duration::ZERO),
            (Duration::from_nanos(1_234_567_890), Duration::from_micros(1_234_568)),
            (Duration::from_secs(71 * 60), Duration::from_secs(71 * 60)),
            (longest, longest),
            (Duration::from_secs(86_400), longest),
            (Duration::MAX, longest),
        ] {
            assert_eq!(Duration::from(SinceAccept::from(taken)), known, "{taken:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_longer_than_its_bound(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(as_written(&bytes).len() <= MAX_WRITTEN);
        }
    }
}
