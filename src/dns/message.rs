//! Pure: one question as it goes out, and what a message says to it. hickory reads and writes the format; what counts
//! as an answer is decided here.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::proto::op::{
    DnsRequest, DnsRequestOptions, Header, Message, MessageType, OpCode, Query, ResponseCode,
};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder};

use super::{Family, Found, LookupError};
use latticegate_core::hostname::Hostname;

/// What fits into one packet on every path, so that answers are not fragmented (DNS Flag Day 2020).
const UDP_PAYLOAD: u16 = 1232;
/// Addresses taken from one answer: more than anybody spreads a service over, and a bound on what one name costs.
const MAX_ADDRESSES: usize = 64;

/// What one message asked, and its id.
#[derive(Debug)]
pub(super) struct Question {
    id: u16,
    query: Query,
}

/// What a message says to a question.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    /// Nothing: it belongs to another question, or is forged.
    Foreign,
    /// Cut short: the whole answer is to be had over TCP.
    Truncated,
    /// At least one address.
    Addresses(Found),
    /// No address of this family, or no such name; as long as the zone says, if it does.
    Nothing(Duration),
    /// Another name, whose addresses were not sent along.
    Alias(Name, Duration),
    Failed(Fault),
}

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Code(ResponseCode),
    /// It cannot be read, or contradicts itself.
    Nonsense,
    /// The server names others to ask and does not ask them itself.
    Referral,
}

impl Fault {
    /// A server that knows no EDNS says so in one of these ways (RFC 6891 §7; RFC 2671 §5.3 for SERVFAIL). By number,
    /// as hickory has two names for 16.
    ///
    /// What cannot be read may come of it, too: an OPT record of an odd shape, or a query that is copied by halves.
    pub(super) fn may_be_edns(self) -> bool {
        const FORMERR: u16 = 1;
        const SERVFAIL: u16 = 2;
        const NOTIMP: u16 = 4;
        const BADVERS: u16 = 16;
        self == Self::Nonsense
            || matches!(self, Self::Code(code) if matches!(u16::from(code), FORMERR | SERVFAIL | NOTIMP | BADVERS))
    }
}

/// With a final dot. Any label is lawful in DNS, whatever host names may look like (RFC 2181 §11).
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

/// What hickory is to ask. It gives the id.
pub(super) fn request(name: &Name, family: Family, edns: bool) -> DnsRequest {
    let mut options = DnsRequestOptions::default();
    options.recursion_desired = true;
    options.use_edns = edns;
    options.edns_payload_len = UDP_PAYLOAD;
    DnsRequest::from_query(Query::query(name.clone(), family.record_type()), options)
}

impl Question {
    /// From the message that goes out.
    pub(super) fn read(sent: &[u8]) -> Option<Self> {
        let mut decoder = BinDecoder::new(sent);
        let header = Header::read(&mut decoder).ok()?;
        Some(Self { id: header.id, query: Query::read(&mut decoder).ok()? })
    }

    /// What `bytes`, from the address that was asked, say to this question.
    pub(super) fn judge(&self, bytes: &[u8]) -> Reply {
        let mut decoder = BinDecoder::new(bytes);
        let Ok(header) = Header::read(&mut decoder) else { return Reply::Foreign };
        if header.id != self.id || header.message_type != MessageType::Response {
            return Reply::Foreign;
        }
        if header.op_code != OpCode::Query {
            return Reply::Failed(Fault::Nonsense);
        }
        let code = header.response_code;
        match header.counts.queries {
            // Some servers answer so what they cannot read. It proves less than a whole answer, so it can fail the
            // question, and nothing else.
            0 if code == ResponseCode::NoError || code == ResponseCode::NXDomain => {
                return Reply::Failed(Fault::Nonsense);
            }
            0 => return Reply::Failed(Fault::Code(code)),
            1 => match Query::read(&mut decoder) {
                Ok(query) if query == self.query => {}
                Ok(_) => return Reply::Foreign,
                Err(_) => return Reply::Failed(Fault::Nonsense),
            },
            _ => return Reply::Foreign,
        }
        if code != ResponseCode::NoError && code != ResponseCode::NXDomain {
            return Reply::Failed(Fault::Code(code));
        }
        // Before the rest is read: it may be cut in the middle of a record.
        if header.truncation {
            return Reply::Truncated;
        }
        match Message::from_vec(bytes) {
            Ok(message) => self.conclude(&message),
            Err(_) => Reply::Failed(Fault::Nonsense),
        }
    }

    fn conclude(&self, message: &Message) -> Reply {
        let code = message.metadata.response_code;
        let exists = match code {
            ResponseCode::NoError => true,
            ResponseCode::NXDomain => false,
            // The upper bits of the code are in the OPT record.
            other => return Reply::Failed(Fault::Code(other)),
        };
        if message.all_sections().any(|record| record.dns_class != self.query.query_class()) {
            return Reply::Failed(Fault::Nonsense);
        }
        let Some(chain) = Chain::follow(self.query.name(), self.query.query_type(), &message.answers) else {
            return Reply::Failed(Fault::Nonsense);
        };
        if !chain.addresses.is_empty() {
            return Reply::Addresses(Found { addresses: chain.addresses, ttl: chain.ttl });
        }
        let soa = message.authorities.iter().find_map(|record| match &record.data {
            // RFC 2308 §5.
            RData::SOA(soa) => Some(seconds(soa.minimum).min(seconds(record.ttl))),
            _ => None,
        });
        if !exists || soa.is_some() {
            return Reply::Nothing(chain.ttl.min(soa.unwrap_or(Duration::MAX)));
        }
        if chain.end != self.query.name() {
            return Reply::Alias(chain.end.clone(), chain.ttl);
        }
        // RFC 2308 §2.2: with NS and without SOA it is a referral; without either it says "no data", type 3.
        if message.authorities.iter().any(|record| record.record_type() == RecordType::NS) {
            return Reply::Failed(Fault::Referral);
        }
        Reply::Nothing(chain.ttl)
    }
}

/// From a name over its aliases to what is known at their end.
struct Chain<'a> {
    end: &'a Name,
    addresses: Vec<IpAddr>,
    /// That of its shortest link; without any, without end.
    ttl: Duration,
}

impl<'a> Chain<'a> {
    /// None: it is a circle. Records of other names are none of our business, whoever sends them.
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
