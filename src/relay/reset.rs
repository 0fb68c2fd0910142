//! Passes a reset on. After a FIN the other side would take what it has for the whole: an HTTP/1 response without a length
//! that was cut in the middle looks complete.

use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::GetStruct};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// TCP_INFO, for which no crate has a function (tcp(7)).
#[derive(Debug, Clone, Copy)]
struct TcpInfo;
nix::getsockopt_impl!(TcpInfo, libc::IPPROTO_TCP, libc::TCP_INFO, libc::tcp_info, GetStruct<libc::tcp_info>);

/// A reset overtakes what was sent before it, so that has this long to arrive.
const PATIENCE: Duration = Duration::from_secs(1);

/// Once this has returned, dropping the stream sends a reset.
pub async fn reset(stream: &TcpStream) {
    let patience = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    while has_unacknowledged(stream) && Instant::now() < patience {
        sleep(pause).await;
        pause *= 2;
    }
    // An error says that there is no connection any more.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn has_unacknowledged(stream: &TcpStream) -> bool {
    getsockopt(stream, TcpInfo).is_ok_and(|info| info.tcpi_unacked > 0)
}
