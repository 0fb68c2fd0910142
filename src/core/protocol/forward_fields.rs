//! Which fields a forward proxy passes on, and how they are written (RFC 9110 §7.6).

use crate::protocol::http_fields::list;
use crate::protocol::http_lines::MAX_FIELDS;

/// Fields that are for the next hop only, or for a proxy, whether or not `Connection` names them.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "upgrade",
];

/// Fields that are passed on although `Connection` names them. Without them the receiver would read another message than
/// we did: no client that means well names them, so that they stay is the safe reading.
const KEPT: [&str; 6] = ["content-length", "expect", "host", "trailer", "transfer-encoding", "via"];

/// What the message says of the connection that it came on.
#[derive(Debug, Default)]
pub(crate) struct ConnectionOptions<'a> {
    pub(crate) close: bool,
    /// The other options, each the name of a field that is not to be passed on.
    names: Vec<&'a [u8]>,
}

impl<'a> ConnectionOptions<'a> {
    /// Nothing if there are more options than a message has fields: each field is compared with each option.
    /// `Proxy-Connection` never was a standard, but old clients send it, and mean `Connection` by it.
    pub(crate) fn read(fields: &[httparse::Header<'a>]) -> Option<Self> {
        let mut read = Self::default();
        for field in fields {
            let is_ours = field.name.eq_ignore_ascii_case("connection");
            if !is_ours && !field.name.eq_ignore_ascii_case("proxy-connection") {
                continue;
            }
            for option in list(field.value) {
                if option.eq_ignore_ascii_case(b"close") {
                    read.close = true;
                } else if is_ours && !option.is_empty() && !is_one_of(&HOP_BY_HOP, option) && !is_one_of(&KEPT, option)
                {
                    read.names.push(option);
                }
            }
        }
        (read.names.len() <= MAX_FIELDS).then_some(read)
    }

    pub(crate) fn passes(&self, name: &str) -> bool {
        let name = name.as_bytes();
        !is_one_of(&HOP_BY_HOP, name) && !self.names.iter().any(|option| option.eq_ignore_ascii_case(name))
    }
}

/// Whether a field may not come in the trailers of a message whose head we have written: it is for one hop only, frames or
/// routes the message, or tells how to handle it, and a receiver may merge it into the head (RFC 9110 §6.5.1). Trailers are
/// forwarded as they are, so that such a message is refused.
pub(crate) fn is_no_trailer(name: &str) -> bool {
    let name = name.as_bytes();
    is_one_of(&HOP_BY_HOP, name) || is_one_of(&KEPT, name) || name.eq_ignore_ascii_case(b"max-forwards")
}

fn is_one_of(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|one| name.eq_ignore_ascii_case(one.as_bytes()))
}

/// Whether a `Via` field names this proxy (RFC 9110 §7.6.3): then the message has been here before. Commas in comments
/// separate members too, since an open parenthesis must not hide what other proxies write behind it.
pub(crate) fn names_us(via: &[u8], via_name: &str) -> bool {
    list(via).any(|member| {
        let mut words = member.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let received_by = words.nth(1).unwrap_or_default();
        // Without the port, and without a comment that no blank sets off.
        let name = received_by.split(|byte| b":(".contains(byte)).next().unwrap_or_default();
        name.eq_ignore_ascii_case(via_name.as_bytes())
    })
}

pub(crate) fn write_field(message: &mut Vec<u8>, name: &str, value: &[u8]) {
    message.extend_from_slice(name.as_bytes());
    message.extend_from_slice(b": ");
    message.extend_from_slice(value);
    message.extend_from_slice(b"\r\n");
}

/// What ends each head that was received as HTTP/1 of this minor version.
pub(crate) fn write_end(message: &mut Vec<u8>, minor: u8, via_name: &str, close: bool) {
    write_field(message, "Via", format!("1.{minor} {via_name}").as_bytes());
    if close {
        write_field(message, "Connection", b"close");
    }
    message.extend_from_slice(b"\r\n");
}
