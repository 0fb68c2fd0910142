//! What the answer of a forward proxy has otherwise: statuses that speak of the proxy and not of a site, and
//! `Proxy-Status` (RFC 9209).

use latticegate_core::outcome::{Failure, Outcome, RefuseReason};

/// Status and sentence where a client of a forward proxy expects others than those of a gateway. There, 404 and 421
/// would be the answer of the site, and a 403 for a destination that is never dialled would blame the access list.
pub(super) fn adapted(outcome: Outcome) -> Option<(&'static str, &'static str)> {
    use RefuseReason as R;
    let Outcome::Refused(reason) = outcome else { return None };
    Some(match reason {
        R::ClientDenied => ("403 Forbidden", "Your address is not allowed to use this proxy."),
        R::HostInvalid => ("400 Bad Request", "The requested host is not a host name."),
        R::HostIpAddress => ("400 Bad Request", "The requested host is an IP address; a host name is needed."),
        // The port and the host may be others for each request here, so these are for a gateway only.
        R::HostPort | R::HostChanged => ("400 Bad Request", "The requested host is not served here."),
        R::NameUnknown => ("502 Bad Gateway", "There is no such host name."),
        R::DestinationForbidden => ("502 Bad Gateway", "This host name leads where this proxy may not go."),
        R::PointsToSelf => ("502 Bad Gateway", "This host name leads back to this proxy."),
        _ => return None,
    })
}

/// The value of `Proxy-Status`: who answers, the type of the error, and our own word for it.
pub(super) fn proxy_status(outcome: Outcome, name: &str) -> String {
    let name = Name(name);
    let error = error(outcome).map(|error| format!("; error={error}")).unwrap_or_default();
    format!("{name}{error}; details=\"{}\"", outcome.reason())
}

/// A token of HTTP as an item of a structured field: those begin with a letter or `*`, so any other is quoted
/// (RFC 9651 §3.3.4).
struct Name<'a>(&'a str);

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*') {
            f.write_str(self.0)
        } else {
            write!(f, "\"{}\"", self.0)
        }
    }
}

/// The error type (RFC 9209 §2.3). None where nothing is wrong.
fn error(outcome: Outcome) -> Option<&'static str> {
    use RefuseReason as R;
    Some(match outcome {
        Outcome::Refused(reason) => match reason {
            R::ClientDenied | R::NameDenied | R::PortDenied | R::TunnelSniDenied => "http_request_denied",
            R::NameUnknown => "dns_error",
            R::DestinationForbidden => "destination_ip_prohibited",
            R::PointsToSelf | R::ViaLoop => "proxy_loop_detected",
            // A limit of connections to the next hop.
            R::NameConnections | R::NameRate => "connection_limit_reached",
            R::Overloaded | R::ClientHalfOpen | R::ClientConnections | R::ClientRate | R::LookupRate => {
                "proxy_internal_response"
            }
            R::MaxForwards => return None,
            _ => "http_request_error",
        },
        Outcome::Failed(failure) => match failure {
            Failure::DnsTimeout => "dns_timeout",
            Failure::DnsFailed => "dns_error",
            Failure::ConnectTimeout => "connection_timeout",
            Failure::ConnectRefused => "connection_refused",
            Failure::ConnectUnreachable => "destination_ip_unroutable",
            Failure::NoLocalPort => "proxy_internal_error",
            Failure::ConnectFailed => "destination_unavailable",
            Failure::ResponseMalformed => "http_protocol_error",
            Failure::UpstreamClosed => "connection_terminated",
            Failure::ResponseTimeout => "http_response_timeout",
        },
        Outcome::Relayed(_) | Outcome::Probe(_) | Outcome::Unfinished(_) => "proxy_internal_response",
    })
}
