//! Lines of access logs: Squid's own format, the common and combined ones, and the incumbent's nginx line.

use std::borrow::Cow;
use std::net::IpAddr;

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Request(Request<'a>),
    /// Nothing was requested, or nothing that a list decides about, and why.
    Other(&'static str),
    /// Why it cannot be read.
    Unreadable(&'static str),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) client: IpAddr,
    /// The client is only the TCP peer: there was no PROXY header that named another.
    pub(super) is_peer: bool,
    pub(super) target: Target<'a>,
    /// The proxy that wrote the log has refused it by its own list.
    pub(super) was_refused: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// `host:port`, of CONNECT or of a request in a tunnel that Squid has decrypted.
    Connect(Cow<'a, str>),
    /// The URL of another request, or what Squid was asked for instead of one.
    Url { method: &'a str, url: &'a str },
    /// nginx writes no name. The port that it was asked on, if it writes that.
    Unnamed { port: Option<u16> },
}

const UNKNOWN: Line<'_> =
    Line::Unreadable("it is in none of the formats: Squid's own, common, combined, and that of the nginx guidance");
const NO_CLIENT: Line<'_> = Line::Unreadable("its client is not an address");
/// Squid has no answer of a server to them, so they went nowhere, whatever a list says.
const FAILED: Line<'_> = Line::Other("requests that the proxy itself could not serve");
/// What was in the tunnel is not in the line, and the list has allowed the name in CONNECT.
const TUNNEL_DENIED: Line<'_> = Line::Other("tunnels that were refused for what was in them");

pub(super) fn parse(line: &[u8]) -> Line<'_> {
    let Ok(line) = str::from_utf8(line) else { return Line::Unreadable("it is not UTF-8") };
    let words: Vec<&str> = line.split_ascii_whitespace().take(16).collect();
    match words[..] {
        [] => Line::Other("empty lines"),
        [time, _, client, code, _, method, url, ref rest @ ..] if is_epoch(time) => {
            let (code, status) = code.split_once('/').unwrap_or((code, ""));
            let hierarchy = rest.get(1).and_then(|word| word.split('/').next()).unwrap_or_default();
            squid(client, Done { code, status, hierarchy }, method, url)
        }
        [time, peer, client, _, "TCP" | "UDP", port, status, ..] if is_iso(time) => nginx(peer, client, port, status),
        [client, ..] if line.contains('[') && line.contains('"') => common(client, line),
        _ => UNKNOWN,
    }
}

/// `1286536309.586`
fn is_epoch(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    word.split_once('.').is_some_and(|(seconds, millis)| digits(seconds) && digits(millis))
}

/// `2026-11-28T10:00:00+00:00`
fn is_iso(word: &str) -> bool {
    word.len() >= 19 && word.as_bytes().get(10) == Some(&b'T') && word.starts_with(|c: char| c.is_ascii_digit())
}

/// How Squid was done with a request: `TCP_MISS`, `200`, `HIER_DIRECT`.
struct Done<'a> {
    code: &'a str,
    status: &'a str,
    hierarchy: &'a str,
}

impl Done<'_> {
    /// It has answered itself, or not at all, for another reason than its list.
    fn failed(&self) -> bool {
        let Self { code, status, hierarchy } = self;
        // `NONE` is that of Squid before version 5. With 200 it is a tunnel that Squid has decrypted.
        let no_answer = *status == "000" || status.starts_with(['4', '5']);
        let unreached = code.starts_with("TCP_MISS") && status.starts_with('5') && hierarchy.ends_with("NONE");
        code.starts_with("NONE") && no_answer || unreached
    }
}

/// `time elapsed client code/status bytes method URL user hierarchy/address …`, as in Squid's own format.
fn squid<'a>(client: &str, done: Done<'_>, method: &'a str, url: &'a str) -> Line<'a> {
    let Done { code, status, .. } = done;
    if code.starts_with("UDP_") || method.starts_with("ICP_") || method.starts_with("HTCP_") {
        return Line::Other("queries of other caches");
    }
    let was_refused = code.starts_with("TCP_DENIED");
    match status {
        "407" if was_refused => return Line::Other("requests that were asked for a password first"),
        "200" if was_refused && method == "CONNECT" => return TUNNEL_DENIED,
        _ => {}
    }
    match request(client, method, url, was_refused) {
        Line::Request(_) if done.failed() => FAILED,
        // A forward proxy was asked for it, unlike nginx.
        Line::Request(request) if matches!(request.target, Target::Unnamed { .. }) => {
            Line::Request(Request { target: Target::Url { method, url }, ..request })
        }
        line => line,
    }
}

fn request<'a>(client: &str, method: &'a str, url: &'a str, was_refused: bool) -> Line<'a> {
    if url.starts_with("error:") || matches!(method, "NONE" | "-") || url == "-" {
        return Line::Other("connections without a complete request");
    }
    let Ok(client) = client.parse() else { return NO_CLIENT };
    let scheme = url.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    let target = match scheme.as_ref().map(|(scheme, rest)| (scheme.as_str(), *rest)) {
        _ if method == "CONNECT" => Target::Connect(Cow::Borrowed(url)),
        Some(("cache_object", _)) => return Line::Other("queries of the cache manager"),
        Some(("https", rest)) => Target::Connect(Cow::Owned(tunnel(rest))),
        Some(_) => Target::Url { method, url },
        None if url.starts_with('/') || url == "*" => Target::Unnamed { port: None },
        None => return Line::Unreadable("what was requested is neither host:port nor a URL"),
    };
    Line::Request(Request { client, is_peer: false, target, was_refused })
}

/// Where the tunnel of a URL of `https` leads, from what stands behind the scheme.
fn tunnel(rest: &str) -> String {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A colon inside brackets belongs to an address.
    let has_port = authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
    if has_port { authority.to_owned() } else { format!("{authority}:443") }
}

/// `$time_iso8601 $remote_addr $proxy_protocol_addr $proxy_protocol_port $protocol $server_port $status …`
fn nginx<'a>(peer: &str, client: &str, port: &str, status: &str) -> Line<'a> {
    // Without a PROXY header there is the peer: a health check of the load balancer, or a client that needs none.
    let is_peer = client == "-";
    let client = if is_peer { peer } else { client };
    match (client.parse(), port.parse()) {
        (Ok(client), Ok(port)) => {
            let target = Target::Unnamed { port: Some(port) };
            Line::Request(Request { client, is_peer, target, was_refused: status == "403" })
        }
        (Err(_), _) => NO_CLIENT,
        (_, Err(_)) => UNKNOWN,
    }
}

/// `client ident user [time] "method target version" status bytes …`; Squid ends it with `code:hierarchy`.
fn common<'a>(client: &str, line: &'a str) -> Line<'a> {
    let Some((_, rest)) = line.split_once("] \"") else { return UNKNOWN };
    let Some((asked, rest)) = rest.split_once('"') else { return UNKNOWN };
    let mut after = rest.split_ascii_whitespace();
    let status = after.next().unwrap_or_default();
    let last = after.next_back().unwrap_or_default();
    let mut asked = asked.split(' ');
    let (Some(method), Some(url)) = (asked.next(), asked.next()) else {
        return Line::Other("connections without a complete request");
    };
    let own_code = last.split_once(':').filter(|(code, _)| code.bytes().all(is_code));
    match own_code {
        Some((code, hierarchy)) => squid(client, Done { code, status, hierarchy }, method, url),
        // nginx answers 403 itself to whom its list denies; from Squid it may be the answer of a server.
        None => request(client, method, url, status == "403" && url.starts_with('/')),
    }
}

fn is_code(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(target: &str) -> Target<'_> {
        Target::Connect(target.into())
    }

    fn get(url: &str) -> Target<'_> {
        Target::Url { method: "GET", url }
    }

    #[test]
    fn each_format_is_read() {
        for (line, client, target, was_refused) in [
            (
                "1286536309.586    921 192.168.0.68 TCP_MISS/200 507 POST http://rad.example.com/ad - DIRECT/1.2.3.4 text/html",
                "192.168.0.68",
                Target::Url { method: "POST", url: "http://rad.example.com/ad" },
                false,
            ),
            (
                "1795918248.664      0 10.0.0.7 TCP_TUNNEL/200 3407 CONNECT orders.example:443 - HIER_DIRECT/1.2.3.4 -",
                "10.0.0.7",
                connect("orders.example:443"),
                false,
            ),
            (
                "1795918248.664      0 2001:db8::7 TCP_DENIED/403 3407 CONNECT [2001:db8::1]:8443 - HIER_NONE/- text/html",
                "2001:db8::7",
                connect("[2001:db8::1]:8443"),
                true,
            ),
            (
                "1795918248.664 0 10.0.0.7 TCP_MISS/200 1 GET http://a.example:8080?q=http://b.example/ bob HIER_NONE/- -",
                "10.0.0.7",
                get("http://a.example:8080?q=http://b.example/"),
                false,
            ),
            (
                "1795918248.664 0 10.0.0.7 TCP_MISS/200 1 GET https://bumped.example/x - HIER_NONE/- -",
                "10.0.0.7",
                connect("bumped.example:443"),
                false,
            ),
            (
                "1795918248.664 0 10.0.0.7 TCP_MISS/200 1 GET ftp://ann@files.example/x - HIER_NONE/- -",
                "10.0.0.7",
                get("ftp://ann@files.example/x"),
                false,
            ),
            (
                r#"10.0.0.7 - - [28/Nov/2026:10:00:00 +0000] "CONNECT a.example:443 HTTP/1.1" 200 39 "-" "curl/7" TCP_TUNNEL:HIER_DIRECT"#,
                "10.0.0.7",
                connect("a.example:443"),
                false,
            ),
            (
                r#"10.0.0.7 - - [28/Nov/2026:10:00:00 +0000] "GET http://a.example/ HTTP/1.1" 403 39 TCP_DENIED:HIER_NONE"#,
                "10.0.0.7",
                get("http://a.example/"),
                true,
            ),
            (
                r#"10.0.0.7 - - [28/Nov/2026:10:00:00 +0000] "GET http://a.example/ HTTP/1.1" 403 39 TCP_MISS:HIER_DIRECT"#,
                "10.0.0.7",
                get("http://a.example/"),
                false,
            ),
            // What a proxy is not asked in, and Squid refuses; another server may not.
            ("1.1 0 10.0.0.7 TCP_MISS/200 3 GET / - HIER_NONE/- -", "10.0.0.7", get("/"), false),
            (
                "1.1 0 10.0.0.7 TCP_DENIED/403 3 OPTIONS * - HIER_NONE/- -",
                "10.0.0.7",
                Target::Url { method: "OPTIONS", url: "*" },
                true,
            ),
            (
                r#"10.0.0.7 - - [28/Nov/2026:10:00:00 +0000] "GET /x HTTP/1.1" 200 39 TCP_MISS:HIER_DIRECT"#,
                "10.0.0.7",
                get("/x"),
                false,
            ),
            // These went through: a tunnel that Squid decrypts, an answer of the server, one of the cache.
            (
                "1.1 0 10.0.0.7 NONE_NONE/200 0 CONNECT a.example:443 - HIER_NONE/- -",
                "10.0.0.7",
                connect("a.example:443"),
                false,
            ),
            (
                "1.1 0 10.0.0.7 TCP_MISS/503 9 GET http://a.example/ - HIER_DIRECT/192.0.2.1 -",
                "10.0.0.7",
                get("http://a.example/"),
                false,
            ),
            (
                "1.1 0 10.0.0.7 TCP_HIT/500 9 GET http://a.example/ - HIER_NONE/- -",
                "10.0.0.7",
                get("http://a.example/"),
                false,
            ),
            (
                "1.1 0 10.0.0.7 TCP_MISS_ABORTED/000 0 GET http://a.example/ - HIER_DIRECT/192.0.2.1 -",
                "10.0.0.7",
                get("http://a.example/"),
                false,
            ),
            (
                r#"10.0.0.7 - - [28/Nov/2026:10:00:00 +0000] "GET /index.html HTTP/1.1" 403 39 "-" "curl/7.88 (x:y)""#,
                "10.0.0.7",
                Target::Unnamed { port: None },
                true,
            ),
            (
                "2026-11-21T10:56:57+00:00 10.0.0.9 198.51.100.7 51034 TCP 443 200 169.254.171.10:443 1 2 0.005 0.001",
                "198.51.100.7",
                Target::Unnamed { port: Some(443) },
                false,
            ),
            (
                "2026-11-21T10:56:57+00:00 10.0.0.9 - - TCP 8443 403 - 0 0 90000.000 -",
                "10.0.0.9",
                Target::Unnamed { port: Some(8443) },
                true,
            ),
        ] {
            let is_peer = line.contains(" - - TCP ");
            let request = Request { client: client.parse().unwrap(), is_peer, target, was_refused };
            assert_eq!(parse(line.as_bytes()), Line::Request(request), "{line}");
        }
    }

    #[test]
    fn a_decrypted_request_is_its_tunnel() {
        for (rest, expected) in [
            ("a.example/x:y", "a.example:443"),
            ("a.example:8443/x", "a.example:8443"),
            ("[::1]/", "[::1]:443"),
            ("[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(tunnel(rest), expected);
        }
    }

    #[test]
    fn what_is_no_request_is_told_from_what_cannot_be_read() {
        for (line, part) in [
            ("", "empty"),
            ("1.1 0 10.0.0.7 NONE_NONE/400 3 - error:invalid-request - HIER_NONE/- -", "without a complete request"),
            (
                "1.1 0 10.0.0.7 NONE/000 0 NONE error:transaction-end-before-headers - H/- -",
                "without a complete request",
            ),
            ("1.1 0 10.0.0.7 TCP_DENIED/407 3 CONNECT a.example:443 - HIER_NONE/- -", "password"),
            ("1.1 0 10.0.0.7 TCP_DENIED/200 0 CONNECT a.example:443 - HIER_DIRECT/192.0.2.1 -", "what was in them"),
            (
                r#"10.0.0.7 - - [28/Nov/2026:10:00:00 +0000] "CONNECT a.example:443 HTTP/1.1" 200 0 TCP_DENIED:HIER_DIRECT"#,
                "what was in them",
            ),
            ("1.1 0 10.0.0.7 NONE_NONE/502 3 CONNECT a.example:443 - HIER_DIRECT/10.0.0.1 -", "could not serve"),
            ("1.1 0 10.0.0.7 NONE_NONE/400 3 CONNECT 192.0.2.1:443 - HIER_NONE/- -", "could not serve"),
            ("1.1 0 10.0.0.7 NONE_NONE/400 3 GET / - HIER_NONE/- -", "could not serve"),
            ("1.1 0 10.0.0.7 NONE/503 3 GET http://a.example/ - HIER_NONE/- -", "could not serve"),
            ("1.1 0 10.0.0.7 NONE_NONE_ABORTED/000 0 CONNECT a.example:443 - HIER_NONE/- -", "could not serve"),
            ("1.1 0 10.0.0.7 TCP_MISS/503 3 GET http://a.example/ - HIER_NONE/- -", "could not serve"),
            (
                r#"10.0.0.7 - - [28/Nov/2026:10:00:00 +0000] "GET http://a.example/ HTTP/1.1" 503 39 NONE_NONE:HIER_NONE"#,
                "could not serve",
            ),
            ("1.1 0 10.0.0.7 UDP_MISS/000 3 ICP_QUERY http://a.example/ - HIER_NONE/- -", "other caches"),
            ("1.1 0 10.0.0.7 TCP_MISS/200 3 GET cache_object://localhost/info - HIER_NONE/- -", "cache manager"),
            (r#"10.0.0.7 - - [28/Nov/2026:10:00:00 +0000] "" 400 0 "-" "-""#, "without a complete request"),
        ] {
            assert!(matches!(parse(line.as_bytes()), Line::Other(why) if why.contains(part)), "{line}");
        }
        for (line, part) in [
            (&b"hello"[..], "none of the formats"),
            (b"1.1 0 pc.example TCP_MISS/200 3 GET http://a.example/ - H/- -", "not an address"),
            (b"1.1 0 10.0.0.7 TCP_MISS/200 3 GET a.example - H/- -", "neither host:port"),
            (b"\xff\xfe", "UTF-8"),
            (b"2026-11-21T10:56:57+00:00 x - - TCP 8443 403 - 0 0 1 -", "not an address"),
            (b"1.1 0 10.0.0.7 TCP_MISS/200", "none of the formats"),
        ] {
            assert!(matches!(parse(line), Line::Unreadable(why) if why.contains(part)), "{line:?}: {:?}", parse(line));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_too_strange(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200), text in "\\PC{0,80}") {
            let _ = (parse(&line), parse(text.as_bytes()), parse(format!("1.1 0 ::1 TCP/200 1 GET {text}").as_bytes()));
        }
    }
}
