//! Pure: one query as it is sent, and what a received message means for it. hickory reads the format; what counts as an
//! answer is decided here.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use hickory_resolver::proto::op::{
    DnsRequest, DnsRequestOptions, Header, Message, MessageType, OpCode, Query, ResponseCode,
};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, DecodeError};

use super::{AddressSet, Family, LookupError};
use latticegate_core::hostname::Hostname;

/// Fits into one packet on every path, so that responses are not fragmented (DNS Flag Day 2020).
const UDP_PAYLOAD: u16 = 1232;
/// The OPT record that says so (RFC 6891 §6.1.2).
const OPTIONS: [u8; 11] = {
    let [high, low] = UDP_PAYLOAD.to_be_bytes();
    [0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]
};
/// RFC 1035 §4.1.1.
const HEADER_LEN: u16 = 12;
/// Addresses taken from one response: more than any service has, and a bound on what one name costs.
const MAX_ADDRESSES: usize = 64;

/// What is asked: a name, a type, and the class IN.
#[derive(Debug)]
pub(super) struct Question {
    family: Family,
    /// As it is sent (RFC 1035 §4.1.2).
    section: Vec<u8>,
    /// For those who need it in parts: most responses are compared with what was sent.
    name: OnceCell<Name>,
}

/// A query that was sent.
#[derive(Debug)]
pub(super) struct SentQuery {
    id: u16,
    question: Rc<Question>,
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

impl Family {
    fn record_type(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

impl Question {
    /// Any label is valid in DNS, whatever the rules for host names (RFC 2181 §11).
    pub(super) fn new(name: &Hostname, family: Family) -> Result<Self, LookupError> {
        let mut section = Vec::with_capacity(name.as_str().len() + 6);
        for label in name.as_str().as_bytes().split(|&byte| byte == b'.') {
            section.push(u8::try_from(label.len()).map_err(|_| LookupError::Failed)?);
            section.extend_from_slice(label);
        }
        section.push(0);
        Ok(Self::ending(section, OnceCell::new(), family))
    }

    pub(super) fn name(&self) -> &Name {
        // A host name is short enough to be one; the root has no address.
        self.name.get_or_init(|| Name::read(&mut BinDecoder::new(&self.section)).unwrap_or_default())
    }

    /// Whether it is about this name, in whatever case.
    fn is_about(&self, name: &Name) -> bool {
        let mut rest = self.section.as_slice();
        let is_next = |label: &[u8]| {
            let (length, after) = rest.split_first()?;
            let (next, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            next.eq_ignore_ascii_case(label).then_some(())
        };
        name.iter().map(is_next).all(|is_next| is_next.is_some()) && rest.first() == Some(&0)
    }

    /// The same for the name's alias.
    pub(super) fn of_alias(&self, name: Name) -> Result<Self, LookupError> {
        Self::of(name, self.family)
    }

    fn of(name: Name, family: Family) -> Result<Self, LookupError> {
        let section = name.to_bytes().map_err(|_| LookupError::Failed)?;
        Ok(Self::ending(section, name.into(), family))
    }

    fn ending(mut section: Vec<u8>, name: OnceCell<Name>, family: Family) -> Self {
        section.extend_from_slice(&u16::from(family.record_type()).to_be_bytes());
        section.extend_from_slice(&u16::from(DNSClass::IN).to_be_bytes());
        Self { family, section, name }
    }

    /// For hickory, which chooses its ID.
    pub(super) fn request(&self) -> DnsRequest {
        let mut options = DnsRequestOptions::default();
        options.recursion_desired = true;
        options.use_edns = false;
        DnsRequest::from_query(Query::query(self.name().clone(), self.family.record_type()), options)
    }
}

/// An ID that cannot be guessed: hickory has it from a generator for cryptography.
pub(super) fn random_id() -> u16 {
    Message::query().metadata.id
}

impl SentQuery {
    pub(super) fn new(id: u16, question: Rc<Question>) -> Self {
        Self { id, question }
    }

    /// Replaces what is in `message` by what is sent (RFC 1035 §4.1): one layout for all queries, so it is written here and not by
    /// hickory.
    pub(super) fn write(&self, edns: bool, message: &mut Vec<u8>) {
        message.clear();
        message.extend_from_slice(&self.id.to_be_bytes());
        message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        message.extend_from_slice(&self.question.section);
        message.extend_from_slice(if edns { &OPTIONS[..] } else { &[] });
    }

    /// From a message that was sent.
    pub(super) fn parse(sent: &[u8]) -> Option<Self> {
        let mut decoder = BinDecoder::new(sent);
        let header = Header::read(&mut decoder).ok()?;
        let query = Query::read(&mut decoder).ok()?;
        let family = if query.query_type() == RecordType::AAAA { Family::V6 } else { Family::V4 };
        let question = Question::of(query.name().clone(), family).ok()?;
        Some(Self { id: header.id, question: Rc::new(question) })
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
            1 if self.is_asked(&mut decoder) => {}
            1 if Query::read(&mut decoder.clone(HEADER_LEN)).is_err() => {
                return Response::Failed(ResponseError::Malformed);
            }
            _ => return Response::Unrelated,
        }
        if code != ResponseCode::NoError && code != ResponseCode::NXDomain {
            return Response::Failed(ResponseError::Code(code));
        }
        // Before the rest is parsed: it may be cut in the middle of a record.
        if header.truncation {
            return Response::Truncated;
        }
        match Records::read(&mut decoder, &header) {
            Ok(records) => self.classify_records(&records),
            Err(_) => Response::Failed(ResponseError::Malformed),
        }
    }

    /// Reads the question, and says whether it is this one, in whatever case.
    fn is_asked(&self, decoder: &mut BinDecoder<'_>) -> bool {
        let section = &self.question.section;
        // Neither the length of a label nor what follows the name has the value of a letter.
        decoder.read_slice(section.len()).is_ok_and(|read| read.unverified().eq_ignore_ascii_case(section))
    }

    fn classify_records(&self, records: &Records) -> Response {
        let exists = match records.code {
            ResponseCode::NoError => true,
            ResponseCode::NXDomain => false,
            other => return Response::Failed(ResponseError::Code(other)),
        };
        if records.all().any(|record| record.dns_class != DNSClass::IN) {
            return Response::Failed(ResponseError::Malformed);
        }
        let question = &self.question;
        let Some(chain) = Chain::follow(question, &records.answers) else {
            return Response::Failed(ResponseError::Malformed);
        };
        if !chain.addresses.is_empty() {
            return Response::Addresses(AddressSet { addresses: chain.addresses, ttl: chain.ttl });
        }
        let soa = records.authorities.iter().find_map(|record| match &record.data {
            // RFC 2308 §5.
            RData::SOA(soa) => Some(seconds(soa.minimum).min(seconds(record.ttl))),
            _ => None,
        });
        if !exists || soa.is_some() {
            return Response::Negative(chain.ttl.min(soa.unwrap_or(Duration::MAX)));
        }
        if let Some(target) = chain.end.filter(|end| !question.is_about(end)) {
            return Response::Alias(target.clone(), chain.ttl);
        }
        // RFC 2308 §2.2: with NS and without SOA it is a referral; without either it says "no data", type 3.
        if records.authorities.iter().any(|record| record.record_type() == RecordType::NS) {
            return Response::Failed(ResponseError::Referral);
        }
        Response::Negative(chain.ttl)
    }
}

/// What follows the question.
struct Records {
    code: ResponseCode,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl Records {
    fn read(decoder: &mut BinDecoder<'_>, header: &Header) -> Result<Self, DecodeError> {
        let mut read = |count: u16, is_additional| {
            Message::read_records(decoder, usize::from(count), is_additional, header.op_code)
        };
        let (answers, ..) = read(header.counts.answers, false)?;
        let (authorities, ..) = read(header.counts.authorities, false)?;
        let (additionals, edns, _) = read(header.counts.additionals, true)?;
        // The upper bits of the code are in the OPT record.
        let high = edns.map_or(0, |edns| edns.rcode_high());
        Ok(Self { code: ResponseCode::from(high, header.response_code.low()), answers, authorities, additionals })
    }

    fn all(&self) -> impl Iterator<Item = &Record> {
        [&self.answers, &self.authorities, &self.additionals].into_iter().flatten()
    }
}

/// In whatever case; cheaper than `==`, which goes through the letters of each label one by one.
fn is_same(one: &Name, other: &Name) -> bool {
    one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// From a name along its aliases to the addresses at their end.
struct Chain<'a> {
    /// None: the name that was asked about.
    end: Option<&'a Name>,
    addresses: Vec<IpAddr>,
    /// The smallest TTL of its records; `MAX` without any.
    ttl: Duration,
}

impl<'a> Chain<'a> {
    /// None: the aliases form a loop. Records of other names are ignored.
    fn follow(question: &Question, records: &'a [Record]) -> Option<Self> {
        let kind = question.family.record_type();
        let mut chain = Self { end: None, addresses: Vec::new(), ttl: Duration::MAX };
        for _ in 0..=records.len() {
            let mut next = None;
            let end = chain.end;
            let is_next = |name: &Name| end.map_or_else(|| question.is_about(name), |end| is_same(name, end));
            for record in records.iter().filter(|record| is_next(&record.name)) {
                match &record.data {
                    RData::CNAME(target) => next = Some((&target.0, record.ttl)),
                    data if record.record_type() == kind => chain.add(data.ip_addr(), record.ttl),
                    _ => {}
                }
            }
            let Some((target, ttl)) = next.filter(|_| chain.addresses.is_empty()) else { return Some(chain) };
            chain.ttl = chain.ttl.min(seconds(ttl));
            chain.end = Some(target);
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
