//! Where requests go: a URL, and perhaps another address to connect to.

use std::str::FromStr;

use anyhow::{Context, Error, bail, ensure};
use hyper::Uri;

/// A URL to request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// As it stands in `Host`.
    pub authority: String,
    pub path_and_query: String,
}

impl Target {
    pub fn url(&self) -> String {
        format!("{}://{}{}", if self.tls { "https" } else { "http" }, self.authority, self.path_and_query)
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let uri: Uri = text.parse().context("a URL is like https://orders.example.com/health")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("it must begin with https:// or http://"),
        };
        let authority = uri.authority().context("it has no host name")?;
        ensure!(!authority.as_str().contains('@'), "user names in URLs are not sent; use --header 'Authorization: …'");
        let usual = if tls { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(usual);
        let host = authority.host();
        ensure!(!host.is_empty() && port != 0, "it has no host name, or port 0");
        Ok(Self {
            tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: if port == usual { host.to_owned() } else { format!("{host}:{port}") },
            path_and_query: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

/// What is connected to, whatever the URL says: the load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectTo {
    pub host: String,
    /// Not given, the URL's.
    pub port: Option<u16>,
}

impl FromStr for ConnectTo {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        const FORM: &str = "it is NAME, ADDRESS, NAME:PORT or [IPV6-ADDRESS]:PORT";
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').context(FORM)?)),
            // Without brackets several colons are an IPv6 address.
            None if text.matches(':').count() > 1 => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        ensure!(!host.is_empty() && !host.contains(['/', '[', ']']), FORM);
        let port = port.map(|port| port.parse().ok().filter(|port| *port != 0).context(FORM)).transpose()?;
        Ok(Self { host: host.to_owned(), port })
    }
}
