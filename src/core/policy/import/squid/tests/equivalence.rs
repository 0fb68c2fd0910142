//! The imported list decides as Squid does. What Squid does is written down here a second time, as small as it can be:
//! from the text of the configuration to one request, without a set, a complement or a rule.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::client::Client;
use crate::hostname::Hostname;
use crate::policy::{ListenerView, RequestedPort};

#[derive(Debug, Clone, Copy)]
struct Request<'a> {
    client: IpAddr,
    name: &'a str,
    port: u16,
    connect: bool,
}

/// A configuration, split into words.
type Lines<'a> = [Vec<&'a str>];

/// Whether Squid lets the request through.
fn squid(config: &Lines<'_>, request: Request<'_>) -> bool {
    let matches = |acl: &str| {
        let mut lines = config.iter().filter(|words| words[0] == "acl" && words[1] == acl);
        lines.any(|words| has(words[2], &words[3..], request))
    };
    let mut last = false;
    for words in config.iter().filter(|words| words[0] == "http_access") {
        let allow = words[1] == "allow";
        let all = words[2..].iter().all(|word| match word.strip_prefix('!') {
            Some(acl) => !matches(acl),
            None => *word == "all" || matches(word),
        });
        if all {
            return allow;
        }
        last = !allow;
    }
    last
}

fn has(kind: &str, values: &[&str], request: Request<'_>) -> bool {
    values.iter().any(|value| match kind {
        "src" => match value.split_once('-') {
            Some((first, last)) => (first.parse::<IpAddr>().unwrap()..=last.parse().unwrap()).contains(&request.client),
            None => value.parse::<IpNet>().unwrap().contains(&request.client),
        },
        "dstdomain" => match value.strip_prefix('.') {
            Some(domain) => request.name == domain || request.name.ends_with(value),
            None => request.name == *value,
        },
        "port" => {
            let (first, last) = value.split_once('-').unwrap_or((value, value));
            (first.parse::<u16>().unwrap()..=last.parse().unwrap()).contains(&request.port)
        }
        "method" => request.connect,
        _ => unreachable!(),
    })
}

const CLIENTS: [&str; 7] =
    ["10.0.0.1", "10.1.2.3", "10.1.2.200", "192.0.2.7", "203.0.113.9", "2001:db8::1", "2001:db9::1"];
const NAMES: [&str; 7] =
    ["example", "a.example", "x.a.example", "y.x.a.example", "b.example", "xa.example", "elsewhere.test"];

/// A port that the listener takes for CONNECT, or for other requests.
const PORTS: [(u16, bool); 4] = [(443, true), (8443, true), (80, false), (8080, false)];

/// The list for a listener that takes [`PORTS`].
fn options() -> SquidOptions {
    let ports = |connect| PORTS.iter().filter(|(_, it)| *it == connect).map(|(port, _)| *port).collect();
    SquidOptions { connect_ports: Some(ports(true)), http_ports: Some(ports(false)), listener: None }
}

fn agree(config: &str) -> Result<(), TestCaseError> {
    let imported = import_squid(&file(config), &options(), &files);
    prop_assert!(imported.errors.is_empty(), "{config}: {:?}", imported.errors);
    let yaml = &imported.yaml;
    let policy = Policy::parse(yaml, Origin::Defaults).unwrap_or_else(|errors| panic!("{errors:?}\n{yaml}"));
    let lints = policy.lints(std::time::SystemTime::UNIX_EPOCH, None);
    prop_assert!(lints.is_empty(), "{config}{yaml}{lints:#?}");
    let lines: Vec<Vec<&str>> = config.lines().map(|line| line.split_whitespace().collect()).collect();
    for client in CLIENTS {
        for name in NAMES {
            for (port, connect) in PORTS {
                let request = Request { client: client.parse().unwrap(), name, port, connect };
                let asked = RequestedPort::Destination(Some(port));
                let view = ListenerView { name: "egress", port: asked, now: std::time::SystemTime::UNIX_EPOCH };
                let client = Client::new((request.client, 40000).into(), None);
                let hostname = Hostname::parse(name.as_bytes()).unwrap();
                let ours = policy.route(&client, &view, &hostname);
                prop_assert_eq!(ours.allowed, squid(&lines, request), "{:?}\n{}\n{}", request, config, yaml);
                // Should the listener take other ports one day, the list does not let more through than Squid did.
                for port in [22, 450, 9000] {
                    let view = view.to_port(port);
                    let both = [true, false].map(|connect| squid(&lines, Request { port, connect, ..request }));
                    let ours = policy.route(&client, &view, &hostname);
                    prop_assert!(!ours.allowed || both == [true; 2], "{}: {:?}\n{}\n{}", port, request, config, yaml);
                }
            }
        }
    }
    Ok(())
}

fn acl(name: &'static str) -> impl Strategy<Value = String> {
    let some = |values: &'static [&'static str]| {
        prop::collection::vec(prop::sample::select(values), 1..4).prop_map(|values| values.join(" "))
    };
    let kind = match &name[..1] {
        "c" => some(&["10.0.0.0/8", "10.1.2.0/25", "10.1.0.0-10.1.2.10", "192.0.2.7/32", "2001:db8::/32", "2000::/3"])
            .prop_map(|values| format!("src {values}"))
            .boxed(),
        "n" => some(&["example", ".example", "a.example", ".a.example", ".x.a.example", "b.example", ".test"])
            .prop_map(|values| format!("dstdomain {values}"))
            .boxed(),
        "p" => {
            some(&["443", "80", "1025-65535", "8080", "400-500"]).prop_map(|values| format!("port {values}")).boxed()
        }
        _ => Just("method CONNECT".to_owned()).boxed(),
    };
    kind.prop_map(move |kind| format!("acl {name} {kind}\n"))
}

fn line() -> impl Strategy<Value = String> {
    let word = ("!?", prop::sample::select(&["c0", "c1", "n0", "n1", "n2", "p0", "p1", "m"][..]));
    let words = prop::collection::vec(word.prop_map(|(not, acl)| format!("{not}{acl}")), 1..4);
    let words = prop_oneof![12 => words.prop_map(|words| words.join(" ")), 1 => Just("all".to_owned())];
    (any::<bool>(), words)
        .prop_map(|(allow, acls)| format!("http_access {} {acls}\n", if allow { "allow" } else { "deny" }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_list_decides_as_squid_does(
        acls in (acl("c0"), acl("c1"), acl("n0"), acl("n1"), acl("n2"), acl("p0"), acl("p1"), acl("m")),
        lines in prop::collection::vec(line(), 0..7),
    ) {
        let (a, b, c, d, e, f, g, h) = acls;
        agree(&[&[a, b, c, d, e, f, g, h][..], &lines].concat().concat())?;
    }
}

#[test]
fn well_known_configurations_are_decided_alike() {
    let acls = "acl c0 src 10.0.0.0/8\nacl n0 dstdomain .a.example\nacl n1 dstdomain x.a.example\nacl p0 port 443\n\
                acl p1 port 80 443 1025-65535\nacl m method CONNECT\n";
    for lines in [
        "",
        "http_access deny !p1\nhttp_access deny m !p0\nhttp_access allow c0\nhttp_access deny all\n",
        "http_access deny !p1\nhttp_access deny m !p0\nhttp_access deny n1\nhttp_access allow c0 n0\nhttp_access deny all\n",
        "http_access allow c0 n0 !n1\nhttp_access allow m !c0\nhttp_access deny all\n",
        "http_access deny !n0\nhttp_access deny !c0\n",
        "http_access deny !n0 !m\nhttp_access allow !n1 !c0\n",
    ] {
        agree(&format!("{acls}{lines}")).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Words of a configuration, right and wrong.
fn word() -> impl Strategy<Value = String> {
    let known = &[
        "acl",
        "http_access",
        "include",
        "allow",
        "deny",
        "src",
        "dstdomain",
        "dst",
        "port",
        "method",
        "proto",
        "time",
        "all",
        "a",
        "!a",
        "b",
        "!b",
        "manager",
        "!manager",
        "CONNECT",
        "GET",
        ".example",
        "*.example",
        "10.0.0.0/8",
        "10.0.0.9-10.0.0.1",
        "::/0",
        "0-65535",
        "443",
        "-i",
        "\"x\"",
        "'",
        "\"",
        "#",
        "\\",
        "\n",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "\u{a0}",
        "miss_access",
        "never_direct",
        "10.0.0.0/0",
        ";",
        "!",
    ][..];
    prop_oneof![8 => prop::sample::select(known).prop_map(str::to_owned), 1 => "\\PC{0,4}", 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    /// Whatever a file has in it, there are errors and no list, or a list that is valid.
    #[test]
    fn any_text_makes_a_valid_list_or_none(words in prop::collection::vec(word(), 0..40), glue in "[ \n]") {
        let text = words.join(&glue);
        for text in [text.clone(), format!("acl a dstdomain x.example\nacl b src 10.0.0.0/8\n{text}")] {
            let imported = import(&text);
            prop_assert_eq!(imported.yaml.is_empty(), !imported.errors.is_empty(), "{}", text);
            if imported.errors.is_empty() {
                let policy = Policy::parse(&imported.yaml, Origin::Defaults);
                let rules = policy.map_err(|errors| format!("{errors:?}")).map(|policy| policy.rules().len());
                prop_assert_eq!(rules, Ok(imported.rules), "{}\n{}", text, imported.yaml);
            }
        }
    }
}
