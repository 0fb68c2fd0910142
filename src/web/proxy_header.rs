//! A connection with or without a PROXY v2 header: an NLB that sends one to the listeners sends it to the health port
//! too; ECS and curl do not.

use std::io::Cursor;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, join};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::proxy::read_ahead::{Preread, ReadAhead};
use crate::proxy::scratch::Scratch;
use crate::sys::runtime::Stream;
use latticegate_core::outcome::RefuseReason;
use latticegate_core::protocol::{Verdict, proxy_header};

/// For the header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The stream after its PROXY v2 header, or the whole stream where there is none. None where the header is malformed
/// or does not arrive in time.
pub(super) async fn skip(stream: TcpStream) -> Option<impl AsyncRead + AsyncWrite + Unpin + 'static> {
    let stream = Stream::from(stream);
    let mut ahead = ReadAhead::default();
    let scratch = Scratch::with_size(4096);
    let preread =
        Preread { parse: header_length, bound: proxy_header::MAX_HEADER, too_long: RefuseReason::ProxyMalformed };
    let read = ahead.until(&stream, &scratch, preread, |_| Ok(()));
    let ((), len) = timeout(HEADER_TIMEOUT, read).await.ok()?.ok()?;
    ahead.consume(len);
    let (reader, writer) = stream.into_tokio().ok()?.into_split();
    Some(join(Cursor::new(ahead.into_pending()).chain(reader), writer))
}

/// Zero where what comes is no header: no HTTP request begins like the signature.
fn header_length(bytes: &[u8]) -> Verdict<()> {
    match proxy_header::parse(bytes) {
        Verdict::Found { len, .. } => Verdict::Found { value: (), len },
        Verdict::Refuse(_) if !bytes.starts_with(b"\r\n\r\n\0") => Verdict::Found { value: (), len: 0 },
        Verdict::Refuse(reason) => Verdict::Refuse(reason),
        Verdict::NeedMore => Verdict::NeedMore,
    }
}
