//! Each reason that only a `forward` listener has, caused once.

use support::lab::{Reported, Setup, word};
use support::peer::End;
use support::wire::Hello;

use super::{Proxy, response, setup};

/// A head that is refused, with this status.
fn bent(head: &str, status: u16) -> Reported {
    let proxy = Proxy::start();
    let answer = proxy.refused(proxy.head(head));
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    proxy.lab.upstream.assert_untouched();
    proxy.lab.end()
}

pub(crate) fn origin_form() -> Reported {
    bent("GET / HTTP/1.1\nHost: NAME", 400)
}

pub(crate) fn scheme_unsupported() -> Reported {
    let proxy = Proxy::start();
    let answer = proxy.refused(proxy.head("GET https://NAME/ HTTP/1.1\nHost: NAME"));
    assert!(answer.contains("CONNECT"), "{answer}");
    proxy.lab.end()
}

pub(crate) fn port_missing() -> Reported {
    bent("CONNECT orders.example.com HTTP/1.1\nHost: orders.example.com", 400)
}

pub(crate) fn target_invalid() -> Reported {
    bent("GET http://user:secret@NAME/ HTTP/1.1\nHost: NAME", 400)
}

pub(crate) fn trace_method() -> Reported {
    bent("TRACE http://NAME/ HTTP/1.1\nHost: NAME", 405)
}

pub(crate) fn via_loop() -> Reported {
    bent("GET http://NAME/ HTTP/1.1\nHost: NAME\nVia: 1.1 latticegate", 502)
}

pub(crate) fn max_forwards() -> Reported {
    bent("OPTIONS http://NAME/ HTTP/1.1\nHost: NAME\nMax-Forwards: 0", 200)
}

pub(crate) fn port_denied() -> Reported {
    bent("CONNECT orders.example.com:22 HTTP/1.1\nHost: x", 403)
}

fn in_tunnel(bytes: &[u8]) -> Reported {
    let proxy = Proxy::start();
    let (mut client, mut upstream) = proxy.tunnel();
    client.say(bytes).hear_all();
    assert_eq!(upstream.hear_all().0, b"");
    proxy.lab.end()
}

pub(crate) fn tunnel_not_tls() -> Reported {
    in_tunnel(b"SSH-2.0-OpenSSH_9.2\r\n")
}

pub(crate) fn tunnel_sni_missing() -> Reported {
    in_tunnel(&Hello::default().record())
}

pub(crate) fn tunnel_sni_denied() -> Reported {
    let reported = in_tunnel(&Hello::to(b"elsewhere.example.com").record());
    assert_eq!(word(reported.record(), "rule"), "ipcontrol.yaml:4");
    reported
}

pub(crate) fn response_malformed() -> Reported {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request("GET http://NAME/ HTTP/1.1\nHost: NAME");
    upstream.say(response("Content-Length: 7\n", "").replace("Length: 0", "Length: 5"));
    let (answer, _) = client.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 502 "), "{}", answer.escape_ascii());
    proxy.lab.end()
}

pub(crate) fn upstream_closed() -> Reported {
    let proxy = Proxy::start();
    let (mut client, upstream, _) = proxy.request("GET http://NAME/ HTTP/1.1\nHost: NAME");
    drop(upstream);
    let (answer, _) = client.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 502 "), "{}", answer.escape_ascii());
    proxy.lab.end()
}

/// What waits no longer than this.
fn hasty() -> Proxy {
    Proxy::with(Setup { timeouts: "handshake: 5s, connect: 3s, idle: 300ms", ..setup() })
}

fn answered_in_time(head: &str, body: &str, status: u16) -> Reported {
    let proxy = hasty();
    let (mut client, _upstream, _) = proxy.request(head);
    client.say(body);
    let (answer, end) = client.hear_all();
    assert!(answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{}", answer.escape_ascii());
    assert_eq!(end, End::Fin);
    let reported = proxy.lab.end();
    let request = &reported.requests[0];
    assert_eq!((&request["status"], reported.requests.len()), (&status.into(), 1));
    reported
}

pub(crate) fn response_timeout() -> Reported {
    answered_in_time("GET http://NAME/ HTTP/1.1\nHost: NAME", "", 504)
}

pub(crate) fn body_timeout() -> Reported {
    answered_in_time("PUT http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: 9", "part", 408)
}

pub(crate) fn body_cut() -> Reported {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request("PUT http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: 9");
    client.say("part").finish();
    assert_eq!(upstream.hear_all().0, b"part");
    drop(upstream);
    let (answer, _) = client.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", answer.escape_ascii());
    proxy.lab.end()
}
