//! What is measured of explicit proxies: the same units through a tunnel, and requests in absolute form.

use std::io::{Error, ErrorKind, Result};
use std::rc::Rc;

use super::{BULK_CONNECTIONS, CONNECTION, Extent, GIBIBYTE, IDLE_CONNECTIONS, Kind, Load, PARALLEL, REQUEST};
use super::{Way, Workload, by, is_complete};
use crate::client::{is_status, open, open_tunnel};
use crate::preface::{DENIED_NAME, Shape, known_name};
use crate::upstream::{self, receive};

pub fn all() -> Vec<Workload> {
    let workload = by(Way::Tunnel);
    let short = Kind::Short { parallel: PARALLEL, hello: Shape::Classic };
    let idle = Extent::Units(IDLE_CONNECTIONS as u64);
    vec![
        workload(
            "tunnel",
            "CONNECT, hello, 64 bytes back, closed by the upstream; 64 at a time",
            CONNECTION,
            Extent::Window,
            short,
        ),
        workload(
            "request",
            "one absolute-form request on a connection, 256 bytes back; 64 at a time",
            REQUEST,
            Extent::Window,
            Kind::Request,
        ),
        workload(
            "request-kept",
            "absolute-form requests on 64 kept-alive connections",
            REQUEST,
            Extent::Window,
            Kind::RequestKept,
        ),
        workload(
            "denied",
            "CONNECT to a name that the list refuses; 64 at a time",
            CONNECTION,
            Extent::Window,
            Kind::Denied,
        ),
        workload("tunnel-down", "bulk to the client through 4 tunnels", GIBIBYTE, Extent::Window, Kind::Down),
        workload("tunnel-up", "bulk to the upstream through 4 tunnels", GIBIBYTE, Extent::Window, Kind::Up),
        workload(
            "request-down",
            "bulk to the client, answers to absolute-form requests on 4 connections",
            GIBIBYTE,
            Extent::Window,
            Kind::RequestDown,
        ),
        workload(
            "tunnel-idle",
            "9 000 tunnels that have done one exchange and wait",
            CONNECTION,
            idle,
            Kind::Idle(IDLE_CONNECTIONS),
        ),
    ]
}

impl Load {
    /// One request on a connection of its own.
    pub(super) async fn request(&self) -> Result<()> {
        let stream = open(self.target.forward, &self.absolute("/orders/42?expand=lines", true)).await?;
        let mut answer = Vec::new();
        while receive(&stream, |bytes| answer.extend_from_slice(bytes)).await?.is_some() {}
        if is_status(&answer, 200) && is_complete(&answer) { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    pub(super) async fn denied(&self) -> Result<()> {
        match open_tunnel(&self.target, &self.target.header_from(self.client(), self.port()), DENIED_NAME).await {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            _ => Err(Error::other("a denied name was served")),
        }
    }

    pub(super) fn requests_kept(self: &Rc<Self>) {
        self.keep(PARALLEL, async |load| {
            let request = load.absolute("/orders/42?expand=lines", false);
            // The header comes once.
            let (header, request) = request.split_at(load.target.header(0).len());
            load.requests(open(load.target.forward, header).await?, request).await
        });
    }

    pub(super) fn downloads(self: &Rc<Self>) {
        self.keep(BULK_CONNECTIONS, async |load| {
            let stream = open(load.target.forward, &load.absolute(upstream::LARGE, true)).await?;
            loop {
                let read = receive(&stream, <[u8]>::len).await?.ok_or(ErrorKind::UnexpectedEof)?;
                load.tally.add(read);
            }
        });
    }

    /// PROXY header and request.
    fn absolute(&self, path: &str, last: bool) -> Vec<u8> {
        let (host, connection) = (known_name(0), if last { "close" } else { "keep-alive" });
        let request = format!(
            "GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\
             Proxy-Connection: {connection}\r\nConnection: {connection}\r\n\r\n"
        );
        [self.target.header_from(self.client(), self.port()), request.into_bytes()].concat()
    }
}
