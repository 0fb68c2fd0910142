//! What RFC 9110 and 9112 require of a server before it looks at the target: version, Host, target form and method.
//! hyper adds `Date` and the framing, omits the content for HEAD, and answers what it cannot parse.

use std::borrow::Cow;

use hyper::header::{ALLOW, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::response::{FullResponse, text};

/// The requested path in its normal form, or the response to a request that is malformed or not for reading.
pub(super) fn path_of(request: &Parts) -> Result<Cow<'_, str>, Box<FullResponse>> {
    if let Err(why) = host(request) {
        return Err(text(StatusCode::BAD_REQUEST, why).into());
    }
    if request.method == Method::GET || request.method == Method::HEAD {
        // `*` is for OPTIONS alone (RFC 9112 §3.2.4).
        return match request.uri.path() {
            "*" => Err(text(StatusCode::BAD_REQUEST, "the target * is for OPTIONS\n").into()),
            path => Ok(decoded(path)),
        };
    }
    if is_known(&request.method) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Err(response.into());
    }
    Err(text(StatusCode::NOT_IMPLEMENTED, "unknown method; there are GET and HEAD\n").into())
}

/// Exactly one valid Host field (RFC 9112 §3.2); none is allowed in HTTP/1.0 only.
fn host(request: &Parts) -> Result<(), &'static str> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if request.version == Version::HTTP_10 => return Ok(()),
        (None, _) => return Err("the request has no Host field\n"),
        (Some(_), Some(_)) => return Err("the request has two Host fields\n"),
        (Some(host), None) => host.as_bytes(),
    };
    let valid = |host: &[u8]| !host.contains(&b'@') && Authority::try_from(host).is_ok();
    // Empty where the target has no host.
    if host.is_empty() || valid(host) { Ok(()) } else { Err("the Host field is not a host\n") }
}

/// The methods of RFC 9110 and PATCH: they are known and not allowed, which differs from unknown (§15.6.2).
fn is_known(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::DELETE, Method::CONNECT, Method::OPTIONS, Method::TRACE, Method::PATCH]
        .contains(method)
}

/// Octets that need no encoding are the same with it (RFC 9110 §4.2.3): `/%72eadyz` is `/readyz`.
fn decoded(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, encoded)) = rest.split_once('%') {
        out.push_str(before);
        let octet = encoded.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match octet.filter(|octet| octet.is_ascii_alphanumeric() || b"-._~".contains(octet)) {
            Some(octet) => {
                out.push(char::from(octet));
                rest = encoded.get(2..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = encoded;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// An error is the stream of a client that speaks HTTP/2, which hyper would leave without an answer. It got the status for its
/// version.
pub(super) async fn refuse_http2(mut stream: TcpStream) -> Result<TcpStream, TcpStream> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Length: 23\r\nConnection: close\r\n\r\nuse HTTP/1.1 with Host\n";
    let mut first = [0; PREFACE.len()];
    if !stream.peek(&mut first).await.is_ok_and(|n| n == PREFACE.len()) || first != PREFACE {
        return Ok(stream);
    }
    // The client may be gone, and an error says no more than that.
    let _ = stream.write_all(ANSWER).await;
    Err(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_no_encoding_is_decoded() {
        for (path, normal) in [
            ("/readyz", "/readyz"),
            ("/%72eady%7A", "/readyz"),
            ("/%72eady%7a", "/readyz"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%", "/%"),
            ("/%7", "/%7"),
            ("/%+7", "/%+7"),
            ("/%é", "/%é"),
            ("/%%72", "/%r"),
        ] {
            assert_eq!(decoded(path), normal, "{path}");
        }
    }
}
