//! What is converted from Squid, what is listed instead, and what makes the import fail.

mod equivalence;

use super::*;
use crate::diagnostic::Origin;
use crate::policy::Policy;

/// The files that an operator has beside `squid.conf`.
fn files(_: &str, pattern: &str) -> Result<Vec<Included>, String> {
    let text = match pattern {
        "/etc/squid/allow.txt" => "# shops\n.example.com\t# all of it\r\n\n  WWW.example.org  \n10.0.0.1\n",
        "/etc/squid/blocked.txt" => "bad.example\nworse.example # really\n",
        "/etc/squid/more.txt" => "more.example\n",
        "/etc/squid/conf.d/*.conf" => "http_access allow localnet\n",
        _ => return Err(format!("{pattern} does not exist")),
    };
    Ok(vec![Included { name: pattern.to_owned(), text: text.to_owned() }])
}

fn file(text: &str) -> Vec<Included> {
    vec![Included { name: "squid.conf".to_owned(), text: text.to_owned() }]
}

fn import(text: &str) -> Imported {
    import_squid(&file(text), &SquidOptions::default(), &files)
}

fn imported(text: &str) -> Imported {
    let imported = import(text);
    assert_eq!(imported.errors, [""; 0], "{text}");
    let policy = Policy::parse(&imported.yaml, Origin::Defaults).unwrap_or_else(|p| panic!("{p:?}\n{}", imported.yaml));
    assert_eq!(policy.rules().len(), imported.rules);
    // `check --strict` takes it.
    let lints = policy.lints(std::time::SystemTime::UNIX_EPOCH, None);
    assert!(lints.is_empty(), "{text}\n{}\n{lints:#?}", imported.yaml);
    imported
}

fn body(imported: &Imported) -> &str {
    imported.yaml.split_once("rules:\n").unwrap().1
}

/// The rules alone, without comments.
fn rules(text: &str) -> String {
    let imported = imported(text);
    body(&imported).lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// What Squid 5 brings, without its manual, and with what Debian adds.
const DEFAULT: &str = "\
acl localnet src 0.0.0.1-0.255.255.255\t# RFC 1122 \"this\" network (LAN)
acl localnet src 10.0.0.0/8\t\t# RFC 1918 local private network (LAN)
acl localnet src 100.64.0.0/10\t\t# RFC 6598 shared address space (CGN)
acl localnet src 169.254.0.0/16 \t# RFC 3927 link-local (directly plugged) machines
acl localnet src 172.16.0.0/12\t\t# RFC 1918 local private network (LAN)
acl localnet src 192.168.0.0/16\t\t# RFC 1918 local private network (LAN)
acl localnet src fc00::/7       \t# RFC 4193 local private network range
acl localnet src fe80::/10      \t# RFC 4291 link-local (directly plugged) machines

acl SSL_ports port 443
acl Safe_ports port 80\t\t# http
acl Safe_ports port 21\t\t# ftp
acl Safe_ports port 443\t\t# https
acl Safe_ports port 70\t\t# gopher
acl Safe_ports port 210\t\t# wais
acl Safe_ports port 1025-65535\t# unregistered ports
acl Safe_ports port 280\t\t# http-mgmt
acl Safe_ports port 488\t\t# gss-http
acl Safe_ports port 591\t\t# filemaker
acl Safe_ports port 777\t\t# multiling http

# Deny requests to certain unsafe ports
http_access deny !Safe_ports

# Deny CONNECT to other than secure SSL ports
http_access deny CONNECT !SSL_ports

# Only allow cachemgr access from localhost
http_access allow localhost manager
http_access deny manager

http_access deny to_localhost
include /etc/squid/conf.d/*.conf
http_access allow localhost

# And finally deny all other access to this proxy
http_access deny all

http_port 3128
coredump_dir /var/spool/squid
refresh_pattern ^ftp:\t\t1440\t20%\t10080
refresh_pattern .\t\t0\t20%\t4320
";

#[test]
fn the_default_configuration_is_converted() {
    let imported = imported(DEFAULT);
    let expected = r#"# yaml-language-server: $schema=ipcontrol.schema.json
# Imported from squid.conf by `latticegate import --squid`
# for a listener with `connect_ports: [443]` and `http_ports: [80]`.

rules:
  # Deny requests to certain unsafe ports
  # squid.conf:23: http_access deny !Safe_ports: what it denies, no rule below allows
  # Deny CONNECT to other than secure SSL ports
  # squid.conf:26: http_access deny CONNECT !SSL_ports: what it denies, no rule below allows
  # Only allow cachemgr access from localhost
  # squid.conf:29: http_access allow localhost manager: there is no cache manager here
  # squid.conf:30: http_access deny manager: there is no cache manager here
  # squid.conf:32: http_access deny to_localhost: these addresses are never dialled with `upstream.allowed_networks: [public]`
  # /etc/squid/conf.d/*.conf:1: http_access allow localnet
"#;
    let (head, rest) = imported.yaml.split_once("  - allow:\n      - 0.0.0.0/8\n").unwrap();
    assert_eq!(head, expected);
    assert!(
        rest.ends_with(
            r#"    - 10.0.0.0/8
      - 100.64.0.0/10
      - 169.254.0.0/16
      - 172.16.0.0/12
      - 192.168.0.0/16
      - "fc00::/7"
      - "fe80::/10"
    to: any
    port: [80, 443]
  # squid.conf:34: http_access allow localhost
  - allow: [127.0.0.1, "::1"]
    to: any
    port: [80, 443]
  # And finally deny all other access to this proxy
  # squid.conf:37: http_access deny all
  - deny: all
"#
        ),
        "{rest}"
    );
    assert_eq!(
        imported.left_out,
        [
            "squid.conf:39: http_port 3128: see `bind` of the listener",
            "squid.conf:40: coredump_dir /var/spool/squid: it is about Squid's own process",
            "squid.conf:41: refresh_pattern ^ftp: 1440 20% 10080: there is no cache",
            "squid.conf:42: refresh_pattern . 0 20% 4320: there is no cache",
        ]
    );
    assert_eq!(
        imported.notes[3..],
        [
            "the list is for a listener with connect_ports: [443] and http_ports: [80], which are its defaults; CONNECT \
             is told from other requests by the port",
            "Squid may let through as well, and the new list does not: other requests for ports 21, 70, 210, 280, 488, \
             591, 777, 1025-65535; to carry some of them, give --connect-ports or --http-ports, and set the listener to \
             the same",
        ]
    );
}

#[test]
fn an_allow_list_is_a_rule_for_each_line() {
    let text = "# Shops\r\n\r\n\r\n.Example.com   # all of it\r\nwww.example.org\n  \n# end\nany\ninternet\n";
    let imported = imported(text);
    assert_eq!(
        body(&imported),
        r#"  # Shops

  - allow: all
    to: [example.com, "*.example.com"]   # all of it
  - allow: all
    to: www.example.org

  # end
  - allow: all
    to: any.
  - allow: all
    to: internet.

  - deny: all
"#
    );
    assert!(imported.left_out.is_empty() && imported.notes.is_empty());
    let none = import("# nothing\n");
    assert_eq!((none.rules, none.notes.len()), (1, 1), "{none:?}");
}

#[test]
fn what_an_earlier_line_of_an_allow_list_has_is_left_out() {
    let imported = imported(
        "www.b.example\n.a.example # ours\nwww.a.example # shop\n.x.a.example\na.example\n.a.example\n.b.example\n\
         xa.example\nwww.b.example\n",
    );
    assert_eq!(
        body(&imported),
        r#"  - allow: all
    to: www.b.example
  - allow: all
    to: [a.example, "*.a.example"]   # ours
  # squid.conf:3: www.a.example: squid.conf:2 (.a.example) already covers it   # shop
  # squid.conf:4: .x.a.example: squid.conf:2 (.a.example) already covers it
  # squid.conf:5: a.example: squid.conf:2 (.a.example) already covers it
  # squid.conf:6: .a.example: squid.conf:2 (.a.example) already covers it
  - allow: all
    to: [b.example, "*.b.example"]
  - allow: all
    to: xa.example
  # squid.conf:9: www.b.example: squid.conf:1 (www.b.example) already covers it

  - deny: all
"#
    );
    assert_eq!(imported.notes.len(), 5);
    let note = "squid.conf:3: www.a.example: squid.conf:2 (.a.example) already covers it, so it has no rule";
    assert_eq!((imported.notes[0].as_str(), imported.left_out.len()), (note, 0));
}

#[test]
fn a_file_that_is_neither_a_list_nor_a_configuration_is_an_error() {
    for (text, part) in [
        (
            "example.com www.example.com\nintranet portal\n",
            "squid.conf:2: intranet portal: it is no domain, and no line",
        ),
        ("htp_access deny bad\nb.example\n", "squid.conf:1: htp_access deny bad: it is no domain"),
        // Domains, but none on a line of its own.
        ("a.example, b.example\n10.0.0.1\n", "squid.conf: no line could be imported"),
    ] {
        let imported = import(text);
        assert!(imported.errors.len() == 1 && imported.errors[0].starts_with(part), "{text}: {:?}", imported.errors);
        assert_eq!((imported.yaml.as_str(), imported.rules), ("", 0), "{text}");
    }
    assert_eq!(import("a.example, b.example\n10.0.0.1\n").left_out.len(), 2);
}

#[test]
fn what_is_no_domain_in_an_allow_list_is_named_with_its_line() {
    let imported =
        imported("*.example.com\n10.0.0.1 # dc\nhttps://example.com/\nb\u{fc}cher.example\nexample.com.\na\n");
    assert_eq!(imported.rules, 2);
    assert_eq!(
        imported.left_out,
        [
            "squid.conf:1: *.example.com: Squid knows no `*` here; write .example.com for the name and all below it",
            "squid.conf:2: 10.0.0.1: it is an address; requests for addresses are refused in any case",
            "squid.conf:3: https://example.com/: it is a URL; write the name alone",
            "squid.conf:4: b\u{fc}cher.example: it is not ASCII; write it as DNS has it, like xn--bcher-kva.example",
            "squid.conf:5: example.com.: Squid finds no name with a final dot; write example.com",
        ]
    );
    assert!(body(&imported).starts_with("  # not imported (squid.conf:1): *.example.com\n"));
}

#[test]
fn several_lists_are_joined_in_their_order_for_one_listener() {
    let lists = ["a.example\n", "b.example\n"].iter().zip(["a.txt", "b.txt"]);
    let lists: Vec<Included> =
        lists.map(|(text, name)| Included { name: name.to_owned(), text: (*text).to_owned() }).collect();
    let options = SquidOptions { listener: Some("egress".to_owned()), ..SquidOptions::default() };
    let imported = import_squid(&lists, &options, &files);
    assert_eq!(
        body(&imported),
        "  # from a.txt\n  - allow: all\n    to: a.example\n    listener: egress\n\n  # from b.txt\n  - allow: all\n    \
         to: b.example\n    listener: egress\n\n  - deny: all\n    listener: egress\n"
    );
    let mixed = [lists, file("http_access allow all\n")].concat_included();
    let failed = import_squid(&mixed, &options, &files);
    assert!(failed.yaml.is_empty() && failed.errors[0].contains("cannot be joined"), "{failed:?}");
}

trait Concat {
    fn concat_included(self) -> Vec<Included>;
}

impl Concat for [Vec<Included>; 2] {
    fn concat_included(self) -> Vec<Included> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn lists_in_quotes_keep_their_comments() {
    let imported = imported(
        "acl office src 192.0.2.0/24 2001:db8::/32\nacl shops dstdomain .example.net \"/etc/squid/allow.txt\"\n\
         # the office\nhttp_access allow office shops # since 2019\nhttp_access deny all\n",
    );
    assert_eq!(
        body(&imported),
        r#"  # the office
  # squid.conf:4: http_access allow office shops   # since 2019
  - allow: [192.0.2.0/24, "2001:db8::/32"]
    to:
      - example.net
      - "*.example.net"
      - example.com   # all of it
      - "*.example.com"
      - www.example.org
  # squid.conf:5: http_access deny all
  - deny: all
"#
    );
    let note = "/etc/squid/allow.txt:5: acl shops dstdomain 10.0.0.1: requests for an address are refused in any case";
    assert!(imported.notes[0].starts_with(note), "{:?}", imported.notes);
}

#[test]
fn negation_is_the_complement_or_goes_first() {
    let acls = "acl net src 10.0.0.0/8\nacl guests src 10.1.0.0/16\nacl bad dstdomain \"/etc/squid/blocked.txt\"\n\
                acl good dstdomain .example.com www.bad.example\n";
    for (lines, expected) in [
        // Names: what follows, narrowed to them, comes first.
        (
            "http_access allow net !bad\nhttp_access deny all\n",
            "  - deny: 10.0.0.0/8\n    to:\n      - bad.example\n      - worse.example   # really\n  \
             - allow: 10.0.0.0/8\n    to: any\n  - deny: all\n",
        ),
        (
            "http_access deny !good\nhttp_access allow net\nhttp_access deny all\n",
            "  - allow: 10.0.0.0/8\n    to: [example.com, \"*.example.com\", www.bad.example]\n  \
             - deny: [example.com]\n  - deny: all\n",
        ),
        // Names behind `!` that no other condition leaves are dropped.
        (
            "http_access allow good !bad\nhttp_access deny all\n",
            "  - allow: all\n    to: [example.com, \"*.example.com\", www.bad.example]\n  - deny: all\n",
        ),
        // Clients.
        (
            "http_access deny !net\nhttp_access allow good\nhttp_access deny all\n",
            "  - deny: X\n  - allow: 10.0.0.0/8\n    to: [example.com, \"*.example.com\", www.bad.example]\n  - deny: all\n",
        ),
        ("http_access allow net !net\nhttp_access deny all\n", "  - deny: all\n"),
        (
            "http_access allow guests !guests\nhttp_access allow net good\n",
            "  - allow: 10.0.0.0/8\n    to: [example.com, \"*.example.com\", www.bad.example]\n  - deny: all\n",
        ),
    ] {
        let found = rules(&format!("{acls}{lines}"));
        let found = match found.split_once("  - deny:\n      - 0.0.0.0/5\n") {
            Some((before, rest)) => {
                let (_, after) = rest.split_once("      - \"::/0\"\n").unwrap();
                format!("{before}  - deny: X\n{after}")
            }
            None => found,
        };
        // Denials before the last one are written per part; the equivalence tests hold their meaning.
        let expected = expected.replace("  - deny: [example.com]\n", "");
        let short = found.replace("  - deny: all\n    to: [example.com, \"*.example.com\", www.bad.example]\n", "");
        assert_eq!(short, expected, "{lines}");
    }
}

/// In the lines that go first for the names behind a `!` there is what others of these have, too.
#[test]
fn rules_that_never_match_are_not_written() {
    let acls = "acl a dstdomain .a.example\nacl b dstdomain .www.a.example\nacl c dstdomain x.www.a.example\n\
                acl net src 10.0.0.0/8\nacl sub src 10.1.0.0/16\nacl v6 src 2001:db8::/32\n";
    for (lines, expected) in [
        (
            "http_access allow a !b\nhttp_access allow b !c\nhttp_access deny !c CONNECT\nhttp_access allow c localhost\n",
            None,
        ),
        // A network that an earlier line decides about, beside one that it does not.
        (
            "http_access deny !net\nhttp_access allow all !v6\nhttp_access deny all\n",
            Some("  - allow: 10.0.0.0/8\n    to: any\n"),
        ),
        (
            "http_access allow sub a\nhttp_access deny net\nhttp_access allow sub\nhttp_access allow all\n",
            Some("  - deny: 10.0.0.0/8\n  - allow: all\n    to: any\n"),
        ),
        ("http_access allow net\nhttp_access deny !v6 a\nhttp_access deny !net a\nhttp_access allow v6\n", None),
        // Each half, since the network alone looks like a slip.
        (
            "acl most src 0.0.0.0-9.255.255.255 11.0.0.0-255.255.255.255\nhttp_access deny most a\nhttp_access allow !net a\n\
             http_access deny all\n",
            Some("  - allow: [\"::/1\", \"8000::/1\"]\n"),
        ),
    ] {
        let text = format!("{acls}{lines}");
        let found = rules(&text);
        assert!(expected.is_none_or(|expected| found.contains(expected)), "{lines}{found}");
    }
    let twice = imported(&format!("{acls}http_access allow net\nhttp_access deny sub a\nhttp_access deny all\n"));
    let comment = "http_access deny sub a: the rules above decide about all of it\n";
    assert!(body(&twice).contains(comment) && twice.rules == 2, "{}", body(&twice));
}

#[test]
fn the_implicit_last_rule_is_written_out() {
    let bad = "acl bad dstdomain bad.example\n";
    let denied = imported(&format!("{bad}http_access deny bad\n"));
    assert!(body(&denied).ends_with("  - allow: all\n    to: any\n"), "{}", body(&denied));
    assert!(denied.notes[1].ends_with("so `allow: all`, `to: any` was added"), "{:?}", denied.notes);
    let allowed = imported(&format!("{bad}http_access allow bad\n"));
    assert!(body(&allowed).ends_with("with all other requests:\n  - deny: all\n"), "{}", body(&allowed));
    let none = imported("http_port 3128\n");
    assert!(body(&none).ends_with("  - deny: all\n") && none.notes[0].contains("everyone is denied"), "{none:?}");
}

/// Each would let more through if it were left out.
#[test]
fn what_denies_and_cannot_be_carried_over_is_an_error() {
    for (text, part) in [
        (
            "acl a time MTWHF 09:00-17:00\nhttp_access deny a\nhttp_access allow all\n",
            ":2: http_access deny a: a: rules have an end",
        ),
        ("acl a proxy_auth REQUIRED\nhttp_access deny !a\n", ":2: http_access deny !a: a: there is no authentication"),
        ("acl a proxy_auth REQUIRED\nhttp_access allow all !a\n", ":2: http_access allow all !a: a: there is no auth"),
        ("acl a dstdom_regex \\.ru$\nhttp_access deny a\nhttp_access allow all\n", "no regular expressions"),
        ("acl a dst 198.51.100.0/24\nhttp_access deny a\nhttp_access allow all\n", "upstream.denied_networks"),
        ("acl a method POST PUT\nhttp_access deny a\nhttp_access allow all\n", "no further methods"),
        ("acl a method CONNECT PURGE\nhttp_access deny a\nhttp_access allow all\n", "no further methods"),
        ("acl a ssl::server_name x.example\nhttp_access deny !a\nhttp_access allow all\n", "TLS server name"),
        ("acl a proto AUTHORITY_FORM\nhttp_access deny a\nhttp_access allow all\n", "knows no schemes"),
        ("acl a maxconn 10\nhttp_access deny a\nhttp_access allow all\n", "limits.per_client.connections"),
        ("acl a dstdomain -x a.example\nhttp_access allow a\n", ":1: acl a dstdomain: the option -x"),
        (
            "acl a dstdomain *.bad.example\nhttp_access deny a\nhttp_access allow all\n",
            ":1: acl a dstdomain *.bad.example: ",
        ),
        (
            "acl a src pc.example\nhttp_access deny a\nhttp_access allow all\n",
            ":1: acl a src pc.example: it is no address",
        ),
        ("acl a src pc.example\nhttp_access allow all !a\n", ":1: acl a src pc.example: it is no address"),
        ("http_access deny nobody\nhttp_access allow all\n", ":1: http_access deny nobody: there is no ACL nobody"),
        (
            "acl a src all\nacl a dstdomain x.example\nhttp_access deny a\n",
            ":2: acl a dstdomain: it is also src (at squid.conf:1)",
        ),
        ("acl a dstdomain \"none.txt\"\nhttp_access allow a\n", ":1: acl a dstdomain: none.txt does not exist"),
        ("include none.conf\nhttp_access allow all\n", ":1: include none.conf: none.conf does not exist"),
        ("if true\nhttp_access allow all\nendif\n", ":1: if true: conditions are not supported"),
        ("http_access permit all\nhttp_access allow all\n", ":1: http_access permit all: it is not complete"),
        // What http_access allows, and another directive refuses.
        (
            "acl a dstdomain .a.example\nmiss_access allow a\nhttp_access allow all\n",
            ":2: miss_access allow a: Squid does the opposite",
        ),
        (
            "http_access allow all\nadapted_http_access deny manager\n",
            ":2: adapted_http_access deny manager: it denies",
        ),
        (
            "follow_x_forwarded_for allow all\nhttp_access allow all\n",
            ":1: follow_x_forwarded_for allow all: `src` then",
        ),
        (
            "cache_peer p.example parent 3128 0\nnever_direct allow all\nhttp_access allow all\n",
            ":2: never_direct allow all:",
        ),
        ("icap_enable on\nicap_service s reqmod_precache icap://x/y\nhttp_access allow all\n", ":2: icap_service s"),
        (
            "http_access allow all\nnew_access deny all\n",
            ":2: new_access deny all: it is no directive of Squid that is",
        ),
        // What Squid reads in another way.
        (
            "acl a dstdomain \"/etc/squid/more.txt\" a.example\nhttp_access deny a\nhttp_access allow all\n",
            ":1: acl a dstdomain a.example: Squid reads nothing that stands behind a file",
        ),
        (
            "acl a dstdomain \"/etc/squid/more.txt\" a.example\nhttp_access allow !a\n",
            ":1: acl a dstdomain a.example: Squid reads nothing",
        ),
        (
            "acl a src 10.0.0.0/0\nhttp_access deny a\nhttp_access allow all\n",
            ":1: acl a src 10.0.0.0/0: Squid 5 finds no client",
        ),
        (
            "acl a src 10.0.0.0/8\nhttp_access deny ! a\nhttp_access allow all\n",
            ":2: http_access deny ! a: a `!` stands alone",
        ),
        ("acl a src 10.0.0.0/8\nhttp_access deny a\u{a0}\nhttp_access allow all\n", "(U+00A0)"),
        ("acl a dstdomain a.example\u{a0}b.example\nhttp_access deny a\nhttp_access allow all\n", "(U+00A0)"),
        ("http_access allow all\nssl_bump terminate step2 all\n", ":2: ssl_bump terminate step2 all: it closes TLS"),
        ("http_access allow all\nhttp_reply_access deny all\n", ":2: http_reply_access deny all: it denies answers"),
        ("http_access allow all\nurl_rewrite_program /usr/bin/squidGuard\n", "the program may refuse requests"),
        (
            "allow 10.0.0.0/8;\ndeny all;\n",
            ":1: allow 10.0.0.0/8;: it is a line of nginx; import the file without --squid",
        ),
        (
            "acl a port x\nhttp_access deny !a\nhttp_access deny a\nhttp_access allow all\n",
            "acl a port x: it is not a port",
        ),
    ] {
        let imported = import(text);
        assert!(imported.errors.iter().any(|error| error.contains(part)), "{text}: {:?}", imported.errors);
        assert!(imported.errors.iter().all(|error| error.contains(':')), "{:?}", imported.errors);
        assert_eq!((imported.yaml.as_str(), imported.rules), ("", 0), "{text}");
    }
}

/// Each lets less through, or nothing else.
#[test]
fn what_allows_and_cannot_be_carried_over_is_named() {
    for (text, part, expected) in [
        (
            "acl a proxy_auth REQUIRED\nhttp_access allow a\nhttp_access deny all\n",
            ":2: http_access allow a: a: there is no authentication",
            "  - deny: all\n",
        ),
        (
            "acl a dstdomain *.a.example b.example\nhttp_access allow a\nhttp_access deny all\n",
            ":1: acl a dstdomain *.a.example: Squid knows no `*`",
            "  - allow: all\n    to: b.example\n  - deny: all\n",
        ),
        (
            "acl a dstdomain *.a.example b.example\nhttp_access deny !a\nhttp_access allow all\n",
            ":1: acl a dstdomain *.a.example: Squid knows no `*`",
            "  - allow: all\n    to: b.example\n  - deny: all\n",
        ),
        (
            "acl a src 10.0.0.0/8\nhttp_access allow all\n",
            ":1: acl a: no http_access line uses it",
            "  - allow: all\n    to: any\n",
        ),
        (
            "http_access deny\nhttp_access allow all\n",
            ":1: http_access deny: Squid skips",
            "  - allow: all\n    to: any\n",
        ),
        (
            "http_access allow all\ncache_peer p.example sibling 3128 3130\n",
            "no parent proxies",
            "  - allow: all\n    to: any\n",
        ),
        (
            "http_access allow all\nhttp_reply_access allow all\n",
            ":2: http_reply_access allow all: it denies nothing",
            "  - allow: all\n    to: any\n",
        ),
        // What Squid does not read, or finds nobody with.
        (
            "acl a dstdomain \"/etc/squid/more.txt\" a.example\nacl a dstdomain c.example \"/etc/squid/blocked.txt\"x \
             \"/etc/squid/none.txt\"\nhttp_access allow a\nhttp_access deny all\n",
            ":2: acl a dstdomain \"/etc/squid/none.txt\": Squid reads nothing that stands behind a file",
            "  - allow: all\n    to:\n      - more.example\n      - c.example\n      - bad.example\n      - worse.example   \
             # really\n  - deny: all\n",
        ),
        (
            "acl a dstdomain parameters(\"/etc/squid/more.txt\") c.example\nhttp_access allow a\nhttp_access deny all\n",
            ":1: acl a dstdomain parameters(\"/etc/squid/more.txt\"): Squid takes it for a value",
            "  - allow: all\n    to: c.example\n  - deny: all\n",
        ),
        (
            "acl a src 10.0.0.0/0 ipv6 192.0.2.1\nhttp_access allow a\nhttp_access deny all\n",
            ":1: acl a src ipv6: Squid 5 finds no client with it",
            "  - allow: 192.0.2.1\n    to: any\n  - deny: all\n",
        ),
        (
            "acl a dstdomain a.example\u{2028}b.example c.example\nhttp_access allow a\nhttp_access deny all\n",
            "(U+2028)",
            "  - allow: all\n    to: c.example\n  - deny: all\n",
        ),
        (
            "acl a dstdomain a.example\rb.example\nhttp_access allow a\nhttp_access deny all\n",
            ":1: acl a dstdomain a.example: what stands behind a carriage return is not read",
            "  - allow: all\n    to: a.example\n  - deny: all\n",
        ),
        ("http_access allow all\nicap_enable on\n", "contents are not inspected", "  - allow: all\n    to: any\n"),
        ("http_access allow all\ndelay_pools 1\n", "no delay pools", "  - allow: all\n    to: any\n"),
        ("http_access allow all\nssl_bump peek step1\n", "TLS is not decrypted", "  - allow: all\n    to: any\n"),
    ] {
        let found = imported(text);
        assert!(found.left_out.iter().any(|left| left.contains(part)), "{text}: {:?}", found.left_out);
        assert_eq!(rules(text), expected, "{text}");
    }
}

#[test]
fn what_never_reaches_a_list_needs_no_rule() {
    let text = "acl manager proto cache_object\nacl ftp proto FTP\nacl private dst 10.0.0.0/8 192.168.0.0/16\n\
                http_access deny manager\nhttp_access deny ftp\nhttp_access deny private\nhttp_access allow all !private\n";
    assert_eq!(rules(text), "  - allow: all\n    to: any\n");
    let notes = imported(text).notes;
    assert!(notes[2].contains("http_access deny private: these addresses are never dialled"), "{notes:?}");
}

#[test]
fn the_ports_of_the_listener_are_those_that_a_short_list_allows() {
    let ports = |text: &str, options: &SquidOptions| {
        let imported = import_squid(&file(text), options, &files);
        let head = imported.yaml.lines().nth(2).unwrap_or_default().replace('`', "");
        (head, imported)
    };
    let none = SquidOptions::default();
    let safe = "acl s port 80 443 8443 8080\nacl ssl port 443 8443\nacl c method CONNECT\nhttp_access deny !s\n\
                http_access deny c !ssl\nhttp_access allow all\n";
    let (head, imported) = ports(safe, &none);
    assert_eq!(head, "# for a listener with connect_ports: [443, 8443] and http_ports: [80, 8080].");
    assert!(imported.yaml.contains("port: [80, 443, 8080, 8443]\n"), "{}", imported.yaml);
    assert!(imported.notes[1].contains("other requests for ports 8443;"), "{:?}", imported.notes);
    // Ports that the operator wants.
    let given = SquidOptions { http_ports: Some(vec![80, 3000]), ..none.clone() };
    let (head, imported) = ports(&DEFAULT.replace("include", "# include"), &given);
    assert_eq!(head, "# for a listener with connect_ports: [443] and http_ports: [80, 3000].");
    assert!(imported.yaml.contains("port: [80, 443, 3000]\n"), "{}", imported.yaml);
    // A port that Squid does not let through stays out, whatever the listener takes.
    let given = SquidOptions { connect_ports: Some(vec![443, 22]), ..none.clone() };
    let (_, imported) = ports(&DEFAULT.replace("include", "# include"), &given);
    assert!(imported.yaml.contains("  - deny: all\n    port: 22\n"), "{}", imported.yaml);
    // One that is for both does not tell which it is.
    let given = SquidOptions { connect_ports: Some(vec![443, 8080]), http_ports: Some(vec![80, 8080]), ..none.clone() };
    assert!(ports(safe, &given).1.errors[0].contains("port 8080 is for CONNECT and for other requests"));
    let without_method = "acl s port 80 443\nhttp_access deny !s\nhttp_access allow all\n";
    assert_eq!(ports(without_method, &none).0, "# for a listener with connect_ports: [443] and http_ports: [80].");
    let nothing = "acl s port 80\nhttp_access deny s\nhttp_access deny all\n";
    assert_eq!(ports(nothing, &none).0, "# for a listener with connect_ports: [443] and http_ports: [80].");
}

#[test]
fn includes_end_somewhere() {
    let deeper = |_: &str, pattern: &str| {
        let text = format!("http_access allow localhost\ninclude {pattern}x\n");
        Ok(vec![Included { name: pattern.to_owned(), text }])
    };
    let imported = import_squid(&file("include x\n"), &SquidOptions::default(), &deeper);
    assert!(imported.errors.len() == 1 && imported.errors[0].ends_with("nested too deep"), "{:?}", imported.errors);
    let itself = |_: &str, _: &str| Ok(file("include squid.conf\n"));
    let imported = import_squid(&file("include squid.conf\n"), &SquidOptions::default(), &itself);
    assert!(imported.errors[0].ends_with("squid.conf would include itself"), "{:?}", imported.errors);
}

#[test]
fn too_many_exceptions_are_refused_in_time() {
    // Each line is about a part of the clients and names of the one before.
    let clause = |n: usize| {
        let acls = format!("acl n{n} src 10.0.0.{n}-10.0.0.255\nacl d{n} dstdomain {}\n", ".a".repeat(n + 1));
        format!("{acls}http_access {} n{n} !d{n}\n", if n.is_multiple_of(2) { "allow" } else { "deny" })
    };
    let text = |lines: usize| (0..lines).map(clause).collect::<String>();
    assert_eq!(import(&text(6)).errors, [""; 0]);
    let errors = import(&text(24)).errors;
    assert!(errors.len() == 1 && errors[0].contains("too many lines have a `!` before names"), "{errors:?}");
}

/// Characters that end a line of YAML end no comment of a list: behind them would stand a rule.
#[test]
fn a_comment_stays_a_comment() {
    for end in ['\u{85}', '\u{2028}', '\u{2029}', '\u{7}', '\r'] {
        let imported =
            imported(&format!("a.example # x{end}  - allow: all\n# y{end}  - allow: all\n*.b{end}.example\n"));
        assert_eq!((imported.rules, imported.yaml.contains(end)), (2, false), "{end:?}: {}", imported.yaml);
        let text =
            format!("acl a dstdomain a.example # x{end}- y\n# z{end}- z\nhttp_access deny a # x{end}  - allow: all\n");
        assert!(!self::imported(&text).yaml.contains(end), "{end:?}");
    }
}

#[test]
fn without_conditions_on_ports_the_listener_decides_about_them() {
    let imported = imported("http_access allow all\n");
    assert!(imported.notes[0].starts_with("no http_access line has a condition on ports"), "{:?}", imported.notes);
    assert!(!imported.yaml.contains("port:"));
}

#[test]
fn a_list_that_would_be_too_large_is_an_error() {
    let text: String = (0..120_000).map(|n| format!("name-{n}.example\n")).collect();
    let errors = import(&text).errors;
    assert!(errors.len() == 1 && errors[0].contains("an access list has at most 4 MiB"), "{errors:?}");
}
