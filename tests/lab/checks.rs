//! HAProxy's own health checks through PROXY v2: a header with the command LOCAL, and then a request or a hello. They
//! find the proxy's ports up where the access list allows the load balancer itself, and not where it does not.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::Lab;
use crate::network::{BALANCER_INSIDE, TASK};
use crate::process::{DEADLINE, Running, eventually};
use crate::proxy::{Config, Proxy};

/// The servers that it checks, one for each kind of check.
const SERVERS: [&str; 5] = ["request", "hello", "handshake", "health", "connect"];

/// A second HAProxy beside the load balancer, which only checks.
struct Checker {
    _running: Running,
    socket: std::path::PathBuf,
}

impl Checker {
    fn start(lab: &Lab) -> Self {
        let (config, socket) = (lab.dir.path().join("checks.cfg"), lab.dir.path().join("checks.sock"));
        let request = "http-check send meth GET uri /any ver HTTP/1.1 hdr Host billing.example.com";
        let checks = [
            ("request", "8080", format!("option httpchk\n    {request}"), ""),
            ("hello", "8443", "option ssl-hello-chk".to_owned(), ""),
            ("handshake", "8443", String::new(), "check-ssl check-sni orders.example.com verify none"),
            ("health", "9901", "option httpchk GET /readyz".to_owned(), ""),
            ("connect", "8443", "option tcp-check".to_owned(), ""),
        ];
        let mut text = format!(
            "global\n    stats socket {}\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout check 10s\n    timeout client 1m\n    timeout server 1m\n",
            socket.display()
        );
        for (name, port, option, more) in checks {
            text.push_str(&format!(
                "backend {name}\n    {option}\n    \
                 server {name} {TASK}:{port} send-proxy-v2 check check-send-proxy inter 200ms fall 1 rise 1 {more}\n"
            ));
        }
        // Nothing is served by it; that it listens says that it runs.
        text.push_str(&format!("listen unused\n    bind {BALANCER_INSIDE}:7\n"));
        fs::write(&config, text).unwrap();
        let mut command = lab.network.balancer.command("haproxy");
        command.arg("-db").arg("-f").arg(&config);
        let accepting = [std::net::SocketAddr::new(BALANCER_INSIDE.parse().unwrap(), 7)];
        let running = Running::start(&lab.network.balancer, command, &lab.dir.path().join("checks.log"), &accepting);
        Self { _running: running, socket }
    }

    /// What it says of a server: its state and the last check's result, like `UP` and `L7OK`.
    fn state(&self, server: &str) -> (String, String) {
        let mut stats = String::new();
        let mut socket = UnixStream::connect(&self.socket).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(b"show stat\n").unwrap();
        socket.read_to_string(&mut stats).unwrap();
        let mut lines = stats.lines().map(|line| line.trim_start_matches("# ").split(',').collect::<Vec<_>>());
        let names = lines.next().unwrap();
        let column = |name: &str| names.iter().position(|column| *column == name).unwrap();
        let row = lines.find(|row| row.len() > 2 && row[0] == server && row[1] == server).unwrap();
        (row[column("status")].to_owned(), row[column("check_status")].to_owned())
    }
}

#[test]
fn haproxys_checks_find_every_port_up_and_are_refused_where_the_list_says_so() {
    let Some(lab) = Lab::up() else { return };
    let proxy = lab.proxy(&Config::shipped());
    let checker = Checker::start(&lab);
    for server in SERVERS {
        let mut state = Default::default();
        let up = eventually(|| {
            state = checker.state(server);
            state.0 == "UP" && !state.1.is_empty() && !state.1.starts_with('*') && state.1 != "INI"
        });
        assert!(up, "{server}: {state:?}");
    }
    // The balancer is the client, and the name it asks for is served.
    let mut kinds = [false; 2];
    let served = eventually(|| {
        for record in proxy.records() {
            assert_eq!(record["client"], BALANCER_INSIDE, "{record}");
            let relayed = record["outcome"] == "relayed";
            kinds[0] |= relayed && record["name"] == "billing.example.com";
            kinds[1] |= relayed && record["name"] == "orders.example.com";
            assert!(relayed || record["reason"] == "sni_missing", "{record}");
        }
        kinds == [true; 2]
    });
    assert!(served, "{kinds:?}");
    drop(proxy);

    // The list is asked about the balancer; the health port is not the list's.
    let rules = "rules:\n  - deny: 192.168.10.10\n  - allow: all\n";
    let proxy = lab.proxy(&Config::shipped().rules(rules));
    for (server, up) in [("request", false), ("handshake", false), ("health", true), ("connect", true)] {
        let mut state = Default::default();
        let reported = eventually(|| {
            state = checker.state(server);
            state.0.starts_with(if up { "UP" } else { "DOWN" }) && state.1 != "L4CON"
        });
        assert!(reported, "{server}: {state:?}");
    }
    assert_denied(&proxy);
}

fn assert_denied(proxy: &Proxy) {
    let record = proxy.record();
    assert_eq!((&record["reason"], &record["client"]), (&"client_denied".into(), &BALANCER_INSIDE.into()), "{record}");
    assert!(record["rule"].as_str().unwrap().contains("ipcontrol.yaml"), "{record}");
}
