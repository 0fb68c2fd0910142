//! What an operator should check when a destination was refused: the `detail` of the access log.

use std::net::SocketAddr;

use crate::config::{Listener, Protocol};
use crate::hostname::Hostname;
use crate::outcome::RefuseReason;
use crate::policy::DestinationGuard;

/// The advice about `address`, to which `name` was resolved, and which the guard refused for `reason`.
pub fn advice(
    guard: &DestinationGuard,
    listener: &Listener,
    name: &Hostname,
    address: SocketAddr,
    reason: RefuseReason,
) -> Box<str> {
    // The load balancer's own name does not say which service is meant.
    if is_load_balancer(name.as_str()) {
        let port = listener.public_port;
        let (scheme, usual) = match listener.protocol {
            Protocol::Tls => ("https", 443),
            Protocol::Http => ("http", 80),
        };
        let service = "orders.example.com";
        let authority = if port == usual { service.to_owned() } else { format!("{service}:{port}") };
        return format!(
            "the client requested the load balancer's own name; it must request a service: \
             curl --connect-to {service}:{port}:{name}:{port} {scheme}://{authority}"
        )
        .into();
    }
    guard.explain(address, reason).into()
}

fn is_load_balancer(name: &str) -> bool {
    name.ends_with(".amazonaws.com") && name.contains(".elb.")
}
