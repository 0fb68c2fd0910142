//! A connected TCP socket.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt::{set_tcp_nodelay, set_tcp_quickack};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;

use crate::event_loop::{BROKEN, FINISHED, IN, OUT, Source};
use crate::sys::socket::set_keepalive;
use crate::sys::tcp_info;

/// Whoever polls it is found by the loop itself, so the context that the methods take is not looked at.
#[derive(Debug)]
pub struct Stream(Source);

impl Stream {
    /// Connects. The handshake's last ACK waits for the first bytes, such as a ClientHello, and rides on them.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let prepare = |fd: &OwnedFd| {
            set_tcp_nodelay(fd, true)?;
            Ok(set_tcp_quickack(fd, false)?)
        };
        Source::connect(address, prepare).await.map(Self)
    }

    /// Reads what is there. A read that did not fill the buffer has emptied the socket, which is noted: the next one
    /// waits for an event instead of asking the kernel in vain. 0: the peer has sent its FIN.
    pub fn poll_recv(&self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_io(IN, |fd| {
            let (n, _) = recv(fd, &mut *buffer, RecvFlags::DONTWAIT)?;
            Ok((n, 0 < n && n < buffer.len()))
        })
    }

    /// Writes what the socket takes, at least a byte. One that did not take all is full, which is noted. `more`: a FIN
    /// follows at once, and may share the last packet.
    pub fn poll_send(&self, _: &mut Context<'_>, bytes: &[u8], more: bool) -> Poll<io::Result<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let flags = if more { flags | SendFlags::MORE } else { flags };
        self.0.poll_io(OUT, |fd| {
            let n = send(fd, bytes, flags)?;
            Ok((n, 0 < n && n < bytes.len()))
        })
    }

    /// Moves bytes out of the socket by `call`, once it has some. EAGAIN from `call` must mean that it has none.
    pub fn poll_read_by(
        &self,
        _: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_io(IN, |fd| Ok((call(fd)?, false)))
    }

    /// Moves bytes into the socket by `call`, once it takes some. EAGAIN from `call` must mean that it takes none.
    pub fn poll_write_by(
        &self,
        _: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_io(OUT, |fd| Ok((call(fd)?, false)))
    }

    /// Ready when the socket takes a byte, as far as is known.
    pub fn poll_writable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_known(OUT)
    }

    /// Reads what has come already, without waiting and without an event, which there may not have been yet for a socket
    /// just accepted.
    pub fn recv_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len();
        let (n, _) = recv(self, buffer, RecvFlags::DONTWAIT)?;
        if 0 < n && n < len {
            self.0.note_emptied(IN);
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

    /// Ready when the connection has broken: a reset, or an error of the network; also if the kernel cannot report it.
    pub fn poll_broken(&self, _: &mut Context<'_>) -> Poll<()> {
        self.0.poll_known(BROKEN).map(drop)
    }

    /// Resolves when the connection [has broken](Self::poll_broken).
    pub async fn broken(&self) {
        poll_fn(|cx| self.poll_broken(cx)).await;
    }

    /// Resolves when the peer has sent its FIN, whatever it sent before, or the connection has broken.
    pub async fn broken_or_finished(&self) {
        let _ = poll_fn(|_| self.0.poll_known(FINISHED | BROKEN)).await;
    }

    /// How many bytes the peer has acknowledged, as long as there are others that it has not and still may.
    pub fn undelivered(&self) -> Option<u64> {
        tcp_info::undelivered(self)
    }
}

impl From<Source> for Stream {
    fn from(source: Source) -> Self {
        Self(source)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
