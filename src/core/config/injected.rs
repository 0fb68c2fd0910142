//! Environment variables that begin like ours but are set by others: by Kubernetes for each Service of a namespace, by
//! docker for each link. A Service named `latticegate` or `latticegate-metrics` must not keep a gateway from starting; a
//! misspelt variable of ours must.

use super::wrong_file::is_section;
use crate::diagnostic::{Diagnostic, Origin};

/// Whether a variable has the form of such a one; `rest` is its name after `LATTICEGATE_`.
pub(super) fn is_injected(rest: &str, value: &str) -> bool {
    // After a section of ours, two underscores separate levels; in the name of a Service they would be `--`.
    let is_ours = rest.split_once("__").is_some_and(|(section, _)| is_section(&section.to_lowercase()));
    if is_ours || !rest.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit()) {
        return false;
    }
    of_kubernetes(rest, value) || of_docker(rest, value)
}

/// `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_SERVICE_PORT_HTTPS`, and what docker sets for a port as well.
fn of_kubernetes(rest: &str, value: &str) -> bool {
    ends_in(rest, "SERVICE_HOST")
        || is_number(value) && (ends_in(rest, "SERVICE_PORT") || behind(rest, "SERVICE_PORT_").next().is_some())
        || is_url(value) && ends_in(rest, "PORT")
        || behind(rest, "PORT_").any(is_port)
}

/// `…_NAME=/container/alias`, and `…_ENV_` in front of each variable of the other container.
fn of_docker(rest: &str, value: &str) -> bool {
    let is_link = value.strip_prefix('/').is_some_and(|path| path.contains('/'));
    is_link && ends_in(rest, "NAME") || behind(rest, "ENV_").next().is_some()
}

/// `443_TCP`, `443_TCP_ADDR`; docker sets the last four for ranges of ports.
fn is_port(text: &str) -> bool {
    const ABOUT: [&str; 8] = ["", "PROTO", "PORT", "ADDR", "START", "END", "PORT_START", "PORT_END"];
    let mut parts = text.splitn(3, '_');
    let (port, protocol, about) = (parts.next(), parts.next(), parts.next());
    port.is_some_and(is_number)
        && matches!(protocol, Some("TCP" | "UDP" | "SCTP"))
        && about.is_none_or(|about| !about.is_empty() && ABOUT.contains(&about))
}

/// Whether `rest` ends in these words, after nothing or a name.
fn ends_in(rest: &str, words: &str) -> bool {
    rest.strip_suffix(words).is_some_and(is_name)
}

/// What follows each occurrence of these words that comes after nothing or a name.
fn behind<'a>(rest: &'a str, words: &'a str) -> impl Iterator<Item = &'a str> {
    rest.match_indices(words)
        .filter(|(at, _)| rest.get(..*at).is_some_and(is_name))
        .filter_map(|(at, words)| rest.get(at + words.len()..))
        .filter(|after| !after.is_empty())
}

/// Nothing, or a name and the underscore after it.
fn is_name(before: &str) -> bool {
    before.is_empty() || before.strip_suffix('_').is_some_and(|name| !name.is_empty() && !name.ends_with('_'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_url(text: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme))
}

/// One warning for all of them.
pub(super) fn warning(names: &[String]) -> Option<Diagnostic> {
    /// Names listed at most: a Service of twenty ports sets more than a hundred variables.
    const MAX_LISTED: usize = 40;
    let (first, others) = names.split_first()?;
    let mut all: Vec<&str> = others.iter().take(MAX_LISTED).map(String::as_str).collect();
    let more = format!("{} more", others.len().saturating_sub(MAX_LISTED));
    if others.len() > MAX_LISTED {
        all.push(&more);
    }
    let are = if all.is_empty() { String::new() } else { format!(" (so are {})", all.join(", ")) };
    let message = format!("is ignored: Kubernetes or docker sets it for a Service or link of that name{are}");
    let help = "set `enableServiceLinks: false` in the pod's spec, or give the Service or link another name";
    Some(Diagnostic::whole(Origin::Variable(first.as_str().into()), message, help))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INJECTED: [(&str, &str); 31] = [
        ("PORT", "tcp://10.96.0.17:443"),
        ("PORT", "udp://[fd00::1]:53"),
        ("SERVICE_HOST", "10.96.0.17"),
        ("SERVICE_PORT", "443"),
        ("SERVICE_PORT_HTTPS", "443"),
        ("SERVICE_PORT_HTTP_METRICS", "9900"),
        ("PORT_443_TCP", "tcp://10.96.0.17:443"),
        ("PORT_443_TCP_PROTO", "tcp"),
        ("PORT_443_TCP_PORT", "443"),
        ("PORT_443_TCP_ADDR", "10.96.0.17"),
        ("PORT_53_UDP_ADDR", "10.96.0.17"),
        ("PORT_9_SCTP", "sctp://10.96.0.17:9"),
        // Services `latticegate-metrics`, `latticegate-admin` and longer ones.
        ("METRICS_PORT", "tcp://10.96.0.17:9900"),
        ("METRICS_SERVICE_HOST", "10.96.0.17"),
        ("METRICS_SERVICE_PORT", "9900"),
        ("METRICS_PORT_9900_TCP", "tcp://10.96.0.17:9900"),
        ("ADMIN_SERVICE_PORT_WEB", "9900"),
        ("DNS_SERVICE_HOST", "10.96.0.17"),
        ("LOG_SERVICE_HOST", "10.96.0.17"),
        ("EU_WEST_1_EDGE_SERVICE_HOST", "10.96.0.17"),
        ("PORT_MAP_PORT", "tcp://10.96.0.17:443"),
        ("PORT_MAP_PORT_443_TCP_PROTO", "tcp"),
        ("2_SERVICE_HOST", "10.96.0.17"),
        ("BLUE__GREEN_SERVICE_HOST", "10.96.0.17"),
        // Docker's links.
        ("NAME", "/web/latticegate"),
        ("1_NAME", "/web_1/latticegate_1"),
        ("ENV_PATH_TO", "/bin"),
        ("ENV_LATTICEGATE_DNS__TIMEOUT", "1s"),
        ("1_ENV_X", ""),
        ("PORT_8000_TCP_START", "tcp://172.17.0.5:8000"),
        ("PORT_8000_TCP_PORT_END", "8009"),
    ];

    /// Variables of ours, spelled right or wrong.
    const OURS: [(&str, &str); 21] = [
        ("PORT", "443"),
        ("PORT", ""),
        ("ADMIN_PORT", "9900"),
        ("NAME", "edge"),
        ("NAME", "/edge"),
        ("HOST", "10.0.0.1"),
        ("SERVICE_PORT", "https"),
        ("SERVICE_NAME", "edge"),
        ("LISTENERS_0_NAME", "tls"),
        ("LISTENERS_0_UPSTREAM_PORT", "8443"),
        ("LISTENERS__0__NAME", "/a/b"),
        ("LISTENERS__0__UPSTREAM_PORT", "tcp://10.0.0.1:443"),
        ("LISTENER__0__NAME", "/a/b"),
        ("DNS__SERVICE_HOST", "10.0.0.2"),
        ("DNS__SERVICE_PORT", "53"),
        ("METRICS__EMF__NAMESPACE", "edge"),
        ("PORT_443", "tcp://10.96.0.17:443"),
        ("PORT_443_TCP_", "x"),
        ("PORT_443_TCP_NAME", "x"),
        ("PORT_HTTPS_TCP", "x"),
        ("DNS_TIMEOUT", "1s"),
    ];

    #[test]
    fn variables_of_services_and_links_are_distinguished_from_ours() {
        for (name, value) in INJECTED {
            assert!(is_injected(name, value), "{name}={value}");
        }
        for (name, value) in OURS {
            assert!(!is_injected(name, value), "{name}={value}");
        }
    }

    #[test]
    fn one_warning_names_them_all() {
        let names = |count: usize| (0..count).map(|n| format!("LATTICEGATE_{n}_SERVICE_HOST")).collect::<Vec<_>>();
        assert_eq!(warning(&names(0)), None);
        let one = warning(&names(1)).unwrap().to_string();
        assert!(one.starts_with("environment variable LATTICEGATE_0_SERVICE_HOST: is ignored: "), "{one}");
        assert!(one.contains("enableServiceLinks: false"), "{one}");
        let three = warning(&names(3)).unwrap().to_string();
        assert!(three.contains("(so are LATTICEGATE_1_SERVICE_HOST, LATTICEGATE_2_SERVICE_HOST);"), "{three}");
        let many = warning(&names(100)).unwrap().to_string();
        assert!(many.contains("LATTICEGATE_40_SERVICE_HOST, 59 more)"), "{many}");
    }
}
