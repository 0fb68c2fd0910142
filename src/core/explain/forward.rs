//! What is asked of a `forward` listener, by CONNECT or in absolute form, and what may come through a tunnel.

use super::{Conclusion, Explanation, NO_NAME, Query};
use crate::config::{Forward, Tunnel};
use crate::hostname::Hostname;
use crate::outcome::RefuseReason;
use crate::protocol::client_hello;
use crate::protocol::first_bytes::FirstBytes;
use crate::protocol::forward_head::{ForwardHead, ForwardParser};

/// A name and a port, and how they are asked for.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) name: Hostname,
    pub(super) port: u16,
    /// By CONNECT; `None`: not known.
    connect: Option<bool>,
    /// What came behind the head.
    rest: &'a [u8],
}

impl Asked<'_> {
    /// Of a listener that has one port for all.
    pub(super) fn reverse(name: Hostname, port: u16) -> Self {
        Self { name, port, connect: None, rest: &[] }
    }
}

impl Explanation {
    pub(super) fn asked<'a>(
        &mut self,
        forward: &Forward,
        query: &Query<'_>,
        bytes: Option<&'a [u8]>,
    ) -> Result<Asked<'a>, Conclusion> {
        // A recorded ClientHello is that of a tunnel, if it is said where the tunnel leads.
        let is_hello = bytes.is_some_and(|bytes| matches!(FirstBytes::of(bytes), FirstBytes::Hello(_)));
        if let (Some(bytes), true, Some(name), Some(port)) = (bytes, is_hello, query.to.clone(), query.port) {
            return Ok(Asked { name, port, connect: Some(true), rest: bytes });
        }
        if let Some(bytes) = bytes {
            let verdict = ForwardParser::default().parse(bytes, &forward.via_name);
            let (head, len) = self.read("request head", bytes, verdict)?;
            let connect = Some(head.is_connect());
            let ForwardHead { name, port, .. } = head;
            return Ok(Asked { name, port, connect, rest: bytes.get(len..).unwrap_or_default() });
        }
        let name = query.to.clone().ok_or(NO_NAME)?;
        let port = query.port.ok_or(Conclusion::Undecided("no port: write the name as NAME:PORT"))?;
        Ok(Asked { name, port, connect: None, rest: &[] })
    }

    /// Whether the listener lets clients ask for the port.
    pub(super) fn port(&mut self, forward: &Forward, asked: &Asked<'_>) -> Result<(), Conclusion> {
        let Forward { connect_ports, http_ports, .. } = forward;
        let kinds = [(true, "CONNECT", "connect_ports", connect_ports), (false, "http://", "http_ports", http_ports)];
        let asked_for = || kinds.iter().filter(|(connect, ..)| asked.connect.is_none_or(|asked| asked == *connect));
        let by: Vec<&str> =
            asked_for().filter(|(.., ports)| ports.contains(&asked.port)).map(|(_, kind, ..)| *kind).collect();
        let port = asked.port;
        if by.is_empty() {
            let lists = asked_for().map(|(_, _, key, ports)| format!("`{key}` ({})", written(ports)));
            self.step("port", format!("{port} is not in {}", lists.collect::<Vec<_>>().join(" or ")));
            return Err(Conclusion::Refused(RefuseReason::PortDenied));
        }
        self.step("port", format!("{port}, by {}", by.join(" or ")));
        Ok(())
    }

    /// Checks the ClientHello behind CONNECT, if there is one; `route` decides about another name in it.
    pub(super) fn tunnel(
        &mut self,
        forward: &Forward,
        asked: &Asked<'_>,
        route: impl Fn(&Hostname) -> (bool, String),
    ) -> Result<(), Conclusion> {
        let connects = asked.connect.unwrap_or_else(|| forward.connect_ports.contains(&asked.port));
        if !connects || forward.tunnel == Tunnel::Any {
            return Ok(());
        }
        if asked.rest.is_empty() {
            let text =
                "what comes by CONNECT must be TLS for this name, or for one that the client may reach on this port";
            self.step("tunnel", text.to_owned());
            return Ok(());
        }
        let verdict = client_hello::parse(asked.rest);
        let hello = self.read("ClientHello", asked.rest, verdict).map_err(in_tunnel);
        let (hello, _) = hello?;
        if hello.name == asked.name {
            self.step("tunnel", format!("its server name is {}, as in CONNECT", hello.name));
            return Ok(());
        }
        let (allowed, by) = route(&hello.name);
        let verb = if allowed { "allowed" } else { "denied" };
        self.step("tunnel", format!("its server name is {}, {verb} by {by}", hello.name));
        if allowed { Ok(()) } else { Err(Conclusion::Refused(RefuseReason::TunnelSniDenied)) }
    }
}

fn written(ports: &[u16]) -> String {
    match ports {
        [] => "none".to_owned(),
        ports => ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// What a refused hello is called in a tunnel.
fn in_tunnel(conclusion: Conclusion) -> Conclusion {
    use RefuseReason::{NotTls, PlainHttp, SniMissing, Sslv2, TunnelNotTls, TunnelSniMissing};
    match conclusion {
        Conclusion::Refused(NotTls | PlainHttp | Sslv2) => Conclusion::Refused(TunnelNotTls),
        Conclusion::Refused(SniMissing) => Conclusion::Refused(TunnelSniMissing),
        other => other,
    }
}
