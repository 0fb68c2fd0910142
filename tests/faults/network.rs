//! A bad network: loss, a hole for large packets, a narrow link, peers that vanish, no port left. Each in a network
//! namespace of its own; the kernel's own tools do the damage.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use latticegate::sys::interfaces::ask_ipv6;
use latticegate_core::config::{self, Config, Machine};
use socket2::{Domain, Socket, Type};
use support::dns::addresses;
use support::lab::{Lab, Port, Setup, word};
use support::namespace::Namespace;
use support::peer::{End, Peer};
use support::private_network;
use support::upstream::Upstream;
use support::wire::{hello, tcp4};

use crate::python::python;

/// In the namespace of this thread.
fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// As on a real link: packets of 1500 bytes, each on its own.
fn real_link() {
    run("ip link set lo mtu 1500 gso_max_segs 1");
}

fn patient() -> Setup {
    Setup { timeouts: "handshake: 15s, connect: 10s, idle: 15s", workers: 1, ..Setup::default() }
}

/// Bytes that are not the same at any two places.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32 / 4).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect()
}

/// So much both ways, intact.
fn exchange((mut client, mut upstream): (Peer, Peer), len: usize) {
    let bytes = pattern(len);
    let (up, down) = (bytes.clone(), bytes.clone());
    let mut writer = Peer::new(client.stream.try_clone().unwrap());
    let mut answerer = Peer::new(upstream.stream.try_clone().unwrap());
    let writing = thread::spawn(move || {
        writer.say(&up).finish();
    });
    let answering = thread::spawn(move || {
        answerer.say(&down).finish();
    });
    let listening = thread::spawn(move || upstream.hear_all());
    assert!(client.hear_all() == (bytes.clone(), End::Fin));
    assert!(listening.join().unwrap() == (bytes, End::Fin));
    writing.join().unwrap();
    answering.join().unwrap();
}

#[test]
fn loss_delays_and_harms_nothing() {
    private_network::run(|| {
        real_link();
        let lab = Lab::with(patient());
        run("iptables -A INPUT -i lo -p tcp -m statistic --mode random --probability 0.02 -j DROP");
        for _ in 0..3 {
            exchange(lab.pair(), 256 * 1024);
        }
        run("iptables -F");
        let reported = lab.end();
        assert_eq!(reported.counted[&("relayed".into(), "done".into())], 3);
    });
}

#[test]
fn a_narrow_link_is_waited_for() {
    private_network::run(|| {
        let lab = Lab::with(patient());
        real_link();
        run("tc qdisc add dev lo root tbf rate 8mbit burst 16k latency 100ms");
        exchange(lab.pair(), 256 * 1024);
        run("tc qdisc del dev lo root");
        lab.end().assert_only("relayed", "done");
    });
}

#[test]
fn behind_a_hole_for_large_packets_a_connection_ends_at_the_idle_limit() {
    private_network::run(|| {
        real_link();
        let lab = Lab::with(Setup { timeouts: "idle: 1500ms", workers: 1, ..Setup::default() });
        let (mut client, mut upstream) = lab.pair();
        upstream.say(b"small");
        assert_eq!(client.hear(5), b"small");
        // No ICMP tells the upstream, which is how such holes are.
        let port = upstream.address().port();
        run(&format!("iptables -A INPUT -p tcp --sport {port} -m length --length 1000:65535 -j DROP"));
        upstream.say(pattern(20_000));
        assert_eq!(client.hear_all().0, b"");
        drop((client, upstream));
        let reported = lab.end();
        reported.assert_only("relayed", "idle");
        assert_eq!(reported.record()["bytes_down"], 5);
    });
}

#[test]
fn with_mtu_probing_our_own_packets_get_around_the_hole() {
    private_network::run(|| {
        real_link();
        fs::write("/proc/sys/net/ipv4/tcp_mtu_probing", "1").unwrap();
        let lab = Lab::with(patient());
        let (mut client, mut upstream) = lab.pair();
        let port = lab.address(Port::Tls).port();
        run(&format!("iptables -A INPUT -p tcp --sport {port} -m length --length 1300:65535 -j DROP"));
        upstream.say(pattern(20_000)).finish();
        assert!(client.hear(20_000) == pattern(20_000));
        drop((client, upstream));
        lab.end();
    });
}

#[test]
fn a_client_that_vanishes_without_fin_is_let_go_at_the_idle_limit() {
    private_network::run(|| {
        let lab = Lab::with(Setup { timeouts: "idle: 500ms", ..Setup::default() });
        let (client, mut upstream) = lab.pair();
        let port = client.address().port();
        run(&format!("iptables -A OUTPUT -p tcp --sport {port} -j DROP"));
        run(&format!("iptables -A OUTPUT -p tcp --dport {port} -j DROP"));
        drop(client);
        // The upstream hears of it, and nothing of ours is left open.
        assert_eq!(upstream.hear_all().0, b"");
        drop(upstream);
        lab.end().assert_only("relayed", "idle");
    });
}

#[test]
fn delay_disorder_and_duplicates_harm_nothing() {
    let (near, far) = (Namespace::add("gate"), Namespace::add("far"));
    let forwarder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/forwarder.py");
    let _forwarder = python(&[forwarder, near.name(), "10.98.0.1", far.name(), "10.98.0.2,10.98.0.3"], b"", "ready");
    near.enter(|| {
        let networks = "[10.98.0.2/32]";
        let trusted = "[10.98.0.3/32]";
        let lab = Lab::with(Setup { bind: "0.0.0.0", allowed_networks: networks, trusted, ..patient() });
        let gate = SocketAddr::new([10, 98, 0, 1].into(), lab.address(Port::Tls).port());
        let lattice: IpAddr = [10, 98, 0, 2].into();
        lab.dns.set("orders.example.com", addresses(&[lattice]));
        far.enter(|| {
            let upstream = Upstream::start(lattice, lab.upstream.address.port());
            for port in 40_000..40_003 {
                let mut client = connect_from([10, 98, 0, 3].into(), port, gate);
                client.say([tcp4(&[]), hello()].concat());
                let mut behind = upstream.accept();
                assert_eq!(behind.hear(hello().len()), hello());
                exchange((client, behind), 256 * 1024);
            }
        });
        let reported = lab.end();
        assert_eq!(reported.counted[&("relayed".into(), "done".into())], 3);
    });
}

/// Ports towards one address.
const PORTS: u16 = 50;
const GATE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const LATTICE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

#[test]
fn ports_in_time_wait_run_out_and_tw_reuse_gives_them_back() {
    let (near, far) = (Namespace::add("gate"), Namespace::add("lattice"));
    near.configure(&format!("link add veth type veth peer name veth netns {}", far.name()));
    near.configure(&format!("link set veth up\naddr add {GATE}/24 dev veth"));
    far.configure(&format!("link set veth up\naddr add {LATTICE}/24 dev veth"));
    near.enter(|| {
        let mut lab = Lab::with(Setup { allowed_networks: "[10.99.0.0/24]", workers: 1, ..Setup::default() });
        let lattice = far.enter(|| Upstream::start(LATTICE.into(), lab.upstream.address.port()));
        lab.dns.set("orders.example.com", addresses(&[LATTICE.into()]));
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", format!("60000 {}", 60000 + PORTS - 1)).unwrap();
        fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "0").unwrap();
        let gate = lab.address(Port::Tls);
        let mut source = 0_u16;
        let mut next = |lab: &mut Lab| {
            source += 1;
            let mut client =
                connect_from(Ipv4Addr::new(127, 1, (source >> 8) as u8, source as u8).into(), 40_000, gate);
            client.say([tcp4(&[]), hello()].concat()).finish();
            // The client ends first, so that we close first towards the upstream: TIME_WAIT is ours.
            if let Some(mut upstream) = lattice.accept_within(Duration::from_millis(300)) {
                assert_eq!(upstream.hear_all().0, hello());
                upstream.finish();
            }
            client.hear_all();
            word(&lab.record(), "reason")
        };
        let mut served = 0;
        let reason = loop {
            match next(&mut lab) {
                reason if reason == "done" => served += 1,
                reason => break reason,
            }
            assert!(served <= PORTS);
        };
        assert_eq!((reason.as_str(), served), ("no_local_port", PORTS));
        // Not one comes back for 60 s; with the sysctl all of them after one.
        assert_eq!(next(&mut lab), "no_local_port");
        fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1").unwrap();
        support::until("ports in TIME_WAIT are used again", || next(&mut lab) == "done");
        for _ in 0..PORTS / 2 {
            support::until("served", || next(&mut lab) == "done");
        }
    });
}

/// The kernel's word for it is the one for "no port": no address to connect from.
#[test]
fn without_ipv6_a_service_there_is_unreachable_and_no_port_is_missing() {
    private_network::run(|| {
        fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        let networks = "[\"fd00:ec2:80::/64\"]";
        let lab = Lab::with(Setup { dns: "ipv6: on", allowed_networks: networks, ..Setup::default() });
        lab.dns.set("orders.example.com", addresses(&["fd00:ec2:80::1".parse().unwrap()]));
        lab.client().hear_all();
        lab.end().assert_only("failed", "connect_unreachable");
    });
}

/// `dns.ipv6: auto` is about the addresses that a listener may dial.
#[test]
fn aaaa_is_asked_where_there_is_a_route_to_what_a_listener_may_dial() {
    let asks = |allowed: &str| {
        let text = format!(
            "listeners: [{{ name: egress, bind: '127.0.0.1:0', protocol: forward, proxy_protocol: off, \
             upstream: {{ allowed_networks: {allowed} }} }}]"
        );
        let file = config::File { path: Path::new("latticegate.yaml"), text: &text };
        let machine = Machine { open_files: 65_536, cpus: NonZeroUsize::MIN, memory: 1 << 30 };
        let (config, _) = Config::parse(Some(file), std::iter::empty(), &machine).unwrap();
        ask_ipv6(&config)
    };
    private_network::run(move || {
        assert!(!asks("public") && !asks("'2001:db8::/32'"));
        run("ip -6 address add 2001:db8::1/128 dev lo");
        run("ip -6 route add 2000::/3 dev lo");
        assert!(asks("public") && asks("'2001:db8::/32'") && asks("[10.0.0.0/8, public]"));
        assert!(!asks("10.0.0.0/8") && !asks("'fd00::/8'"));
    });
}

/// From outside the range, whose bound ports are not for others to connect from.
fn connect_from(source: IpAddr, port: u16, to: SocketAddr) -> Peer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, port).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Peer::new(socket.into())
}
