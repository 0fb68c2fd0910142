//! What operators write to ask: which listener, and a name with or without a port.

use crate::config::{Config, Listener};
use crate::hostname::Hostname;
use crate::hostname_help::{host_of_url, name_help};
use crate::protocol::http_authority::canonical_port;

/// The port of the listener that is asked about if nothing else is said.
const USUAL: u16 = 443;

/// The listener of this name, or the one whose clients connect to this port, or the usual one: where a forward listener is
/// among several, there is none.
///
/// # Errors
///
/// Which there are to choose from.
pub fn chosen<'a>(config: &'a Config, name: Option<&str>, port: Option<u16>) -> Result<&'a Listener, String> {
    let listeners = &config.listeners;
    let all = || {
        let all = listeners.iter().map(|listener| format!("{} ({})", listener.name, listener.public_port));
        all.collect::<Vec<_>>().join(", ")
    };
    match (name, port, listeners.as_slice()) {
        (Some(name), ..) => {
            let found = listeners.iter().find(|listener| listener.name == name);
            return found.ok_or_else(|| format!("no listener is named {name:?}; there are {}", all()));
        }
        (None, None, [only]) => return Ok(only),
        (None, None, several) if several.iter().any(|listener| listener.forward.is_some()) => {
            return Err(format!("choose a listener by its name; there are {}", all()));
        }
        _ => {}
    }
    let port = port.unwrap_or(USUAL);
    let found: Vec<&Listener> = listeners.iter().filter(|listener| listener.public_port == port).collect();
    match found.as_slice() {
        [] => Err(format!("no listener is for port {port}; there are {}", all())),
        [_, _, ..] if found.iter().any(|listener| listener.forward.is_some()) => {
            Err(format!("port {port} is that of several listeners; choose one by its name; there are {}", all()))
        }
        [found, ..] => Ok(found),
    }
}

/// Reads what clients of `listener` ask for as they write it: `orders.example.com`, `orders.example.com:443`. The port is that
/// of a `forward` listener's destination; on others it can only be the one that clients connect to.
///
/// # Errors
///
/// What is wrong with the name or the port.
pub fn destination(text: &str, listener: &Listener) -> Result<(Hostname, Option<u16>), String> {
    if let Some((host, port)) = host_of_url(text) {
        let port = port.filter(|_| listener.forward.is_some()).map_or_else(String::new, |port| format!(":{port}"));
        return Err(format!("{text} is a URL; write {host}{port}"));
    }
    // More than one colon: an IPv6 address, which the error about the name says.
    let (name, port) = text
        .split_once(':')
        .filter(|(_, port)| !port.contains(':'))
        .map_or((text, None), |(name, port)| (name, Some(port)));
    // As a listener reads it: `0443` is refused there.
    let canonical = |digits: &str| {
        let advice = "write a number from 1 to 65535, without a sign or leading zeros";
        canonical_port(digits.as_bytes()).ok_or_else(|| format!("{text} has no valid port; {advice}"))
    };
    let port = port.map(canonical).transpose()?;
    let wrong = |error| format!("not a DNS name: {error}; {}", name_help(name, error));
    let name = Hostname::parse(name.as_bytes()).map_err(wrong)?;
    let Listener { name: listener_name, public_port, forward, .. } = listener;
    match port {
        Some(port) if forward.is_none() && port != *public_port => Err(format!(
            "{text} has another port than {public_port}, at which clients connect to listener {listener_name}"
        )),
        port => Ok((name, port)),
    }
}
