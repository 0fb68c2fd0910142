//! Client streams on a kept-alive HTTP/1 connection that are cut: the shapes of request smuggling. Of each, what
//! comes before the cut is forwarded, and not a byte after it. The public port is 80.

/// A stream of requests that must be cut.
pub struct Smuggled {
    pub name: &'static str,
    pub forwarded: Vec<u8>,
    pub cut: Vec<u8>,
    /// The word of the refusal.
    pub reason: &'static str,
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
const FIVE: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";
const CLOSE: &str = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// A POST with these lines for its other fields.
macro_rules! post {
    ($($line:literal),*) => { concat!("POST / HTTP/1.1\r\nHost: a.example\r\n", $($line, "\r\n",)* "\r\n") };
}

/// Every row of the table.
pub fn all() -> Vec<Smuggled> {
    let chunked = |more: &str| format!("{CHUNKED}{more}");
    let rows: Vec<(&'static str, String, &str, &'static str)> = vec![
        // Who is asked
        ("another host", GET.into(), "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", "host_changed"),
        ("another host behind a body", FIVE.into(), "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", "host_changed"),
        (
            "another host behind chunks",
            chunked("0\r\n\r\n"),
            "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
            "host_changed",
        ),
        (
            "another host in the target",
            GET.into(),
            "GET http://b.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
            "host_changed",
        ),
        (
            "target and Host differ",
            GET.into(),
            "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "host_ambiguous",
        ),
        ("two Hosts", GET.into(), "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", "host_ambiguous"),
        ("no Host", GET.into(), "GET / HTTP/1.1\r\n\r\n", "host_missing"),
        ("an address for Host", GET.into(), "GET / HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", "host_ip_address"),
        ("another port", GET.into(), "GET / HTTP/1.1\r\nHost: a.example:81\r\n\r\n", "host_port"),
        ("CONNECT", GET.into(), "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n", "connect_method"),
        // Two lengths
        ("both lengths", GET.into(), post!("Content-Length: 4", "Transfer-Encoding: chunked"), "head_malformed"),
        (
            "both lengths, the other way",
            GET.into(),
            post!("Transfer-Encoding: chunked", "Content-Length: 4"),
            "head_malformed",
        ),
        ("two lengths", GET.into(), post!("Content-Length: 4", "Content-Length: 40"), "head_malformed"),
        ("a list of lengths", GET.into(), post!("Content-Length: 4, 40"), "head_malformed"),
        ("chunked spelt oddly", GET.into(), post!("Transfer-Encoding: xchunked"), "head_malformed"),
        ("chunked hidden by a blank", GET.into(), post!("Transfer-Encoding : chunked"), "head_malformed"),
        ("chunked hidden by a tab", GET.into(), post!("Transfer-Encoding:\tchunked, identity"), "head_malformed"),
        ("chunked hidden by a fold", GET.into(), post!("Transfer-Encoding:", "\tchunked"), "head_malformed"),
        ("chunked hidden by CR", GET.into(), post!("X: y\rTransfer-Encoding: chunked"), "head_malformed"),
        ("chunked hidden by LF", GET.into(), post!("X: y\nTransfer-Encoding: chunked"), "head_malformed"),
        (
            "chunked in HTTP/1.0",
            GET.into(),
            "POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n",
            "head_malformed",
        ),
        // The line of a chunk's size
        ("no size", chunked(""), "\r\nhello\r\n", "body_malformed"),
        ("a size that is none", chunked(""), "g\r\n", "body_malformed"),
        ("a size with 0x", chunked(""), "0x5\r\nhello\r\n", "body_malformed"),
        ("a signed size", chunked(""), "+5\r\nhello\r\n", "body_malformed"),
        ("a negative size", chunked(""), "-5\r\nhello\r\n", "body_malformed"),
        ("a size with an underscore", chunked(""), "0_5\r\nhello\r\n", "body_malformed"),
        ("a blank before the size", chunked(""), " 5\r\nhello\r\n", "body_malformed"),
        ("a blank after the size", chunked(""), "5 \r\nhello\r\n", "body_malformed"),
        ("a tab after the size", chunked(""), "5\t\r\nhello\r\n", "body_malformed"),
        ("a blank before the extension", chunked(""), "5 ;a\r\nhello\r\n", "body_malformed"),
        ("NUL after the size", chunked(""), "5\0\r\nhello\r\n", "body_malformed"),
        ("a size of 2^63", chunked(""), "8000000000000000\r\n", "body_malformed"),
        ("a size of 2^64", chunked(""), "10000000000000000\r\n", "body_malformed"),
        ("a size of 2^64 + 5", chunked(""), "10000000000000005\r\nhello\r\n", "body_malformed"),
        ("a size of many zeros", chunked(""), "00000000000000005\r\nhello\r\n", "body_malformed"),
        ("a lone LF after the size", chunked(""), "5\nhello\r\n", "body_malformed"),
        ("a lone CR after the size", chunked(""), "5\rhello\r\n", "body_malformed"),
        ("CR CR LF after the size", chunked(""), "5\r\r\nhello\r\n", "body_malformed"),
        ("a lone LF in an extension", chunked(""), "5;a\nhello\r\n0\r\n\r\n", "body_malformed"),
        ("a lone CR in an extension", chunked(""), "5;a\rb\r\nhello\r\n", "body_malformed"),
        ("a lone LF in a quoted extension", chunked(""), "5;a=\"\nb\"\r\nhello\r\n", "body_malformed"),
        ("CR LF in a quoted extension, no size", chunked(""), "5;a=\"\r\r\n\"\r\n", "body_malformed"),
        ("an empty extension", chunked(""), "5;\r\nhello\r\n", "body_malformed"),
        ("a blank extension", chunked(""), "5; \t\r\nhello\r\n", "body_malformed"),
        ("NUL in an extension", chunked(""), "5;a\0\r\nhello\r\n", "body_malformed"),
        ("high bytes in an extension", chunked(""), "5;ä\r\nhello\r\n", "body_malformed"),
        ("a bad size after a good chunk", chunked("5\r\nhello\r\n"), "z\r\n", "body_malformed"),
        // The end of a chunk's data
        ("data one byte too long", chunked("5\r\nhello"), "!\r\n0\r\n\r\n", "body_malformed"),
        ("data one byte too short", chunked("5\r\nhell\r"), "\n0\r\n\r\n", "body_malformed"),
        ("a lone LF after the data", chunked("5\r\nhello"), "\n0\r\n\r\n", "body_malformed"),
        ("a lone CR after the data", chunked("5\r\nhello"), "\r0\r\n\r\n", "body_malformed"),
        ("the next size right behind the data", chunked("5\r\nhello"), "0\r\n\r\n", "body_malformed"),
        ("two ends of a chunk", chunked("5\r\nhello\r\n"), "\r\n0\r\n\r\n", "body_malformed"),
        // Trailers
        (
            "no line after the last chunk",
            chunked("0\r\n"),
            "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
            "body_malformed",
        ),
        ("Host among the trailers", chunked("0\r\n"), "Host: b.example\r\n\r\n", "body_malformed"),
        ("a length among the trailers", chunked("0\r\n"), "X: y\r\nContent-Length: 5\r\n\r\n", "body_malformed"),
        ("a coding among the trailers", chunked("0\r\n"), "transfer-encoding: chunked\r\n\r\n", "body_malformed"),
        ("a lone LF after the last chunk", chunked("0\r\n"), "\n", "body_malformed"),
        ("a lone LF after a trailer", chunked("0\r\n"), "X: y\n\r\n", "body_malformed"),
        ("a lone CR in a trailer", chunked("0\r\n"), "X: y\rz\r\n\r\n", "body_malformed"),
        ("a folded trailer", chunked("0\r\n"), "X: y\r\n z\r\n\r\n", "body_malformed"),
        ("a blank before the trailer's colon", chunked("0\r\n"), "X : y\r\n\r\n", "body_malformed"),
        ("NUL in a trailer", chunked("0\r\n"), "X: \0\r\n\r\n", "body_malformed"),
        // Bodies where none may be
        ("a body behind GET", GET.into(), "a=b&c=d\r\n", "not_http"),
        ("a body longer than told", FIVE.into(), " and more\r\n", "not_http"),
        (
            "a body of HTTP/1.0 without length",
            "POST / HTTP/1.0\r\nHost: a.example\r\n\r\n".into(),
            "a=b",
            "body_malformed",
        ),
        ("a request after the last", CLOSE.into(), GET, "body_malformed"),
        ("a request after the last of two", format!("{GET}{CLOSE}"), GET, "body_malformed"),
        ("another host after the last", CLOSE.into(), "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", "body_malformed"),
        ("two empty lines after the last", CLOSE.into(), "\r\n\r\n", "body_malformed"),
        (
            "TRACE with a body",
            GET.into(),
            "TRACE / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello",
            "head_malformed",
        ),
        // Other protocols on the same connection
        ("TLS", GET.into(), "\x16\x03\x01\x02\0\x01", "tls_on_http"),
        ("HTTP/2 after an upgrade", UPGRADE.into(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2_preface"),
        ("a WebSocket frame after an upgrade", UPGRADE.into(), "\u{81}\u{5}hello", "not_http"),
        ("HTTP/0.9", GET.into(), "GET /\r\n", "http09"),
        ("two empty lines between", GET.into(), "\r\n\r\nGET / HTTP/1.1\r\n", "head_malformed"),
        ("a lone LF between", GET.into(), "\nGET / HTTP/1.1\r\n", "head_malformed"),
    ];
    let mut all: Vec<_> = rows.into_iter().map(|(name, go, cut, reason)| row(name, go, cut.into(), reason)).collect();
    let long = |len| vec![b'a'; len];
    all.push(row("an extension without end", chunked(""), [b"5;", &long(300)[..]].concat(), "body_malformed"));
    all.push(row("a trailer without end", chunked("0\r\n"), [b"X:", &long(16 * 1024)[..]].concat(), "body_malformed"));
    all.push(row("101 trailers", chunked("0\r\n"), "X: y\r\n".repeat(101).into(), "body_malformed"));
    all.push(row("a head without end", GET.into(), [b"GET /", &long(16 * 1024)[..]].concat(), "head_too_long"));
    all
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

fn row(name: &'static str, forwarded: String, cut: Vec<u8>, reason: &'static str) -> Smuggled {
    Smuggled { name, forwarded: forwarded.into(), cut, reason }
}
