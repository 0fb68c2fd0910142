//! The keys that only a `forward` listener has, and the one that it has not.

use std::num::NonZeroU16;

use super::{Checker, or};
use crate::config::values::ViaName;
use crate::config::{Forward, Protocol, Tunnel, defaults};
use crate::yaml::{Many, Path, Read};

/// The keys as written.
pub(super) struct RawForward {
    pub(super) connect_ports: Option<Many<NonZeroU16>>,
    pub(super) http_ports: Option<Many<NonZeroU16>>,
    pub(super) tunnel: Option<Read<Tunnel>>,
    pub(super) via_name: Option<Read<ViaName>>,
}

impl Checker<'_> {
    /// Of the listener at `path`; `None` if it has another protocol.
    pub(super) fn forward(&mut self, raw: RawForward, protocol: Protocol, path: &Path) -> Option<Forward> {
        if protocol != Protocol::Forward {
            for key in ["connect_ports", "http_ports", "tunnel", "via_name"] {
                let path = path.key(key);
                if self.document.has(&path) {
                    self.key_error(&path, "is only for `protocol: forward`", "remove it, or write that protocol");
                }
            }
            return None;
        }
        let upstream_port = path.key("upstream_port");
        if self.document.has(&upstream_port) {
            let help = "remove it; `connect_ports` and `http_ports` say which ports clients may ask for";
            self.key_error(&upstream_port, "is not for `protocol: forward`, whose clients ask for a port", help);
        }
        let RawForward { connect_ports, http_ports, tunnel, via_name } = raw;
        let forward = Forward {
            connect_ports: self.ports(connect_ports, &path.key("connect_ports"), &defaults::CONNECT_PORTS),
            http_ports: self.ports(http_ports, &path.key("http_ports"), &defaults::HTTP_PORTS),
            tunnel: or(tunnel, defaults::TUNNEL),
            via_name: via_name.map_or_else(|| defaults::VIA_NAME.into(), |read| read.0.0),
        };
        let is_empty = |key: &str| self.document.is_empty_list(&path.key(key));
        if is_empty("connect_ports") && is_empty("http_ports") {
            let help = "write ports in one of them, or remove the key for the usual ones";
            self.key_error(path, "has no port in connect_ports and none in http_ports, so it refuses everything", help);
        }
        Some(forward)
    }

    fn ports(&mut self, written: Option<Many<NonZeroU16>>, path: &Path, usual: &[u16]) -> Box<[u16]> {
        let Some(Many(written)) = written else { return usual.into() };
        let mut ports: Vec<u16> = Vec::with_capacity(written.len());
        for (index, port) in written.into_iter().map(NonZeroU16::get).enumerate() {
            if ports.contains(&port) {
                let element = path.index(index);
                let path = if self.document.has(&element) { &element } else { path };
                self.key_error(path, format!("has port {port} twice"), "remove one of the two");
            }
            ports.push(port);
        }
        ports.into()
    }
}
