//! What a process takes from its surroundings: variables, both IP versions, its fd limit, a log that nobody reads.

use nix::sys::signal::Signal;
use support::http::get;
use support::lab::{Lab, Parts, Port, Setup, word};
use support::peer::Peer;
use support::process::Process;
use support::upstream::Upstream;
use support::wire::hello;

use crate::LATTICEGATE;

#[test]
fn variables_win_over_the_file() {
    let parts = Parts::make(&Setup { rules: "- deny: all", ..Setup::default() });
    std::fs::write(parts.files.path().join("other.yaml"), "rules:\n- allow: 127.0.0.0/8\n").unwrap();
    let environment = [
        ("LATTICEGATE_POLICY", "other.yaml"),
        ("LATTICEGATE_LISTENERS__2__NAME", "renamed"),
        ("LATTICEGATE_TIMEOUTS__IDLE", "200ms"),
        ("LATTICEGATE_PROXY_PROTOCOL__TRUSTED", "198.51.100.0/24, 203.0.113.0/24"),
        ("LATTICEGATE_WORKERS", "1"),
    ];
    let process = Process::start(LATTICEGATE, parts, &environment);
    let mut client = Peer::connect(process.address("renamed"));
    client.say(hello());
    let mut upstream = process.parts().upstream.accept();
    assert_eq!(upstream.hear_all().0, hello());
    client.hear_all();
    let mut untrusted = Peer::connect(process.address("tls"));
    untrusted.say(b"x");
    untrusted.hear_all();
    process.signal(Signal::SIGTERM);
    let (status, records) = process.wait();
    assert_eq!(status.code(), Some(0));
    assert_eq!(word(&records[0], "rule"), "other.yaml:2");
    assert_eq!((word(&records[0], "listener").as_str(), word(&records[0], "reason").as_str()), ("renamed", "idle"));
    assert_eq!(word(&records[1], "reason"), "untrusted_peer");
}

/// Of Kubernetes Services named `latticegate` and `latticegate-metrics`.
#[test]
fn it_starts_beside_variables_that_are_not_its_own() {
    let environment = [
        ("LATTICEGATE_PORT", "tcp://10.96.0.17:443"),
        ("LATTICEGATE_SERVICE_HOST", "10.96.0.17"),
        ("LATTICEGATE_PORT_443_TCP", "tcp://10.96.0.17:443"),
        ("LATTICEGATE_METRICS_SERVICE_PORT", "9900"),
        ("LATTICEGATE_WORKERS", "1"),
    ];
    let process = Process::start(LATTICEGATE, Parts::make(&Setup::default()), &environment);
    process.address("tls");
    process.signal(Signal::SIGTERM);
    let said = process.said();
    assert_eq!(said.matches("warning: ").count(), 1, "{said}");
    assert!(environment.iter().take(4).all(|(name, _)| said.contains(name)), "{said}");
    assert_eq!(process.wait().0.code(), Some(0));
}

/// What its comments promise: no load balancer, no DNS server.
#[test]
fn the_example_for_one_machine_needs_no_dns_server() {
    let parts = Parts::make(&Setup::default());
    let conf = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    for (from, to) in [("local.yaml", "latticegate.yaml"), ("local.ipcontrol.yaml", "local.ipcontrol.yaml")] {
        std::fs::copy(conf.join(from), parts.files.path().join(to)).unwrap();
    }
    let upstream = Upstream::start(std::net::Ipv4Addr::LOCALHOST.into(), 0);
    let port = upstream.address.port().to_string();
    let any = "127.0.0.1:0";
    let process = Process::start(
        LATTICEGATE,
        parts,
        &[
            ("LATTICEGATE_LISTENERS__0__BIND", any),
            ("LATTICEGATE_LISTENERS__1__BIND", any),
            ("LATTICEGATE_LISTENERS__0__UPSTREAM_PORT", &port),
            ("LATTICEGATE_LISTENERS__1__UPSTREAM_PORT", &port),
            ("LATTICEGATE_HEALTH__BIND", any),
            ("LATTICEGATE_ADMIN__BIND", any),
            // Nobody listens there.
            ("LATTICEGATE_DNS__SERVER", "127.0.0.1:1"),
        ],
    );
    let request = b"GET / HTTP/1.1\r\nHost: orders.example.com:8080\r\n\r\n".to_vec();
    for (name, asks) in [("tls", hello()), ("http", request)] {
        let mut client = Peer::connect(process.address(name));
        client.say(&asks);
        assert_eq!(upstream.accept().hear(asks.len()), asks);
    }
    process.signal(Signal::SIGTERM);
    let (status, records) = process.wait();
    assert_eq!(status.code(), Some(0));
    assert!(records.iter().all(|record| word(record, "outcome") == "relayed"), "{records:?}");
}

#[test]
fn an_unknown_variable_stops_the_start_and_is_named() {
    let environment = [("LATTICEGATE_TIMEOUT__IDLE", "5s")];
    let process = Process::start(LATTICEGATE, Parts::make(&Setup::default()), &environment);
    let stderr = process.parts().files.path().join("stderr");
    let said = {
        support::until("it has said why", || std::fs::read_to_string(&stderr).unwrap().contains('\n'));
        process.said()
    };
    assert!(said.contains("LATTICEGATE_TIMEOUT__IDLE") && said.contains("timeouts"), "{said}");
    let (status, records) = process.wait();
    assert_eq!((status.code(), records.len()), (Some(1), 0));
}

#[test]
fn it_raises_its_limit_of_open_files_and_says_so() {
    // The start ends behind the message, at a log that cannot be opened.
    let parts = Parts::make(&Setup { log: "output: /proc/nowhere/log", ..Setup::default() });
    let said = |limit: &str| {
        let script =
            format!("ulimit -Sn {limit}; exec {} run --config latticegate.yaml", env!("CARGO_BIN_EXE_latticegate"));
        let mut command = std::process::Command::new("sh");
        let output = command.args(["-c", &script]).current_dir(parts.files.path()).env_clear().output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let low = said("256");
    assert!(low.contains(" open_files=") && low.contains(" raised_from=256 "), "{low}");
    let high = said("$(ulimit -Hn)");
    assert!(high.contains(" open_files=") && !high.contains("raised"), "{high}");
}

/// As logrotate does it, with either signal; the path starts where the configuration is.
#[test]
fn a_log_file_that_was_moved_away_is_opened_anew() {
    let parts = Parts::make(&Setup { log: "output: ./access.log", ..Setup::default() });
    let process = Process::start(LATTICEGATE, parts, &[]);
    let tls = process.address("tls");
    let log = process.parts().files.path().join("access.log");
    let one_more_line = |lines: usize| {
        let mut client = Peer::connect(tls);
        client.say([support::wire::tcp4(&[]), b"GET / HTTP/1.1\r\n".to_vec()].concat());
        client.hear_all();
        support::until("the line is written", || {
            std::fs::read_to_string(&log).unwrap().matches("\"plain_http\"").count() == lines
        });
    };
    one_more_line(1);
    for (number, signal) in [Signal::SIGHUP, Signal::SIGUSR1].into_iter().enumerate() {
        let moved = log.with_extension(number.to_string());
        std::fs::rename(&log, &moved).unwrap();
        let before = std::fs::read(&moved).unwrap();
        process.signal(signal);
        support::until("there is a new file", || log.exists());
        one_more_line(1);
        assert_eq!(std::fs::read(&moved).unwrap(), before, "{signal}");
    }
    // Where there can be no new file, the old one goes on.
    let files = process.parts().files.path();
    std::fs::rename(&log, files.join("kept")).unwrap();
    std::fs::create_dir(&log).unwrap();
    process.signal(Signal::SIGUSR1);
    support::until("it says so", || process.said().contains("stays open: Is a directory"));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().0.code(), Some(0));
}

/// The addresses are logged, and nothing else below a warning, before and after.
#[test]
fn sigusr2_turns_debug_lines_on_and_off_again() {
    let parts = Parts::make(&Setup::default());
    let filter = "warn,latticegate::control::run::summary=info";
    let process = Process::start(LATTICEGATE, parts, &[("LATTICEGATE_LOG", filter)]);
    let tls = process.address("tls");
    let connect = || drop(process.parts().upstream.pair(tls));
    connect();
    assert!(!process.said().contains("DEBUG"), "{}", process.said());
    process.signal(Signal::SIGUSR2);
    support::until("it says that debug lines are on", || process.said().contains("SIGUSR2: debug lines are on, "));
    connect();
    let upstream = process.parts().upstream.address;
    support::until("the connect is logged", || process.said().contains(&format!("connecting address={upstream}")));
    process.signal(Signal::SIGUSR2);
    support::until("it says that they are off", || process.said().contains("SIGUSR2: debug lines are off, "));
    connect();
    process.signal(Signal::SIGTERM);
    let mut process = process;
    support::until("it has ended, and with it the log", || !process.is_running());
    let said = process.said();
    let (_, after) = said.split_once("SIGUSR2: debug lines are off, ").unwrap();
    assert!(!after.contains("DEBUG") && !after.contains("SIGTERM"), "{said}");
    assert_eq!(process.wait().0.code(), Some(0));
}

#[test]
fn a_signal_for_a_log_on_stdout_does_no_harm() {
    let process = Process::start(LATTICEGATE, Parts::make(&Setup::default()), &[]);
    process.address("health");
    process.signal(Signal::SIGUSR1);
    support::until("it says so", || process.said().contains("the access log is on stdout"));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().0.code(), Some(0));
}

#[test]
fn a_wildcard_listener_takes_both_ip_versions_and_shows_ipv4_as_ipv4() {
    let lab = Lab::with(Setup {
        bind: "[::]",
        trusted: "[127.0.0.0/8, \"::1/128\"]",
        rules: "- allow: [127.0.0.0/8, \"::1/128\"]",
        ..Setup::default()
    });
    let mut lab = lab;
    let port = lab.address(Port::TlsDirect).port();
    for (to, from) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
        let to: std::net::IpAddr = to.parse().unwrap();
        let mut client = Peer::connect((to, port).into());
        client.say(hello());
        let peer = client.address();
        drop((lab.upstream.accept(), client));
        let record = lab.record();
        assert_eq!(word(&record, "peer"), peer.to_string());
        assert_eq!(word(&record, "client"), from);
        assert_eq!(word(&record, "rule"), "ipcontrol.yaml:2");
    }
    assert_eq!(get((std::net::Ipv4Addr::LOCALHOST, lab.health.port()).into(), "/healthz").0, 200);
    assert_eq!(get((std::net::Ipv6Addr::LOCALHOST, lab.health.port()).into(), "/healthz").0, 200);
    lab.end();
}

#[test]
fn the_incumbents_line_has_its_twelve_fields() {
    let parts = Parts::make(&Setup { log: "format: nginx", ..Setup::default() });
    let process = Process::start(LATTICEGATE, parts, &[]);
    let tls = process.address("tls");
    let (mut client, mut upstream) = process.parts().upstream.pair(tls);
    upstream.say(b"12345").finish();
    client.hear(5);
    drop(client);
    process.signal(Signal::SIGTERM);
    let stdout = process.parts().files.path().join("stdout");
    let upstream_address = process.parts().upstream.address.to_string();
    support::until("its line is written", || std::fs::read_to_string(&stdout).unwrap().ends_with('\n'));
    let line = std::fs::read_to_string(&stdout).unwrap();
    let fields: Vec<&str> = line.trim_end().split(' ').collect();
    assert_eq!(fields.len(), 12, "{line}");
    let (port, sent) = (tls.port().to_string(), hello().len().to_string());
    let expected = ["127.0.0.1", "192.0.2.1", "40000", "TCP", &port, "200", &upstream_address, &sent, "5"];
    assert_eq!(fields[1..10], expected);
    assert!(fields[10].parse::<f64>().is_ok() && fields[11].parse::<f64>().is_ok(), "{line}");
}
