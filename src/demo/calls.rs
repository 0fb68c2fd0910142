//! The requests that the demo offers: what each shows, its curl command, and what must come of it.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use super::names::{self, Caller};
use rustls::AlertDescription;

use latticegate_core::outcome::RefuseReason;

/// One request to try.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) title: &'static str,
    pub(super) from: From,
    pub(super) scheme: Scheme,
    /// The name in the URL; without one the URL has an address, and the ClientHello no SNI.
    pub(super) name: Option<&'static str>,
    pub(super) signed: bool,
    pub(super) expect: Expect,
}

/// Where a request enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Through the load balancer, as this client.
    Client(Caller),
    /// Straight to latticegate, past the load balancer.
    Intruder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Https,
    Http,
}

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// The service answers with this status.
    Served(u16),
    /// latticegate refuses, for this reason.
    Refused(RefuseReason, Told),
}

/// What a refused client gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Alert(AlertDescription),
    Status(u16),
    /// A bare close.
    Nothing,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As RFC 8446 writes them, and curl with spaces.
            Self::Alert(AlertDescription::AccessDenied) => f.write_str("TLS alert access_denied"),
            Self::Alert(AlertDescription::UnrecognisedName) => f.write_str("TLS alert unrecognized_name"),
            Self::Alert(AlertDescription::MissingExtension) => f.write_str("TLS alert missing_extension"),
            Self::Alert(alert) => write!(f, "TLS alert {alert:?}"),
            Self::Status(status) => write!(f, "HTTP {status}"),
            Self::Nothing => f.write_str("closed without a word"),
        }
    }
}

/// In the order in which the demo prints them.
pub(super) const CALLS: [Call; 12] = [
    Call {
        title: "allowed, TLS: passed through, the session ends at the service",
        from: From::Client(names::OFFICE),
        scheme: Scheme::Https,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Served(200),
    },
    Call {
        title: "allowed, plain HTTP",
        from: From::Client(names::OFFICE),
        scheme: Scheme::Http,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Served(200),
    },
    Call {
        title: "signed with SigV4: not a byte of the request may change on the way",
        from: From::Client(names::OFFICE),
        scheme: Scheme::Https,
        name: Some(names::BILLING),
        signed: true,
        expect: Expect::Served(200),
    },
    Call {
        title: "signed with SigV4, plain HTTP",
        from: From::Client(names::OFFICE),
        scheme: Scheme::Http,
        name: Some(names::BILLING),
        signed: true,
        expect: Expect::Served(200),
    },
    Call {
        title: "not signed: latticegate lets it pass, the service itself says 403",
        from: From::Client(names::OFFICE),
        scheme: Scheme::Https,
        name: Some(names::BILLING),
        signed: false,
        expect: Expect::Served(403),
    },
    Call {
        title: "allowed, through PrivateLink: the record names the VPC endpoint",
        from: From::Client(names::PARTNER),
        scheme: Scheme::Https,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Served(200),
    },
    Call {
        title: "refused by the access list, TLS",
        from: From::Client(names::INTERNET),
        scheme: Scheme::Https,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Refused(RefuseReason::ClientDenied, Told::Alert(AlertDescription::AccessDenied)),
    },
    Call {
        title: "refused by the access list, plain HTTP",
        from: From::Client(names::INTERNET),
        scheme: Scheme::Http,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Refused(RefuseReason::ClientDenied, Told::Status(403)),
    },
    Call {
        title: "a name that does not exist",
        from: From::Client(names::OFFICE),
        scheme: Scheme::Https,
        name: Some(names::UNKNOWN),
        signed: false,
        expect: Expect::Refused(RefuseReason::NameUnknown, Told::Alert(AlertDescription::UnrecognisedName)),
    },
    Call {
        title: "a forbidden destination: the name leads to the ECS task's credentials, 169.254.170.2",
        from: From::Client(names::OFFICE),
        scheme: Scheme::Http,
        name: Some(names::METADATA),
        signed: false,
        expect: Expect::Refused(RefuseReason::DestinationForbidden, Told::Status(403)),
    },
    Call {
        title: "no SNI: nobody can tell where it should go",
        from: From::Client(names::OFFICE),
        scheme: Scheme::Https,
        name: None,
        signed: false,
        expect: Expect::Refused(RefuseReason::SniMissing, Told::Alert(AlertDescription::MissingExtension)),
    },
    Call {
        title: "past the load balancer: only its nodes may tell who the client is",
        from: From::Intruder,
        scheme: Scheme::Http,
        name: Some(names::ORDERS),
        signed: false,
        expect: Expect::Refused(RefuseReason::UntrustedPeer, Told::Nothing),
    },
];

/// The front ports of one client of the load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doors {
    pub(super) tls: SocketAddr,
    pub(super) http: SocketAddr,
}

/// Where everything listens.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) fronts: Vec<(Caller, Doors)>,
    /// latticegate's own listeners.
    pub(super) gate: Doors,
}

impl Addresses {
    /// The address that a call connects to.
    pub(super) fn entrance(&self, call: &Call) -> SocketAddr {
        let doors = match call.from {
            From::Intruder => self.gate,
            From::Client(caller) => {
                let front = self.fronts.iter().find(|(front, _)| *front == caller);
                front.map_or(self.gate, |(_, doors)| *doors)
            }
        };
        match call.scheme {
            Scheme::Https => doors.tls,
            Scheme::Http => doors.http,
        }
    }
}

impl Call {
    /// The curl command; it works as it stands in any POSIX shell.
    pub(super) fn curl(&self, addresses: &Addresses, authority: &Path, proxied: bool) -> String {
        let entrance = addresses.entrance(self);
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
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    if plain { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        let doors = |tls, http| Doors {
            tls: SocketAddr::from(([127, 0, 0, 1], tls)),
            http: SocketAddr::from(([127, 0, 0, 1], http)),
        };
        let fronts = names::CALLERS.map(|caller| (caller, doors(caller.tls_port, caller.http_port)));
        Addresses { fronts: fronts.to_vec(), gate: doors(1443, 1080) }
    }

    #[test]
    fn every_call_enters_at_a_port_of_its_own_client() {
        let addresses = addresses();
        for call in CALLS {
            let port = addresses.entrance(&call).port();
            let expected = match (call.from, call.scheme) {
                (From::Intruder, Scheme::Https) => 1443,
                (From::Intruder, Scheme::Http) => 1080,
                (From::Client(caller), Scheme::Https) => caller.tls_port,
                (From::Client(caller), Scheme::Http) => caller.http_port,
            };
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
