//! What the gate meets where it connects to, and what each upstream does then.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;

use super::http::{Request, Then};
use super::network::failed;
use super::peers::{Peer, Seen, Step};
use super::plan::{Kind, Reach, parse_address};
use super::run::Run;
use crate::runtime::{Stream, sleep, spawn};

/// One connection of the gate's.
pub(super) struct Upstream {
    pub(super) destination: usize,
    pub(super) seen: Rc<RefCell<Seen>>,
}

/// The gate dials.
pub(super) async fn answer(run: Rc<Run>, address: SocketAddr) -> std::io::Result<OwnedFd> {
    // That it dials no other is checked at the end.
    let Some((connection, destination, index)) = parse_address(address.ip()) else {
        return failed(Errno::NETUNREACH);
    };
    let (after, error) = match run.scenario.plans[connection].destinations[destination].addresses[index] {
        Reach::Accepts(after) => (after, None),
        Reach::Refuses(after) => (after, Some(Errno::CONNREFUSED)),
        Reach::Unreachable(after) => (after, Some(Errno::HOSTUNREACH)),
        Reach::Silent => std::future::pending().await,
    };
    sleep(Duration::from_millis(after)).await;
    if let Some(error) = error {
        return failed(error);
    }
    let (near, far) = run.network.pair();
    run.serving.set(run.serving.get() + 1);
    spawn(async move {
        serve(&run, far, connection, destination).await;
        run.serving.set(run.serving.get() - 1);
    });
    Ok(near)
}

async fn serve(run: &Run, stream: Stream, connection: usize, destination: usize) {
    let plan = &run.scenario.plans[connection];
    let is_http = matches!(plan.kind, Kind::Requests(_));
    let seen = Rc::new(RefCell::new(Seen { is_http, ..Seen::default() }));
    let upstream = Upstream { destination, seen: Rc::clone(&seen) };
    run.upstreams.borrow_mut().entry(connection).or_default().push(upstream);
    let peer = Peer { network: &run.network, stream, behaviour: &plan.server, seen: &seen };
    match &plan.kind {
        Kind::Incomplete(_) => {}
        Kind::Relay(relay) => peer.play(&[Step::Send(relay.answers.clone())]).await,
        Kind::Requests(requests) => {
            let work = async {
                let _ = respond(&peer, requests).await;
            };
            peer.drive(work).await;
        }
    }
}

/// Answers one request after another, as each of them is planned to be; then FIN.
async fn respond(peer: &Peer<'_>, requests: &[Request]) -> Option<()> {
    for served in 0.. {
        let next = peer.until(|seen| seen.messages.whole.len() > served).await;
        let index = next.and_then(|()| index(&peer.seen.borrow(), served));
        let Some(index) = index else { break };
        let response = &requests[index].response;
        sleep(Duration::from_millis(response.delay)).await;
        let bytes = response.write(index);
        match response.then {
            Then::Never => continue,
            Then::Cut(thousandths) => {
                peer.send(&bytes[..bytes.len() * thousandths / 1000], None).await?;
                break;
            }
            _ => peer.send(&bytes, None).await?,
        }
        match response.then {
            Then::Close => break,
            Then::Drop(after) => {
                sleep(Duration::from_millis(after)).await;
                break;
            }
            _ => {}
        }
    }
    peer.finish().await;
    Some(())
}

/// Which of the planned requests it is.
fn index(seen: &Seen, served: usize) -> Option<usize> {
    request_index(&seen.messages.whole[served].head)
}

pub(super) fn request_index(head: &str) -> Option<usize> {
    head.split(' ').nth(1)?.strip_prefix("/r")?.parse().ok()
}
