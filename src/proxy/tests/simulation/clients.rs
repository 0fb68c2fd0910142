//! What each client does, from connecting to its end.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::peers::{Peer, Seen, Step};
use super::plan::{DENIED, Incomplete, Kind, Plan, Relay, TunnelHello, hello, name};
use super::run::Run;
use crate::runtime::sleep;
use latticegate_core::config::Protocol;

/// The answer to a CONNECT.
pub(super) const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

pub(super) fn peer(connection: usize, plan: &Plan) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, plan.ip), port(connection)).into()
}

pub(super) fn port(connection: usize) -> u16 {
    1000 + u16::try_from(connection).unwrap()
}

/// Connects, and does what is planned. None in `seen`: nobody listened.
pub(super) async fn play(run: Rc<Run>, connection: usize) {
    let plan = &run.scenario.plans[connection];
    sleep(Duration::from_millis(plan.begins)).await;
    let listener = listener(plan.protocol);
    let stream = run.network.connect(listener, peer(connection, plan)).await;
    run.connected.borrow_mut().insert(connection, run.network.now());
    let Some(stream) = stream else { return };
    let is_http = matches!(plan.kind, Kind::Requests(_));
    let seen = Rc::new(RefCell::new(Seen { is_http, ..Seen::default() }));
    run.clients.borrow_mut().insert(connection, Rc::clone(&seen));
    let peer = Peer { network: &run.network, stream, behaviour: &plan.client, seen: &seen };
    match &plan.kind {
        Kind::Incomplete(incomplete) => play_incomplete(peer, incomplete, &opening(connection, plan)).await,
        _ => peer.play(&steps(connection, plan)).await,
    }
}

pub(super) fn listener(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tls => "tls",
        Protocol::Http => "http",
        Protocol::Forward => "forward",
    }
}

/// What says what a client asks for.
fn opening(connection: usize, plan: &Plan) -> Vec<u8> {
    let host = name(connection, 0);
    match plan.protocol {
        Protocol::Tls => hello(&host),
        Protocol::Http => format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "x".repeat(60)).into_bytes(),
        Protocol::Forward => format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").into_bytes(),
    }
}

async fn play_incomplete(peer: Peer<'_>, incomplete: &Incomplete, opening: &[u8]) {
    let bytes = &opening[..incomplete.sends];
    let send = async {
        match incomplete.trickle {
            None => peer.send(bytes, None).await?,
            Some(pause) => {
                for byte in bytes {
                    peer.send(std::slice::from_ref(byte), None).await?;
                    sleep(Duration::from_millis(pause)).await;
                }
            }
        }
        peer.finish().await;
        Some(())
    };
    let work = async {
        let _ = send.await;
    };
    peer.drive(work).await;
}

fn steps(connection: usize, plan: &Plan) -> Vec<Step> {
    match &plan.kind {
        Kind::Incomplete(_) => Vec::new(),
        Kind::Relay(relay) => {
            let mut steps = vec![Step::Send(opening(connection, plan))];
            if plan.protocol == Protocol::Forward && !relay.eager {
                steps.push(Step::Bytes(ESTABLISHED.len()));
            }
            steps.push(Step::Send(through(connection, plan, relay)));
            steps
        }
        Kind::Requests(requests) => {
            let mut steps = Vec::new();
            for (index, request) in requests.iter().enumerate() {
                steps.push(Step::Send(request.write(connection, index, plan.protocol)));
                if !request.pipelined {
                    steps.push(Step::Messages(index + 1));
                }
            }
            steps
        }
    }
}

/// What a client of a relay sends behind its hello, or with it, where that is what opens a tunnel.
fn through(connection: usize, plan: &Plan, relay: &Relay) -> Vec<u8> {
    match (plan.protocol, relay.hello) {
        (Protocol::Forward, TunnelHello::Missing) => Vec::new(),
        (Protocol::Forward, TunnelHello::Denied) => [hello(DENIED), relay.sends.clone()].concat(),
        (Protocol::Forward, TunnelHello::Allowed) => [hello(&name(connection, 0)), relay.sends.clone()].concat(),
        _ => relay.sends.clone(),
    }
}

/// All that the upstream of a relay may see.
pub(super) fn relayed(connection: usize, plan: &Plan, relay: &Relay) -> Vec<u8> {
    let through = through(connection, plan, relay);
    if plan.protocol == Protocol::Forward { through } else { [hello(&name(connection, 0)), through].concat() }
}
