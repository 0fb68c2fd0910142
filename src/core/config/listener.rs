//! A listener: where clients connect, what they speak there, and where their connections may go.

use std::net::SocketAddr;

use crate::networks::DestinationNetworks;
use crate::outcome::{Close, Failure, Outcome, Probe, RefuseReason};

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

    /// Whether a connection here can end so: what is spoken here decides it.
    pub fn can_end_in(&self, outcome: Outcome) -> bool {
        match outcome {
            // Of HTTP it is known where a request ends.
            Outcome::Relayed(Close::DrainIdle) => self.protocol != Protocol::Tls,
            Outcome::Relayed(_) | Outcome::Unfinished(_) | Outcome::Probe(Probe::Empty) => true,
            Outcome::Probe(Probe::Local) => self.proxy_protocol == ProxyProtocol::Required,
            Outcome::Failed(failure) => match failure {
                Failure::ResponseMalformed | Failure::UpstreamClosed | Failure::ResponseTimeout => {
                    self.protocol == Protocol::Forward
                }
                Failure::DnsTimeout
                | Failure::DnsFailed
                | Failure::ConnectTimeout
                | Failure::ConnectRefused
                | Failure::ConnectUnreachable
                | Failure::NoLocalPort
                | Failure::ConnectFailed => true,
            },
            Outcome::Refused(reason) => self.can_refuse_for(reason),
        }
    }

    fn can_refuse_for(&self, reason: RefuseReason) -> bool {
        use RefuseReason::*;
        let judges_tunnels = self.forward.as_ref().is_some_and(|forward| forward.tunnel == Tunnel::Tls);
        match reason {
            UntrustedPeer | ProxyMissing | ProxyV1 | ProxyMalformed | ProxyUnsupported | ProxyChecksum => {
                self.proxy_protocol == ProxyProtocol::Required
            }
            // In a tunnel they have other words.
            NotTls | PlainHttp | Sslv2 | SniMissing => self.protocol == Protocol::Tls,
            HelloMalformed | HelloTooLong | SniInvalid | SniIpAddress | SniAmbiguous => {
                self.protocol == Protocol::Tls || judges_tunnels
            }
            TunnelNotTls | TunnelSniMissing | TunnelSniDenied => judges_tunnels,
            NotHttp | TlsOnHttp | Http09 | Http2Preface | HeadMalformed | HeadTooLong | HostMissing | HostInvalid
            | HostIpAddress | HostAmbiguous | BodyMalformed => self.protocol != Protocol::Tls,
            ConnectMethod | HostPort | HostChanged => self.protocol == Protocol::Http,
            OriginForm | SchemeUnsupported | PortMissing | TargetInvalid | TraceMethod | ViaLoop | MaxForwards
            | BodyTimeout | BodyCut | PortDenied => self.protocol == Protocol::Forward,
            ClientDenied | HandshakeTimeout | HandshakeSlow | Overloaded | ClientHalfOpen | ClientConnections
            | ClientRate | NameConnections | NameRate | LookupRate | NameDenied | NameUnknown
            | DestinationForbidden | PointsToSelf => true,
        }
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
