//! What is refused where a forward proxy expects the head of a request. It is called `latticegate` in `Via`.

type Row = (&'static str, &'static str, &'static str);

/// An absolute-form request with this target and a good Host.
macro_rules! target {
    ($name:literal, $target:literal, $reason:literal) => {
        (concat!($name, ", absolute-form"), concat!("GET ", $target, " HTTP/1.1\r\nHost: a.example\r\n\r\n"), $reason)
    };
}

/// A CONNECT with this target and a good Host.
macro_rules! connect {
    ($name:literal, $target:literal, $reason:literal) => {
        (concat!($name, ", CONNECT"), concat!("CONNECT ", $target, " HTTP/1.1\r\nHost: a.example\r\n\r\n"), $reason)
    };
}

/// These lines behind a good request line of either form.
macro_rules! both {
    ($name:literal, [$($line:literal),*], $reason:literal) => {
        [
            (
                concat!($name, ", absolute-form"),
                concat!("GET http://a.example/ HTTP/1.1\r\n", $($line, "\r\n",)* "\r\n"),
                $reason,
            ),
            (
                concat!($name, ", CONNECT"),
                concat!("CONNECT a.example:443 HTTP/1.1\r\n", $($line, "\r\n",)* "\r\n"),
                $reason,
            ),
        ]
    };
}

/// A POST in absolute-form to a good host with these lines for its other fields.
macro_rules! post {
    ($name:literal, [$($line:literal),*], $reason:literal) => {
        (
            concat!($name, ", absolute-form"),
            concat!("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\n", $($line, "\r\n",)* "\r\n"),
            $reason,
        )
    };
}

pub(super) fn all() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let fields = fields().into_iter().flatten();
    let texts = targets().into_iter().chain(addresses()).chain(fields).chain(framing()).chain(lines());
    let mut rows: Vec<_> = texts.map(|(name, text, reason)| (name, text.into(), reason)).collect();
    rows.extend(binaries());
    rows
}

fn targets() -> Vec<Row> {
    vec![
        // Not for a proxy
        target!("a path", "/", "origin_form"),
        target!("a path with a host in it", "/http://a.example/", "origin_form"),
        target!("a path of two slashes", "//a.example/x", "origin_form"),
        target!("an asterisk", "*", "origin_form"),
        ("an asterisk with OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", "origin_form"),
        ("a path without Host", "GET / HTTP/1.0\r\n\r\n", "origin_form"),
        ("a path and the Host of metadata", "GET /x HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", "origin_form"),
        connect!("a path", "/", "host_invalid"),
        connect!("an asterisk", "*", "host_invalid"),
        // Another scheme
        target!("https", "https://a.example/", "scheme_unsupported"),
        target!("HTTPS", "HTTPS://a.example:443/", "scheme_unsupported"),
        target!("ftp", "ftp://a.example/x", "scheme_unsupported"),
        target!("ws", "ws://a.example/", "scheme_unsupported"),
        target!("file", "file:///etc/passwd", "scheme_unsupported"),
        target!("a scheme with a plus", "git+ssh://a.example/x", "scheme_unsupported"),
        target!("a scheme that begins with http", "httpx://a.example/", "scheme_unsupported"),
        target!("https with userinfo", "https://user:pw@a.example/", "scheme_unsupported"),
        target!("gopher to a mail server", "gopher://a.example:25/_QUIT", "scheme_unsupported"),
        // No URL
        target!("no scheme", "a.example/x", "target_invalid"),
        target!("authority-form", "a.example:80", "target_invalid"),
        target!("one slash too few", "http:/a.example/", "target_invalid"),
        target!("no slash", "http:a.example", "target_invalid"),
        target!("a scheme alone", "http:", "target_invalid"),
        target!("a scheme of digits", "1http://a.example/", "target_invalid"),
        target!("no scheme before the slashes", "://a.example/", "target_invalid"),
        target!("a backslash for a slash", "http:\\\\a.example/", "target_invalid"),
        target!("a URN", "urn:isbn:0451450523", "target_invalid"),
        target!("a scheme in quotes", "\"http://a.example/\"", "target_invalid"),
        target!("a scheme in angle brackets", "<http://a.example/>", "target_invalid"),
        target!("a name with a query alone", "?http://a.example/", "target_invalid"),
        connect!("a URL", "http://a.example:443/", "target_invalid"),
        connect!("a URL of https", "https://a.example:443/", "target_invalid"),
        // No host
        target!("no host", "http:///x", "target_invalid"),
        target!("no host and no path", "http://", "target_invalid"),
        target!("no host but a port", "http://:80/", "target_invalid"),
        target!("no host but a query", "http://?x", "target_invalid"),
        connect!("no host", ":443", "target_invalid"),
        // Userinfo
        target!("userinfo", "http://user@a.example/", "target_invalid"),
        target!("a password", "http://user:pw@a.example/", "target_invalid"),
        target!("empty userinfo", "http://@a.example/", "target_invalid"),
        target!("userinfo that looks like the host", "http://a.example:80@b.example/", "target_invalid"),
        target!("userinfo that looks like an address", "http://a.example@127.0.0.1/", "target_invalid"),
        target!("two of it", "http://a@b@a.example/", "target_invalid"),
        connect!("userinfo", "user@a.example:443", "target_invalid"),
        connect!("a password", "user:pw@a.example:443", "target_invalid"),
        connect!("userinfo that looks like the host", "a.example:443@b.example:443", "target_invalid"),
        // A fragment
        target!("a fragment", "http://a.example/x#y", "target_invalid"),
        target!("an empty fragment", "http://a.example/#", "target_invalid"),
        target!("a fragment behind the host", "http://a.example#@b.example/", "target_invalid"),
        connect!("a fragment", "a.example:443#x", "target_invalid"),
        // The port
        target!("an empty port", "http://a.example:/", "target_invalid"),
        target!("port 0", "http://a.example:0/", "target_invalid"),
        target!("port 080", "http://a.example:080/", "target_invalid"),
        target!("port 65536", "http://a.example:65536/", "target_invalid"),
        target!("port 65616, which is 80 in 16 bits", "http://a.example:65616/", "target_invalid"),
        target!("a signed port", "http://a.example:+80/", "target_invalid"),
        target!("a negative port", "http://a.example:-80/", "target_invalid"),
        target!("a word for a port", "http://a.example:http/", "target_invalid"),
        target!("two ports", "http://a.example:80:80/", "target_invalid"),
        target!("a port in hexadecimal", "http://a.example:0x50/", "target_invalid"),
        target!("a backslash behind the port", "http://a.example:80\\@b.example/", "target_invalid"),
        connect!("no port", "a.example", "port_missing"),
        connect!("an empty port", "a.example:", "port_missing"),
        connect!("port 0", "a.example:0", "target_invalid"),
        connect!("port 0443", "a.example:0443", "target_invalid"),
        connect!("port 65536", "a.example:65536", "target_invalid"),
        connect!("port 65979, which is 443 in 16 bits", "a.example:65979", "target_invalid"),
        connect!("a port of 30 digits", "a.example:000000000000000000000000000443", "target_invalid"),
        connect!("a signed port", "a.example:+443", "target_invalid"),
        connect!("a negative port", "a.example:-443", "target_invalid"),
        connect!("a word for a port", "a.example:https", "target_invalid"),
        connect!("two ports", "a.example:443:443", "target_invalid"),
        connect!("a port in hexadecimal", "a.example:0x1bb", "target_invalid"),
        connect!("a port with a comma", "a.example:443,b.example:443", "target_invalid"),
        connect!("a path behind the port", "a.example:443/", "target_invalid"),
        connect!("a query behind the port", "a.example:443?x", "target_invalid"),
        connect!("a port of other digits", "a.example:٤٤٣", "target_invalid"),
        // The name
        target!("a backslash in the host", "http://a.example\\.b.example/", "host_invalid"),
        target!("a percent sign in the host", "http://a%2eexample/", "host_invalid"),
        target!("UTF-8 in the host", "http://bücher.example/", "host_invalid"),
        target!("a full-width dot in the host", "http://a。example/", "host_invalid"),
        target!("a wildcard", "http://*.example/", "host_invalid"),
        target!("an empty label", "http://a..example/", "host_invalid"),
        target!("a leading dot", "http://.a.example/", "host_invalid"),
        target!("two final dots", "http://a.example../", "host_invalid"),
        target!("a dot alone", "http://./", "host_invalid"),
        target!("two names", "http://a.example,b.example/", "host_invalid"),
        target!("a semicolon in the host", "http://a.example;b/", "host_invalid"),
        connect!("a percent sign in the host", "a%2eexample:443", "host_invalid"),
        connect!("UTF-8 in the host", "bücher.example:443", "host_invalid"),
        connect!("a wildcard", "*.example:443", "host_invalid"),
        connect!("an empty label", "a..example:443", "host_invalid"),
        connect!("a dot alone", ".:443", "host_invalid"),
        connect!("two names", "a.example,b.example:443", "host_invalid"),
        connect!("a slash before the port", "a.example/:443", "host_invalid"),
        connect!("a query before the port", "a.example?:443", "host_invalid"),
        connect!("a backslash before the port", "a.example\\:443", "host_invalid"),
        // The method
        ("TRACE", "TRACE http://a.example/ HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n", "trace_method"),
        ("TRACE of this proxy", "TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\n", "trace_method"),
        ("lower-case trace", "trace http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("lower-case connect", "connect a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("Connect", "Connect a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("lower-case head", "head http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("Options", "Options http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        (
            "a method of 33 letters",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "head_malformed",
        ),
        (
            "Max-Forwards at its end",
            "OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n",
            "max_forwards",
        ),
        (
            "Max-Forwards of many zeros",
            "OPTIONS http://a.example/x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 000\r\n\r\n",
            "max_forwards",
        ),
        (
            "a negative Max-Forwards",
            "OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: -1\r\n\r\n",
            "head_malformed",
        ),
        (
            "an empty Max-Forwards",
            "OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\nMax-Forwards:\r\n\r\n",
            "head_malformed",
        ),
        (
            "two Max-Forwards",
            "OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 1\r\nMax-Forwards: 0\r\n\r\n",
            "head_malformed",
        ),
    ]
}

/// An address is no name, in whatever notation.
fn addresses() -> Vec<Row> {
    macro_rules! address {
        ($($name:literal $address:literal)+) => {
            vec![$(
                (
                    concat!($name, ", absolute-form"),
                    concat!("GET http://", $address, "/ HTTP/1.1\r\nHost: a.example\r\n\r\n"),
                    "host_ip_address",
                ),
                (
                    concat!($name, " with port, absolute-form"),
                    concat!("GET http://", $address, ":80/ HTTP/1.1\r\nHost: a.example\r\n\r\n"),
                    "host_ip_address",
                ),
                (
                    concat!($name, ", CONNECT"),
                    concat!("CONNECT ", $address, ":443 HTTP/1.1\r\nHost: a.example\r\n\r\n"),
                    "host_ip_address",
                ),
            )+]
        };
    }
    address! {
        "IPv4" "169.254.169.254"
        "IPv4 and a final dot" "127.0.0.1."
        "short IPv4" "127.1"
        "IPv4 as a number" "2852039166"
        "IPv4 as a hexadecimal number" "0xa9fea9fe"
        "IPv4 with a hexadecimal part" "0x7f.1"
        "IPv4 in octal" "0251.0376.0251.0376"
        "zero" "0"
        "a name that ends in a number" "a.example.1"
        "IPv6" "[fd00:ec2::254]"
        "IPv6 loopback" "[::1]"
        "IPv4 in IPv6" "[::ffff:127.0.0.1]"
        "IPv6 with a zone" "[fe80::1%25eth0]"
        "a future address" "[v1.x]"
    }
}

fn fields() -> Vec<[Row; 2]> {
    vec![
        // Host
        both!("no Host", ["Accept: */*"], "host_missing"),
        both!("no field", [], "host_missing"),
        both!("two Hosts", ["Host: a.example", "Host: b.example"], "host_ambiguous"),
        both!("the same Host twice", ["Host: a.example", "host: a.example"], "host_ambiguous"),
        both!("an empty Host and another", ["Host:", "Host: a.example"], "host_ambiguous"),
        both!("an empty Host", ["Host:"], "host_invalid"),
        both!("two names in Host", ["Host: a.example, b.example"], "host_invalid"),
        both!("a blank in Host", ["Host: a.example b.example"], "host_invalid"),
        both!("userinfo in Host", ["Host: user@a.example"], "host_invalid"),
        both!("a path in Host", ["Host: a.example/x"], "host_invalid"),
        both!("a scheme in Host", ["Host: http://a.example"], "host_invalid"),
        both!("port 0 in Host", ["Host: a.example:0"], "host_invalid"),
        both!("an empty port in Host", ["Host: a.example:"], "host_invalid"),
        both!("a word for a port in Host", ["Host: a.example:http"], "host_invalid"),
        both!("a bracket in Host", ["Host: [::1"], "host_invalid"),
        both!("an address as a number in Host", ["Host: 2852039166"], "host_invalid"),
        // What two readers read differently
        both!("a blank before the colon", ["Host: a.example", "X : y"], "head_malformed"),
        both!("a tab before the colon", ["Host\t: a.example"], "head_malformed"),
        both!("a blank before the first field", [" Host: a.example"], "head_malformed"),
        both!("obs-fold", ["Host: a.example", "X: y", " z"], "head_malformed"),
        both!("obs-fold by a tab", ["Host: a.example", "\tb.example"], "head_malformed"),
        both!("Host in the folded part", ["X: y", " Host: a.example"], "head_malformed"),
        both!("a line without colon", ["Host: a.example", "X"], "head_malformed"),
        both!("an empty field name", ["Host: a.example", ": x"], "head_malformed"),
        both!("NUL in a value", ["Host: a.example", "X: a\0b"], "head_malformed"),
        both!("NUL in a name", ["Host: a.example", "X\0: y"], "head_malformed"),
        both!("an escape in a value", ["Host: a.example", "X: \x1b[2J"], "head_malformed"),
        both!("DEL in a value", ["Host: a.example", "X: \x7f"], "head_malformed"),
        both!("a bare CR in a value", ["Host: a.example", "X: a\rb"], "head_malformed"),
        both!("a bare CR that hides a field", ["Host: a.example\rX: y"], "head_malformed"),
        both!("a lone LF that hides a Host", ["Host: a.example", "X: y\nHost: b.example"], "head_malformed"),
        both!("CR CR LF", ["Host: a.example\r"], "head_malformed"),
        // Framing of what has no body, or two of them
        both!("both lengths", ["Host: a.example", "Content-Length: 5", "Transfer-Encoding: chunked"], "head_malformed"),
        both!("two lengths", ["Host: a.example", "Content-Length: 5", "Content-Length: 6"], "head_malformed"),
        both!("the same length twice", ["Host: a.example", "Content-Length: 5", "content-length: 5"], "head_malformed"),
        both!("a folded coding", ["Host: a.example", "Transfer-Encoding:", " chunked"], "head_malformed"),
        both!("a coding behind a blank", ["Host: a.example", "Transfer-Encoding : chunked"], "head_malformed"),
        // Loops
        both!("our own Via", ["Host: a.example", "Via: 1.1 latticegate"], "via_loop"),
        both!(
            "our own Via among others",
            ["Host: a.example", "Via: 1.0 x, HTTP/1.1 LatticeGate (x), 1.1 y"],
            "via_loop"
        ),
        both!("our own Via with a port", ["Host: a.example", "Via: 1.1 latticegate:3128"], "via_loop"),
        both!("our own Via behind others", ["Host: a.example", "Via: 1.1 x", "Via: 1.1 latticegate"], "via_loop"),
    ]
}

fn framing() -> Vec<Row> {
    macro_rules! connect_with {
        ($name:literal, $line:literal) => {
            (
                concat!($name, ", CONNECT"),
                concat!("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n", $line, "\r\n\r\n"),
                "head_malformed",
            )
        };
    }
    vec![
        connect_with!("a length", "Content-Length: 5"),
        connect_with!("a length of -0", "Content-Length: -0"),
        connect_with!("a list of zeros", "Content-Length: 0, 0"),
        connect_with!("chunked", "Transfer-Encoding: chunked"),
        connect_with!("an empty coding", "Transfer-Encoding:"),
        (
            "a length in HTTP/1.0, CONNECT",
            "CONNECT a.example:443 HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
            "head_malformed",
        ),
        post!("a list of lengths", ["Content-Length: 5, 6"], "head_malformed"),
        post!("a list of the same length", ["Content-Length: 5, 5"], "head_malformed"),
        post!("an empty length", ["Content-Length:"], "head_malformed"),
        post!("a negative length", ["Content-Length: -1"], "head_malformed"),
        post!("a signed length", ["Content-Length: +5"], "head_malformed"),
        post!("a hexadecimal length", ["Content-Length: 0x5"], "head_malformed"),
        post!("a length with a fraction", ["Content-Length: 5.0"], "head_malformed"),
        post!("a length with a blank", ["Content-Length: 5 0"], "head_malformed"),
        post!("a length in quotes", ["Content-Length: \"5\""], "head_malformed"),
        post!("a length of 2^63", ["Content-Length: 9223372036854775808"], "head_malformed"),
        post!("a length of 2^64 + 5", ["Content-Length: 18446744073709551621"], "head_malformed"),
        post!("another coding", ["Transfer-Encoding: gzip"], "head_malformed"),
        post!("another coding before chunked", ["Transfer-Encoding: gzip, chunked"], "head_malformed"),
        post!("identity", ["Transfer-Encoding: identity"], "head_malformed"),
        post!("an empty coding", ["Transfer-Encoding:"], "head_malformed"),
        post!("chunked and then another", ["Transfer-Encoding: chunked, gzip"], "head_malformed"),
        post!("chunked twice", ["Transfer-Encoding: chunked, chunked"], "head_malformed"),
        post!("two fields of codings", ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], "head_malformed"),
        post!("xchunked", ["Transfer-Encoding: xchunked"], "head_malformed"),
        post!("chunked in quotes", ["Transfer-Encoding: \"chunked\""], "head_malformed"),
        post!("chunked with a parameter", ["Transfer-Encoding: chunked;q=1"], "head_malformed"),
        post!("chunked and a comma", ["Transfer-Encoding: chunked,"], "head_malformed"),
        post!("a comma and chunked", ["Transfer-Encoding: ,chunked"], "head_malformed"),
        post!("a vertical tab before chunked", ["Transfer-Encoding: \x0bchunked"], "head_malformed"),
        (
            "chunked in HTTP/1.0, absolute-form",
            "POST http://a.example/ HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n",
            "head_malformed",
        ),
    ]
}

/// The request line, and what comes before it.
fn lines() -> Vec<Row> {
    vec![
        ("HTTP/0.9", "GET http://a.example/\r\n", "http09"),
        ("HTTP/0.9 named", "GET http://a.example/ HTTP/0.9\r\n", "http09"),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2_preface"),
        ("HTTP/2.0 in the line", "GET http://a.example/ HTTP/2.0\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("HTTP/2.0 in CONNECT", "CONNECT a.example:443 HTTP/2.0\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("HTTP/1.2", "CONNECT a.example:443 HTTP/1.2\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("lower-case http/1.1", "CONNECT a.example:443 http/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("CONNECT without a version", "CONNECT a.example:443\r\n", "not_http"),
        ("CONNECT without a target", "CONNECT  HTTP/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("CONNECT with two targets", "CONNECT a.example:443 b.example:443 HTTP/1.1\r\n\r\n", "head_malformed"),
        ("two blanks after CONNECT", "CONNECT  a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("a tab after CONNECT", "CONNECT\ta.example:443 HTTP/1.1\r\n", "not_http"),
        ("a tab before the version", "CONNECT a.example:443\tHTTP/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("a blank after the version", "CONNECT a.example:443 HTTP/1.1 \r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("a blank in the target", "GET http://a.example/a b HTTP/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("a version in the target", "GET http://a.example/ HTTP/1.1 HTTP/1.1\r\n\r\n", "head_malformed"),
        ("NUL in the target", "GET http://a.example/\0 HTTP/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("NUL in the target of CONNECT", "CONNECT a.example\0:443 HTTP/1.1\r\n\r\n", "head_malformed"),
        ("a bare CR in the target", "GET http://a.example/\rx HTTP/1.1\r\nHost: a.example\r\n\r\n", "head_malformed"),
        ("a lone LF after CONNECT's line", "CONNECT a.example:443 HTTP/1.1\nHost: a.example\r\n\r\n", "head_malformed"),
        ("a lone LF after a field", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\n\r\n", "head_malformed"),
        ("lone LFs only", "CONNECT a.example:443 HTTP/1.0\n\n", "head_malformed"),
        ("two empty lines first", "\r\n\r\nCONNECT a.example:443 HTTP/1.1\r\n", "head_malformed"),
        ("a lone LF first", "\nCONNECT a.example:443 HTTP/1.1\r\n", "head_malformed"),
        ("SSH", "SSH-2.0-OpenSSH_9.2\r\n", "not_http"),
        ("SMTP", "EHLO example.com\r\n", "not_http"),
        ("PROXY v1", "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n", "not_http"),
        ("SOCKS 5", "\x05\x01\0", "not_http"),
        ("SOCKS 4", "\x04\x01\0\x50\x01\x02\x03\x04\0", "not_http"),
    ]
}

fn binaries() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let line = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n";
    let named = |name: String| format!("CONNECT {name}:443 HTTP/1.1\r\nHost: a.example\r\n\r\n").into_bytes();
    let options = |count| vec!["x"; count].join(",");
    vec![
        ("ClientHello", b"\x16\x03\x01\x02\0\x01".to_vec(), "tls_on_http"),
        ("a second PROXY header", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec(), "head_malformed"),
        ("no UTF-8 in the target", b"GET http://a.example/\xff HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "head_malformed"),
        ("high bytes in CONNECT", b"CONNECT \xff\xfe:443 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "head_malformed"),
        ("high bytes in Host", b"CONNECT a.example:443 HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n".to_vec(), "host_invalid"),
        ("101 fields", format!("{line}{}\r\n", "X: y\r\n".repeat(100)).into(), "head_too_long"),
        ("fields without end", format!("{line}{}", "X: y\r\n".repeat(200)).into(), "head_too_long"),
        ("a field of 16 KiB", format!("{line}X: {}", "a".repeat(16 * 1024)).into(), "head_too_long"),
        ("a target of 16 KiB", format!("GET http://a.example/{}", "a".repeat(16 * 1024)).into(), "head_too_long"),
        ("a host of 254 bytes", named(format!("{}ab", "a.".repeat(126))), "host_invalid"),
        ("a label of 64 bytes", named("a".repeat(64)), "host_invalid"),
        ("101 options", format!("{line}Connection: {}\r\n\r\n", options(101)).into(), "head_malformed"),
    ]
}
