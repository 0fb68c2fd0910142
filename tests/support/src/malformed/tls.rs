//! What is refused where a ClientHello is expected.

use crate::wire::{GREASE, Hello, ORDERS, alpn, handshake, names, record, records, sni, vec16};

pub(super) fn all() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let orders = Hello::to(ORDERS);
    let message = orders.message();
    let to = |name: &[u8]| Hello::to(name).record();
    let with_sni = |data: &[u8]| Hello::default().with(0, data.to_vec()).record();
    let label = |len: usize| [&vec![b'a'; len][..], b".example.com"].concat();
    vec![
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "not_tls"),
        ("SMTP", b"EHLO example.com\r\n".to_vec(), "not_tls"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n".to_vec(), "not_tls"),
        ("MySQL", b"\x4a\0\0\0\x0a5.7".to_vec(), "not_tls"),
        ("RDP", b"\x03\0\0\x13\x0e\xe0\0\0".to_vec(), "not_tls"),
        ("PostgreSQL SSLRequest", b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec(), "not_tls"),
        ("a second PROXY header", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec(), "not_tls"),
        ("a PROXY v1 header", b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n".to_vec(), "not_tls"),
        ("an alert first", b"\x15\x03\x01\0\x02\x02\x28".to_vec(), "not_tls"),
        ("change_cipher_spec first", b"\x14\x03\x01\0\x01\x01".to_vec(), "not_tls"),
        ("application data first", b"\x17\x03\x03\0\x10".to_vec(), "not_tls"),
        ("DTLS", b"\x16\xfe\xff\0\0\0\0\0\0\0\0".to_vec(), "not_tls"),
        ("record version 2.0", b"\x16\x02\0\0\x10".to_vec(), "not_tls"),
        ("record version 4.0", b"\x16\x04\0\0\x10".to_vec(), "not_tls"),
        ("record version 0.0", b"\x16\0\0\0\x10".to_vec(), "not_tls"),
        ("half a method", b"GETTING / HTTP/1.1\r\n".to_vec(), "not_tls"),
        ("lower-case method", b"get / HTTP/1.1\r\n".to_vec(), "not_tls"),
        ("high bit, but no SSLv2 hello", b"\x80\x2e\x04".to_vec(), "not_tls"),
        ("SSLv2 hello of version 3.5", b"\x80\x2e\x01\x03\x05".to_vec(), "not_tls"),
        ("SSLv2 hello of version 4", b"\x80\x2e\x01\x04\x00".to_vec(), "not_tls"),
        ("GET", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "plain_http"),
        ("HEAD", b"HEAD / HTTP/1.0\r\n\r\n".to_vec(), "plain_http"),
        ("POST", b"POST /".to_vec(), "plain_http"),
        ("PUT", b"PUT /".to_vec(), "plain_http"),
        ("PATCH", b"PATCH /".to_vec(), "plain_http"),
        ("DELETE", b"DELETE /".to_vec(), "plain_http"),
        ("OPTIONS", b"OPTIONS *".to_vec(), "plain_http"),
        ("CONNECT", b"CONNECT orders.example.com:443 HTTP/1.1\r\n".to_vec(), "plain_http"),
        ("TRACE", b"TRACE /".to_vec(), "plain_http"),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "plain_http"),
        ("SSLv2", b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10".to_vec(), "sslv2"),
        ("SSLv2 frame offering SSL 3.0", b"\x80\x2e\x01\x03\0\0\x15\0\0\0\x10".to_vec(), "sslv2"),
        ("SSLv2 frame offering TLS 1.2", b"\x80\x2e\x01\x03\x03\0\x15\0\0\0\x10".to_vec(), "sslv2"),
        ("an empty record", b"\x16\x03\x01\0\0".to_vec(), "hello_malformed"),
        (
            "an empty record behind one-byte records",
            [records(&message[..9], 1), record(&[])].concat(),
            "hello_malformed",
        ),
        ("an empty record in between", [record(&message[..9]), record(&[])].concat(), "hello_malformed"),
        ("a record of 16385 bytes", b"\x16\x03\x01\x40\x01".to_vec(), "hello_malformed"),
        ("a record of 65535 bytes", b"\x16\x03\x01\xff\xff".to_vec(), "hello_malformed"),
        ("HelloRequest", record(&handshake(0, b"")), "hello_malformed"),
        ("ServerHello", record(&handshake(2, &orders.body())), "hello_malformed"),
        ("Finished", record(&handshake(20, &[0; 12])), "hello_malformed"),
        (
            "an alert between two parts",
            [&record(&message[..50]), &b"\x15\x03\x01\0\x02\x01\0"[..]].concat(),
            "hello_malformed",
        ),
        ("application data between", [&record(&message[..50]), &b"\x17\x03\x03\0\x02"[..]].concat(), "hello_malformed"),
        ("second record of version 2.0", [&record(&message[..50]), &b"\x16\x02\0"[..]].concat(), "hello_malformed"),
        ("a record longer than the hello", record(&[&message[..], b"x"].concat()), "hello_malformed"),
        ("the start of such a record", b"\x16\x03\x01\0\x50\x01\0\0\x10".to_vec(), "hello_malformed"),
        ("two hellos in a record", record(&message.repeat(2)), "hello_malformed"),
        (
            "the last record too long",
            [record(&message[..60]), record(&[&message[60..], b"x"].concat())].concat(),
            "hello_malformed",
        ),
        ("an empty hello", record(&handshake(1, b"")), "hello_malformed"),
        ("a hello that ends in its random", record(&handshake(1, &orders.body()[..20])), "hello_malformed"),
        ("a session id of 33 bytes", Hello { session_id: vec![0; 33], ..orders.clone() }.record(), "hello_malformed"),
        ("half a cipher suite", Hello { ciphers: vec![0x13, 1, 0x13], ..orders.clone() }.record(), "hello_malformed"),
        ("no cipher suite", Hello { ciphers: vec![], ..orders.clone() }.record(), "hello_malformed"),
        ("no compression method", Hello { compression: vec![], ..orders.clone() }.record(), "hello_malformed"),
        ("cipher suites to the end and beyond", lying_ciphers(), "hello_malformed"),
        ("an extension list one byte short", lying_list(-1), "hello_malformed"),
        ("an extension list one byte long", lying_list(1), "hello_malformed"),
        ("one byte after the compression", bare_body(&[0]), "hello_malformed"),
        ("an extension longer than the list", bare_body(&vec16(&[0, 16, 0, 9, 1])), "hello_malformed"),
        ("half an extension header", bare_body(&vec16(&[0, 16, 0])), "hello_malformed"),
        ("a good name and a broken extension", broken_extension(), "hello_malformed"),
        ("server_name of one byte", with_sni(&[0]), "hello_malformed"),
        ("server_name list longer than it is", with_sni(&[0, 9, 0, 0, 1, b'a']), "hello_malformed"),
        ("server_name list shorter than it is", with_sni(&[0, 4, 0, 0, 1, b'a', b'b']), "hello_malformed"),
        ("name longer than the list", with_sni(&[0, 4, 0, 0, 9, b'a']), "hello_malformed"),
        ("a byte after the name", with_sni(&[0, 5, 0, 0, 1, b'a', b'b']), "hello_malformed"),
        ("a name and half of another", with_sni(&[0, 7, 0, 0, 1, b'a', 0, 0, 1]), "hello_malformed"),
        ("a hello of 16385 bytes", long_hello(16385), "hello_too_long"),
        ("a hello of 16 MiB", record(&[1, 0xff, 0xff, 0xff]), "hello_too_long"),
        ("a hello of 16385 bytes in one-byte records", records(&padded(16385), 1), "hello_too_long"),
        ("no extension list", Hello { extensions: None, ..orders.clone() }.record(), "sni_missing"),
        ("an empty extension list", Hello::default().record(), "sni_missing"),
        ("SSL 3.0", Hello { extensions: None, version: [3, 0], ..orders.clone() }.record(), "sni_missing"),
        (
            "extensions without server_name",
            Hello::default().with(GREASE, vec![]).with(16, alpn(&[b"h2"])).record(),
            "sni_missing",
        ),
        ("only ECH", Hello::default().with(0xfe0d, vec![0; 200]).record(), "sni_missing"),
        ("an empty server_name", with_sni(&[]), "sni_invalid"),
        ("an empty name list", with_sni(&[0, 0]), "sni_invalid"),
        ("a name of another type", with_sni(&names(&[(1, ORDERS)])), "sni_invalid"),
        ("an empty name", to(b""), "sni_invalid"),
        ("only a dot", to(b"."), "sni_invalid"),
        ("two final dots", to(b"orders.example.com.."), "sni_invalid"),
        ("an empty label", to(b"orders..com"), "sni_invalid"),
        ("a leading dot", to(b".example.com"), "sni_invalid"),
        ("NUL in the name", to(b"orders.example.com\0.evil"), "sni_invalid"),
        ("a line feed in the name", to(b"orders\n.example.com"), "sni_invalid"),
        ("a blank in the name", to(b"orders .example.com"), "sni_invalid"),
        ("a slash in the name", to(b"orders/example.com"), "sni_invalid"),
        ("a wildcard", to(b"*.example.com"), "sni_invalid"),
        ("an at sign", to(b"user@example.com"), "sni_invalid"),
        ("a percent sign", to(b"orders%2eexample.com"), "sni_invalid"),
        ("UTF-8", to("bücher.example".as_bytes()), "sni_invalid"),
        ("high bytes", to(b"\xff\xfe.com"), "sni_invalid"),
        ("a label of 64 bytes", to(&label(64)), "sni_invalid"),
        ("a name of 254 bytes", to(&[b"a.".repeat(126), b"ab".to_vec()].concat()), "sni_invalid"),
        ("a name of 16000 bytes", to(&b"a.".repeat(8000)), "sni_invalid"),
        ("IPv4", to(b"127.0.0.1"), "sni_ip_address"),
        ("the metadata address", to(b"169.254.170.2"), "sni_ip_address"),
        ("IPv4, short", to(b"127.1"), "sni_ip_address"),
        ("IPv4, one number", to(b"2130706433"), "sni_ip_address"),
        ("IPv4, hexadecimal", to(b"0x7f000001"), "sni_ip_address"),
        ("IPv4, octal", to(b"0177.0.0.1"), "sni_ip_address"),
        ("IPv4 with a final dot", to(b"10.0.0.1."), "sni_ip_address"),
        ("IPv6", to(b"fd00:ec2::254"), "sni_ip_address"),
        ("IPv6 in brackets", to(b"[::1]"), "sni_ip_address"),
        ("IPv4 in IPv6", to(b"::ffff:169.254.169.254"), "sni_ip_address"),
        ("two names in a list", with_sni(&names(&[(0, b"a.example"), (0, b"b.example")])), "sni_ambiguous"),
        ("the same name twice", with_sni(&names(&[(0, ORDERS), (0, ORDERS)])), "sni_ambiguous"),
        ("another type before the name", with_sni(&names(&[(1, b"x"), (0, ORDERS)])), "sni_ambiguous"),
        ("two server_name extensions", Hello::to(ORDERS).with(0, sni(b"evil.example")).record(), "sni_ambiguous"),
        ("the same server_name twice", Hello::to(ORDERS).with(0, sni(ORDERS)).record(), "sni_ambiguous"),
        ("bad name over three records", records(&Hello::browser(b"a b").message(), 700), "sni_invalid"),
    ]
}

/// A hello of exactly this many bytes with its header.
fn long_hello(len: usize) -> Vec<u8> {
    let message = padded(len);
    records(&message, 16384)
}

/// A hello's message padded to this many bytes with its handshake header.
pub fn padded(len: usize) -> Vec<u8> {
    let bare = Hello::to(ORDERS).with(21, vec![]).message().len();
    Hello::to(ORDERS).with(21, vec![0; len - bare]).message()
}

fn bare_body(after: &[u8]) -> Vec<u8> {
    let bare = Hello { extensions: None, ..Hello::default() };
    record(&handshake(1, &[&bare.body()[..], after].concat()))
}

fn lying_list(by: i32) -> Vec<u8> {
    let list = [&[0, 0][..], &vec16(&sni(ORDERS))].concat();
    let lie = u16::try_from(i32::try_from(list.len()).unwrap() + by).unwrap();
    bare_body(&[&lie.to_be_bytes()[..], &list].concat())
}

fn lying_ciphers() -> Vec<u8> {
    let mut body = Hello::to(ORDERS).body();
    body[67..69].copy_from_slice(&[0xff, 0xfe]);
    record(&handshake(1, &body))
}

fn broken_extension() -> Vec<u8> {
    bare_body(&vec16(&[&[0, 0][..], &vec16(&sni(ORDERS)), &[0, 16, 0, 200, 0]].concat()))
}
