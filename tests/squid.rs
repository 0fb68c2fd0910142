//! What a user of Squid does before switching, with the real program: import the configuration or the allow list, and see
//! what yesterday's log says.

use std::process::{Command, Output, Stdio};

use support::cli::{self, stderr, stdout};
use tempfile::TempDir;

const LATTICEGATE: &str = env!("CARGO_BIN_EXE_latticegate");

const CONFIG: &str = r#"
listeners:
  - { name: tls, bind: "[::]:8443", protocol: tls }
  - { name: egress, bind: "[::]:3128", protocol: forward }
proxy_protocol: { trusted: [10.0.255.0/24] }
"#;

const SQUID: &str = "\
acl office src 10.0.0.0/8
acl shops dstdomain \"allow.txt\"
acl SSL_ports port 443
acl Safe_ports port 80 443 1025-65535
include conf.d/*.conf
http_access deny !Safe_ports
http_access deny CONNECT !SSL_ports
http_access allow office shops
http_access deny all
http_port 3128
";

const ALLOWED: &str = "# Shops\n.shop.example   # ours\norders.example\n";

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = cli::directory(Some(CONFIG.as_bytes()), None);
    std::fs::create_dir(directory.path().join("conf.d")).expect("a directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("the directory takes the file");
    }
    directory
}

fn run(directory: &TempDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = cli::run(LATTICEGATE, directory.path(), arguments, &[]);
    (output.status.code(), stdout(&output), stderr(&output))
}

const EXPLAIN: &[&str] = &["explain", "--config", "latticegate.yaml"];

#[test]
fn a_configuration_becomes_a_list_that_decides_alike() {
    let directory = directory(&[
        ("squid.conf", SQUID),
        ("allow.txt", ALLOWED),
        ("conf.d/debian.conf", "logfile_rotate 0\n#http_access allow localnet\n"),
    ]);
    let (code, list, said) = run(&directory, &["import", "--squid", "squid.conf"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said,
        "note: the list is for a listener with connect_ports: [443] and http_ports: [80], which are its defaults; CONNECT \
         is told from other requests by the port\n\
         note: Squid may let through as well, and the new list does not: other requests for ports 1025-65535; to carry \
         some of them, give --connect-ports or --http-ports, and set the listener to the same\n\
         not imported: conf.d/debian.conf:1: logfile_rotate 0: see `access_log`\n\
         not imported: squid.conf:10: http_port 3128: see `bind` of the listener\n"
    );
    std::fs::write(directory.path().join("ipcontrol.yaml"), &list).expect("the directory takes the file");
    let (code, _, said) = run(&directory, &["check", "--config", "latticegate.yaml", "--strict"]);
    assert_eq!(code, Some(0), "{said}");
    for (from, to, verdict, status) in [
        ("10.0.0.7", "a.shop.example:443", "allowed", 0),
        ("10.0.0.7", "shop.example:443", "allowed", 0),
        ("10.0.0.7", "orders.example:80", "allowed", 0),
        ("10.0.0.7", "a.orders.example:443", "refused: name_denied", 1),
        ("10.0.0.7", "orders.example:8443", "refused: port_denied", 1),
        ("203.0.113.9", "orders.example:443", "refused: client_denied", 1),
    ] {
        let ask = [EXPLAIN, &["--listener", "egress", "--from", from, "--to", to]].concat();
        let (code, text, said) = run(&directory, &ask);
        assert!(code == Some(status) && text.ends_with(&format!("verdict   {verdict}\n")), "{from} {to}: {text}{said}");
    }
}

#[test]
fn an_allow_list_becomes_a_rule_for_each_domain() {
    let directory = directory(&[("allow.txt", ALLOWED), ("more.txt", "\u{feff}*.bad.example\r\nmore.example\r\n")]);
    let (code, list, said) = run(&directory, &["import", "--squid", "allow.txt", "more.txt", "--listener", "egress"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said,
        "not imported: more.txt:1: *.bad.example: Squid knows no `*` here; write .bad.example for the name and all below it\n"
    );
    for part in [
        "  # Shops\n  - allow: all\n    to: [shop.example, \"*.shop.example\"]   # ours\n    listener: egress\n",
        "  # from more.txt\n  # not imported (more.txt:1): *.bad.example\n",
        "  - deny: all\n    listener: egress\n",
    ] {
        assert!(list.contains(part), "{list}");
    }
    std::fs::write(directory.path().join("ipcontrol.yaml"), &list).expect("the directory takes the file");
    let (code, checked, said) = run(&directory, &["check", "--config", "latticegate.yaml"]);
    assert!(code == Some(0) && checked.contains("4 rules (3 allow, 1 deny)"), "{checked}{said}");
}

/// The steps of the documentation, with what an operator's files have: names twice, and exceptions that meet each other.
#[test]
fn what_was_imported_passes_a_strict_check() {
    let squid = "acl net src 10.0.0.0/8\nacl a dstdomain .a.example\nacl b dstdomain .www.a.example\n\
                 acl c dstdomain x.www.a.example\nhttp_access deny !net\nhttp_access allow a !b\nhttp_access allow b !c\n\
                 http_access deny !c CONNECT\nhttp_access allow c\n";
    let open = "acl net src 10.0.0.0/8\nhttp_access deny !net\nhttp_access allow all\n";
    let list = ".shop.example\nwww.shop.example   # ours\n.shop.example\n";
    for (file, text, rules) in
        [("squid.conf", squid, None), ("squid.conf", open, Some(2)), ("allow.txt", list, Some(2))]
    {
        let directory = directory(&[(file, text)]);
        let (code, list, said) = run(&directory, &["import", "--squid", file, "--listener", "egress"]);
        assert!(code == Some(0) && !said.contains("warning"), "{said}");
        std::fs::write(directory.path().join("ipcontrol.yaml"), &list).expect("the directory takes the file");
        let (code, checked, said) = run(&directory, &["check", "--config", "latticegate.yaml", "--strict"]);
        assert_eq!(code, Some(0), "{list}{checked}{said}");
        let is_found = |rules: usize| checked.contains(&format!("{rules} rules"));
        assert!(rules.is_none_or(is_found), "{checked}");
    }
}

#[test]
fn nothing_is_printed_where_the_list_would_let_more_through() {
    let hours = SQUID.replace(
        "http_access allow office",
        "acl night time 20:00-24:00\nhttp_access deny night\nhttp_access allow office",
    );
    let answers = format!("{SQUID}acl shop dstdomain .shop.example\nhttp_reply_access allow shop\n");
    let away = SQUID.replace("include conf.d", "include /etc/none-such.d");
    for (text, part) in [
        (
            hours.as_str(),
            "error: squid.conf:9: http_access deny night: night: rules have an end (`until:`), but no hours\n",
        ),
        (
            &answers,
            "error: squid.conf:12: http_reply_access allow shop: Squid does the opposite for requests that no line",
        ),
        ("intranet portal\n", "error: squid.conf:1: intranet portal: it is no domain, and no line has a directive"),
        ("a.example, b.example\n", "error: squid.conf: no line could be imported"),
        (&away, "error: squid.conf:5: include /etc/none-such.d/*.conf: /etc/none-such.d does not exist\n"),
        (
            &SQUID.replace("allow.txt", "none.txt"),
            "error: squid.conf:2: acl shops dstdomain: none.txt does not exist; Squid looks below",
        ),
    ] {
        let directory = directory(&[("squid.conf", text), ("allow.txt", ALLOWED)]);
        let (code, list, said) = run(&directory, &["import", "--squid", "squid.conf"]);
        assert_eq!((code, list.as_str()), (Some(1), ""), "{said}");
        assert!(said.contains(part) && said.contains("error: no list was written: "), "{said}");
    }
    let directory = directory(&[("a", "allow all;\n"), ("b", "deny all;\n")]);
    let (code, list, said) = run(&directory, &["import", "a", "b"]);
    assert!(code == Some(1) && list.is_empty() && said.contains("several are for --squid"), "{said}");
    assert_eq!(run(&directory, &["import", "a", "--listener", "x"]).0, Some(2));
    let (code, _, said) = run(&directory, &["import", "--squid", "a", "--listener", "x\n  - allow: all"]);
    assert!(code == Some(2) && said.contains("1 to 32 letters"), "{said}");
    // One for the other.
    let (code, list, said) = run(&directory, &["import", "--squid", "a"]);
    assert!(code == Some(1) && list.is_empty() && said.contains("a:1: allow all;: it is a line of nginx"), "{said}");
    std::fs::write(directory.path().join("squid.conf"), SQUID).expect("it is written");
    let (code, list, said) = run(&directory, &["import", "squid.conf"]);
    assert!(
        code == Some(1) && list.is_empty() && said.contains("squid.conf: is a file of Squid; import it with"),
        "{said}"
    );
}

const LOG: &str = "\
1795918248.664      0 10.0.0.7 TCP_TUNNEL/200 3407 CONNECT orders.example:443 - HIER_DIRECT/192.0.2.1 -
1795918248.678      1 10.0.0.7 TCP_TUNNEL/200 3407 CONNECT evil.example:443 - HIER_DIRECT/192.0.2.1 -
1795918248.706      0 10.0.0.8 TCP_DENIED/403 3411 CONNECT evil.example:443 - HIER_NONE/- text/html
";

#[test]
fn a_log_is_read_from_a_file_or_standard_input() {
    let long = format!("{LOG}{}\n{LOG}", "x".repeat(200_000));
    let list = "rules:\n  - { allow: 10.0.0.0/8, to: orders.example }\n";
    let directory = directory(&[
        ("ipcontrol.yaml", list),
        ("access.log", &long),
        ("short.log", LOG.lines().next().unwrap_or_default()),
    ]);
    let replay = |log: &str| run(&directory, &[EXPLAIN, &["--log", log]].concat());
    let (code, text, said) = replay("access.log");
    assert_eq!(
        text,
        "log       7 lines: 6 requests\n\
         \x20         1 line that cannot be read\n\
         \x20           line 4: it is longer than 64 KiB\n\
         allowed   2 requests, as before\n\
         refused   2 requests that went through before:\n\
         \x20                2  10.0.0.7  evil.example:443  name_denied because no rule matches\n\
         still     2 requests refused before, and now:\n\
         \x20                2  10.0.0.8  evil.example:443  name_denied because no rule matches\n\
         verdict   2 requests that went through would be refused\n",
        "{said}"
    );
    assert_eq!(code, Some(1));
    // The last line may have no end.
    let (code, text, said) = replay("short.log");
    assert!(code == Some(0) && text.ends_with("no request that went through would be refused\n"), "{text}{said}");
    let input = Command::new(LATTICEGATE)
        .args([EXPLAIN, &["--log", "-", "--listener", "egress"]].concat())
        .current_dir(directory.path())
        .env_clear()
        .stdin(Stdio::from(std::fs::File::open(directory.path().join("access.log")).expect("the log is there")))
        .output()
        .expect("the program starts");
    assert_eq!((input.status.code(), stdout(&input).lines().count()), (Some(1), 9), "{}", stderr(&input));
}

#[test]
fn a_log_that_says_nothing_is_an_error() {
    let directory = directory(&[("strange.log", "hello\nworld\n"), ("access.log", LOG), ("empty.log", "")]);
    std::fs::write(directory.path().join("access.log.1.gz"), b"\x1f\x8b\x08\0").expect("it is written");
    for (arguments, part) in [
        (&["--log", "none.log"][..], "error: --log: none.log: No such file"),
        (&["--log", "conf.d"], "error: --log: conf.d: Is a directory"),
        (&["--log", "access.log.1.gz"], "it is compressed; write `zcat FILE | latticegate explain --log -`"),
        (&["--log", "strange.log"], "it has no request that a list decides about"),
        (&["--log", "empty.log"], "it has no request that a list decides about"),
        (&["--log", "access.log", "--listener", "tls"], "the log is of a forward proxy, and tls is none"),
    ] {
        let (code, _, said) = run(&directory, &[EXPLAIN, arguments].concat());
        assert!(code == Some(2) && said.contains(part), "{arguments:?}: {said}");
    }
}

/// nginx writes no name, so a list of names decides nothing about it: no reason to switch.
#[test]
fn a_log_that_decides_nothing_is_no_success() {
    let line = |client: &str| format!("2026-11-21T10:56:57+00:00 192.168.1.10 {client} 5 TCP 443 200 - 0 0 0.005 -\n");
    let (one, both) = (line("10.0.0.7"), line("10.0.0.7") + &line("203.0.113.9"));
    let list = "rules:\n  - { allow: 10.0.0.0/8, to: orders.example }\n";
    let all = "rules:\n  - allow: 10.0.0.0/8\n";
    let directory = directory(&[("ipcontrol.yaml", list), ("all.yaml", all), ("one.log", &one), ("both.log", &both)]);
    for (log, policy, verdict, status) in [
        ("one.log", "ipcontrol.yaml", "no request that went through would be refused; 1 request undecided", 2),
        ("both.log", "ipcontrol.yaml", "1 request that went through would be refused; 1 request undecided", 1),
        ("one.log", "all.yaml", "no request that went through would be refused", 0),
    ] {
        let (code, text, said) = run(&directory, &[EXPLAIN, &["--policy", policy, "--log", log]].concat());
        let ends = text.ends_with(&format!("verdict   {verdict}\n"));
        assert!(ends && code == Some(status), "{log} {policy}: {code:?} {text}{said}");
    }
}

/// The access log of gigabytes, read at a stretch: memory is bounded by the groups, and those by their number.
#[test]
fn a_long_log_needs_little_memory() {
    use std::io::Write as _;

    let directory = directory(&[]);
    let mut log =
        std::io::BufWriter::new(std::fs::File::create(directory.path().join("long.log")).expect("it is made"));
    for n in 0..120_000 {
        let name = format!("n{n}.{}.example", "a".repeat(60));
        writeln!(log, "1.1 0 203.0.113.9 TCP_TUNNEL/200 1 CONNECT {name}:443 - HIER_DIRECT/- -")
            .expect("it is written");
    }
    drop(log);
    // In KiB, for all that is allocated. A map of all names would need twice as much.
    let output: Output = Command::new("sh")
        .args(["-c", "ulimit -d 24576; exec \"$0\" explain --config latticegate.yaml --log long.log", LATTICEGATE])
        .current_dir(directory.path())
        .env_clear()
        .output()
        .expect("the program starts");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{}", stderr(&output));
    assert!(text.contains("   119000  in further groups\n"), "{}", text.lines().rev().take(3).collect::<String>());
}
