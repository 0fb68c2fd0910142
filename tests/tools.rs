//! The operator's tools around the access list, the real program on real files: lints, explain, diff, import.

use std::path::Path;
use std::process::Output;

use support::cli::{self, stderr, stdout};
use support::http;
use support::wire::Hello;
use tempfile::TempDir;

const LATTICEGATE: &str = env!("CARGO_BIN_EXE_latticegate");

fn latticegate(directory: &TempDir, arguments: &[&str]) -> Output {
    cli::run(LATTICEGATE, directory.path(), arguments, &[])
}

/// The shipped configuration with another access list.
fn directory(policy: &str) -> TempDir {
    cli::directory(None, Some(policy.as_bytes()))
}

fn write(directory: &TempDir, name: &str, content: &[u8]) {
    std::fs::write(directory.path().join(name), content).expect("the directory takes the file");
}

const SHADOWED: &str = "rules:\n  - allow: [192.168.0.0/16, 10.0.0.0/8]\n  - deny: 10.1.0.0/16\n";
const CHECK: &[&str] = &["check", "--config", "latticegate.yaml"];

#[test]
fn lints_warn_and_with_strict_they_refuse() {
    let directory = directory(SHADOWED);
    let lint = "ipcontrol.yaml:3:5: rules[1]: never matches: line 2 (allow: [192.168.0.0/16, 10.0.0.0/8]) decides \
                first; move it up, or remove it\n";
    let warned = latticegate(&directory, CHECK);
    assert_eq!((warned.status.code(), stderr(&warned)), (Some(0), format!("warning: {lint}")));
    let strict = latticegate(&directory, &[CHECK, &["--strict"]].concat());
    assert_eq!((strict.status.code(), stderr(&strict)), (Some(1), format!("error: {lint}")));
}

#[test]
fn the_configuration_is_held_against_the_list() {
    let directory =
        directory("rules:\n  - { allow: 10.0.0.0/8, listener: tsl }\n  - { allow: 10.0.0.0/8, port: 8443 }\n");
    let reported = stderr(&latticegate(&directory, CHECK));
    for part in [
        "ipcontrol.yaml:2:5: rules[0]: is for listener \"tsl\", which does not exist; the configuration has tls, http",
        "ipcontrol.yaml:3:5: rules[1]: is for port 8443, which no listener has",
        "denies all of 192.168.0.0/16, which is in proxy_protocol.trusted",
    ] {
        assert!(reported.contains(part), "{reported}");
    }
}

#[test]
fn json_is_for_programs() {
    let directory = directory(SHADOWED);
    let output = latticegate(&directory, &[CHECK, &["--format", "json", "--strict"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report["ok"], false);
    let problem = &report["diagnostics"][0];
    assert_eq!(problem["severity"], "error");
    assert_eq!((problem["file"].as_str(), problem["line"].as_u64()), (Some("ipcontrol.yaml"), Some(3)));
    assert_eq!((problem["column"].as_u64(), problem["key"].as_str()), (Some(5), Some("rules[1]")));
    assert_eq!(stderr(&output), "");
}

const EXPLAIN: &[&str] = &["explain", "--config", "latticegate.yaml"];

#[test]
fn explain_tells_every_rule_and_the_verdict() {
    let directory = directory(
        "rules:\n  - { allow: 203.0.113.0/24, to: '*.example.com', name: partners }\n  - allow: 10.0.0.0/8\n  - deny: all\n",
    );
    let ask = |arguments: &[&str]| {
        let output = latticegate(&directory, &[EXPLAIN, arguments].concat());
        (output.status.code(), stdout(&output))
    };
    let (code, reported) = ask(&["--from", "203.0.113.9", "--to", "orders.example.com"]);
    assert_eq!(
        reported,
        "listener  tls (tls, clients connect to port 443)\n\
         client    203.0.113.9\n\
         admit     some name may be allowed: the ClientHello is read\n\
         name      orders.example.com\n\
         rule      1  ipcontrol.yaml:2 [partners]  { allow: 203.0.113.0/24, to: '*.example.com', name: partners }  matches\n\
         route     allowed by rule 1  ipcontrol.yaml:2 [partners]  { allow: 203.0.113.0/24, to: '*.example.com', name: partners }\n\
         verdict   allowed\n"
    );
    assert_eq!(code, Some(0));
    let (code, reported) = ask(&["--from", "203.0.113.9", "--to", "example.com"]);
    assert!(
        reported.contains("no: another name") && reported.ends_with("verdict   refused: name_denied\n"),
        "{reported}"
    );
    assert_eq!(code, Some(1));
    let (code, reported) = ask(&["--from", "::ffff:198.51.100.1", "--to", "orders.example.com", "--port", "80"]);
    assert!(
        reported.starts_with("listener  http") && reported.ends_with("verdict   refused: client_denied\n"),
        "{reported}"
    );
    assert_eq!(code, Some(1));
    assert_eq!(ask(&["--from", "203.0.113.9"]).0, Some(2));
}

const EGRESS: &str = "listeners:
  - { name: tls, bind: \"[::]:8443\", protocol: tls }
  - { name: egress, bind: \"[::]:3128\", protocol: forward, connect_ports: [443, 8443], http_ports: [80] }
proxy_protocol: { trusted: [192.168.0.0/16] }
";

/// With this list and both a tls and a forward listener.
fn egress(policy: &str) -> TempDir {
    cli::directory(Some(EGRESS.as_bytes()), Some(policy.as_bytes()))
}

#[test]
fn explain_follows_a_request_to_a_forward_listener() {
    let directory = egress(
        "rules:\n  - allow: 10.0.0.0/8\n  - { allow: 10.1.0.0/16, to: '*.example.com', port: [443, 22] }\n  - deny: all\n",
    );
    let ask = |arguments: &[&str]| {
        let output = latticegate(&directory, &[EXPLAIN, &["--listener", "egress"], arguments].concat());
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let (code, reported, _) = ask(&["--from", "10.1.0.9", "--to", "a.example.com:443"]);
    assert_eq!(
        reported,
        "listener  egress (forward, clients connect to port 3128)\n\
         client    10.1.0.9\n\
         admit     some name may be allowed: the request head is read\n\
         name      a.example.com\n\
         port      443, by CONNECT\n\
         rule      1  ipcontrol.yaml:2  allow: 10.0.0.0/8  no: without `to:` it allows nothing on a forward listener\n          \
         2  ipcontrol.yaml:3  { allow: 10.1.0.0/16, to: '*.example.com', port: [443, 22] }  matches\n\
         route     allowed by rule 2  ipcontrol.yaml:3  { allow: 10.1.0.0/16, to: '*.example.com', port: [443, 22] }\n\
         tunnel    what comes by CONNECT must be TLS for this name, or for one that the client may reach on this port\n\
         verdict   allowed\n"
    );
    assert_eq!(code, Some(0));
    for (from, to, part, verdict, code) in [
        ("10.1.0.9", "a.example.com:80", "port      80, by http://", "refused: name_denied", 1),
        ("10.1.0.9", "a.example.com:8443", "no: another port", "refused: name_denied", 1),
        ("10.1.0.9", "b.example.org:443", "no: another name", "refused: name_denied", 1),
        // The rule has the port, the listener has not.
        (
            "10.1.0.9",
            "a.example.com:22",
            "port      22 is not in `connect_ports` (443, 8443) or `http_ports` (80)",
            "refused: port_denied",
            1,
        ),
        ("10.2.0.9", "a.example.com:443", "admit     denied for every name", "refused: client_denied", 1),
        ("10.1.0.9", "a.example.com", "", "undecided: no port: write the name as NAME:PORT", 2),
    ] {
        let (status, reported, _) = ask(&["--from", from, "--to", to]);
        assert!(reported.contains(part) && reported.ends_with(&format!("verdict   {verdict}\n")), "{to}: {reported}");
        assert_eq!(status, Some(code), "{to}");
    }
    for (to, expected) in [
        ("a.example.com:0", "--to: a.example.com:0 has no valid port; write a number from 1 to 65535"),
        ("a.example.com:https", "has no valid port"),
        // A listener refuses it in this form.
        (
            "a.example.com:0443",
            "--to: a.example.com:0443 has no valid port; write a number from 1 to 65535, without a sign or leading zeros",
        ),
        ("a.example.com:+443", "has no valid port"),
        ("[2001:db8::1]:443", "--to: not a DNS name"),
        ("192.0.2.1:443", "--to: not a DNS name: it is an IP address"),
        ("https://ok.test/", "--to: https://ok.test/ is a URL; write ok.test:443"),
        ("http://ok.test:8080/x", "--to: http://ok.test:8080/x is a URL; write ok.test:8080"),
        ("b\u{fc}cher.test:443", "write it as DNS has it, like xn--"),
        (".ok.test:443", "--to: not a DNS name: a label is empty or longer than 63 bytes; write ok.test"),
    ] {
        let (status, _, error) = ask(&["--from", "10.1.0.9", "--to", to]);
        assert!(status == Some(2) && error.contains(expected), "{to}: {error}");
    }
    let tls = |to: &str| {
        latticegate(&directory, &[EXPLAIN, &["--listener", "tls", "--from", "10.1.0.9", "--to", to]].concat())
    };
    assert!(stdout(&tls("a.test:443")).ends_with("verdict   allowed\n"));
    let other = stderr(&tls("a.test:444"));
    assert!(
        other.contains("a.test:444 has another port than 443, at which clients connect to listener tls"),
        "{other}"
    );
    assert!(stderr(&tls("https://a.test/")).contains("https://a.test/ is a URL; write a.test\n"));
    // Port and name mean something else on each of the two.
    let which = latticegate(&directory, &[EXPLAIN, &["--from", "10.1.0.9", "--to", "a.test:443"]].concat());
    assert_eq!(which.status.code(), Some(2));
    assert_eq!(
        stderr(&which),
        "error: --listener: choose a listener by its name; there are tls (443), egress (3128)\n"
    );
    let nobody = latticegate(&directory, &[EXPLAIN, &["--listener", "egres", "--from", "10.1.0.9"]].concat());
    assert!(
        stderr(&nobody).contains("--listener: no listener is named \"egres\"; there are tls (443), egress (3128)"),
        "{nobody:?}"
    );
}

/// The endpoint is in the header that the load balancer sends.
#[test]
fn explain_believes_in_an_endpoint_where_a_header_is_read() {
    let directory = cli::directory(
        Some(EGRESS.replace("protocol: forward,", "protocol: forward, proxy_protocol: off,").as_bytes()),
        Some(b"rules:\n  - { allow: 10.0.0.0/8, to: any, via: vpce-0123456789abcdef0 }\n"),
    );
    for (listener, to, part, verdict, status) in [
        ("tls", "a.test", "10.1.0.9, through vpce-0123456789abcdef0\n", "allowed", 0),
        (
            "egress",
            "a.test:443",
            "10.1.0.9; not known to come through vpce-0123456789abcdef0: the listener has `proxy_protocol: off`\n",
            "refused: client_denied",
            1,
        ),
    ] {
        let via = ["--via", "vpce-0123456789abcdef0"];
        let ask = ["--listener", listener, "--from", "10.1.0.9", "--to", to];
        let output = latticegate(&directory, &[EXPLAIN, &ask, &via].concat());
        let reported = stdout(&output);
        let has = reported.contains(part) && reported.ends_with(&format!("verdict   {verdict}\n"));
        assert!(has && output.status.code() == Some(status), "{reported}{}", stderr(&output));
    }
}

#[test]
fn explain_reads_what_a_client_sends_to_a_forward_listener() {
    let directory = egress("rules:\n  - { allow: 10.1.0.0/16, to: [a.example.com, b.example.com], port: [80, 443] }\n");
    for (hello, endings) in [
        (
            "CONNECT a.example.com:443 HTTP/1.1\r\nHost: a.example.com:443\r\n\r\n",
            &["by CONNECT\n", "verdict   allowed\n"][..],
        ),
        (
            "GET http://a.example.com/x HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
            &["80, by http://\n", "verdict   allowed\n"],
        ),
        ("CONNECT a.example.com:80 HTTP/1.1\r\n\r\n", &["head is refused", "host_missing\n"]),
        ("CONNECT a.example.com:80 HTTP/1.0\r\n\r\n", &["80 is not in `connect_ports` (443, 8443)\n", "port_denied\n"]),
        ("GET http://c.example.com/ HTTP/1.1\r\nHost: c.example.com\r\n\r\n", &["another name", "name_denied\n"]),
        ("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n", &["the request head is refused", "refused: origin_form\n"]),
        (
            "CONNECT a.example.com:443 HTTP/1.0\r\n\r\nSSH-2.0-x\r\n",
            &["the ClientHello is refused", "refused: tunnel_not_tls\n"],
        ),
        ("CONNECT a.exa", &["more bytes are needed\n"]),
    ] {
        write(&directory, "hello.bin", hello.as_bytes());
        let arguments = ["--listener", "egress", "--from", "10.1.0.9", "--hello", "hello.bin"];
        let output = latticegate(&directory, &[EXPLAIN, &arguments].concat());
        let reported = stdout(&output);
        let has = endings.iter().all(|part| reported.contains(part));
        assert!(has && reported.ends_with(endings.last().unwrap()), "{hello}: {reported}{}", stderr(&output));
    }
    for (sni, part, verdict) in [
        ("a.example.com", "tunnel    its server name is a.example.com, as in CONNECT", "allowed"),
        ("b.example.com", "tunnel    its server name is b.example.com, allowed by rule 1", "allowed"),
        (
            "evil.example.org",
            "tunnel    its server name is evil.example.org, denied by the end of the list",
            "refused: tunnel_sni_denied",
        ),
    ] {
        let hello = [b"CONNECT a.example.com:443 HTTP/1.0\r\n\r\n", &Hello::to(sni.as_bytes()).record()[..]].concat();
        write(&directory, "hello.bin", &hello);
        let arguments = ["--listener", "egress", "--from", "10.1.0.9", "--hello", "hello.bin"];
        let reported = stdout(&latticegate(&directory, &[EXPLAIN, &arguments].concat()));
        assert!(reported.contains(part) && reported.ends_with(&format!("verdict   {verdict}\n")), "{reported}");
    }
}

#[test]
fn diff_for_a_configuration_is_about_the_ports_of_its_listeners() {
    let directory = egress("rules:\n  - { allow: 10.0.0.0/8, to: any, port: 443 }\n");
    for (port, expected, status) in [
        (25, "", 0),
        (
            8443,
            "any name; port 8443; on forward listeners: now allowed by new.yaml:3  { allow: 10.0.0.0/8, to: any, port: 8443 }\n  + 10.0.0.0/8\n",
            1,
        ),
    ] {
        let new = format!(
            "rules:\n  - {{ allow: 10.0.0.0/8, to: any, port: 443 }}\n  - {{ allow: 10.0.0.0/8, to: any, port: {port} }}\n"
        );
        write(&directory, "new.yaml", new.as_bytes());
        let arguments = ["diff", "--config", "latticegate.yaml", "ipcontrol.yaml", "new.yaml"];
        let output = latticegate(&directory, &arguments);
        assert_eq!((stdout(&output).as_str(), output.status.code()), (expected, Some(status)), "{}", stderr(&output));
    }
}

/// What the head of a file in `conf/` says to type, beside that file.
#[test]
fn the_commands_in_the_comments_of_conf_work_there() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut ran = Vec::new();
    for entry in std::fs::read_dir(&conf).expect("conf/ is there") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("it is text");
        let comments = text.lines().filter_map(|line| line.strip_prefix('#'));
        let commands = comments.filter_map(|line| line.split_once("  latticegate ").map(|(_, command)| command));
        for command in commands.filter(|command| !command.starts_with("run ")) {
            let output = cli::run(LATTICEGATE, &conf, &command.split(' ').collect::<Vec<_>>(), &[]);
            let expected = if command.starts_with("diff ") { 1 } else { 0 };
            assert_eq!(output.status.code(), Some(expected), "{command}: {}{}", stdout(&output), stderr(&output));
            ran.push(command.to_owned());
        }
    }
    assert!(ran.len() >= 4, "{ran:?}");
}

#[test]
fn explain_of_a_list_needs_no_load_balancer_unless_addresses_are_judged() {
    let directory = directory("rules:\n  - allow: 203.0.113.0/24\n");
    let ask = ["explain", "--policy", "ipcontrol.yaml", "--from", "203.0.113.9", "--to", "orders.example.com"];
    let output = latticegate(&directory, &ask);
    assert!(output.status.success() && stdout(&output).ends_with("verdict   allowed\n"), "{}", stderr(&output));
    // The load balancer's own addresses are no destinations.
    let output = latticegate(&directory, &[&ask[..], &["--resolve"]].concat());
    assert!(
        output.status.code() == Some(2) && stderr(&output).contains("proxy_protocol.trusted"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn explain_reads_what_a_client_sends() {
    let directory = directory("rules:\n  - allow: 203.0.113.0/24\n");
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend([203, 0, 113, 9, 192, 168, 0, 1, 0x9c, 0x40, 0, 80]);
    for (request, ending) in [
        ("GET / HTTP/1.1\r\nHost: Orders.example.com\r\n\r\n", "verdict   allowed\n"),
        ("GET / HTTP/1.1\r\nHost: 169.254.170.2\r\n\r\n", "verdict   refused: host_ip_address\n"),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", "verdict   refused: host_ambiguous\n"),
        ("GET / HTTP/1.1\r\nHost: a.te", "verdict   undecided: more bytes are needed\n"),
    ] {
        write(&directory, "hello.bin", &[&header, request.as_bytes()].concat());
        let output = latticegate(&directory, &[EXPLAIN, &["--port", "80", "--hello", "hello.bin"]].concat());
        let reported = stdout(&output);
        assert!(
            reported.contains("client    203.0.113.9\n") && reported.ends_with(ending),
            "{reported}{}",
            stderr(&output)
        );
    }
    // LOCAL: the load balancer is the client, whose address is not in the bytes.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let request = b"GET / HTTP/1.1\r\nHost: orders.example.com\r\n\r\n";
    for (request, more, ending) in [
        (&b""[..], &[][..], "verdict   undecided: a health check requests nothing and is counted as a probe\n"),
        (request, &[], "verdict   undecided: the client is the load balancer: give its address with --from\n"),
        (request, &["--from", "203.0.113.7"], "verdict   allowed\n"),
        (request, &["--from", "10.0.0.7"], "verdict   refused: client_denied\n"),
    ] {
        write(&directory, "hello.bin", &[local, request].concat());
        let output = latticegate(&directory, &[EXPLAIN, &["--port", "80", "--hello", "hello.bin"], more].concat());
        assert!(stdout(&output).ends_with(ending), "{}{}", stdout(&output), stderr(&output));
    }
}

#[test]
fn diff_prints_ranges_and_answers_like_diff() {
    let directory = directory("rules:\n  - allow: 10.0.0.0/8\n");
    write(&directory, "same.yaml", b"rules:\n  - allow: [10.0.0.0/9, 10.128.0.0/9]\n  - deny: all\n");
    write(&directory, "new.yaml", b"rules:\n  - deny: 10.1.0.0/16\n  - allow: [10.0.0.0/8, 192.0.2.7]\n");
    let same = latticegate(&directory, &["diff", "ipcontrol.yaml", "same.yaml"]);
    assert_eq!((same.status.code(), stdout(&same)), (Some(0), String::new()));
    let new = latticegate(&directory, &["diff", "ipcontrol.yaml", "new.yaml"]);
    assert_eq!(
        stdout(&new),
        "any name: now allowed by new.yaml:3  allow: [10.0.0.0/8, 192.0.2.7]\n  + 192.0.2.7\n\
         any name: now denied by new.yaml:2  deny: 10.1.0.0/16\n  - 10.1.0.0/16\n"
    );
    assert_eq!(new.status.code(), Some(1));
    assert_eq!(latticegate(&directory, &["diff", "ipcontrol.yaml", "none.yaml"]).status.code(), Some(2));
}

#[test]
fn diff_knows_what_a_list_means_on_a_forward_listener() {
    let directory = egress("rules:\n  - allow: 10.0.0.0/8\n");
    write(
        &directory,
        "any.yaml",
        b"rules:\n  - { allow: 10.0.0.0/8, to: any, port: [443, 8443] }\n  - allow: 10.0.0.0/8\n",
    );
    let reported = latticegate(&directory, &["diff", "ipcontrol.yaml", "any.yaml"]);
    assert_eq!(
        stdout(&reported),
        "any name; port 443, 8443; on forward listeners: now allowed by any.yaml:2  \
         { allow: 10.0.0.0/8, to: any, port: [443, 8443] }\n  + 10.0.0.0/8\n"
    );
    assert_eq!(reported.status.code(), Some(1));
    // Without such a listener there is nothing that changes.
    write(&directory, "tls.yaml", b"proxy_protocol: { trusted: 10.0.0.0/8 }\n");
    let same = latticegate(&directory, &["diff", "--config", "tls.yaml", "ipcontrol.yaml", "any.yaml"]);
    assert_eq!((same.status.code(), stdout(&same)), (Some(0), String::new()));
    let with = latticegate(&directory, &["diff", "--config", "latticegate.yaml", "ipcontrol.yaml", "any.yaml"]);
    assert_eq!((with.status.code(), stdout(&with)), (Some(1), stdout(&reported)));
    write(&directory, "wrong.yaml", b"listeners: []\n");
    let wrong = latticegate(&directory, &["diff", "--config", "wrong.yaml", "ipcontrol.yaml", "any.yaml"]);
    assert!(
        wrong.status.code() == Some(2) && stderr(&wrong).contains("wrong.yaml:1:12: listeners: there is no listener")
    );
}

#[test]
fn check_holds_the_list_against_a_forward_listener() {
    let directory = egress(
        "rules:\n  - allow: 10.0.0.0/8\n  - { allow: all, to: any }\n  - { allow: 192.168.0.0/16, to: a.test, port: 25 }\n",
    );
    let reported = stderr(&latticegate(&directory, CHECK));
    for part in [
        "warning: ipcontrol.yaml:2:5: rules[0]: allows nothing on listener egress; write `to: any` or names, or \
         `listener: [tls]` if it is not for that one\n",
        "warning: ipcontrol.yaml:3:5: rules[1]: makes listener egress an open proxy: to anywhere, for anyone; write the \
         networks of your own clients, their `via:`, or names\n",
        "warning: ipcontrol.yaml:4:5: rules[2]: is for port 25, which no listener has; write the port that clients \
         connect to (`public_port`); on a forward listener the destination's, one of its `connect_ports` or `http_ports`\n",
    ] {
        assert!(reported.contains(part), "{reported}");
    }
    assert_eq!(latticegate(&directory, &[CHECK, &["--strict"]].concat()).status.code(), Some(1));
}

#[test]
fn import_takes_a_large_file_over_and_its_includes() {
    let directory = directory("rules: []\n");
    let networks = (0..5000).map(|n| format!("allow 10.{}.{}.0/24; # customer {n}\n", n / 250, n % 250));
    let main = format!("# customers\n{}include conf.d/*.conf;\ndeny all;\n", networks.collect::<String>());
    write(&directory, "ipcontrol.conf", main.as_bytes());
    std::fs::create_dir(directory.path().join("conf.d")).expect("a directory");
    write(&directory, "conf.d/b.conf", b"allow 2001:db8::/32;\n");
    write(&directory, "conf.d/a.conf", b"allow 192.0.2.7;\n");
    let output = latticegate(&directory, &["import", "ipcontrol.conf"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    write(&directory, "ipcontrol.yaml", &output.stdout);
    let check = latticegate(&directory, CHECK);
    assert!(stdout(&check).contains("ipcontrol.yaml: ok: 5003 rules (5002 allow, 1 deny)\n"), "{}", stdout(&check));
    let reported = stdout(&latticegate(&directory, &[EXPLAIN, &["--from", "10.19.249.1", "--to", "a.test"]].concat()));
    assert!(reported.contains("allow: 10.19.249.0/24") && reported.ends_with("verdict   allowed\n"), "{reported}");
    assert!(reported.lines().count() < 40, "the story of 5000 rules is short: {reported}");
}

#[test]
fn import_names_what_it_leaves_out() {
    let directory = directory("rules: []\n");
    write(&directory, "ipcontrol.conf", b"satisfy any;\nallow 10.0.0.0/8;\ninclude none.conf;\n");
    let output = latticegate(&directory, &["import", "ipcontrol.conf"]);
    assert_eq!(output.status.code(), Some(1));
    let reported = stderr(&output);
    assert!(reported.contains("not imported: ipcontrol.conf:1: satisfy any: "), "{reported}");
    assert!(
        reported.contains("not imported: ipcontrol.conf:3: include none.conf: none.conf does not exist"),
        "{reported}"
    );
    assert!(reported.contains("denies them, because something was not imported"), "{reported}");
    assert!(stdout(&output).contains("  # - allow: all\n"), "{}", stdout(&output));
}

#[test]
fn import_ends_a_cycle_at_its_first_turn() {
    let directory = directory("rules: []\n");
    std::fs::create_dir(directory.path().join("conf.d")).expect("a directory");
    let more = directory.path().join("conf.d/more.conf");
    write(&directory, "ipcontrol.conf", format!("include {};\ndeny all;\n", more.display()).as_bytes());
    write(&directory, "conf.d/more.conf", b"allow 10.0.0.0/8;\ninclude ../ipcontrol.conf;\n");
    // However the first file is called.
    for name in ["ipcontrol.conf", "./conf.d/../ipcontrol.conf"] {
        let output = latticegate(&directory, &["import", name]);
        let reported = stderr(&output);
        assert_eq!((output.status.code(), reported.matches("not imported: ").count()), (Some(1), 1), "{reported}");
        assert!(
            reported.contains("more.conf:2: include ../ipcontrol.conf: ") && reported.contains("would include itself"),
            "{reported}"
        );
        assert_eq!(stdout(&output).matches("- allow: 10.0.0.0/8\n").count(), 1, "{}", stdout(&output));
    }
}

#[test]
fn explain_asked_wrongly_is_no_refusal() {
    let directory = directory("rules:\n  - allow: 10.0.0.0/8\n");
    for (arguments, expected) in [
        (
            &["--to", "10.0.0.1"][..],
            "error: --to: not a DNS name: it is an IP address, not a name; write it like orders.example.com\n",
        ),
        (
            &["--to", "a.test", "--port", "8443"],
            "error: --port: no listener is for port 8443; there are tls (443), http (80)\n",
        ),
        (&["--to", "a.test", "--via", "eni-1"], "error: --via: is not a VPC endpoint's id; write it like vpce-"),
        (&["--hello", "none.bin"], "error: --hello: none.bin: No such file"),
        (&["--to", "a.test", "--policy", "none.yaml"], "error: none.yaml: does not exist"),
        (&["--to", "a.test", "--policy", "http://10.0.0.1/"], "leaves this machine in plain text"),
    ] {
        let output = latticegate(&directory, &[EXPLAIN, &["--from", "10.0.0.1"], arguments].concat());
        let reported = stderr(&output);
        assert!(output.status.code() == Some(2) && reported.contains(expected), "{arguments:?}: {reported}");
    }
}

#[test]
fn a_list_that_is_elsewhere_is_fetched_where_it_is_asked_about() {
    let directory = directory("rules:\n  - allow: [192.168.0.0/16, 192.0.2.0/24]\n");
    let url = http::serve("HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\nrules:\n  - allow: 192.168.0.0/16\n");
    let asked =
        |arguments: &[&str]| cli::run(LATTICEGATE, directory.path(), arguments, &[("LATTICEGATE_POLICY", &url)]);
    let reported = asked(&[EXPLAIN, &["--from", "192.168.7.7", "--to", "a.test"]].concat());
    assert!(
        stdout(&reported).contains("ipcontrol.yaml:2  allow: 192.168.0.0/16  matches\n"),
        "{}{}",
        stdout(&reported),
        stderr(&reported)
    );
    assert_eq!(reported.status.code(), Some(0));
    // What is published against what is about to be.
    let reported = asked(&["diff", &url, "ipcontrol.yaml"]);
    assert!(stdout(&reported).ends_with("\n  + 192.0.2.0/24\n"), "{}{}", stdout(&reported), stderr(&reported));
    // `check` may run where nothing can be fetched: it says what to do.
    let reported = asked(CHECK);
    let expected = format!(
        "{url}: not checked, because it is not fetched; check the file before you publish it with --policy FILE, or what \
         is published with --policy {url}\n"
    );
    assert!(
        reported.status.success() && stdout(&reported).ends_with(&expected),
        "{}{}",
        stdout(&reported),
        stderr(&reported)
    );
    let reported = asked(&[CHECK, &["--policy", "ipcontrol.yaml"]].concat());
    assert!(stdout(&reported).ends_with("ipcontrol.yaml: ok: 1 rules (1 allow, 0 deny)\n"), "{}", stdout(&reported));
    let reported = asked(&[CHECK, &["--policy", &url]].concat());
    assert!(stdout(&reported).ends_with("ipcontrol.yaml: ok: 1 rules (1 allow, 0 deny)\n"), "{}", stdout(&reported));
    // Half of it.
    let url = http::serve("HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\nrules:\n  - allow: 192.168.0");
    let reported = asked(&["diff", &url, "ipcontrol.yaml"]);
    assert!(
        reported.status.code() == Some(2) && stderr(&reported).contains("the response cannot be read"),
        "{}",
        stderr(&reported)
    );
    let url = http::serve("HTTP/1.0 200 OK\r\n\r\nrules:\n  - allow: 192.168.0.0/16\n");
    let reported = asked(&["diff", &url, "ipcontrol.yaml"]);
    assert!(
        reported.status.code() == Some(2) && stderr(&reported).contains("does not state its length"),
        "{}",
        stderr(&reported)
    );
}

#[test]
fn check_looks_at_every_list_that_the_configuration_names() {
    let directory = directory("rules:\n  - allow: 192.168.0.0/16\n");
    write(&directory, "shadow.yaml", b"rules:\n  - alow: 192.168.0.0/16\n");
    let environment = [
        ("LATTICEGATE_POLICY", "http://127.0.0.1:2772/x"),
        ("LATTICEGATE_POLICY_FALLBACK", "none.yaml"),
        ("LATTICEGATE_SHADOW", "shadow.yaml"),
    ];
    let output = cli::run(LATTICEGATE, directory.path(), CHECK, &environment);
    let reported = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{reported}");
    assert!(
        reported.contains("error: none.yaml: does not exist") && reported.contains("error: shadow.yaml:2:5: "),
        "{reported}"
    );
}

#[cfg(not(feature = "s3"))]
#[test]
fn check_says_that_this_program_has_no_s3() {
    let directory = directory("rules:\n  - allow: 192.168.0.0/16\n");
    let environment = [("LATTICEGATE_POLICY", "s3://lists/edge.yaml")];
    let output = cli::run(LATTICEGATE, directory.path(), CHECK, &environment);
    let reported = stderr(&output);
    assert!(
        output.status.code() == Some(1) && reported.contains("s3://lists/edge.yaml: this build has no S3"),
        "{reported}"
    );
}
