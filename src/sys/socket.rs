//! Socket options and process limits, in one place, each with its reason.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};

/// TCP_DEFER_ACCEPT, for which no crate has a function (tcp(7)).
#[derive(Debug, Clone, Copy)]
struct DeferAccept;
nix::setsockopt_impl!(
    DeferAccept,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    usize,
    nix::sys::socket::sockopt::SetUsize
);

/// An NLB, a NAT gateway and Lattice all forget an idle connection after 350 s at the earliest: a peer that
/// vanished is found out after 60 + 3 × 15 s. Linux by itself would go on asking for 60 + 9 × 75 s.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 3;

/// Connections that wait for accept. The kernel cuts it down to `net.core.somaxconn` (4096 by default).
pub const BACKLOG: i32 = 4096;

/// A listening socket at an address of its own: not another program, and not this one started twice. What
/// is set here is inherited by each accepted socket and costs nothing per connection.
pub fn listen(address: SocketAddr, wait_for_data: Option<Duration>) -> io::Result<std::net::TcpListener> {
    open(address, wait_for_data, false)
}

/// `listen`, but `[::]` falls back to `0.0.0.0` where there is no IPv6. Says whether it did.
pub fn listen_any(address: SocketAddr, wait_for_data: Option<Duration>) -> io::Result<(std::net::TcpListener, bool)> {
    or_by_ipv4(address, |address| listen(address, wait_for_data))
}

/// Whether `listen_any` would succeed, without listening: another process that starts meanwhile is not kept from it.
pub fn may_listen(address: SocketAddr) -> io::Result<()> {
    or_by_ipv4(address, |address| bound(address, false)).map(drop)
}

fn or_by_ipv4<T>(address: SocketAddr, open: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<(T, bool)> {
    match open(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            Ok((open(v4)?, true))
        }
        other => Ok((other?, false)),
    }
}

/// `listen` once more at the address of `first`, for another worker: the kernel spreads connections over them. The
/// first one is shared only once it listens. With SO_REUSEPORT set earlier, bind would succeed beside another process
/// of the same user.
pub fn listen_beside(
    first: &std::net::TcpListener,
    wait_for_data: Option<Duration>,
) -> io::Result<std::net::TcpListener> {
    SockRef::from(first).set_reuse_port(true)?;
    open(first.local_addr()?, wait_for_data, true)
}

fn open(address: SocketAddr, wait_for_data: Option<Duration>, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = bound(address, shared)?;
    socket.listen(BACKLOG)?;
    let listener = std::net::TcpListener::from(socket);
    if let Some(patience) = wait_for_data {
        defer_accept(&listener, patience)?;
    }
    Ok(listener)
}

fn bound(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Connections of an earlier process may still be in TIME_WAIT; a socket that listens is in the way all the same.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_tcp_nodelay(true)?;
    set_keepalive(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Leaves a connection in the kernel until its first byte has come, or `patience` is over: a silent client
/// costs no fd, and accept is followed by a read that succeeds. Zero turns it off.
pub fn defer_accept(listener: &impl AsFd, patience: Duration) -> io::Result<()> {
    let seconds = usize::try_from(patience.as_secs()).unwrap_or(usize::MAX);
    nix::sys::socket::setsockopt(listener, DeferAccept, &seconds).map_err(io::Error::from)
}

/// From here on a listener takes no new connection: SYNs are dropped, so that handshakes under way can end and their
/// clients be accepted before the listener is closed. A dropped client is refused when it retransmits its SYN.
pub fn drop_syns(listener: &impl AsFd) -> io::Result<()> {
    // Classic BPF over the TCP header (linux/filter.h): the flags' byte without all but SYN and ACK is SYN alone.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_AND_ACK: u32 = 0x12;
    let (load_byte, and, jump_if_equal, answer) = (0x30, 0x54, 0x15, 0x06);
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(load_byte, 0, 0, FLAGS),
        SockFilter::new(and, 0, 0, SYN_AND_ACK),
        SockFilter::new(jump_if_equal, 0, 1, SYN),
        SockFilter::new(answer, 0, 0, 0),
        SockFilter::new(answer, 0, 0, u32::MAX),
    ])
}

/// Has the kernel ask now and then whether the peer is still there.
pub fn set_keepalive(socket: &SockRef<'_>) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE_AGAIN).with_retries(KEEPALIVE_PROBES))
}

/// Why a call for a socket failed, as far as it matters what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// This machine lacks the files or the memory for one more.
    Shortage,
    /// accept(2) hands on what became of the one connection that it took out of the queue; the next may be sound.
    OneConnection,
    Other,
}

impl Trouble {
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Self::Shortage,
            Some(
                libc::ECONNABORTED
                | libc::EPERM
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET,
            ) => Self::OneConnection,
            _ => Self::Other,
        }
    }
}

/// Why a connect failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// This machine lacks the files or the memory for one more.
    Shortage,
    Refused,
    TimedOut,
    /// No route, or no address of ours in this family.
    Unreachable,
    /// No local port is left towards this address.
    NoLocalPort,
    Other,
}

impl ConnectError {
    pub fn of(error: &io::Error, address: SocketAddr) -> Self {
        match error.raw_os_error() {
            _ if Trouble::of(error) == Trouble::Shortage => Self::Shortage,
            Some(libc::ECONNREFUSED) => Self::Refused,
            Some(libc::ETIMEDOUT) => Self::TimedOut,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN) => Self::Unreachable,
            Some(libc::EADDRNOTAVAIL) if !has_source(address) => Self::Unreachable,
            Some(libc::EADDRNOTAVAIL) => Self::NoLocalPort,
            _ => Self::Other,
        }
    }
}

/// Whether we have an address to connect from. EADDRNOTAVAIL means that there is no port, and, where IPv6 is switched
/// off, that there is no address; a UDP socket has ports enough, and connecting it sends nothing.
fn has_source(address: SocketAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let connected = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address));
    !matches!(connected, Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL))
}

/// A file that stands for nothing: where the table of open files is full, closing it makes room for one connection.
pub fn spare_file() -> Option<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC).ok()
}

/// The hard limit of open files, which the process raises its own to.
pub fn fd_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// The soft limit of open files: what holds now.
pub fn fd_soft_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Open files of this process, without listing them: Linux 6.2 and later report their number as the directory's size.
pub fn open_fds() -> u64 {
    let size = std::fs::metadata("/proc/self/fd").map_or(0, |meta| meta.len());
    if size > 0 {
        return size;
    }
    let listed = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    u64::try_from(listed).unwrap_or(u64::MAX)
}

/// Raises the soft limit of open files to the hard one. Gives the limit before and after.
pub fn raise_fd_limit() -> io::Result<(u64, u64)> {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current.unwrap_or(u64::MAX);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok((before, limit.current.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shortage_is_known_as_one() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert_eq!(Trouble::of(&io::Error::from_raw_os_error(errno)), Trouble::Shortage, "{errno}");
        }
        // Anything unknown must not be taken for one connection's trouble: accepting again at once would spin.
        for errno in [libc::EINVAL, libc::EBADF, libc::EADDRNOTAVAIL, libc::EFAULT] {
            assert_eq!(Trouble::of(&io::Error::from_raw_os_error(errno)), Trouble::Other, "{errno}");
        }
        for errno in [libc::ECONNABORTED, libc::EPROTO, libc::EPERM, libc::EHOSTUNREACH] {
            assert_eq!(Trouble::of(&io::Error::from_raw_os_error(errno)), Trouble::OneConnection, "{errno}");
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "no connection of a client")]
    fn a_peer_that_vanished_is_found_out_in_time_on_either_side() {
        let listener = listen(([127, 0, 0, 1], 0).into(), None).unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = std::net::TcpStream::connect(address).unwrap();
        set_keepalive(&SockRef::from(&upstream)).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        for socket in [SockRef::from(&upstream), SockRef::from(&accepted)] {
            assert!(socket.keepalive().unwrap());
            let asked = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
            assert!(socket.tcp_keepalive_time().unwrap() + asked < Duration::from_secs(350));
        }
    }
}
