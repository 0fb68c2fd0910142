//! PROXY headers that are refused.

use crate::wire::{PROXY, SIGNATURE, TCP4, TCP6, captured_nlb, endpoint_tlv, proxy, tcp4, tcp6, tlv, with_checksum};

pub(super) fn all() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let fixed = |command, family, len: u16| [SIGNATURE, &[command, family], &len.to_be_bytes()].concat();
    let crc = tlv(3, &[0; 4]);
    vec![
        ("first byte wrong", b"\0".to_vec(), "proxy_missing"),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01".to_vec(), "proxy_missing"),
        ("an HTTP request", b"GET / HTTP/1.1\r\n".to_vec(), "proxy_missing"),
        ("POST, which starts like PROXY", b"POST / HTTP/1.1\r\n".to_vec(), "proxy_missing"),
        ("PROXY without its space", b"PROXYTCP4".to_vec(), "proxy_missing"),
        ("lower-case v1", b"proxy TCP4 ".to_vec(), "proxy_missing"),
        ("an empty line and text", b"\r\nHELO".to_vec(), "proxy_missing"),
        ("lone line feeds", b"\n\n\n\n".to_vec(), "proxy_missing"),
        ("signature wrong at its fifth byte", b"\r\n\r\n\x01".to_vec(), "proxy_missing"),
        ("signature wrong at its last byte", b"\r\n\r\n\0\r\nQUIT\r".to_vec(), "proxy_missing"),
        ("signature without NUL", b"\r\n\r\n\r\nQUIT\n".to_vec(), "proxy_missing"),
        ("v1 TCP4", b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n".to_vec(), "proxy_v1"),
        ("v1 TCP6", b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 443\r\n".to_vec(), "proxy_v1"),
        ("v1 UNKNOWN", b"PROXY UNKNOWN\r\n".to_vec(), "proxy_v1"),
        ("v1 cut short", b"PROXY ".to_vec(), "proxy_v1"),
        ("version 0", fixed(0x01, TCP4, 12), "proxy_malformed"),
        ("version 1", fixed(0x11, TCP4, 12), "proxy_malformed"),
        ("version 3", fixed(0x31, TCP4, 12), "proxy_malformed"),
        ("version 15", fixed(0xf1, TCP4, 12), "proxy_malformed"),
        ("command 2", fixed(0x22, TCP4, 12), "proxy_malformed"),
        ("command 15", fixed(0x2f, TCP4, 12), "proxy_malformed"),
        ("family 4", fixed(PROXY, 0x41, 12), "proxy_malformed"),
        ("family 15", fixed(PROXY, 0xf1, 12), "proxy_malformed"),
        ("transport 3", fixed(PROXY, 0x13, 12), "proxy_malformed"),
        ("transport 15", fixed(PROXY, 0x2f, 36), "proxy_malformed"),
        ("unspecified", proxy(PROXY, 0x00, &[]), "proxy_unsupported"),
        ("unspecified with addresses", proxy(PROXY, 0x00, &[0; 12]), "proxy_unsupported"),
        ("unspecified family, stream", proxy(PROXY, 0x01, &[0; 12]), "proxy_unsupported"),
        ("unspecified family, datagram", proxy(PROXY, 0x02, &[0; 12]), "proxy_unsupported"),
        ("IPv4, unspecified transport", proxy(PROXY, 0x10, &[0; 12]), "proxy_unsupported"),
        ("IPv6, unspecified transport", proxy(PROXY, 0x20, &[0; 36]), "proxy_unsupported"),
        ("UDP over IPv4", proxy(PROXY, 0x12, &[0; 12]), "proxy_unsupported"),
        ("UDP over IPv6", proxy(PROXY, 0x22, &[0; 36]), "proxy_unsupported"),
        ("UNIX stream", proxy(PROXY, 0x31, &[0; 216]), "proxy_unsupported"),
        ("UNIX datagram", proxy(PROXY, 0x32, &[0; 216]), "proxy_unsupported"),
        ("TCP4 without addresses", fixed(PROXY, TCP4, 0), "proxy_malformed"),
        ("TCP4 one byte short", fixed(PROXY, TCP4, 11), "proxy_malformed"),
        ("TCP6 without addresses", fixed(PROXY, TCP6, 0), "proxy_malformed"),
        ("TCP6 with the addresses of TCP4", fixed(PROXY, TCP6, 12), "proxy_malformed"),
        ("TCP6 one byte short", fixed(PROXY, TCP6, 35), "proxy_malformed"),
        (
            "a long header whose last TLV is cut",
            tcp4(&[&tlv(4, &[0; 60_000])[..], &[5, 0, 2, 0]].concat()),
            "proxy_malformed",
        ),
        ("a long header with a wrong checksum", tcp4(&[crc.clone(), tlv(4, &[0; 60_000])].concat()), "proxy_checksum"),
        ("one byte of a TLV", tcp4(&[4]), "proxy_malformed"),
        ("two bytes of a TLV", tcp4(&[4, 0]), "proxy_malformed"),
        ("a TLV longer than the header", tcp4(&[4, 0, 1]), "proxy_malformed"),
        ("a TLV of 65535 bytes", tcp4(&[4, 0xff, 0xff, 0]), "proxy_malformed"),
        ("a good TLV and half of one", tcp4(&[&tlv(4, b"x")[..], &[5, 0]].concat()), "proxy_malformed"),
        ("TCP6, a TLV longer than the header", tcp6(&[0xea, 0, 23, 1]), "proxy_malformed"),
        ("checksum of zero", tcp4(&crc), "proxy_checksum"),
        ("checksum in the other byte order", reversed_checksum(), "proxy_checksum"),
        ("checksum, address changed", changed(captured_nlb(), 16), "proxy_checksum"),
        ("checksum, padding changed", changed(captured_nlb(), 99), "proxy_checksum"),
        ("checksum, endpoint changed", changed(captured_nlb(), 60), "proxy_checksum"),
        ("checksum over the rest only", checksum_without_start(), "proxy_checksum"),
        ("TCP6, checksum changed", changed(with_checksum(tcp6(&crc)), 55), "proxy_checksum"),
        ("checksum of three bytes", tcp4(&tlv(3, &[0; 3])), "proxy_malformed"),
        ("checksum of five bytes", tcp4(&tlv(3, &[0; 5])), "proxy_malformed"),
        ("checksum without a value", tcp4(&tlv(3, &[])), "proxy_malformed"),
        ("two checksums", tcp4(&[crc.clone(), crc.clone()].concat()), "proxy_malformed"),
        ("two endpoints", tcp4(&[endpoint_tlv(b"vpce-1"), endpoint_tlv(b"vpce-2")].concat()), "proxy_malformed"),
        ("an empty endpoint", tcp4(&endpoint_tlv(b"")), "proxy_malformed"),
        ("an endpoint with a line feed", tcp4(&endpoint_tlv(b"vpce-1\n")), "proxy_malformed"),
        ("an endpoint with a quote", tcp4(&endpoint_tlv(b"vpce-\"1")), "proxy_malformed"),
        ("an endpoint of 33 bytes", tcp4(&endpoint_tlv(&[b'a'; 33])), "proxy_malformed"),
    ]
}

fn changed(mut header: Vec<u8>, at: usize) -> Vec<u8> {
    header[at] ^= 0x01;
    header
}

fn reversed_checksum() -> Vec<u8> {
    let mut header = with_checksum(tcp4(&tlv(3, &[0; 4])));
    header[31..35].reverse();
    header
}

fn checksum_without_start() -> Vec<u8> {
    let mut header = tcp4(&tlv(3, &[0; 4]));
    let sum = crc32c::crc32c(&header[16..]).to_be_bytes();
    header[31..35].copy_from_slice(&sum);
    header
}
