//! A connected TCP socket.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt::set_tcp_quickack;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};

use crate::sys::socket::set_keepalive;
use crate::sys::tcp_info;

#[derive(Debug)]
pub struct Stream(TcpStream);

impl Stream {
    /// Connects. The handshake's last ACK waits for the first bytes, such as a ClientHello, and rides on them.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_nodelay(true)?;
        set_tcp_quickack(&socket, false)?;
        socket.connect(address).await.map(Self)
    }

    /// Reads what is there. A read that did not fill the buffer has emptied the socket, which is noted: the next one
    /// waits for an event instead of asking the kernel in vain. 0: the peer has sent its FIN.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Interest::READABLE, || {
            let (n, _) = recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT)?;
            Ok((n, 0 < n && n < buffer.len()))
        })
    }

    /// Writes what the socket takes, at least a byte. One that did not take all is full, which is noted. `more`: a FIN
    /// follows at once, and may share the last packet.
    pub fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8], more: bool) -> Poll<io::Result<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let flags = if more { flags | SendFlags::MORE } else { flags };
        self.poll_io(cx, Interest::WRITABLE, || {
            let n = send(&self.0, bytes, flags)?;
            Ok((n, 0 < n && n < bytes.len()))
        })
    }

    /// Moves bytes out of the socket by `call`, once it has some. EAGAIN from `call` must mean that it has none.
    pub fn poll_read_by(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Interest::READABLE, || Ok((call(self.0.as_fd())?, false)))
    }

    /// Moves bytes into the socket by `call`, once it takes some. EAGAIN from `call` must mean that it takes none.
    pub fn poll_write_by(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Interest::WRITABLE, || Ok((call(self.0.as_fd())?, false)))
    }

    /// `call` says how many bytes it has moved, and whether another one would block; it fails so if this one would have.
    #[inline]
    fn poll_io(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut call: impl FnMut() -> io::Result<(usize, bool)>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if interest.is_readable() {
                ready!(self.0.poll_read_ready(cx))?;
            } else {
                ready!(self.0.poll_write_ready(cx))?;
            }
            let mut moved = None;
            let result = self.0.try_io(interest, || {
                let (n, next_would_block) = call()?;
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

    /// Ready when the socket takes a byte, as far as is known.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx)
    }

    /// Reads what has come already, without waiting and without the runtime, which may not have looked yet at a socket
    /// just accepted.
    pub fn recv_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(&self.0, buffer, RecvFlags::DONTWAIT)?.0)
    }

    /// The same, but leaves the bytes where they are.
    pub fn peek_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(&self.0, buffer, RecvFlags::DONTWAIT | RecvFlags::PEEK)?.0)
    }

    /// Sends what fits into the socket's buffer, in one packet with the FIN that must follow.
    pub fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL | SendFlags::MORE)?)
    }

    /// Sends FIN. An error would say that there is no connection any more.
    pub fn finish(&self) {
        let _ = SockRef::from(&self.0).shutdown(Shutdown::Write);
    }

    /// From here on dropping the stream sends a reset. An error would say that there is no connection any more.
    pub fn reset_when_dropped(&self) {
        let _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }

    /// Has the kernel ask now and then whether the peer is still there. An error would say that the socket is gone, as the
    /// next read will.
    pub fn keep_alive(&self) {
        let _ = set_keepalive(&SockRef::from(&self.0));
    }

    /// Resolves when the connection has broken: a reset, or an error of the network.
    pub async fn broken(&self) {
        // It fails only where the runtime ends.
        let _ = self.0.ready(Interest::ERROR).await;
    }

    /// Resolves when the peer has sent its FIN, whatever it sent before, or the connection has broken.
    pub async fn broken_or_finished(&self) {
        let _ = self.0.ready(Interest::PRIORITY | Interest::ERROR).await;
    }

    /// How many bytes the peer has acknowledged, as long as there are others that it has not and still may.
    pub fn undelivered(&self) -> Option<u64> {
        tcp_info::undelivered(&self.0)
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self(stream)
    }
}

impl From<Stream> for TcpStream {
    fn from(stream: Stream) -> Self {
        stream.0
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
