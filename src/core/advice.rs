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
