//! The requests to the explicit proxy that the demo offers: what each shows, its curl command, the expected result.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use rustls::AlertDescription;

use crate::demo::addresses::EgressAddresses;
use crate::demo::calls::{Expect, Rejection, Scheme, quoted};
use crate::demo::names::{self, DemoClient};
use latticegate_core::outcome::RefuseReason;

/// One request to try, always through the load balancer.
#[derive(Debug, Clone, Copy)]
pub(in crate::demo) struct EgressCall {
    pub(in crate::demo) title: &'static str,
    pub(super) client: DemoClient,
    /// `https` goes through CONNECT, `http` in absolute form.
    pub(super) scheme: Scheme,
    /// The name in the URL, and in the ClientHello.
    pub(super) name: &'static str,
    /// The name in CONNECT, if it is another one.
    pub(super) connect_name: Option<&'static str>,
    /// None: the site's port of this scheme.
    pub(super) port: Option<u16>,
    pub(in crate::demo) expect: Expect,
}

/// In the order in which the demo prints them.
pub(in crate::demo) const EGRESS_CALLS: [EgressCall; 8] = [
    EgressCall {
        title: "allowed, HTTPS through CONNECT: the session ends at the site",
        ..call(Scheme::Https, names::PACKAGES, Expect::Served(200))
    },
    EgressCall {
        title: "allowed, plain HTTP: the site sees an origin-form request with Via",
        ..call(Scheme::Http, names::PACKAGES, Expect::Served(200))
    },
    EgressCall {
        title: "a name that is not in the list, CONNECT",
        ..call(Scheme::Https, names::BLOCKED, refused(RefuseReason::NameDenied, 403))
    },
    EgressCall {
        title: "a name that is not in the list, plain HTTP",
        ..call(Scheme::Http, names::BLOCKED, refused(RefuseReason::NameDenied, 403))
    },
    EgressCall {
        title: "the hole of many allow lists: CONNECT to an allowed name, another server name in the tunnel",
        connect_name: Some(names::PACKAGES),
        ..call(
            Scheme::Https,
            names::BLOCKED,
            Expect::Refused(RefuseReason::TunnelSniDenied, Rejection::Alert(AlertDescription::AccessDenied)),
        )
    },
    EgressCall {
        title: "an allowed name that its owner has pointed at the ECS task's credentials, 169.254.170.2",
        ..call(Scheme::Http, names::MIRROR, refused(RefuseReason::DestinationForbidden, 502))
    },
    EgressCall {
        title: "an allowed name, but a port that the listener does not have",
        port: Some(names::OTHER_PORT),
        ..call(Scheme::Https, names::PACKAGES, refused(RefuseReason::PortDenied, 403))
    },
    EgressCall {
        title: "another VPC: a rule without `to:`, like `allow: 10.0.0.0/8`, allows nothing here",
        client: names::PARTNER,
        ..call(Scheme::Https, names::PACKAGES, refused(RefuseReason::ClientDenied, 403))
    },
];

const fn call(scheme: Scheme, name: &'static str, expect: Expect) -> EgressCall {
    EgressCall { title: "", client: names::SPOKE, scheme, name, connect_name: None, port: None, expect }
}

const fn refused(reason: RefuseReason, status: u16) -> Expect {
    Expect::Refused(reason, Rejection::Status(status))
}

impl EgressCall {
    /// The port asked for.
    pub(super) fn port(&self, addresses: &EgressAddresses) -> u16 {
        self.port.unwrap_or(match self.scheme {
            Scheme::Https => addresses.https_port,
            Scheme::Http => addresses.http_port,
        })
    }

    /// The name that the proxy is asked for.
    pub(in crate::demo) fn requested_name(&self) -> &'static str {
        self.connect_name.unwrap_or(self.name)
    }

    /// Where the client finds the proxy.
    pub(super) fn proxy(&self, addresses: &EgressAddresses) -> Option<SocketAddr> {
        addresses.fronts.iter().find(|(client, _)| *client == self.client).map(|(_, proxy)| *proxy)
    }

    /// The curl command; it works as it stands in any POSIX shell. `proxied`: the environment has variables about proxies,
    /// one of which may exempt the name.
    pub(in crate::demo) fn curl(&self, addresses: &EgressAddresses, authority: &Path, proxied: bool) -> String {
        let mut command = "curl -sS".to_owned();
        if proxied {
            command.push_str(" --noproxy ''");
        }
        // Shows the head of a refused CONNECT, which curl hides otherwise.
        if matches!(self.expect, Expect::Refused(_, Rejection::Status(_))) {
            command.push_str(" -i");
        }
        if let Some(proxy) = self.proxy(addresses) {
            let _ = write!(command, " -x http://{proxy}");
        }
        let (name, port) = (self.name, self.port(addresses));
        let scheme = match self.scheme {
            Scheme::Https => {
                let _ = write!(command, " --cacert {}", quoted(authority));
                "https"
            }
            Scheme::Http => "http",
        };
        if let Some(connect_name) = self.connect_name {
            let _ = write!(command, " --connect-to {name}:{port}:{connect_name}:{port}");
        }
        let _ = write!(command, " {scheme}://{name}:{port}/");
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> EgressAddresses {
        let fronts = names::PROXY_FRONTS.map(|(client, port)| (client, SocketAddr::from(([127, 0, 0, 1], port))));
        EgressAddresses { fronts: fronts.to_vec(), https_port: 40443, http_port: 40080 }
    }

    fn curl(reason: Option<RefuseReason>, scheme: Scheme, proxied: bool) -> String {
        let call = EGRESS_CALLS.iter().find(|call| {
            call.scheme == scheme
                && match call.expect {
                    Expect::Served(_) => reason.is_none(),
                    Expect::Refused(expected, _) => reason == Some(expected),
                }
        });
        call.unwrap().curl(&addresses(), Path::new("/tmp/d/ca.pem"), proxied)
    }

    #[test]
    fn commands_name_the_proxy_whatever_the_environment_says() {
        assert_eq!(
            curl(None, Scheme::Https, false),
            "curl -sS -x http://127.0.0.1:3128 --cacert /tmp/d/ca.pem https://packages.example.org:40443/"
        );
        assert_eq!(
            curl(None, Scheme::Http, true),
            "curl -sS --noproxy '' -x http://127.0.0.1:3128 http://packages.example.org:40080/"
        );
        assert_eq!(
            curl(Some(RefuseReason::TunnelSniDenied), Scheme::Https, false),
            "curl -sS -x http://127.0.0.1:3128 --cacert /tmp/d/ca.pem --connect-to \
             blocked.example.org:40443:packages.example.org:40443 https://blocked.example.org:40443/"
        );
        assert_eq!(
            curl(Some(RefuseReason::ClientDenied), Scheme::Https, false),
            "curl -sS -i -x http://127.0.0.1:3129 --cacert /tmp/d/ca.pem https://packages.example.org:40443/"
        );
        let port = curl(Some(RefuseReason::PortDenied), Scheme::Https, false);
        assert!(port.ends_with("https://packages.example.org:25/"), "{port}");
    }
}
