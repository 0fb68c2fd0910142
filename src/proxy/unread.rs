//! What a refused connection has sent, for its record and for `/refused`. The decision has been made by then: it does not
//! depend on anything that is read here, and nothing is waited for.

use crate::proxy::refuse::Request;
use crate::runtime::Stream;
use crate::telemetry::record::{Record, as_written};
use latticegate_core::config::Protocol;
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::Outcome;
use latticegate_core::protocol::first_bytes::{self, FirstBytes, split_header};
use latticegate_core::protocol::forward_head::RefusedRequest;

/// The first bytes of a connection, as far as they are known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceivedBytes<'a> {
    /// The PROXY header that was read, if it is still there.
    pub(crate) header: &'a [u8],
    /// What is behind it.
    pub(crate) rest: &'a [u8],
}

impl<'a> ReceivedBytes<'a> {
    /// Of what was read and what lies in the socket. `consumed`: the header, once it has been read; before that it may be
    /// among the others.
    pub(crate) fn of(consumed: Option<&'a [u8]>, bytes: &'a [u8]) -> Self {
        let (header, rest) = consumed.map_or_else(|| split_header(bytes), |header| (header, bytes));
        Self { header, rest }
    }

    /// What the answer depends on.
    pub(crate) fn request(self) -> Request {
        Request::of(self.rest)
    }

    /// Whether it needs no more to know what is asked for.
    pub(crate) fn is_enough(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Tls | Protocol::Http => first_bytes::name(self.rest).is_some(),
            Protocol::Forward => self.rest.contains(&b'\n'),
        }
    }
}

/// What was read, and behind it what lies unread in the socket, which stays there.
pub(crate) fn with_waiting<'a>(stream: &Stream, read: &'a [u8], buffer: &'a mut [u8]) -> &'a [u8] {
    let Some((before, room)) = buffer.split_at_mut_checked(read.len()) else { return read };
    before.copy_from_slice(read);
    let waiting = stream.peek_now(room).unwrap_or_default();
    buffer.get(..read.len().saturating_add(waiting)).unwrap_or(read)
}

/// Notes in the record what is asked for, if that is not known yet. `spoken`: what the client is answered in.
pub(crate) fn note_name(record: &mut Record, spoken: Option<Protocol>, outcome: Outcome, bytes: ReceivedBytes<'_>) {
    let ReceivedBytes { rest, .. } = bytes;
    let is_unknown = record.forward.as_ref().is_none_or(|facts| facts.method.is_empty());
    if let (Some(Protocol::Forward), Outcome::Refused(reason), true) = (spoken, outcome, is_unknown)
        && record.client.is_some()
    {
        record.begin_refused(RefusedRequest::of(reason, rest));
    }
    // What a proxy is asked for stands in the target, not in Host.
    let is_in_target = spoken == Some(Protocol::Forward) && !matches!(FirstBytes::of(rest), FirstBytes::Hello(_));
    if record.name.is_none() && !is_in_target {
        record.name = first_bytes::name(rest).map(|name| match Hostname::parse(&name) {
            Ok(name) => name.to_text(),
            Err(_) => as_written(&name).into(),
        });
    }
}
