//! The framing of a chunked body (RFC 9112 §7.1), for requests and responses.

use crate::outcome::RefuseReason::BodyMalformed;
use crate::protocol::http_lines::{Lines, MAX_FIELDS};
use crate::protocol::{ParseError, byte_at};

/// Hexadecimal digits of a 64-bit number.
const MAX_SIZE_DIGITS: usize = 16;

/// The size of a chunk and the length of its line: hexadecimal digits, extensions, CR LF (RFC 9112 §7.1). Servers
/// disagree about blanks after the size and about a lone CR or LF in an extension, so both are refused.
pub(crate) fn chunk_size(line: &[u8]) -> Result<(u64, usize), ParseError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits > MAX_SIZE_DIGITS {
        return Err(BodyMalformed.into());
    }
    let (size, after) = line.split_at_checked(digits).unwrap_or_default();
    let extensions = match byte_at(after, 0)? {
        b';' => after.iter().take_while(|&&byte| byte == b'\t' || matches!(byte, b' '..=b'~')).count(),
        _ => 0,
    };
    let (extensions, end) = after.split_at_checked(extensions).unwrap_or_default();
    let size = std::str::from_utf8(size).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let size = size.filter(|size| *size <= i64::MAX.unsigned_abs()).ok_or(BodyMalformed)?;
    let len = digits + extensions.len() + crlf(end)?;
    if extensions.trim_ascii() == b";" {
        return Err(BodyMalformed.into());
    }
    Ok((size, len))
}

pub(crate) fn crlf(bytes: &[u8]) -> Result<usize, ParseError> {
    match bytes {
        [] | [b'\r'] => Err(ParseError::NeedMore),
        [b'\r', b'\n', ..] => Ok(2),
        _ => Err(BodyMalformed.into()),
    }
}

/// The length of the trailer section. Some fields are not allowed in it, since a receiver may merge them into the head
/// (RFC 9110 §6.5.1).
pub(crate) fn trailers(
    lines: &mut Lines,
    bytes: &[u8],
    is_forbidden: impl Fn(&str) -> bool,
) -> Result<usize, ParseError> {
    let len = lines.section_len(bytes, MAX_FIELDS).map_err(|error| match error {
        ParseError::NeedMore => ParseError::NeedMore,
        ParseError::Refuse(_) => BodyMalformed.into(),
    })?;
    if len == b"\r\n".len() {
        return Ok(len);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(bytes.get(..len).unwrap_or_default(), &mut fields) {
        Ok(httparse::Status::Complete((read, fields)))
            if read == len && !fields.iter().any(|field| is_forbidden(field.name)) =>
        {
            Ok(len)
        }
        _ => Err(BodyMalformed.into()),
    }
}

/// The fields that would change framing or routing: not allowed whoever relays the trailers.
pub(crate) fn frames_or_routes(name: &str) -> bool {
    ["host", "content-length", "transfer-encoding"].iter().any(|other| name.eq_ignore_ascii_case(other))
}
