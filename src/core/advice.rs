//! What the operator should look at when a destination was refused, for the record's `detail`.

use std::net::SocketAddr;

use crate::config::{Listener, Protocol};
use crate::hostname::Hostname;
use crate::outcome::RefuseReason;
use crate::policy::DestinationGuard;

pub fn advice(
    reach: &DestinationGuard,
    listener: &Listener,
    name: &Hostname,
    address: SocketAddr,
    reason: RefuseReason,
) -> Box<str> {
    // Whoever asks for the load balancer by its own name has not said which service is meant.
    if is_load_balancer(name.as_str()) {
        let port = listener.public_port;
        let (scheme, usual) = match listener.protocol {
            Protocol::Tls => ("https", 443),
            Protocol::Http => ("http", 80),
        };
        let service = "orders.example.com";
        let authority = if port == usual { service.to_owned() } else { format!("{service}:{port}") };
        return format!(
            "the client asked for the load balancer's own name; it has to ask for a service: \
             curl --connect-to {service}:{port}:{name}:{port} {scheme}://{authority}"
        )
        .into();
    }
    reach.explain(address, reason).into()
}

fn is_load_balancer(name: &str) -> bool {
    name.ends_with(".amazonaws.com") && name.contains(".elb.")
}
