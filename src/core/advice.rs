//! What an operator should check when a destination was refused: the `detail` of the access log.

use std::net::SocketAddr;

use crate::config::{Listener, Protocol};
use crate::hostname::Hostname;
use crate::outcome::RefuseReason;
use crate::policy::Destinations;

/// The advice about `address`, to which `name` was resolved, and which may not be dialled for `reason`.
pub fn advice(
    destinations: Destinations<'_>,
    listener: &Listener,
    name: &Hostname,
    address: SocketAddr,
    reason: RefuseReason,
) -> Box<str> {
    let reached = match listener.protocol {
        Protocol::Tls => Some(("https", 443)),
        Protocol::Http => Some(("http", 80)),
        // Its clients name it in their own configuration, and may well want another load balancer.
        Protocol::Forward => None,
    };
    // The load balancer's own name does not say which service is meant.
    if let Some((scheme, usual)) = reached.filter(|_| is_load_balancer(name.as_str())) {
        let port = listener.public_port;
        let service = "orders.example.com";
        let authority = if port == usual { service.to_owned() } else { format!("{service}:{port}") };
        return format!(
            "the client requested the load balancer's own name; it must request a service: \
             curl --connect-to {service}:{port}:{name}:{port} {scheme}://{authority}"
        )
        .into();
    }
    destinations.explain(address, reason).into()
}

fn is_load_balancer(name: &str) -> bool {
    name.ends_with(".amazonaws.com") && name.contains(".elb.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Forward, ProxyProtocol, Tunnel};
    use crate::networks::{DestinationNetworks, Networks};
    use crate::policy::DestinationGuard;

    #[test]
    fn only_where_clients_may_not_know_better_the_load_balancers_name_is_explained() {
        let forward =
            Forward { connect_ports: [443].into(), http_ports: [].into(), tunnel: Tunnel::Tls, via_name: "x".into() };
        let listener = |protocol, forward: Option<Forward>| Listener {
            name: "edge".into(),
            bind: "[::]:8443".parse().unwrap(),
            protocol,
            upstream_port: 443,
            public_port: 443,
            proxy_protocol: ProxyProtocol::Off,
            networks: DestinationNetworks { public: forward.is_some(), ..DestinationNetworks::default() },
            forward,
        };
        let guard = DestinationGuard::new(Networks::default(), vec![], vec![], "192.0.2.53:53".parse().unwrap());
        let name = Hostname::parse(b"edge-1.elb.eu-west-1.amazonaws.com").unwrap();
        let address = "10.0.0.7:443".parse().unwrap();
        let said = |listener: &Listener| {
            advice(guard.within(&listener.networks), listener, &name, address, RefuseReason::DestinationForbidden)
        };
        assert!(said(&listener(Protocol::Tls, None)).contains("--connect-to orders.example.com:443:edge-1.elb."));
        let egress = said(&listener(Protocol::Forward, Some(forward)));
        assert!(egress.contains("10.0.0.7 is not public (Private-Use)"), "{egress}");
    }
}
