//! Lingering close (RFC 9112 §9.6): a client that has sent more than was read would get a reset, perhaps before it has read
//! the answer. So what it sends is read and thrown away for a moment.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

const MOST_BYTES: u64 = 256 * 1024;
const LONGEST: Duration = Duration::from_secs(1);

/// Sends FIN and closes, once the client has closed or a bound is reached. An error would say that the client has gone.
pub(super) async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_ok() {
        let _ = timeout(LONGEST, copy(&mut stream.take(MOST_BYTES), &mut sink())).await;
    }
}
