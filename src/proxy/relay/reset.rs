//! What was sent before a reset arrives before it.
//!
//! After a FIN the other side would take what it has for the whole: an HTTP/1 response without a length that was cut in
//! the middle looks complete. So a reset is passed on; but a reset overtakes what the kernel still holds, and a slow
//! reader would lose it. Whoever is about to send one waits here first.

use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::GetStruct};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// TCP_INFO, for which no crate has a function that older kernels can answer: `libc::tcp_info` is as long as that of the
/// newest kernel, and an answer of another length is a panic in nix.
#[derive(Debug, Clone, Copy)]
struct TcpInfo;
nix::getsockopt_impl!(TcpInfo, libc::IPPROTO_TCP, libc::TCP_INFO, Info, GetStruct<Info>);

/// The beginning of `struct tcp_info` (linux/tcp.h), as far as Linux 4.6 has it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Info {
    state: u8,
    ca_state_to_flags: [u8; 7],
    rto_to_rcv_mss: [u32; 4],
    /// Segments.
    unacked: u32,
    sacked_to_total_retrans: [u32; 19],
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
}

/// `TCP_CLOSE` (include/net/tcp_states.h): the peer has reset it, or is gone.
const CLOSED: u8 = 7;

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Resolves when the peer has acknowledged every byte, or cannot any more, or has not acknowledged one for `patience`.
pub async fn delivered(stream: &TcpStream, patience: Duration) {
    let mut pause = FIRST_PAUSE;
    let mut progress = None;
    let mut since = Instant::now();
    while let Some(acknowledged) = undelivered(stream) {
        if progress.replace(acknowledged) != Some(acknowledged) {
            since = Instant::now();
        }
        let left = patience.saturating_sub(since.elapsed());
        if left.is_zero() {
            return;
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// How many bytes the peer has acknowledged, as long as there are others that it has not.
fn undelivered(stream: &TcpStream) -> Option<u64> {
    let info = getsockopt(stream, TcpInfo).ok()?;
    let open = info.state != CLOSED && (info.unacked > 0 || info.notsent_bytes > 0);
    open.then_some(info.bytes_acked)
}
