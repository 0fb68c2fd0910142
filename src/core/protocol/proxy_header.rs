//! The PROXY protocol v2 header at the start of a connection: bytes → the client and its VPC endpoint.
//!
//! The 16 fixed bytes are checked here as they arrive, so that a wrong one is refused at once. Once the whole header has
//! been received, and not before, the `ppp` crate parses the address block and the TLVs. `ppp` never sees the command
//! LOCAL (it would read TLVs as addresses) nor UNSPEC (it would hide them), and it does not verify CRC32C.
//! Only one header is read: what follows it is payload, even if it looks like another header.

use std::net::SocketAddr;

use ppp::v2;

use crate::client::{Client, EndpointId};
use crate::outcome::RefuseReason::{ProxyChecksum, ProxyMalformed, ProxyMissing, ProxyUnsupported, ProxyV1};
use crate::protocol::{ParseError, Verdict, byte_at, u16_at};

/// Longest header in bytes, as its length field allows. NLB sends 80 to 130, HAProxy 2.6 with all its options 250, but a
/// load balancer may add a client's certificate, and the specification requires receivers to accept it.
pub const MAX_HEADER: usize = FIXED + 0xffff;

/// What the header says about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The connection is the sender's own, mostly a health check. The TCP peer is the client.
    Local,
    /// The connection is relayed for this client.
    Proxy(Client),
}

/// Parses all bytes received so far.
pub fn parse(bytes: &[u8]) -> Verdict<Header> {
    header(bytes).into()
}

/// Signature, version and command, family and transport, length of the rest.
const FIXED: usize = 16;
const VERSION_2: u8 = 0x20;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// CRC32C of the whole header, computed with the four bytes of the value set to zero.
const TLV_CRC32C: u8 = 0x03;
/// Amazon's TLV; the first byte of its value is its subtype.
const TLV_AWS: u8 = 0xea;
const AWS_VPC_ENDPOINT_ID: u8 = 0x01;
/// Type and length in front of a TLV's value.
const TLV_FIXED: usize = 3;

#[derive(PartialEq, Eq)]
enum Command {
    Local,
    Proxy,
}

fn header(bytes: &[u8]) -> Result<(Header, usize), ParseError> {
    signature(bytes)?;
    let command = command(byte_at(bytes, 12)?)?;
    let family = byte_at(bytes, 13)?;
    let addresses_len = if command == Command::Proxy { addresses_len(family)? } else { 0 };
    let len = FIXED + u16_at(bytes, 14)?;
    if len < FIXED + addresses_len {
        return Err(ProxyMalformed.into());
    }
    let whole = bytes.get(..len).ok_or(ParseError::NeedMore)?;
    // For LOCAL, the specification requires the address block to be discarded and the family to be ignored: NLB's health
    // check says TCP over IPv4 and has no address. Its checksum is not verified, because nothing of it is used.
    if command == Command::Local {
        return Ok((Header::Local, len));
    }
    let header = v2::Header::try_from(whole).map_err(|_| ProxyMalformed)?;
    let client = Client::new(source(&header)?, endpoint(&header)?);
    Ok((Header::Proxy(client), len))
}

/// Compares as many bytes as there are: the first wrong byte decides.
fn signature(bytes: &[u8]) -> Result<(), ParseError> {
    const V1: &[u8] = b"PROXY ";
    if starts_with_as_far_as_it_goes(bytes, v2::PROTOCOL_PREFIX) {
        return Ok(());
    }
    if !starts_with_as_far_as_it_goes(bytes, V1) {
        return Err(ProxyMissing.into());
    }
    Err(if bytes.len() < V1.len() { ParseError::NeedMore } else { ProxyV1.into() })
}

fn starts_with_as_far_as_it_goes(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(byte, wanted)| byte == wanted)
}

fn command(version_and_command: u8) -> Result<Command, ParseError> {
    match (version_and_command & 0xf0, version_and_command & 0x0f) {
        (VERSION_2, 0) => Ok(Command::Local),
        (VERSION_2, 1) => Ok(Command::Proxy),
        _ => Err(ProxyMalformed.into()),
    }
}

/// The length of two addresses and two ports of TCP. Another family or transport is valid but has no address for the
/// access list.
fn addresses_len(family_and_transport: u8) -> Result<usize, ParseError> {
    match (family_and_transport, family_and_transport >> 4, family_and_transport & 0x0f) {
        (TCP4, _, _) => Ok(12),
        (TCP6, _, _) => Ok(36),
        (_, 0..=3, 0..=2) => Err(ProxyUnsupported.into()),
        _ => Err(ProxyMalformed.into()),
    }
}

fn source(header: &v2::Header<'_>) -> Result<SocketAddr, ParseError> {
    match header.addresses {
        v2::Addresses::IPv4(tcp) => Ok((tcp.source_address, tcp.source_port).into()),
        v2::Addresses::IPv6(tcp) => Ok((tcp.source_address, tcp.source_port).into()),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => Err(ProxyUnsupported.into()),
    }
}

/// Parses the TLVs: all must be well formed, and the checksum, if there is one, must match.
fn endpoint(header: &v2::Header<'_>) -> Result<Option<EndpointId>, ParseError> {
    let mut endpoint = None;
    let mut checksum_at = None;
    let mut at = header.len() - header.tlv_bytes().len();
    for tlv in header.tlvs() {
        let tlv = tlv.map_err(|_| ProxyMalformed)?;
        let value_at = at + TLV_FIXED;
        at = value_at + tlv.len();
        match (tlv.kind, tlv.value.as_ref()) {
            (TLV_CRC32C, [_, _, _, _]) => once(&mut checksum_at, value_at)?,
            (TLV_CRC32C, _) => return Err(ProxyMalformed.into()),
            (TLV_AWS, [AWS_VPC_ENDPOINT_ID, id @ ..]) => {
                once(&mut endpoint, EndpointId::parse(id).ok_or(ProxyMalformed)?)?;
            }
            _ => {}
        }
    }
    match checksum_at {
        Some(at) if !checksum_matches(header.as_bytes(), at) => Err(ProxyChecksum.into()),
        _ => Ok(endpoint),
    }
}

/// Refuses a second one, since it is not clear which of the two counts.
fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), ParseError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ProxyMalformed.into()),
    }
}

/// Those of load balancers fit on the stack, where the four bytes can be cleared: one pass over a hundred bytes costs a third
/// of three.
fn checksum_matches(header: &[u8], at: usize) -> bool {
    const SHORT: usize = 256;
    let Some((before, [a, b, c, d, after @ ..])) = header.split_at_checked(at) else { return false };
    let mut short = [0; SHORT];
    let sum = match short.get_mut(..header.len()) {
        Some(copy) => {
            copy.copy_from_slice(header);
            copy.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0);
            crc32c::crc32c(copy)
        }
        None => crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]), after),
    };
    sum == u32::from_be_bytes([*a, *b, *c, *d])
}
