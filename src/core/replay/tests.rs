//! Logs against lists.

use super::*;
use crate::config::{File, Machine};
use crate::diagnostic::Origin;

const LISTENERS: &str = r#"
listeners:
  - { name: tls, bind: "[::]:8443", protocol: tls }
  - { name: http, bind: "[::]:8080", protocol: http }
  - { name: egress, bind: "[::]:3128", protocol: forward }
proxy_protocol: { trusted: [192.168.0.0/16] }
"#;

fn config(text: &str) -> Config {
    let machine = Machine { open_files: 1 << 20, cpus: std::num::NonZero::new(2).unwrap(), memory: 8 << 30 };
    let file = File { path: "latticegate.yaml".as_ref(), text };
    Config::parse(Some(file), std::iter::empty(), &machine).unwrap().0
}

fn policy(text: &str) -> Policy {
    Policy::parse(text, Origin::file("ipcontrol.yaml")).unwrap()
}

/// What is said about a log, and how many requests would newly be refused.
fn replayed(list: &str, log: &str) -> (String, u64) {
    let (policy, config) = (policy(list), config(LISTENERS));
    let mut replay = Replay::new(&policy, &config, None, None, SystemTime::UNIX_EPOCH);
    log.lines().for_each(|line| replay.line(line.as_bytes()).unwrap());
    (replay.to_string(), replay.refused())
}

const LIST: &str = "rules:
  - deny: 10.0.0.66
  - allow: 10.0.0.0/8
    to: [orders.example, \"*.shop.example\"]
  - { allow: 10.0.0.0/8, to: only.example, port: 80, name: plain }
  - deny: all
    to: bad.example
";

#[test]
fn squids_log_is_grouped_and_counted() {
    let line = |client: &str, code: &str, asked: &str| format!("1.1 0 {client} {code} 1 {asked} - HIER_NONE/- -\n");
    let mut log = String::new();
    for (times, client, code, asked) in [
        (5, "10.0.0.7", "TCP_TUNNEL/200", "CONNECT orders.example:443"),
        (1, "10.0.0.7", "TCP_MISS/200", "GET http://only.example/?q=secret"),
        (3, "10.0.0.7", "TCP_TUNNEL/200", "CONNECT Bad.Example:443"),
        (2, "10.0.0.8", "TCP_TUNNEL/200", "CONNECT bad.example:443"),
        (1, "10.0.0.66", "TCP_TUNNEL/200", "CONNECT orders.example:443"),
        (1, "10.0.0.7", "TCP_TUNNEL/200", "CONNECT only.example:443"),
        (1, "10.0.0.7", "TCP_TUNNEL/200", "CONNECT orders.example:22"),
        (1, "10.0.0.7", "TCP_TUNNEL/200", "CONNECT 192.0.2.1:443"),
        (1, "10.0.0.7", "TCP_MISS/200", "GET ftp://orders.example/"),
        (4, "2001:db8::1", "TCP_DENIED/403", "CONNECT bad.example:443"),
        (1, "2001:db8::2", "TCP_DENIED/403", "CONNECT bad.example:443"),
        (2, "10.0.0.7", "TCP_DENIED/403", "GET http://a.shop.example/"),
        (6, "10.0.0.7", "NONE_NONE/000", "NONE error:transaction-end-before-headers"),
        (2, "10.0.0.7", "NONE_NONE/502", "CONNECT orders.example:443"),
        (1, "10.0.0.7", "NONE_NONE/502", "CONNECT bad.example:443"),
        (4, "10.0.0.7", "TCP_DENIED/200", "CONNECT orders.example:443"),
        (1, "10.0.0.7", "TCP_MISS/200", "TRACE http://only.example/"),
        (1, "10.0.0.7", "TCP_MISS/200", "GET /"),
        (1, "10.0.0.7", "TCP_MISS/200", "OPTIONS *"),
    ] {
        log += &line(client, code, asked).repeat(times);
    }
    log += "nonsense\n";
    let (text, refused) = replayed(LIST, &log);
    assert_eq!(
        text,
        "log       40 lines: 26 requests
          6 connections without a complete request
          3 requests that the proxy itself could not serve
          4 tunnels that were refused for what was in them
          1 line that cannot be read
            line 40: it is in none of the formats: Squid's own, common, combined, and that of the nginx guidance
allowed   6 requests, as before
refused   13 requests that went through before:
                 3  10.0.0.7  bad.example:443  name_denied by ipcontrol.yaml:6  deny: all, to: bad.example
                 2  10.0.0.7  ?  origin_form: a proxy is asked by CONNECT or for http://
                 2  10.0.0.8  bad.example:443  name_denied by ipcontrol.yaml:6  deny: all, to: bad.example
                 1  10.0.0.7  192.0.2.1:443  host_ip_address: an address is not a name
                 1  10.0.0.7  only.example  trace_method: TRACE is answered with 405
                 1  10.0.0.7  only.example:443  name_denied because no rule matches
                 1  10.0.0.7  orders.example  scheme_unsupported: only CONNECT and http:// are forwarded
                 1  10.0.0.7  orders.example:22  port_denied: not in `connect_ports`, or for http:// not in `http_ports`
                 1  10.0.0.66  orders.example:443  client_denied by ipcontrol.yaml:2  deny: 10.0.0.66
still     5 requests refused before, and now:
                 5  2001:db8::/64  bad.example:443  client_denied because no rule matches
opened    2 requests refused before, and allowed now:
                 2  10.0.0.7  a.shop.example:80  allowed by ipcontrol.yaml:3  allow: 10.0.0.0/8, to: [orders.example, \"*.shop.example\"]
verdict   13 requests that went through would be refused
"
    );
    assert_eq!(refused, 13);
    assert!(!text.contains("secret"));
}

#[test]
fn an_allow_without_names_allows_nothing_to_a_forward_proxy() {
    let log = "1.1 0 10.0.0.7 TCP_TUNNEL/200 1 CONNECT orders.example:443 - HIER_NONE/- -\n";
    assert_eq!(replayed("rules:\n  - allow: 10.0.0.0/8\n", log).1, 1);
    assert_eq!(replayed("rules:\n  - { allow: 10.0.0.0/8, to: any }\n", log).1, 0);
}

#[test]
fn what_clients_wrote_is_printed_as_plain_text() {
    let log = "1.1 0 10.0.0.7 TCP_TUNNEL/200 1 CONNECT a\u{1b}[2J\u{202e}b.example:443 - HIER_NONE/- -\n";
    let (text, _) = replayed(LIST, log);
    assert!(text.contains("  10.0.0.7  a?[2j?b.example:443  host_invalid\n"), "{text:?}");
}

#[test]
fn nginxs_log_has_no_names() {
    let line = |client: &str, port: u16, status: u16| {
        format!("2026-11-21T10:56:57+00:00 192.168.1.10 {client} 51034 TCP {port} {status} - 0 0 0.005 -\n")
    };
    let log: String = [
        line("10.0.0.7", 443, 200),
        line("203.0.113.9", 8443, 200),
        line("203.0.113.9", 443, 403),
        line("10.0.0.7", 80, 403),
        line("10.0.0.7", 9999, 200),
        line("-", 443, 400),
    ]
    .concat();
    let (text, refused) = replayed("rules:\n  - allow: 10.0.0.0/8\n", &log);
    assert_eq!(refused, 1);
    for part in [
        "log       6 lines: 4 requests\n",
        "1 requests on ports that no listener is for\n",
        "1 connections without a PROXY header, like health checks\n",
        "allowed   1 request, as before\n",
        "1  203.0.113.9  port 8443  client_denied because no rule matches\n",
        "1  10.0.0.7  port 80  allowed by ipcontrol.yaml:2  allow: 10.0.0.0/8\n",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let (text, refused) = replayed("rules:\n  - { allow: 10.0.0.0/8, to: orders.example }\n", &log);
    assert!(
        refused == 1 && text.contains("undecided 2 requests allowed for some names, and the log has no name:\n"),
        "{text}"
    );
    assert!(text.ends_with("verdict   1 request that went through would be refused; 2 requests undecided\n"), "{text}");
    // The web server's own log has no port, either.
    let web = "203.0.113.9 - - [28/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 39 \"-\" \"curl\"\n";
    assert_eq!(replayed("rules:\n  - allow: 10.0.0.0/8\n", web).1, 1);
}

#[test]
fn a_log_without_a_listener_is_an_error() {
    let line = b"1.1 0 10.0.0.7 TCP_TUNNEL/200 1 CONNECT orders.example:443 - HIER_NONE/- -";
    let policy = policy(LIST);
    let replay = |config: &Config, listener: Option<&str>| {
        let listener = listener.and_then(|name| config.listeners.iter().find(|listener| listener.name == name));
        let mut replay = Replay::new(&policy, config, listener, None, SystemTime::UNIX_EPOCH);
        replay.line(line).map_err(|error| error.to_string())
    };
    let none = config("proxy_protocol: { trusted: [192.168.0.0/16] }\n");
    assert!(replay(&none, None).unwrap_err().ends_with("no listener has `protocol: forward`"));
    let all = config(LISTENERS);
    assert_eq!(replay(&all, Some("egress")), Ok(()));
    assert_eq!(replay(&all, Some("tls")).unwrap_err(), "the log is of a forward proxy, and tls is none");
    let second = "  - { name: other, bind: \"[::]:3129\", protocol: forward }\nproxy_protocol";
    let two = config(&LISTENERS.replace("proxy_protocol", second));
    assert!(replay(&two, None).unwrap_err().contains("egress and other"));
}

#[test]
fn what_finds_no_place_is_counted_together() {
    let (policy, config) = (policy("rules: []\n"), config(LISTENERS));
    let mut replay = Replay::new(&policy, &config, None, None, SystemTime::UNIX_EPOCH);
    let total = 10_500;
    for n in 0..total {
        let line = format!("1.1 0 10.0.{}.{} TCP_TUNNEL/200 1 CONNECT a.example:443 - H/- -", n / 256, n % 256);
        replay.line(line.as_bytes()).unwrap();
    }
    let text = replay.to_string();
    assert_eq!(replay.refused(), total);
    assert!(text.contains("     9500  in further groups\n"), "{}", text.lines().rev().take(3).collect::<String>());
    assert!(text.lines().count() < 1010);
}

/// Rules with `via:` decide by the load balancer's header, which a listener without it does not read.
#[test]
fn an_endpoint_is_that_of_clients_whose_header_is_read() {
    let policy = policy("rules:\n  - { allow: 10.0.0.0/8, to: any, via: vpce-0a }\n");
    let log = "1.1 0 10.0.0.7 TCP_TUNNEL/200 1 CONNECT orders.example:443 - HIER_NONE/- -";
    for (protocol, refused) in [("required", 0), ("off", 1)] {
        let config = config(&LISTENERS.replace("forward }", &format!("forward, proxy_protocol: {protocol} }}")));
        let via = crate::policy::endpoint("vpce-0a").ok();
        let mut replay = Replay::new(&policy, &config, None, via, SystemTime::UNIX_EPOCH);
        replay.line(log.as_bytes()).unwrap();
        assert_eq!(replay.refused(), refused, "{protocol}");
    }
}
