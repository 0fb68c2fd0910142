//! One query over TCP by hickory-resolver: it sends the message, waits for the response, and owns the connection. The
//! response is classified where it is received (`tcp_stream.rs`), before hickory drops it or logs a warning.
//!
//! Each query has its own pool, so nothing is shared between queries: not a connection whose end would fail all of
//! them, nor an equal query that was sent before and may be lost. hickory's `Resolver` has features not wanted here: a
//! cache, retries, and aliases that are followed only in the order of the records.

use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioHandle, TokioTime};
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tokio::net::UdpSocket;

use super::LookupError;
use super::message::{Question, Response};
use super::tcp_stream::{QueryOutcome, Tcp};

pub(super) struct Hickory {
    server: SocketAddr,
    context: Arc<PoolContext>,
}

impl Hickory {
    pub(super) fn new(server: SocketAddr, deadline: Duration) -> Self {
        let mut options = ResolverOpts::default();
        options.timeout = deadline;
        let context = Arc::new(PoolContext::new(options, TlsConfig {}));
        Self { server, context }
    }

    /// Sends the query once.
    pub(super) async fn query(&self, question: &Question) -> Result<Response, LookupError> {
        let mut connection = ConnectionConfig::tcp();
        connection.port = self.server.port();
        let server = NameServerConfig::new(self.server.ip(), true, vec![connection]);
        let runtime = HickoryRuntime { handle: TokioHandle::default(), server: self.server, outcome: Arc::default() };
        let outcome = Arc::clone(&runtime.outcome);
        let pool = NameServerPool::from_config([server], Arc::clone(&self.context), runtime);
        let response = pool.send(question.request()).first_answer().await;
        // hickory has one error for all failures to send or receive.
        outcome.take().unwrap_or_else(|| {
            tracing::debug!(?response, "DNS query without an outcome");
            Err(if matches!(response, Err(NetError::Timeout)) { LookupError::Timeout } else { LookupError::Failed })
        })
    }
}

/// The sockets of hickory's connections, for one query.
#[derive(Clone)]
struct HickoryRuntime {
    handle: TokioHandle,
    server: SocketAddr,
    outcome: Arc<QueryOutcome>,
}

type OpenFuture<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl RuntimeProvider for HickoryRuntime {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = UdpSocket;
    type Tcp = Tcp;

    fn create_handle(&self) -> TokioHandle {
        self.handle.clone()
    }

    /// To the server as configured: hickory's address has no scope.
    fn connect_tcp(&self, _: SocketAddr, _: Option<SocketAddr>, _: Option<Duration>) -> OpenFuture<Tcp> {
        Box::pin(Tcp::open(self.server, Arc::clone(&self.outcome)))
    }

    /// Queries over UDP are sent by `udp.rs`.
    fn bind_udp(&self, _: SocketAddr, _: SocketAddr) -> OpenFuture<UdpSocket> {
        Box::pin(ready(Err(io::ErrorKind::Unsupported.into())))
    }
}
