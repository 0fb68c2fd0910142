//! What to write instead of something that is almost a name: a URL, a name with a port, one that is not ASCII.

use crate::hostname::{Hostname, NameError};

/// What to write instead.
pub(crate) fn name_help(text: &str, error: NameError) -> String {
    let is_name = |text: &str| Hostname::parse(text.as_bytes()).is_ok();
    if !text.is_ascii() {
        return "write it as DNS has it, like xn--bcher-kva.example".to_owned();
    }
    if let Some((host, _)) = host_of_url(text) {
        return format!("write {host} alone");
    }
    if let (NameError::Port, Some((host, _))) = (error, text.split_once(':')) {
        return format!("write {host} alone");
    }
    match text.strip_prefix('.') {
        Some(rest) if is_name(rest) => format!("write {rest}"),
        _ => "write it like orders.example.com".to_owned(),
    }
}

/// The host in a URL, or in what lacks only the scheme of one; and its port, or that of its scheme.
pub(crate) fn host_of_url(text: &str) -> Option<(Hostname, Option<u16>)> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None if text.contains('/') => ("", text),
        None => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let usual = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    };
    Some((Hostname::parse(host.as_bytes()).ok()?, port.parse().ok().or(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_a_port() {
        for (text, host, port) in [
            ("https://a.example/", "a.example", Some(443)),
            ("http://A.example:8080/x?y#z", "a.example", Some(8080)),
            ("HTTP://me:secret@a.example", "a.example", Some(80)),
            ("ftp://a.example/", "a.example", None),
            ("a.example/x", "a.example", None),
        ] {
            let (found, of) = host_of_url(text).unwrap();
            assert_eq!((found.as_str(), of), (host, port), "{text}");
        }
        for text in ["a.example", "a.example:443", "https://192.0.2.1/", "10.0.0.0/8", "//", "https://"] {
            assert_eq!(host_of_url(text), None, "{text}");
        }
    }
}
