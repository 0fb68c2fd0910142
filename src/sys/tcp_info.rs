//! What the kernel knows of a TCP connection.

use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt::GetStruct};

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

/// How many bytes the peer has acknowledged, as long as there are others that it has not.
pub(crate) fn undelivered(stream: &impl AsFd) -> Option<u64> {
    let info = getsockopt(stream, TcpInfo).ok()?;
    let open = info.state != CLOSED && (info.unacked > 0 || info.notsent_bytes > 0);
    open.then_some(info.bytes_acked)
}

/// With data, a FIN, or an acknowledgement alone.
#[cfg(test)]
pub(crate) fn segments_received(stream: &impl AsFd) -> u32 {
    getsockopt(stream, TcpInfo).unwrap().segs_in
}
