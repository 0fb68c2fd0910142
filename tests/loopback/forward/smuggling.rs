//! What two readers could read differently is not passed on: the origin server sees exactly the requests that were allowed.

use support::peer::End;

use super::{Proxy, hear_head, response};

const SMUGGLED: &str = "GET http://NAME/smuggled HTTP/1.1\r\nHost: NAME\r\n\r\n";

/// Refused in the head: the origin server is not even dialled, and what is behind it is not read.
#[test]
fn an_ambiguous_head_goes_nowhere() {
    let proxy = Proxy::start();
    for head in [
        "POST http://NAME/ HTTP/1.1\r\nHost: NAME\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST http://NAME/ HTTP/1.1\r\nHost: NAME\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        "POST http://NAME/ HTTP/1.1\r\nHost: NAME\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
        "POST http://NAME/ HTTP/1.1\r\nHost: NAME\r\nContent-Length: +4\r\n\r\nbody",
        "POST http://NAME/ HTTP/1.1\r\nHost: NAME\r\nContent-Length: 4, 4\r\n\r\nbody",
        "POST http://NAME/ HTTP/1.1\r\nHost: NAME\r\nContent-Length : 4\r\n\r\nbody",
        "POST http://NAME/ HTTP/1.1\r\nHost: NAME\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST http://NAME/ HTTP/1.1\r\nHost: NAME\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST http://NAME/ HTTP/1.1\r\nHost: NAME\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST http://NAME/ HTTP/1.0\r\nHost: NAME\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET http://NAME/ HTTP/1.1\nHost: NAME\n\n",
        "GET http://NAME/ HTTP/1.1\r\nHost: NAME\nX: 1\r\n\r\n",
        "GET http://NAME/ HTTP/1.1\r\nHost: NAME\r\nX: 1\r\n 2\r\n\r\n",
        "GET http://NAME/ HTTP/1.1\r\n Host: NAME\r\n\r\n",
        "GET http://NAME/ HTTP/1.1\r\nHost: NAME\r\nHost: OTHER\r\n\r\n",
        "GET http://NAME/ HTTP/1.1\r\nHost: NAME\r\nX\0: 1\r\n\r\n",
        "GET http://NAME/a b HTTP/1.1\r\nHost: NAME\r\n\r\n",
        "GET http://NAME@OTHER/ HTTP/1.1\r\nHost: NAME\r\n\r\n",
        "GET http://NAME/#x HTTP/1.1\r\nHost: NAME\r\n\r\n",
        "connect NAME HTTP/1.1\r\nHost: NAME\r\n\r\n",
    ] {
        let at = |text: &str| {
            let text = text.replace("NAME", &format!("orders.example.com:{}", proxy.port));
            text.replace("OTHER", &format!("other.example.com:{}", proxy.port))
        };
        let answer = proxy.refused(at(&format!("{head}{SMUGGLED}")));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{}: {answer}", head.escape_debug());
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{}: {answer}", head.escape_debug());
        // Behind a request that was answered.
        let first = proxy.head("GET http://NAME/first HTTP/1.1\nHost: NAME");
        let mut client = proxy.client(format!("{first}{}", at(&format!("{head}{SMUGGLED}"))));
        let mut upstream = proxy.lab.upstream.accept();
        assert!(hear_head(&mut upstream).starts_with("GET /first "));
        upstream.say(response("", "one"));
        let (answer, _) = client.hear_all();
        assert_eq!(String::from_utf8(answer).unwrap().matches("HTTP/1.1 ").count(), 2, "{}", head.escape_debug());
        assert_eq!(upstream.hear_all().0.escape_ascii().to_string(), "", "{}", head.escape_debug());
        proxy.lab.upstream.assert_untouched();
    }
}

/// In the body: what was passed on of it is its unambiguous beginning.
#[test]
fn an_ambiguous_body_is_cut() {
    let proxy = Proxy::start();
    let head = "POST http://NAME/ HTTP/1.1\nHost: NAME\nTransfer-Encoding: chunked";
    for bad in [
        "4\nbody\r\n",
        "4 \r\nbody\r\n",
        "0x4\r\nbody\r\n",
        "4\r\nbodyX",
        "4;a\nb\r\nbody\r\n",
        "-1\r\n",
        "\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let (mut client, mut upstream, _) = proxy.request(head);
        client.say(format!("3\r\none\r\n{bad}{SMUGGLED}"));
        let (answer, end) = client.hear_all();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("body_malformed"), "{bad:?}: {answer}");
        assert_eq!(end, End::Fin, "{bad:?}");
        let (seen, _) = upstream.hear_all();
        let seen = String::from_utf8(seen).unwrap();
        assert!(seen.starts_with("3\r\none\r\n") && !seen.contains("smuggled"), "{bad:?}: {seen:?}");
    }
}

/// Chunk extensions and trailers that are well-formed pass as they are, and are not taken for anything else.
#[test]
fn a_request_in_an_extension_or_a_trailer_is_none() {
    let proxy = Proxy::start();
    let head = "POST http://NAME/ HTTP/1.1\nHost: NAME\nTransfer-Encoding: chunked";
    let (mut client, mut upstream, _) = proxy.request(head);
    let body = "3;a=\"GET / HTTP/1.1\"\r\none\r\n0\r\nX: GET / HTTP/1.1\r\n\r\n";
    client.say(body);
    assert_eq!(upstream.hear(body.len()), body.as_bytes());
    upstream.say(response("", "one"));
    hear_head(&mut client);
    upstream.hears_nothing();
}

/// An answer that can be read in two ways is not the client's, and nothing that follows it is an answer.
#[test]
fn an_ambiguous_response_goes_nowhere() {
    let proxy = Proxy::start();
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        "HTTP/1.1 200 OK\nContent-Length: 4\n\nbody",
        "HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 4\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 099 Early\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        let (mut client, mut upstream, _) = proxy.request("GET http://NAME/ HTTP/1.1\nHost: NAME");
        upstream.say(bad).say(response("", "smuggled"));
        let (answer, end) = client.hear_all();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("response_malformed"), "{bad:?}: {answer}");
        assert_eq!((answer.matches("HTTP/1.1 ").count(), end), (1, End::Fin), "{bad:?}: {answer}");
    }
}
