//! A listener: where clients connect, what they speak there, and where their connections may go.

use std::net::SocketAddr;

use crate::networks::DestinationNetworks;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Shown in logs and metrics. Unique; 1 to 32 letters, digits, `-`, `_`.
    pub name: String,
    pub bind: SocketAddr,
    pub protocol: Protocol,
    /// The port dialled on the upstream address; 0 for `forward`, where the client asks for one.
    pub upstream_port: u16,
    /// The port that clients connect to and may write in a Host field: 443 for tls, 80 for http, 3128 for forward unless
    /// set.
    pub public_port: u16,
    pub proxy_protocol: ProxyProtocol,
    /// What a `forward` listener lets through; there exactly if the protocol is that.
    pub forward: Option<Forward>,
    /// The only networks where its connections may go.
    pub networks: DestinationNetworks,
}

impl Listener {
    /// Those that `port:` in a rule can be about here: destinations' ports, or the one that clients connect to.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        let (connect, http, public) = match &self.forward {
            Some(Forward { connect_ports, http_ports, .. }) => (&**connect_ports, &**http_ports, None),
            None => (&[][..], &[][..], Some(self.public_port)),
        };
        connect.iter().chain(http).copied().chain(public)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The name is the SNI of a ClientHello.
    Tls,
    /// The name is the Host of a request.
    Http,
    /// The client knows that it asks a proxy: `CONNECT host:port`, and `GET http://host/…`.
    Forward,
}

impl Protocol {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Forward => "forward",
        }
    }
}

/// What the clients of a `forward` listener may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Ports for CONNECT; none: no CONNECT.
    pub connect_ports: Box<[u16]>,
    /// Ports for requests in absolute form; none: no such requests.
    pub http_ports: Box<[u16]>,
    pub tunnel: Tunnel,
    /// The name of this proxy in `Via`, a token of RFC 9110: the same for all tasks of a fleet, another for each fleet.
    pub via_name: Box<str>,
}

/// What may come through a tunnel that CONNECT has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnel {
    /// TLS whose SNI the client may reach.
    Tls,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    Required,
    Off,
}
