//! A connection with or without a PROXY v2 header: an NLB that sends one to the listeners sends it to the health port
//! too; ECS and curl do not.

use std::io::Cursor;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, join};
use tokio::net::TcpStream;
use tokio::time::timeout;

use latticegate_core::protocol::{Verdict, proxy_header};

/// For the header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The stream after its PROXY v2 header, or the whole stream where there is none. None where the header is malformed
/// or does not arrive in time.
pub(super) async fn skip(mut stream: TcpStream) -> Option<impl AsyncRead + AsyncWrite + Unpin + 'static> {
    let ahead = timeout(HEADER_TIMEOUT, after_header(&mut stream)).await.ok()??;
    let (reader, writer) = stream.into_split();
    Some(join(Cursor::new(ahead).chain(reader), writer))
}

/// What has come behind the header.
async fn after_header(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut ahead = Vec::new();
    loop {
        match header_length(&ahead) {
            Verdict::Found { len, .. } => return Some(ahead.split_off(len)),
            Verdict::NeedMore if ahead.len() < proxy_header::MAX_HEADER => {}
            Verdict::NeedMore | Verdict::Refuse(_) => return None,
        }
        let room = u64::try_from(proxy_header::MAX_HEADER - ahead.len()).ok()?;
        if (&mut *stream).take(room).read_buf(&mut ahead).await.ok()? == 0 {
            return None;
        }
    }
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
