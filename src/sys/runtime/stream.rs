//! A connected TCP socket.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt::{set_tcp_nodelay, set_tcp_quickack};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};

use crate::event_loop::{self, Source};
use crate::sys::socket::set_keepalive;
use crate::sys::tcp_info;

#[derive(Debug)]
pub struct Stream(Socket);

#[derive(Debug)]
enum Socket {
    Tokio(TcpStream),
    Own(Source),
}

impl Stream {
    /// Connects. The handshake's last ACK waits for the first bytes, such as a ClientHello, and rides on them.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        if event_loop::is_running() {
            let prepare = |fd: &OwnedFd| {
                set_tcp_nodelay(fd, true)?;
                Ok(set_tcp_quickack(fd, false)?)
            };
            return Source::connect(address, prepare).await.map(Self::from);
        }
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_nodelay(true)?;
        set_tcp_quickack(&socket, false)?;
        socket.connect(address).await.map(Self::from)
    }

    /// Reads what is there. A read that did not fill the buffer has emptied the socket, which is noted: the next one
    /// waits for an event instead of asking the kernel in vain. 0: the peer has sent its FIN.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Interest::READABLE, |fd| {
            let (n, _) = recv(fd, &mut *buffer, RecvFlags::DONTWAIT)?;
            Ok((n, 0 < n && n < buffer.len()))
        })
    }

    /// Writes what the socket takes, at least a byte. One that did not take all is full, which is noted. `more`: a FIN
    /// follows at once, and may share the last packet.
    pub fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8], more: bool) -> Poll<io::Result<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let flags = if more { flags | SendFlags::MORE } else { flags };
        self.poll_io(cx, Interest::WRITABLE, |fd| {
            let n = send(fd, bytes, flags)?;
            Ok((n, 0 < n && n < bytes.len()))
        })
    }

    /// Moves bytes out of the socket by `call`, once it has some. EAGAIN from `call` must mean that it has none.
    pub fn poll_read_by(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Interest::READABLE, |fd| Ok((call(fd)?, false)))
    }

    /// Moves bytes into the socket by `call`, once it takes some. EAGAIN from `call` must mean that it takes none.
    pub fn poll_write_by(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Interest::WRITABLE, |fd| Ok((call(fd)?, false)))
    }

    #[inline]
    fn poll_io(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        call: impl FnMut(BorrowedFd<'_>) -> io::Result<(usize, bool)>,
    ) -> Poll<io::Result<usize>> {
        match &self.0 {
            Socket::Tokio(stream) => poll_tokio(stream, cx, interest, call),
            Socket::Own(source) if interest.is_readable() => source.poll_read(call),
            Socket::Own(source) => source.poll_write(call),
        }
    }

    /// Ready when the socket takes a byte, as far as is known.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Socket::Tokio(stream) => stream.poll_write_ready(cx),
            Socket::Own(source) => source.poll_writable(),
        }
    }

    /// Reads what has come already, without waiting and without the runtime, which may not have looked yet at a socket
    /// just accepted.
    pub fn recv_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len();
        let (n, _) = recv(self, buffer, RecvFlags::DONTWAIT)?;
        if let Socket::Own(source) = &self.0
            && 0 < n
            && n < len
        {
            source.note_emptied();
        }
        Ok(n)
    }

    /// The same, but leaves the bytes where they are.
    pub fn peek_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self, buffer, RecvFlags::DONTWAIT | RecvFlags::PEEK)?.0)
    }

    /// Sends what fits into the socket's buffer, in one packet with the FIN that must follow.
    pub fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL | SendFlags::MORE)?)
    }

    /// Sends FIN. An error would say that there is no connection any more.
    pub fn finish(&self) {
        let _ = SockRef::from(self).shutdown(Shutdown::Write);
    }

    /// From here on dropping the stream sends a reset. An error would say that there is no connection any more.
    pub fn reset_when_dropped(&self) {
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    /// Has the kernel ask now and then whether the peer is still there. An error would say that the socket is gone, as the
    /// next read will.
    pub fn keep_alive(&self) {
        let _ = set_keepalive(&SockRef::from(self));
    }

    /// Resolves when the connection has broken: a reset, or an error of the network.
    pub async fn broken(&self) {
        match &self.0 {
            // It fails only where the runtime ends.
            Socket::Tokio(stream) => drop(stream.ready(Interest::ERROR).await),
            Socket::Own(source) => drop(poll_fn(|_| source.poll_broken()).await),
        }
    }

    /// Resolves when the peer has sent its FIN, whatever it sent before, or the connection has broken.
    pub async fn broken_or_finished(&self) {
        match &self.0 {
            Socket::Tokio(stream) => drop(stream.ready(Interest::PRIORITY | Interest::ERROR).await),
            Socket::Own(source) => drop(poll_fn(|_| source.poll_finished()).await),
        }
    }

    /// For a library that knows only tokio's. Fails on a worker's event loop.
    pub fn into_tokio(self) -> io::Result<TcpStream> {
        match self.0 {
            Socket::Tokio(stream) => Ok(stream),
            Socket::Own(_) => Err(io::Error::other("this socket belongs to a worker's event loop")),
        }
    }

    /// How many bytes the peer has acknowledged, as long as there are others that it has not and still may.
    pub fn undelivered(&self) -> Option<u64> {
        tcp_info::undelivered(self)
    }
}

/// `call` says how many bytes it has moved, and whether another one would block; it fails so if this one would have.
#[inline]
fn poll_tokio(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    interest: Interest,
    mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<(usize, bool)>,
) -> Poll<io::Result<usize>> {
    loop {
        if interest.is_readable() {
            ready!(stream.poll_read_ready(cx))?;
        } else {
            ready!(stream.poll_write_ready(cx))?;
        }
        let mut moved = None;
        let result = stream.try_io(interest, || {
            let (n, next_would_block) = call(stream.as_fd())?;
            moved = Some(n);
            // To the runtime it is the same.
            if next_would_block { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (moved, result) {
            (Some(n), _) => return Poll::Ready(Ok(n)),
            (None, Err(error)) if error.kind() != ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
            (None, _) => {}
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self(Socket::Tokio(stream))
    }
}

impl From<Source> for Stream {
    fn from(source: Source) -> Self {
        Self(Socket::Own(source))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Socket::Tokio(stream) => stream.as_fd(),
            Socket::Own(source) => source.as_fd(),
        }
    }
}
