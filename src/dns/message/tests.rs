//! Responses as they occur in the field, written by hand (RFC 1035 §4), so that a bug in the library that reads them
//! cannot hide.

use std::net::Ipv4Addr;

use super::*;
use crate::sys::random::Random;

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const OPT: u16 = 41;

pub(in crate::dns) fn question(text: &str, family: Family) -> Rc<Question> {
    Rc::new(Question::new(&Hostname::parse(text.as_bytes()).unwrap(), family).unwrap())
}

fn name(text: &str) -> Name {
    question(text, Family::V4).name().clone()
}

fn sent(text: &str, family: Family, edns: bool) -> Vec<u8> {
    let mut message = Vec::new();
    SentQuery::new(random_id(), question(text, family)).write(edns, &mut message);
    message
}

fn sent_query() -> SentQuery {
    SentQuery::new(random_id(), question(ORDERS, Family::V4))
}

/// A record: name, type, TTL, data.
pub(in crate::dns) fn record(owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).unwrap();
    [&labels(owner)[..], &kind.to_be_bytes(), &[0, 1], &ttl.to_be_bytes(), &len.to_be_bytes(), data].concat()
}

pub(in crate::dns) fn labels(text: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    let labels = text.split('.').filter(|label| !label.is_empty());
    [labels.flat_map(label).collect::<Vec<u8>>(), vec![0]].concat()
}

pub(in crate::dns) fn a(owner: &str, last: u8, ttl: u32) -> Vec<u8> {
    record(owner, A, ttl, &[169, 254, 171, last])
}

pub(in crate::dns) fn alias(owner: &str, target: &str, ttl: u32) -> Vec<u8> {
    record(owner, CNAME, ttl, &labels(target))
}

pub(in crate::dns) fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
    let numbers = [1, 2, 3, 4, minimum].map(u32::to_be_bytes).concat();
    record("example.com", SOA, ttl, &[labels("ns.example.com"), labels("hostmaster.example.com"), numbers].concat())
}

pub(in crate::dns) fn ns() -> Vec<u8> {
    record("example.com", NS, 60, &labels("ns.example.com"))
}

/// A message to `query`: flags beside "response, recursion desired and available", answers, authorities.
fn message(query: &SentQuery, flags: u16, answers: &[Vec<u8>], authorities: &[Vec<u8>]) -> Vec<u8> {
    let count = |list: &[Vec<u8>]| u16::try_from(list.len()).unwrap();
    let header = [query.id, 0x8180 | flags, 1, count(answers), count(authorities), 0].map(u16::to_be_bytes);
    [header.concat(), section(), answers.concat(), authorities.concat()].concat()
}

fn section() -> Vec<u8> {
    [&labels(ORDERS)[..], &A.to_be_bytes(), &[0, 1]].concat()
}

/// `record`, of `orders.example.com`, in another class.
fn of_class(class: u8, mut record: Vec<u8>) -> Vec<u8> {
    record[20 + 3] = class;
    record
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(169, 254, 171, last).into()
}

fn addresses(list: &[u8], ttl: u64) -> Response {
    Response::Addresses(AddressSet { addresses: list.iter().copied().map(ip).collect(), ttl: Duration::from_secs(ttl) })
}

fn nothing(ttl: u64) -> Response {
    Response::Negative(Duration::from_secs(ttl))
}

const ENDLESS: Response = Response::Negative(Duration::MAX);

fn code(code: ResponseCode) -> Response {
    Response::Failed(ResponseError::Code(code))
}

const ORDERS: &str = "orders.example.com";

#[test]
fn a_query_asks_for_recursion_and_states_its_payload_size() {
    let bytes = sent(ORDERS, Family::V4, true);
    assert_eq!(bytes[..2], SentQuery::parse(&bytes).unwrap().id.to_be_bytes());
    assert_eq!(bytes[2..12], [1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(bytes[12..12 + 20 + 4], section());
    assert_eq!(bytes[12 + 20 + 4..], [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    let plain = sent(ORDERS, Family::V4, false);
    assert_eq!(plain.len(), 12 + 20 + 4);
    let ids: std::collections::HashSet<Vec<u8>> =
        (0..64).map(|_| sent(ORDERS, Family::V4, false)[..2].to_vec()).collect();
    assert!(ids.len() > 48, "unpredictable ids: {ids:?}");
}

#[test]
fn labels_that_no_host_name_may_have_are_queried() {
    for text in ["-foo.example.com", "foo-.example.com", "_sip._tcp.example.com", "xn--.example.com", "-", "a--b.c"] {
        let bytes = sent(text, Family::V6, true);
        let labels = labels(text);
        assert_eq!(bytes[12..12 + labels.len()], labels);
        assert_eq!(bytes[12 + labels.len()..][..4], [0, 28, 0, 1]);
    }
}

#[test]
fn responses_are_classified() {
    let q = sent_query();
    let cases = [
        ("one address", message(&q, 0, &[a(ORDERS, 1, 60)], &[]), addresses(&[1], 60)),
        (
            "several, the shortest TTL",
            message(&q, 0, &[a(ORDERS, 2, 60), a(ORDERS, 1, 30)], &[]),
            addresses(&[2, 1], 30),
        ),
        ("the same twice", message(&q, 0, &[a(ORDERS, 1, 60), a(ORDERS, 1, 60)], &[]), addresses(&[1], 60)),
        ("in another case", message(&q, 0, &[a("ORDERS.Example.COM", 1, 60)], &[]), addresses(&[1], 60)),
        ("TTL of 0", message(&q, 0, &[a(ORDERS, 1, 0)], &[]), addresses(&[1], 0)),
        ("the highest TTL", message(&q, 0, &[a(ORDERS, 1, 0x7fff_ffff)], &[]), addresses(&[1], 0x7fff_ffff)),
        ("a negative TTL", message(&q, 0, &[a(ORDERS, 1, 1 << 31)], &[]), addresses(&[1], 0)),
        ("a TTL of 136 years", message(&q, 0, &[a(ORDERS, 1, u32::MAX)], &[]), addresses(&[1], 0)),
        ("an alias", message(&q, 0, &[alias(ORDERS, "b.c", 9), a("b.c", 1, 60)], &[]), addresses(&[1], 9)),
        (
            "a chain in no order",
            message(&q, 0, &[a("d.e", 1, 60), alias("b.c", "d.e", 7), alias(ORDERS, "B.c", 9)], &[]),
            addresses(&[1], 7),
        ),
        ("an address of another name", message(&q, 0, &[a("b.c", 1, 60)], &[]), ENDLESS),
        ("beside the right one", message(&q, 0, &[a("b.c", 2, 1), a(ORDERS, 1, 60)], &[]), addresses(&[1], 60)),
        ("of another type", message(&q, 0, &[record(ORDERS, 28, 60, &[0; 16])], &[]), ENDLESS),
        (
            "a circle",
            message(&q, 0, &[alias(ORDERS, "b.c", 9), alias("b.c", ORDERS, 9)], &[]),
            Response::Failed(ResponseError::Malformed),
        ),
        (
            "a circle of one",
            message(&q, 0, &[alias(ORDERS, ORDERS, 9)], &[]),
            Response::Failed(ResponseError::Malformed),
        ),
        (
            "an alias alone",
            message(&q, 0, &[alias(ORDERS, "b.c", 9)], &[]),
            Response::Alias(name("b.c"), Duration::from_secs(9)),
        ),
        ("one to nothing", message(&q, 0, &[alias(ORDERS, "b.c", 9)], &[soa(60, 60)]), nothing(9)),
        ("one to no name", message(&q, 3, &[alias(ORDERS, "b.c", 90)], &[soa(60, 30)]), nothing(30)),
        ("no such name", message(&q, 3, &[], &[soa(900, 5)]), nothing(5)),
        ("no such name, the SOA's own TTL", message(&q, 3, &[], &[soa(4, 900)]), nothing(4)),
        ("no such name, no SOA", message(&q, 3, &[], &[]), ENDLESS),
        ("no data", message(&q, 0, &[], &[soa(60, 60)]), nothing(60)),
        ("no data, with NS", message(&q, 0, &[], &[ns(), soa(60, 60)]), nothing(60)),
        ("no data of type 3", message(&q, 0, &[], &[]), ENDLESS),
        ("a referral", message(&q, 0, &[], &[ns()]), Response::Failed(ResponseError::Referral)),
        (
            "of another class",
            message(&q, 0, &[of_class(3, a(ORDERS, 1, 60))], &[]),
            Response::Failed(ResponseError::Malformed),
        ),
        ("truncated", message(&q, 0x0200, &[a(ORDERS, 1, 60)], &[]), Response::Truncated),
        ("SERVFAIL", message(&q, 2, &[], &[]), code(ResponseCode::ServFail)),
        ("REFUSED", message(&q, 5, &[], &[]), code(ResponseCode::Refused)),
        ("REFUSED with addresses", message(&q, 5, &[a(ORDERS, 1, 60)], &[]), code(ResponseCode::Refused)),
        ("FORMERR", message(&q, 1, &[], &[]), code(ResponseCode::FormErr)),
        ("unknown", message(&q, 15, &[], &[]), code(ResponseCode::Unknown(15))),
    ];
    for (what, bytes, reply) in cases {
        assert_eq!(q.classify(&bytes), reply, "{what}");
    }
}

#[test]
fn many_addresses_are_taken_up_to_a_bound() {
    let q = sent_query();
    for (sent, taken) in [(50_u8, 50), (200, MAX_ADDRESSES)] {
        let answers: Vec<Vec<u8>> = (0..sent).map(|n| a(ORDERS, n, 60)).collect();
        let Response::Addresses(found) = q.classify(&message(&q, 0, &answers, &[])) else { panic!() };
        assert_eq!(found.addresses.len(), taken);
    }
}

/// The upper bits of a code are in the OPT record (RFC 6891 §6.1.3).
#[test]
fn an_unsupported_edns_version_is_an_error() {
    let q = sent_query();
    let mut bytes = message(&q, 0, &[], &[]);
    bytes[11] = 1;
    bytes.extend([&[0][..], &OPT.to_be_bytes(), &1232_u16.to_be_bytes(), &[1, 0, 0, 0], &[0, 0]].concat());
    let Response::Failed(error) = q.classify(&bytes) else { panic!() };
    assert!(error.may_be_edns());
}

#[test]
fn a_response_without_a_question_is_never_an_answer() {
    let q = sent_query();
    let bare = |flags: u16, counts: [u16; 4]| [&[q.id, 0x8180 | flags][..], &counts].concat();
    let bytes = |words: Vec<u16>| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    assert_eq!(q.classify(&bytes(bare(1, [0; 4]))), code(ResponseCode::FormErr));
    assert_eq!(q.classify(&bytes(bare(2, [0; 4]))), code(ResponseCode::ServFail));
    for flags in [0, 3, 0x0200] {
        assert_eq!(q.classify(&bytes(bare(flags, [0; 4]))), Response::Failed(ResponseError::Malformed));
        let with_answer = [bytes(bare(flags, [0, 1, 0, 0])), a(ORDERS, 66, 60)].concat();
        assert_eq!(q.classify(&with_answer), Response::Failed(ResponseError::Malformed));
    }
}

#[test]
fn a_message_for_another_query_is_unrelated() {
    let q = sent_query();
    let good = message(&q, 0, &[a(ORDERS, 66, 60)], &[]);
    let mut other_id = good.clone();
    other_id[1] ^= 1;
    let mut a_query = good.clone();
    a_query[2] &= 0x7f;
    let mut other_name = good.clone();
    other_name[13] ^= 1;
    let mut other_type = good.clone();
    other_type[12 + 20 + 1] = 28;
    let mut other_class = good.clone();
    other_class[12 + 20 + 3] = 3;
    let mut two_questions = good.clone();
    two_questions[5] = 2;
    let foreign = [other_id, a_query, other_name, other_type, other_class, two_questions];
    for (n, bytes) in foreign.iter().enumerate() {
        assert_eq!(q.classify(bytes), Response::Unrelated, "{n}");
    }
    for len in 0..12 {
        assert_eq!(q.classify(&good[..len]), Response::Unrelated, "{len} bytes");
    }
    // A response to an update is no answer, and to no other query of ours.
    let mut an_update = good.clone();
    an_update[2] |= 5 << 3;
    assert_eq!(q.classify(&an_update), Response::Failed(ResponseError::Malformed));
    // Upper case in the question is the same question.
    let mut shouting = good;
    shouting[13..19].make_ascii_uppercase();
    assert_eq!(q.classify(&shouting), addresses(&[66], 60));
}

#[test]
fn a_cut_or_changed_message_never_panics_and_adds_no_address() {
    let q = sent_query();
    let good = message(&q, 0, &[alias(ORDERS, "b.c", 9), a("b.c", 1, 60)], &[soa(60, 60)]);
    for len in 12..good.len() {
        assert_eq!(q.classify(&good[..len]), Response::Failed(ResponseError::Malformed), "{len} bytes");
    }
    // Cut by a server that says so, wherever.
    let truncated = message(&q, 0x0200, &[a(ORDERS, 1, 60)], &[]);
    for len in 36..truncated.len() {
        assert_eq!(q.classify(&truncated[..len]), Response::Truncated, "{len} bytes");
    }
    let mut random = Random(1);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.index(3) {
            let at = random.index(bytes.len());
            bytes[at] = u8::try_from(random.below(256)).unwrap();
        }
        if let Response::Addresses(found) = q.classify(&bytes) {
            assert_eq!(found.addresses.len(), 1);
        }
    }
}
