//! Ports on loopback: the well-known ones where they are free, any others where not.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;

/// Whether the well-known front ports are wanted at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preference {
    WellKnown,
    Any,
}

/// Listens on 127.0.0.1, on `port` where that is wanted and free.
pub(super) async fn listen(port: u16, preference: Preference) -> io::Result<TcpListener> {
    if preference == Preference::WellKnown
        && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
    {
        return Ok(listener);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn taken_port_gives_way_to_a_free_one() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let other = listen(port, Preference::WellKnown).await.unwrap().local_addr().unwrap().port();
        assert_ne!(other, port);
        drop(taken);
        assert_eq!(listen(port, Preference::WellKnown).await.unwrap().local_addr().unwrap().port(), port);
    }
}
