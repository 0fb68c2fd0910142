//! What an operator reads after a mistake: `latticegate check`, the real program, on real files.

use std::path::Path;
use std::process::{Command, Output};

use support::cli::{self, directory, stderr, stdout};

const LATTICEGATE: &str = env!("CARGO_BIN_EXE_latticegate");

/// `check` in a directory of its own, with no environment but `env`.
fn check(directory: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    cli::run(LATTICEGATE, directory, &[&["check"], arguments].concat(), env)
}

const CONFIG: &[&str] = &["--config", "latticegate.yaml"];

/// The lines of standard error; the program must have failed and said nothing else is fine.
fn refused(output: &Output) -> Vec<String> {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    stderr(output).lines().map(str::to_owned).collect()
}

#[test]
fn the_shipped_files_pass_in_one_line_each_and_the_limits_of_this_machine_are_reported() {
    let directory = directory(None, None);
    let output = check(directory.path(), CONFIG, &[]);
    assert_eq!(output.status.code(), Some(0));
    let reported = stdout(&output);
    let lines: Vec<&str> = reported.lines().collect();
    let [limits, files @ ..] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(
        files,
        [
            "latticegate.yaml: ok: tls on [::]:8443, http on [::]:8080, health on [::]:9901, admin on 127.0.0.1:9900",
            "ipcontrol.yaml: ok: 4 rules (3 allow, 1 deny)"
        ]
    );
    let json = check(directory.path(), &[CONFIG, &["--format", "json"]].concat(), &[]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).expect("it is JSON");
    let number = |key: &str| json["limits"][key].as_u64().expect("a number");
    let [connections, half_open] = ["connections", "half_open"].map(number);
    let [bytes, memory] = ["half_open_bytes", "memory"].map(|key| number(key) >> 20);
    assert!(half_open <= connections / 2 && connections <= number("open_files") / 2, "{json}");
    let files = number("open_files");
    assert_eq!(
        *limits,
        format!(
            "limits here: {connections} connections, of them {half_open} half-open that hold {bytes} MiB together; \
             this process may have {files} open files and {memory} MiB of memory"
        )
    );
    assert_eq!(stderr(&output), "");
}

#[test]
fn every_file_in_conf_passes() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let (mut configurations, mut lists) = (0, 0);
    for entry in std::fs::read_dir(&conf).expect("conf/ is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let list = [("LATTICEGATE_POLICY", name.as_str())];
        // A list is checked with the default configuration in front.
        let (config, env) = if name.ends_with("ipcontrol.yaml") {
            lists += 1;
            ("latticegate.yaml", &list[..])
        } else {
            configurations += 1;
            (name.as_str(), &[][..])
        };
        let output = check(&conf, &["--strict", "--config", config], env);
        // The list of local.yaml lets in this machine alone, which no load balancer is on.
        let fitting = name != "local.ipcontrol.yaml";
        assert_eq!(output.status.code(), Some(i32::from(!fitting)), "{name}: {}", stderr(&output));
        let first = std::fs::read_to_string(&path).expect("it is text");
        assert!(first.starts_with("# yaml-language-server: $schema="), "{name} names no schema in its first line");
    }
    assert!(configurations >= 4 && lists >= 3, "{configurations} {lists}");
}

/// A mistake in latticegate.yaml and the line that must be printed.
const MISTAKES: &[(&str, &str)] = &[
    (
        "listeners:\n  - { name: tls, bind: 8443, protocol: tls }\n",
        r#"latticegate.yaml:2:24: listeners[0].bind: "8443" is not an address and port; write "[::]:8443""#,
    ),
    (
        "listeners:\n  - { name: tls, bind: [::]:8443, protocol: tls }\n",
        "latticegate.yaml:2:28: listeners[0]: is not YAML: while parsing a flow mapping, did not find expected ',' or '}'; put IPv6 addresses in quotes, like \"[::]:8443\" or \"2001:db8::/32\"",
    ),
    (
        "listeners:\n  - { name: tls, bnd: \"[::]:8443\", protocol: tls }\n",
        r#"latticegate.yaml:2:18: listeners[0].bnd: unknown key; did you mean "bind"?"#,
    ),
    (
        "listeners:\n  - { name: tls, bind: \"[::]:8443\", protocol: tsl }\n",
        r#"latticegate.yaml:2:47: listeners[0].protocol: "tsl" is none of tls, http, forward; did you mean "tls"?"#,
    ),
    (
        "listeners:\n  - { name: a b, bind: \"[::]:8443\", protocol: tls }\n",
        r#"latticegate.yaml:2:13: listeners[0].name: "a b" is not a listener's name; use 1 to 32 letters, digits, `-` or `_`"#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:8443\", protocol: tls, upstream_port: 70000 }\n",
        r#"latticegate.yaml:2:65: listeners[0].upstream_port: "70000" is not a port; write a number from 1 to 65535"#,
    ),
    (
        "listeners:\n  - { name: a, protocol: tls }\n",
        "latticegate.yaml:2:5: listeners[0].bind: is missing; add where to listen, like `bind: \"[::]:8443\"`",
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:8443\", protocol: tls }\n  - { name: a, bind: \"[::]:8080\", protocol: http }\n",
        r#"latticegate.yaml:3:13: listeners[1].name: "a" is also the name of listeners[0]; give each listener its own name"#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:8443\", protocol: tls }\n  - { name: b, bind: \"0.0.0.0:8443\", protocol: tls }\n",
        r#"latticegate.yaml:3:22: listeners[1].bind: "0.0.0.0:8443" collides with listeners[0].bind ([::]:8443); give each its own port"#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[fe80::1]:443\", protocol: tls }\n",
        r#"latticegate.yaml:2:22: listeners[0].bind: "[fe80::1]:443" is a link-local address without an interface; add the interface's number, like "[fe80::1%2]:8443""#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[ff02::1]:443\", protocol: tls }\n",
        r#"latticegate.yaml:2:22: listeners[0].bind: "[ff02::1]:443" is a multicast address, which takes no connections; write an address of this machine, or "[::]" for all of them"#,
    ),
    (
        "health: { bind: \"224.0.0.1:9901\" }\n",
        r#"latticegate.yaml:1:17: health.bind: "224.0.0.1:9901" is a multicast address, which takes no connections; write an address of this machine, or "[::]" for all of them"#,
    ),
    (
        "admin: { bind: \"240.0.0.1:9900\" }\n",
        r#"latticegate.yaml:1:16: admin.bind: "240.0.0.1:9900" is a reserved address, which no machine has; write an address of this machine, or "[::]" for all of them"#,
    ),
    (
        "admin: { bind: \"0.0.0.0:9900\" }\n",
        r#"latticegate.yaml:1:16: admin.bind: "0.0.0.0:9900" can be reached from other machines, which may read it with a token only; add `token_file:`, a file with a secret of 16 characters or more, or bind "127.0.0.1:9900""#,
    ),
    (
        "admin: { token_file: none }\nproxy_protocol: { trusted: 10.0.0.0/16 }\n",
        r#"latticegate.yaml:1:22: admin.token_file: "none" does not exist; write one line with it, like that of `openssl rand -hex 32`"#,
    ),
    (
        "policy: \"http://127.0.0.1:2772/a list\"\n",
        r#"latticegate.yaml:1:9: policy: "http://127.0.0.1:2772/a list" has a character that no URL may have; write spaces and all that is not ASCII as %20 and the like, and no `#`"#,
    ),
    (
        "policy: \"http://127.0.0.1:2772/list\u{fc}\"\n",
        "latticegate.yaml:1:9: policy: \"http://127.0.0.1:2772/list\u{fc}\" has a character that no URL may have; write spaces and all that is not ASCII as %20 and the like, and no `#`",
    ),
    (
        "policy: \"http://127.0.0.1:0/list\"\n",
        r#"latticegate.yaml:1:9: policy: "http://127.0.0.1:0/list" has port 0, where nothing can listen; write it like http://127.0.0.1:2772/path"#,
    ),
    (
        "health: { bind: \"127.0.0.1:9900\" }\n",
        r#"latticegate.yaml:1:17: health.bind: "127.0.0.1:9900" collides with admin.bind (127.0.0.1:9900); give each its own port"#,
    ),
    (
        "listeners: []\n",
        "latticegate.yaml:1:12: listeners: there is no listener; write at least one, or remove the key for tls and http",
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:8443\", protocol: tls }\n",
        "latticegate.yaml:2:5: proxy_protocol.trusted: is missing or empty, but listeners[0] requires the PROXY header; write the CIDRs of the load balancer's subnets, like `proxy_protocol: { trusted: [192.168.0.0/16] }` or LATTICEGATE_PROXY_PROTOCOL__TRUSTED='[192.168.0.0/16]'",
    ),
    (
        "workers: 2\n",
        "latticegate.yaml: proxy_protocol.trusted: is missing or empty, but listeners[0] requires the PROXY header; write the CIDRs of the load balancer's subnets, like `proxy_protocol: { trusted: [192.168.0.0/16] }` or LATTICEGATE_PROXY_PROTOCOL__TRUSTED='[192.168.0.0/16]'",
    ),
    (
        "proxy_protocol:\n  trusted: [10.0.0.0/8, 192.168.1.0/16]\n",
        r#"latticegate.yaml:2:25: proxy_protocol.trusted[1]: "192.168.1.0/16" has bits set after its prefix; write "192.168.0.0/16", or "192.168.1.0" for the one address"#,
    ),
    (
        "proxy_protocol: { trusted: [all] }\n",
        r#"latticegate.yaml:1:29: proxy_protocol.trusted[0]: "all" is not a network; write "0.0.0.0/0" and "::/0" if you mean every address"#,
    ),
    (
        "proxy_protocol: required\n",
        r#"latticegate.yaml:1:17: proxy_protocol: found string "required"; write { trusted: [the load balancer's subnets] }"#,
    ),
    (
        "timeouts: { connect: 3 }\n",
        r#"latticegate.yaml:1:22: timeouts.connect: "3" has no unit; write "3s" for seconds or "3ms" for milliseconds"#,
    ),
    ("timeouts:\n  idle: -1\n", r#"latticegate.yaml:2:9: timeouts.idle: "-1" is negative; write how long to wait"#),
    ("timeouts:\n  idle: -5s\n", r#"latticegate.yaml:2:9: timeouts.idle: "-5s" is negative; write how long to wait"#),
    (
        "timeouts: { handshake: 0s }\n",
        r#"latticegate.yaml:1:24: timeouts.handshake: "0s" must be greater than zero; write how long to wait, or remove the key for the default"#,
    ),
    (
        "timeouts: { idle: 30h }\n",
        r#"latticegate.yaml:1:19: timeouts.idle: "30h" is longer than a day; check the unit: s, m or h"#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"0.0.0.0\", protocol: https }\n",
        r#"latticegate.yaml:2:22: listeners[0].bind: "0.0.0.0" is not an address and port; add the port, like "0.0.0.0:8443""#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"0.0.0.0\", protocol: https }\n",
        r#"latticegate.yaml:2:43: listeners[0].protocol: "https" is none of tls, http, forward; write "tls""#,
    ),
    (
        "dns: { server: resolver.example.com }\n",
        r#"latticegate.yaml:1:16: dns.server: "resolver.example.com" is not an address and port; write an IP address and a port, like "169.254.169.253:53""#,
    ),
    ("timeout: { idle: 30s }\n", r#"latticegate.yaml:1:1: timeout: unknown key; did you mean "timeouts"?"#),
    (
        "dns: { server: 169.254.169.253 }\n",
        r#"latticegate.yaml:1:16: dns.server: "169.254.169.253" is not an address and port; add the port, like "169.254.169.253:53""#,
    ),
    (
        "dns:\n  min_ttl: 10m\n",
        "latticegate.yaml:2:12: dns.min_ttl: min_ttl (600s) is above max_ttl (300s); lower min_ttl or raise max_ttl",
    ),
    ("dns: { ipv6: no }\n", r#"latticegate.yaml:1:14: dns.ipv6: "no" is none of auto, on, off; write one of these"#),
    (
        "upstream: { names: { 10.0.0.1: orders.example.com } }\n",
        "latticegate.yaml:1:32: upstream.names.10.0.0.1: the key is not a DNS name: it is an IP address, not a name; write it like orders.example.com",
    ),
    (
        "upstream: { names: { orders.example.com: svc_.example.com/ } }\n",
        "latticegate.yaml:1:42: upstream.names.orders.example.com: \"svc_.example.com/\" is not a DNS name: a character is not a letter, digit, `-`, `_` or `.`; write svc_.example.com alone",
    ),
    (
        "upstream: { allowed_networks: [] }\n",
        "latticegate.yaml:1:31: upstream.allowed_networks: is empty, so nothing could be reached; remove the key, or write networks",
    ),
    (
        "upstream: { allowed_networks: [10.0.0.0/8, pubic] }\n",
        r#"latticegate.yaml:1:44: upstream.allowed_networks[1]: "pubic" is neither a network nor "public"; did you mean "public"?"#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, upstream: { allowed_networks: Public } }\n",
        r#"latticegate.yaml:2:84: listeners[0].upstream.allowed_networks: "Public" is neither a network nor "public"; did you mean "public"?"#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, connect_ports: [443, 0443] }\n",
        r#"latticegate.yaml:2:75: listeners[0].connect_ports[1]: "0443" begins with a zero, as an octal number does in YAML 1.1; write 443"#,
    ),
    (
        "limits: { connections: 010 }\n",
        r#"latticegate.yaml:1:24: limits.connections: "010" begins with a zero, as an octal number does in YAML 1.1; write 10"#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, upstream: { allowed_networks: [] } }\n",
        "latticegate.yaml:2:84: listeners[0].upstream.allowed_networks: is empty, so nothing could be reached; remove the key, or write networks",
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, upstream: { denied_networks: public } }\n",
        r#"latticegate.yaml:2:83: listeners[0].upstream.denied_networks: "public" is not a network; write a CIDR or an address, like 10.0.0.0/8 or "2001:db8::/32""#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, upstream: { names: {} } }\n",
        "latticegate.yaml:2:66: listeners[0].upstream.names: unknown key; the keys known here are allowed_networks, denied_networks",
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, conect_ports: [443] }\n",
        r#"latticegate.yaml:2:54: listeners[0].conect_ports: unknown key; did you mean "connect_ports"?"#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, connect_ports: [443, 0] }\n",
        r#"latticegate.yaml:2:75: listeners[0].connect_ports[1]: "0" is not a port; write a number from 1 to 65535"#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, http_ports: [80, 8080, 80] }\n",
        "latticegate.yaml:2:77: listeners[0].http_ports[2]: has port 80 twice; remove one of the two",
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, http_ports: \"80, 80\" }\n",
        "latticegate.yaml:2:66: listeners[0].http_ports: has port 80 twice; remove one of the two",
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, connect_ports: [], http_ports: [] }\n",
        "latticegate.yaml:2:5: listeners[0]: has no port in connect_ports and none in http_ports, so it refuses everything; write ports in one of them, or remove the key for the usual ones",
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, tunnel: TLS }\n",
        r#"latticegate.yaml:2:62: listeners[0].tunnel: "TLS" is none of tls, any; did you mean "tls"?"#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, via_name: \"our proxy\" }\n",
        r#"latticegate.yaml:2:64: listeners[0].via_name: "our proxy" is not a name for the Via field; use 1 to 64 letters, digits, `-`, `_` or `.`, like egress-prod"#,
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: forward, upstream_port: 443 }\n",
        "latticegate.yaml:2:69: listeners[0].upstream_port: is not for `protocol: forward`, whose clients ask for a port; remove it; `connect_ports` and `http_ports` say which ports clients may ask for",
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:8443\", protocol: tls, connect_ports: [443] }\n",
        "latticegate.yaml:2:65: listeners[0].connect_ports: is only for `protocol: forward`; remove it, or write that protocol",
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:8080\", protocol: http, via_name: edge }\n",
        "latticegate.yaml:2:61: listeners[0].via_name: is only for `protocol: forward`; remove it, or write that protocol",
    ),
    (
        "listeners:\n  - { name: a, bind: \"[::]:3128\", protocol: squid }\n",
        r#"latticegate.yaml:2:45: listeners[0].protocol: "squid" is none of tls, http, forward; write "forward" for a proxy that clients ask by CONNECT"#,
    ),
    (
        "workers: 0\n",
        r#"latticegate.yaml:1:10: workers: "0" is not a number of workers; write auto, or a number from 1 to 1024"#,
    ),
    (
        "access_log: { keep: sample 1/0 }\n",
        r#"latticegate.yaml:1:21: access_log.keep: "sample 1/0" has no sample size: a number from 1 to 4294967295; write all, failures, or sample 1/N for one of N relayed connections, like sample 1/100"#,
    ),
    (
        "access_log: { fields: [time, naem] }\n",
        r#"latticegate.yaml:1:30: access_log.fields[1]: "naem" is none of time, id, listener, peer, client, client_port, vpce, rule, name, upstream, outcome, reason, detail, bytes_up, bytes_down, header_ms, hello_ms, dns_ms, connect_ms, total_ms, closed_by, dns_stale, hello, forward, request; did you mean "name"?"#,
    ),
    (
        "access_log:\n  format: squid\n  fields: [time]\n",
        "latticegate.yaml:3:11: access_log.fields: is for the JSON line, and the format is squid, whose fields are fixed; remove the key, or set `format: json`",
    ),
    (
        "admin: { refused_bytes: 101 }\n",
        r#"latticegate.yaml:1:25: admin.refused_bytes: "101" is no number of refused connections; write off, or a number from 1 to 100, like 20"#,
    ),
    (
        "access_log: { output: stdot }\n",
        r#"latticegate.yaml:1:23: access_log.output: "stdot" is neither stdout nor a path; write stdout, or "./stdot" for a file"#,
    ),
    (
        "dns: { server: \"10.0.0.2:53\" }\ndns: { ipv6: off }\n",
        "latticegate.yaml:2:1: dns: appears twice; remove one of the two",
    ),
    ("dns:\nworkers: 2\n", "latticegate.yaml:1:4: dns: has no value; write one, or remove the key"),
    ("dns:\n\tserver: x\n", "latticegate.yaml:2:1: is indented with a tab; use spaces, as YAML demands"),
    (
        "dns: &d { ipv6: off }\n",
        "latticegate.yaml:1:6: dns: has an anchor (`&`); write the value out where it is needed",
    ),
    ("", "latticegate.yaml: is empty; write its keys, or start from the file in conf/"),
    (
        "- listeners\n",
        "latticegate.yaml:1:1: has no keys at its top level; begin with a key, like `rules:` or `listeners:`",
    ),
];

#[test]
fn each_mistake_is_reported_with_place_key_value_and_help() {
    let mut reported = 0;
    for (config, expected) in MISTAKES {
        let directory = directory(Some(config.as_bytes()), None);
        let lines = refused(&check(directory.path(), CONFIG, &[]));
        assert!(lines.contains(&format!("error: {expected}")), "{config}\nexpected {expected}\ngot {lines:#?}");
        reported += 1;
    }
    assert!(reported >= 25);
}

#[test]
fn mistakes_in_the_access_list_are_reported_too() {
    for (policy, expected) in [
        (
            "rules:\n  - allow: 10.0.0.0/8\n  - denny: all\n",
            r#"ipcontrol.yaml:3:5: rules[1].denny: unknown key; did you mean "deny"?"#,
        ),
        (
            "rules:\n  - allow: 10.0.0.1/8\n",
            r#"ipcontrol.yaml:2:12: rules[0].allow: "10.0.0.1/8" has bits set after its prefix; write "10.0.0.0/8", or "10.0.0.1" for the one address"#,
        ),
        (
            "rules:\n  - deny: [2001:db8::/32, ::/0]\n",
            r#"ipcontrol.yaml:2:27: is not YAML: did not find expected node content; put IPv6 addresses in quotes, like "[::]:8443" or "2001:db8::/32""#,
        ),
        (
            "rules:\n  - allow: 10.0.0.0/8, 10.1.2.3/16, 10.3.0.0/16\n",
            r#"ipcontrol.yaml:2:12: rules[0].allow: "10.0.0.0/8, 10.1.2.3/16, 10.3.0.0/16" has "10.1.2.3/16" in it, which has bits set after its prefix; in its place, write "10.1.0.0/16", or "10.1.2.3" for the one address"#,
        ),
        (
            "rules:\n  - allow: all\n    to: *.example.com\n",
            r#"ipcontrol.yaml:3:9: rules[0].to: is not YAML: while parsing node, found unknown anchor; put it in quotes, "*.example.com""#,
        ),
        (
            "rules:\n  - allow:10.0.0.0/8\n",
            r#"ipcontrol.yaml:2:5: rules[0]: found string "allow:10.0.0.0/8"; a space is missing after the colon: write `allow: 10.0.0.0/8`"#,
        ),
        (
            "rules:\n  - { allow:10.0.0.0/8, to: a.example.com }\n",
            "ipcontrol.yaml:2:23: rules[0].allow:10.0.0.0/8: has no value; a space is missing after the colon: write `allow: 10.0.0.0/8`",
        ),
        ("allow: 10.0.0.0/8\n", "ipcontrol.yaml:1:1: allow: unknown key; the keys known here are groups, rules"),
    ] {
        let directory = directory(None, Some(policy.as_bytes()));
        let lines = refused(&check(directory.path(), CONFIG, &[]));
        assert!(lines.contains(&format!("error: {expected}")), "{policy}\nexpected {expected}\ngot {lines:#?}");
    }
}

#[test]
fn a_file_in_the_place_of_another_is_reported_in_one_line() {
    let directory = directory(None, None);
    let list = "is an access list, not a configuration; name it under the key `policy` of a configuration, or to `check` with --policy";
    let lines = refused(&check(directory.path(), &["--config", "ipcontrol.yaml"], &[]));
    assert_eq!(lines, [format!("error: ipcontrol.yaml: {list}")]);
    let swapped = ["--config", "latticegate.yaml", "--policy", "latticegate.yaml"];
    let lines = refused(&check(directory.path(), &swapped, &[]));
    let configuration = "is a configuration, not an access list; name it with --config; an access list has `rules:`";
    assert_eq!(lines, [format!("error: latticegate.yaml: {configuration}")]);
    for (nginx, line) in [
        ("allow 10.0.0.0/8;\ndeny all;\n", 1),
        ("# ours\n\nallow 2001:db8::/32; # x\nlocation / {\n  deny all;\n}\n", 3),
        ("include more.conf;\n", 1),
    ] {
        std::fs::write(directory.path().join("nginx.conf"), nginx).expect("the directory takes it");
        let lines = refused(&check(directory.path(), &["--config", "latticegate.yaml", "--policy", "nginx.conf"], &[]));
        let help = "turn it into an access list with `latticegate import FILE`";
        assert_eq!(lines, [format!("error: nginx.conf:{line}:1: is a file for nginx; {help}")], "{nginx}");
    }
    for (squid, line) in [
        ("# ours\nacl office src 10.0.0.0/8\nhttp_access allow office\n", 2),
        ("acl CONNECT method CONNECT # the method: this one\nhttp_access deny !office\n", 1),
        ("# shops\n.example.com\n", 2),
        (".example.com # ours: all\nwww.example.org\n", 1),
    ] {
        std::fs::write(directory.path().join("allow.txt"), squid).expect("the directory takes it");
        let lines = refused(&check(directory.path(), &["--config", "latticegate.yaml", "--policy", "allow.txt"], &[]));
        let help = "turn it into an access list with `latticegate import --squid FILE`";
        assert_eq!(lines, [format!("error: allow.txt:{line}:1: is a file for Squid; {help}")], "{squid}");
    }
}

#[test]
fn an_empty_access_list_is_reported_as_empty() {
    for policy in ["", "\n", "# nothing\n"] {
        let directory = directory(None, Some(policy.as_bytes()));
        let lines = refused(&check(directory.path(), CONFIG, &[]));
        let help = "write its keys, or start from the file in conf/";
        assert_eq!(lines, [format!("error: ipcontrol.yaml: is empty; {help}")], "{policy:?}");
        let output = check(directory.path(), &["--config", "latticegate.yaml", "--format", "json"], &[]);
        let reported: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
        let problem = &reported["diagnostics"][0];
        assert_eq!([&problem["message"], &problem["help"]], ["is empty", help], "{policy:?}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = directory(Some(b"policy: none.yaml\nproxy_protocol: { trusted: 10.0.0.0/8 }\n"), None);
    let lines = refused(&check(directory.path(), CONFIG, &[]));
    assert_eq!(lines, ["error: none.yaml: does not exist; name the file that you mean, or create it"]);
    let lines = refused(&check(directory.path(), &["--config", "."], &[]));
    assert_eq!(lines, ["error: .: is a directory; name the file in it"]);
    std::fs::write(directory.path().join("latin1.yaml"), b"# ok\npolicy: caf\xe9.yaml\n").unwrap();
    let lines = refused(&check(directory.path(), &["--config", "latin1.yaml"], &[]));
    let expected = "error: latin1.yaml:2:12: is not UTF-8: byte 0xe9 here is 'é' in Latin-1; save the file as UTF-8";
    assert_eq!(lines, [expected]);
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    let directory = directory(None, None);
    for (name, value, expected) in [
        (
            "LATTICEGATE_PROXY_PROTOCOL__TRUSTD",
            "[10.0.0.0/16]",
            r#"proxy_protocol.trustd: unknown key; did you mean "trusted"?"#,
        ),
        (
            "LATTICEGATE_LISTENERS__0__BIND",
            "8443",
            r#"listeners[0].bind: "8443" is not an address and port; write "[::]:8443""#,
        ),
        (
            "LATTICEGATE_PROXY_PROTOCOL__TRUSTED",
            "10.0.0.0/16,10.2.3.4/16",
            "proxy_protocol.trusted: \"10.0.0.0/16,10.2.3.4/16\" has \"10.2.3.4/16\" in it, which has bits set after its prefix; in its place, write \"10.2.0.0/16\", or \"10.2.3.4\" for the one address",
        ),
    ] {
        let lines = refused(&check(directory.path(), CONFIG, &[(name, value)]));
        assert_eq!(lines, [format!("error: environment variable {name}: {expected}")]);
    }
    let output = check(directory.path(), CONFIG, &[("LATTICEGATE_LISTENERS__0__BIND", "[::]:443")]);
    assert!(stdout(&output).contains("tls on [::]:443"), "{}", stderr(&output));
}

#[test]
fn a_log_filter_that_is_none_is_warned_about() {
    let directory = directory(None, None);
    for (filter, expected) in [
        (
            "lattice=bogus",
            "\"lattice=bogus\" is not a log filter: \"bogus\" is not a level; write one of off, error, warn, info, debug, trace",
        ),
        (
            "warn,latticegate[session{name=x}]=debug",
            "\"warn,latticegate[session{name=x}]=debug\" is not a log filter: \"latticegate[session{name=x}]\" is not a module; write a level, or MODULE=LEVEL",
        ),
        ("inof", "\"inof\" is not a log filter: \"inof\" is not a level; did you mean \"info\"?"),
        (
            "info,,hyper=dbug",
            "\"info,,hyper=dbug\" is not a log filter: \"dbug\" is not a level; did you mean \"debug\"?",
        ),
    ] {
        let output = check(directory.path(), CONFIG, &[("LATTICEGATE_LOG", filter)]);
        let reported = format!("warning: environment variable LATTICEGATE_LOG: {expected}\n");
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), reported));
    }
    for filter in ["debug", "INFO", "info,latticegate::proxy::dial=trace", "off", " warn, hyper=info,", ""] {
        let output = check(directory.path(), CONFIG, &[("LATTICEGATE_LOG", filter)]);
        assert_eq!(stderr(&output), "", "{filter}");
    }
}

#[test]
fn all_mistakes_are_reported_in_one_run() {
    let config = "timeouts: { idle: 5, conect: 3s }\nworkers: many\nproxy_protocol: { trusted: [x, y] }\n";
    let directory = directory(Some(config.as_bytes()), None);
    let lines = refused(&check(directory.path(), CONFIG, &[("LATTICEGATE_DNS__SERVER", "here")]));
    assert_eq!(lines.len(), 6, "{lines:#?}");
}

#[test]
fn a_log_that_cannot_be_written_is_reported_without_making_one() {
    let directory = directory(None, None);
    let in_it = |name: &str| directory.path().join(name);
    std::fs::create_dir(in_it("logs")).unwrap();
    std::os::unix::fs::symlink("none/x", in_it("dangling")).unwrap();
    std::os::unix::fs::symlink("logs/new", in_it("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(in_it("socket")).unwrap();
    for (output, expected) in [
        ("/nonexistent/x", "No such file or directory"),
        ("./logs", "Is a directory"),
        ("./latticegate.yaml/x", "Not a directory"),
        ("./new/", "Is a directory"),
        ("./dangling", "No such file or directory"),
        ("./socket", "No such device or address"),
    ] {
        let found = check(directory.path(), CONFIG, &[("LATTICEGATE_ACCESS_LOG__OUTPUT", output)]);
        let lines = refused(&found);
        assert!(!stdout(&found).contains("latticegate.yaml: ok"), "{found:?}");
        let begin = format!(
            "error: environment variable LATTICEGATE_ACCESS_LOG__OUTPUT: access_log.output: {output:?} cannot be opened: {expected}"
        );
        assert!(lines.len() == 1 && lines[0].starts_with(&begin), "{lines:#?}");
    }
    for output in ["./logs/new", "./link"] {
        let good = check(directory.path(), CONFIG, &[("LATTICEGATE_ACCESS_LOG__OUTPUT", output)]);
        assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    }
    assert!(!in_it("logs/new").exists());
    // Beside the file that names it, wherever the program was started.
    let good = check(
        Path::new("/"),
        &["--config", in_it("latticegate.yaml").to_str().unwrap()],
        &[("LATTICEGATE_ACCESS_LOG__OUTPUT", "./logs/new")],
    );
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
}

#[test]
fn more_workers_than_there_are_files_for_are_too_many() {
    let directory = directory(None, None);
    let with = |workers: &str, files: u32| {
        Command::new("sh")
            .args(["-c", &format!("ulimit -n {files} && exec \"$0\" check --config latticegate.yaml")])
            .arg(LATTICEGATE)
            .current_dir(directory.path())
            .env_clear()
            .env("LATTICEGATE_WORKERS", workers)
            .output()
            .expect("a shell")
    };
    let lines = refused(&with("32", 128));
    let expected = "error: environment variable LATTICEGATE_WORKERS: workers: 32 workers need 237 open files to start; \
                    this process may have 128; lower it, or raise the limit (ulimit -n, nofile of the task)";
    assert_eq!(lines, [expected]);
    assert_eq!(with("16", 128).status.code(), Some(0));
}

#[test]
fn nothing_is_bound() {
    // Addresses that this machine does not have: binding them would fail.
    let config = "listeners: [{ name: a, bind: \"192.0.2.1:443\", protocol: tls, proxy_protocol: off }]\n\
                  health: { bind: \"192.0.2.1:9901\" }\nadmin: { bind: \"192.0.2.1:9900\", token_file: token }\n";
    let directory = directory(Some(config.as_bytes()), None);
    std::fs::write(directory.path().join("token"), "0123456789abcdef\n").unwrap();
    assert_eq!(check(directory.path(), CONFIG, &[]).status.code(), Some(0));
}

/// Kubernetes sets these for Services named `latticegate` and `latticegate-metrics`, docker the last for a link.
const INJECTED: [(&str, &str); 8] = [
    ("LATTICEGATE_METRICS_PORT", "tcp://10.96.0.18:9900"),
    ("LATTICEGATE_METRICS_SERVICE_HOST", "10.96.0.18"),
    ("LATTICEGATE_NAME", "/web/latticegate"),
    ("LATTICEGATE_PORT", "tcp://10.96.0.17:443"),
    ("LATTICEGATE_PORT_443_TCP", "tcp://10.96.0.17:443"),
    ("LATTICEGATE_PORT_443_TCP_ADDR", "10.96.0.17"),
    ("LATTICEGATE_SERVICE_HOST", "10.96.0.17"),
    ("LATTICEGATE_SERVICE_PORT_HTTPS", "443"),
];

#[test]
fn variables_of_a_service_or_link_are_warned_about_once() {
    let directory = directory(None, None);
    let output = check(directory.path(), CONFIG, &INJECTED);
    let said = stderr(&output);
    assert_eq!((output.status.code(), said.lines().count()), (Some(0), 1), "{said}");
    assert!(said.starts_with("warning: environment variable LATTICEGATE_METRICS_PORT: is ignored: "), "{said}");
    assert!(said.contains("enableServiceLinks: false"), "{said}");
    for (name, _) in INJECTED {
        assert!(said.contains(name), "{name}: {said}");
    }
    // Beside them a mistake of the operator's is still one.
    for (name, value) in [("LATTICEGATE_PORTS", "443"), ("LATTICEGATE_METRICS__PORT", "tcp://10.96.0.18:9900")] {
        let lines = refused(&check(directory.path(), CONFIG, &[&INJECTED[..], &[(name, value)]].concat()));
        assert!(
            lines.len() == 1 && lines[0].starts_with(&format!("error: environment variable {name}: ")),
            "{lines:?}"
        );
    }
    let arguments = ["explain", "--config", "latticegate.yaml", "--from", "10.0.0.1", "--to", "orders.example.com"];
    let explain = cli::run(LATTICEGATE, directory.path(), &arguments, &INJECTED);
    assert_eq!(explain.status.code(), Some(0), "{}", stderr(&explain));
}
