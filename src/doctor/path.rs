//! One name on one listener: whether its addresses may be dialled, whether they can be, and whether a service answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::target::{Route, Speaks};
use super::{Finding, Grade, http, tls};
use crate::proxy::dial::DialError;
use latticegate_core::advice::advice;
use latticegate_core::config::{Config, Protocol};
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::Failure;
use latticegate_core::policy::{DestinationGuard, Destinations};
use latticegate_core::special_purpose::is_public;

/// Addresses of one name that are connected to, as many as a connection tries.
const MAX_ADDRESSES: usize = 8;

pub(super) async fn examine(
    config: &Config,
    guard: &DestinationGuard,
    name: &Hostname,
    route: &Route<'_>,
    addresses: &[IpAddr],
) -> Vec<Finding> {
    let about = match route.listener.protocol {
        Protocol::Tls | Protocol::Http => format!("{name} by {}", route.listener.name),
        Protocol::Forward => format!("{name}:{} by {}", route.port, route.listener.name),
    };
    let path = Path { about, name, route, destinations: guard.within(&route.listener.networks) };
    let (allowed, mut findings) = path.destination(addresses);
    let (stream, connected) = path.connect(&allowed, config.timeouts.connect.get()).await;
    findings.extend(connected);
    if let Some((stream, address)) = stream {
        match route.speaks {
            Speaks::Tls => findings.push(tls::examine(&path.about, name, stream, address).await),
            Speaks::Http => findings.push(http::examine(&path.about, name, stream, address).await),
            Speaks::Anything => {}
        }
    }
    findings
}

struct Path<'a> {
    about: String,
    name: &'a Hostname,
    route: &'a Route<'a>,
    destinations: Destinations<'a>,
}

impl Path<'_> {
    /// The addresses that may be dialled; of the others, where they lead.
    fn destination(&self, addresses: &[IpAddr]) -> (Vec<SocketAddr>, Vec<Finding>) {
        const CHECK: &str = "destination";
        let (mut allowed, mut refused) = (Vec::new(), Vec::new());
        for ip in addresses {
            let address = SocketAddr::new(*ip, self.route.port);
            match self.destinations.check(address) {
                Ok(address) => allowed.push(address),
                Err(reason) => {
                    let help = advice(self.destinations, self.route.listener, self.name, address, reason);
                    refused.push((format!("{ip} is never dialled ({}){}", reason.word(), self.instead(*ip)), help));
                }
            }
        }
        let mut findings = Vec::new();
        if !allowed.is_empty() {
            let list: Vec<String> = allowed.iter().map(|address| address.ip().to_string()).collect();
            findings.push(Finding::pass(CHECK, &self.about, format!("may be dialled: {}", list.join(" "))));
        }
        // Where one of several may be dialled, connections go there.
        let grade = if allowed.is_empty() { Grade::Fail } else { Grade::Warn };
        findings.extend(refused.into_iter().map(|(text, help)| Finding::new(grade, CHECK, &self.about, text, help)));
        (allowed, findings)
    }

    /// What an address is that stands where one of Lattice should.
    fn instead(&self, ip: IpAddr) -> &'static str {
        let networks = &self.route.listener.networks;
        let is_link_local = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.is_link_local());
        let expects_lattice = networks.allowed.iter().any(|network| is_link_local(network.addr()));
        let is_private = match ip {
            IpAddr::V4(ip) => ip.is_private(),
            IpAddr::V6(ip) => ip.is_unique_local(),
        };
        match expects_lattice {
            true if is_private => {
                ": a private address where one of Lattice is expected, as if the name led to an internal load balancer"
            }
            true if is_public(ip) => {
                ": a public address where one of Lattice is expected, as if the name led to an internet-facing load balancer"
            }
            _ => "",
        }
    }

    /// Connects to each address, which may be dialled; the first connection is returned.
    async fn connect(
        &self,
        addresses: &[SocketAddr],
        deadline: Duration,
    ) -> (Option<(TcpStream, SocketAddr)>, Vec<Finding>) {
        const CHECK: &str = "connect";
        let attempts = addresses.iter().take(MAX_ADDRESSES).map(|address| async move {
            let begin = Instant::now();
            let connected = timeout(deadline, TcpStream::connect(*address)).await;
            let connected = match connected {
                Ok(connected) => connected.map_err(|error| DialError::of(&error, *address)),
                Err(_) => Err(DialError::Failed(Failure::ConnectTimeout, *address)),
            };
            (*address, connected, begin.elapsed())
        });
        let attempted = join_all(attempts).await;
        let reached = attempted.iter().any(|(_, connected, _)| connected.is_ok());
        let grade = if reached { Grade::Warn } else { Grade::Fail };
        let (mut first, mut findings) = (None, Vec::new());
        for (address, connected, took) in attempted {
            findings.push(match connected {
                Ok(stream) => {
                    first.get_or_insert((stream, address));
                    Finding::pass(CHECK, &self.about, format!("{address} accepts in {took:.1?}"))
                }
                Err(error) => {
                    let (why, help) = why(error);
                    Finding::new(grade, CHECK, &self.about, format!("{address}: {why}"), help)
                }
            });
        }
        (first, findings)
    }
}

/// Why an address was not reached, and what to do.
fn why(error: DialError) -> (&'static str, &'static str) {
    let word = error.outcome().reason();
    let help = match error {
        DialError::Failed(Failure::ConnectRefused, _) => {
            "nothing listens on this port: has the service network a listener for it, is the service associated with it?"
        }
        DialError::Failed(Failure::ConnectTimeout, _) => {
            "packets are dropped: do the security groups of the task, and of the VPC's association with the service network, let \
             this port through?"
        }
        DialError::Failed(Failure::ConnectUnreachable, _) => {
            "there is no route: is the VPC associated with the service network, and has the subnet this address family?"
        }
        DialError::Failed(Failure::NoLocalPort, _) => {
            "all local ports are in use: see the line about ip_local_port_range"
        }
        DialError::Shortage(_) => "open files or memory are short: see the lines about them",
        _ => "docs/reasons.md has this word, with what to look at",
    };
    (word, help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use latticegate_core::outcome::Outcome;

    #[test]
    fn every_reason_has_help_and_the_usual_ones_have_their_own() {
        let address = "169.254.171.10:443".parse().unwrap();
        let mut helps: Vec<&str> = Failure::ALL
            .iter()
            .map(|failure| {
                let (word, help) = why(DialError::Failed(*failure, address));
                assert_eq!(word, Outcome::Failed(*failure).reason());
                help
            })
            .collect();
        helps.push(why(DialError::Shortage(address)).1);
        helps.sort_unstable();
        helps.dedup();
        assert!(helps.len() == 6 && helps.iter().all(|help| !help.is_empty()), "{helps:?}");
    }
}
