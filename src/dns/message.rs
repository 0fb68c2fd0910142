//! Pure: one query as it is sent, and what a received message means for it. hickory reads and writes the format; what
//! counts as an answer is decided here.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::proto::op::{
    DnsRequest, DnsRequestOptions, Header, Message, MessageType, OpCode, Query, ResponseCode,
};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder};

use super::{AddressSet, Family, LookupError};
use latticegate_core::hostname::Hostname;

/// Fits into one packet on every path, so that responses are not fragmented (DNS Flag Day 2020).
const UDP_PAYLOAD: u16 = 1232;
/// Addresses taken from one response: more than any service has, and a bound on what one name costs.
const MAX_ADDRESSES: usize = 64;

/// The ID and the question of a query that was sent.
#[derive(Debug)]
pub(super) struct SentQuery {
    id: u16,
    query: Query,
}

/// What a received message means for a query.
#[derive(Debug, PartialEq)]
pub(super) enum Response {
    /// It belongs to another query, or is forged.
    Unrelated,
    /// The whole response is available over TCP.
    Truncated,
    /// At least one address.
    Addresses(AddressSet),
    /// No address of this family, or no such name; for as long as the zone says, if it does.
    Negative(Duration),
    /// A CNAME whose target's addresses are not in the response.
    Alias(Name, Duration),
    Failed(ResponseError),
}

/// Why a response has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseError {
    Code(ResponseCode),
    /// It cannot be parsed, or contradicts itself.
    Malformed,
    /// The server names other servers instead of querying them itself.
    Referral,
}

impl ResponseError {
    /// How a server without EDNS responds to it (RFC 6891 §7; RFC 2671 §5.3 for SERVFAIL). By number, as hickory has
    /// two names for 16.
    ///
    /// A malformed response may be caused by EDNS, too: a strange OPT record, or an incomplete copy of the query.
    pub(super) fn may_be_edns(self) -> bool {
        const FORMERR: u16 = 1;
        const SERVFAIL: u16 = 2;
        const NOTIMP: u16 = 4;
        const BADVERS: u16 = 16;
        self == Self::Malformed
            || matches!(self, Self::Code(code) if matches!(u16::from(code), FORMERR | SERVFAIL | NOTIMP | BADVERS))
    }
}

/// With a final dot. Any label is valid in DNS, whatever the rules for host names (RFC 2181 §11).
pub(super) fn absolute(name: &Hostname) -> Result<Name, LookupError> {
    let name = Name::from_labels(name.as_str().split('.').map(str::as_bytes));
    let mut name = name.map_err(|_| LookupError::Failed)?;
    name.set_fqdn(true);
    Ok(name)
}

impl Family {
    fn record_type(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

/// The query for hickory, which chooses its ID.
pub(super) fn request(name: &Name, family: Family, edns: bool) -> DnsRequest {
    let mut options = DnsRequestOptions::default();
    options.recursion_desired = true;
    options.use_edns = edns;
    options.edns_payload_len = UDP_PAYLOAD;
    DnsRequest::from_query(Query::query(name.clone(), family.record_type()), options)
}

impl SentQuery {
    /// From the message that is sent.
    pub(super) fn parse(sent: &[u8]) -> Option<Self> {
        let mut decoder = BinDecoder::new(sent);
        let header = Header::read(&mut decoder).ok()?;
        Some(Self { id: header.id, query: Query::read(&mut decoder).ok()? })
    }

    /// What `bytes`, received from the queried address, mean for this query.
    pub(super) fn classify(&self, bytes: &[u8]) -> Response {
        let mut decoder = BinDecoder::new(bytes);
        let Ok(header) = Header::read(&mut decoder) else { return Response::Unrelated };
        if header.id != self.id || header.message_type != MessageType::Response {
            return Response::Unrelated;
        }
        if header.op_code != OpCode::Query {
            return Response::Failed(ResponseError::Malformed);
        }
        let code = header.response_code;
        match header.counts.queries {
            // Some servers respond to malformed queries without the question. That proves less than a whole response,
            // so it can only fail the query.
            0 if code == ResponseCode::NoError || code == ResponseCode::NXDomain => {
                return Response::Failed(ResponseError::Malformed);
            }
            0 => return Response::Failed(ResponseError::Code(code)),
            1 => match Query::read(&mut decoder) {
                Ok(query) if query == self.query => {}
                Ok(_) => return Response::Unrelated,
                Err(_) => return Response::Failed(ResponseError::Malformed),
            },
            _ => return Response::Unrelated,
        }
        if code != ResponseCode::NoError && code != ResponseCode::NXDomain {
            return Response::Failed(ResponseError::Code(code));
        }
        // Before the rest is parsed: it may be cut in the middle of a record.
        if header.truncation {
            return Response::Truncated;
        }
        match Message::from_vec(bytes) {
            Ok(message) => self.classify_message(&message),
            Err(_) => Response::Failed(ResponseError::Malformed),
        }
    }

    fn classify_message(&self, message: &Message) -> Response {
        let code = message.metadata.response_code;
        let exists = match code {
            ResponseCode::NoError => true,
            ResponseCode::NXDomain => false,
            // The upper bits of the code are in the OPT record.
            other => return Response::Failed(ResponseError::Code(other)),
        };
        if message.all_sections().any(|record| record.dns_class != self.query.query_class()) {
            return Response::Failed(ResponseError::Malformed);
        }
        let Some(chain) = Chain::follow(self.query.name(), self.query.query_type(), &message.answers) else {
            return Response::Failed(ResponseError::Malformed);
        };
        if !chain.addresses.is_empty() {
            return Response::Addresses(AddressSet { addresses: chain.addresses, ttl: chain.ttl });
        }
        let soa = message.authorities.iter().find_map(|record| match &record.data {
            // RFC 2308 §5.
            RData::SOA(soa) => Some(seconds(soa.minimum).min(seconds(record.ttl))),
            _ => None,
        });
        if !exists || soa.is_some() {
            return Response::Negative(chain.ttl.min(soa.unwrap_or(Duration::MAX)));
        }
        if chain.end != self.query.name() {
            return Response::Alias(chain.end.clone(), chain.ttl);
        }
        // RFC 2308 §2.2: with NS and without SOA it is a referral; without either it says "no data", type 3.
        if message.authorities.iter().any(|record| record.record_type() == RecordType::NS) {
            return Response::Failed(ResponseError::Referral);
        }
        Response::Negative(chain.ttl)
    }
}

/// From a name along its aliases to the addresses at their end.
struct Chain<'a> {
    end: &'a Name,
    addresses: Vec<IpAddr>,
    /// The smallest TTL of its records; `MAX` without any.
    ttl: Duration,
}

impl<'a> Chain<'a> {
    /// None: the aliases form a loop. Records of other names are ignored.
    fn follow(name: &'a Name, kind: RecordType, records: &'a [Record]) -> Option<Self> {
        let mut chain = Self { end: name, addresses: Vec::new(), ttl: Duration::MAX };
        for _ in 0..=records.len() {
            let mut next = None;
            for record in records.iter().filter(|record| record.name == *chain.end) {
                match &record.data {
                    RData::CNAME(target) => next = Some((&target.0, record.ttl)),
                    data if record.record_type() == kind => chain.add(data.ip_addr(), record.ttl),
                    _ => {}
                }
            }
            let Some((target, ttl)) = next.filter(|_| chain.addresses.is_empty()) else { return Some(chain) };
            chain.ttl = chain.ttl.min(seconds(ttl));
            chain.end = target;
        }
        None
    }

    fn add(&mut self, address: Option<IpAddr>, ttl: u32) {
        let new = address.filter(|address| !self.addresses.contains(address));
        if let (Some(address), true) = (new, self.addresses.len() < MAX_ADDRESSES) {
            self.addresses.push(address);
        }
        self.ttl = self.ttl.min(seconds(ttl));
    }
}

/// A TTL with the highest bit set is 0 (RFC 2181 §8).
fn seconds(ttl: u32) -> Duration {
    let ttl = if i32::try_from(ttl).is_ok() { ttl } else { 0 };
    Duration::from_secs(u64::from(ttl))
}

#[cfg(test)]
pub(super) mod tests;
