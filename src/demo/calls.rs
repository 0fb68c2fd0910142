//! The requests that the demo offers: what each shows, its curl command, and the expected result.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use rustls::AlertDescription;

use super::addresses::Addresses;
use super::names::{self, DemoClient};
use latticegate_core::outcome::RefuseReason;

/// One request to try.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) title: &'static str,
    pub(super) route: Route,
    pub(super) scheme: Scheme,
    /// The name in the URL; without one the URL has an address, and the ClientHello no SNI.
    pub(super) name: Option<&'static str>,
    pub(super) signed: bool,
    pub(super) expect: Expect,
}

/// Where a request enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// Through the load balancer, as this client.
    LoadBalancer(DemoClient),
    /// Straight to latticegate, past the load balancer.
    Direct,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Https,
    Http,
}

/// The expected result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// The service answers with this status.
    Served(u16),
    /// latticegate refuses, for this reason.
    Refused(RefuseReason, Rejection),
}

/// What a refused client receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    Alert(AlertDescription),
    Status(u16),
    /// Closed without an answer.
    Close,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As RFC 8446 writes them, and curl with spaces.
            Self::Alert(AlertDescription::AccessDenied) => f.write_str("TLS alert access_denied"),
            Self::Alert(AlertDescription::UnrecognisedName) => f.write_str("TLS alert unrecognized_name"),
            Self::Alert(AlertDescription::MissingExtension) => f.write_str("TLS alert missing_extension"),
            Self::Alert(alert) => write!(f, "TLS alert {alert:?}"),
            Self::Status(status) => write!(f, "HTTP {status}"),
            Self::Close => f.write_str("closed without an answer"),
        }
    }
}

/// In the order in which the demo prints them.
pub(super) const CALLS: [Call; 12] = [
    Call {
        title: "allowed, TLS: passed through, the session ends at the service",
        route: Route::LoadBalancer(names::OFFICE),
        scheme: Scheme::Https,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Served(200),
    },
    Call {
        title: "allowed, plain HTTP",
        route: Route::LoadBalancer(names::OFFICE),
        scheme: Scheme::Http,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Served(200),
    },
    Call {
        title: "signed with SigV4: not a byte of the request may change on the way",
        route: Route::LoadBalancer(names::OFFICE),
        scheme: Scheme::Https,
        name: Some(names::BILLING),
        signed: true,
        expect: Expect::Served(200),
    },
    Call {
        title: "signed with SigV4, plain HTTP",
        route: Route::LoadBalancer(names::OFFICE),
        scheme: Scheme::Http,
        name: Some(names::BILLING),
        signed: true,
        expect: Expect::Served(200),
    },
    Call {
        title: "not signed: latticegate relays it, the service itself answers 403",
        route: Route::LoadBalancer(names::OFFICE),
        scheme: Scheme::Https,
        name: Some(names::BILLING),
        signed: false,
        expect: Expect::Served(403),
    },
    Call {
        title: "allowed, through PrivateLink: the record names the VPC endpoint",
        route: Route::LoadBalancer(names::PARTNER),
        scheme: Scheme::Https,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Served(200),
    },
    Call {
        title: "refused by the access list, TLS",
        route: Route::LoadBalancer(names::INTERNET),
        scheme: Scheme::Https,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Refused(RefuseReason::ClientDenied, Rejection::Alert(AlertDescription::AccessDenied)),
    },
    Call {
        title: "refused by the access list, plain HTTP",
        route: Route::LoadBalancer(names::INTERNET),
        scheme: Scheme::Http,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Refused(RefuseReason::ClientDenied, Rejection::Status(403)),
    },
    Call {
        title: "a name that does not exist",
        route: Route::LoadBalancer(names::OFFICE),
        scheme: Scheme::Https,
        name: Some(names::UNKNOWN),
        signed: false,
        expect: Expect::Refused(RefuseReason::NameUnknown, Rejection::Alert(AlertDescription::UnrecognisedName)),
    },
    Call {
        title: "a forbidden destination: the name resolves to the ECS task's credentials, 169.254.170.2",
        route: Route::LoadBalancer(names::OFFICE),
        scheme: Scheme::Http,
        name: Some(names::METADATA),
        signed: false,
        expect: Expect::Refused(RefuseReason::DestinationForbidden, Rejection::Status(403)),
    },
    Call {
        title: "no SNI: the destination is unknown",
        route: Route::LoadBalancer(names::OFFICE),
        scheme: Scheme::Https,
        name: None,
        signed: false,
        expect: Expect::Refused(RefuseReason::SniMissing, Rejection::Alert(AlertDescription::MissingExtension)),
    },
    Call {
        title: "past the load balancer: only its nodes are trusted to send a PROXY header",
        route: Route::Direct,
        scheme: Scheme::Http,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Refused(RefuseReason::UntrustedPeer, Rejection::Close),
    },
];

impl Call {
    /// The address to connect to.
    pub(super) fn entrance(&self, addresses: &Addresses) -> SocketAddr {
        let ports = match self.route {
            Route::Direct => addresses.gate,
            Route::LoadBalancer(client) => {
                let front = addresses.fronts.iter().find(|(front, _)| *front == client);
                front.map_or(addresses.gate, |(_, ports)| *ports)
            }
        };
        match self.scheme {
            Scheme::Https => ports.tls,
            Scheme::Http => ports.http,
        }
    }

    /// The curl command; it works as it stands in any POSIX shell.
    pub(super) fn curl(&self, addresses: &Addresses, authority: &Path, proxied: bool) -> String {
        let entrance = self.entrance(addresses);
        let mut command = "curl -sS".to_owned();
        if proxied {
            command.push_str(" --noproxy '*'");
        }
        if self.signed {
            let _ = write!(
                command,
                " --aws-sigv4 aws:amz:{}:{} --user {}:{} -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD'",
                names::REGION,
                names::SIGNING_NAME,
                names::ACCESS_KEY,
                names::SECRET_KEY
            );
        }
        if self.scheme == Scheme::Https {
            let _ = write!(command, " --cacert {}", quoted(authority));
        }
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
        };
        let _ = match self.name {
            Some(name) => write!(command, " --connect-to ::{entrance} {scheme}://{name}/"),
            None => write!(command, " {scheme}://{entrance}/"),
        };
        command
    }
}

/// A path as one word of a shell command.
pub(super) fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    if plain { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::addresses::PortPair;

    fn addresses() -> Addresses {
        let ports = |tls, http| PortPair {
            tls: SocketAddr::from(([127, 0, 0, 1], tls)),
            http: SocketAddr::from(([127, 0, 0, 1], http)),
        };
        let fronts = names::FRONTS.map(|(client, tls, http)| (client, ports(tls, http)));
        Addresses { fronts: fronts.to_vec(), gate: ports(1443, 1080) }
    }

    #[test]
    fn every_call_enters_at_a_port_of_its_own_client() {
        let addresses = addresses();
        for call in CALLS {
            let port = call.entrance(&addresses).port();
            let (tls, http) = match call.route {
                Route::Direct => (1443, 1080),
                Route::LoadBalancer(client) => {
                    let fronts = names::FRONTS.iter();
                    fronts.filter(|(front, ..)| *front == client).map(|&(_, tls, http)| (tls, http)).next().unwrap()
                }
            };
            let expected = if call.scheme == Scheme::Https { tls } else { http };
            assert_eq!(port, expected, "{}", call.title);
        }
    }

    #[test]
    fn curl_commands_survive_the_shell() {
        let command = CALLS[0].curl(&addresses(), Path::new("/tmp/it's here/ca.pem"), true);
        assert_eq!(
            command,
            r"curl -sS --noproxy '*' --cacert '/tmp/it'\''s here/ca.pem' --connect-to ::127.0.0.1:8443 https://orders.example.com/"
        );
        let command = CALLS[10].curl(&addresses(), Path::new("/tmp/d/ca.pem"), false);
        assert_eq!(command, "curl -sS --cacert /tmp/d/ca.pem https://127.0.0.1:8443/");
    }
}
