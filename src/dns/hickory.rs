//! One query by hickory-resolver: it sends the message, waits for the response, and owns the connection. Messages are
//! classified where they are received (`sockets.rs`), before hickory drops them or logs a warning for each.
//!
//! Each query has its own pool, so nothing is shared between queries: not a connection whose end would fail all of
//! them, nor an equal query that was sent before and may be lost. hickory's `Resolver` has features not wanted here: a
//! cache, retries, and aliases that are followed only in the order of the records.

use std::future::ready;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioHandle, TokioTime};
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsExchange, DnsHandle, FirstAnswer};
use hickory_resolver::proto::op::DnsRequest;
use hickory_resolver::{ConnectionProvider, NameServerPool, PoolContext, TlsConfig};

use super::LookupError;
use super::message::Response;
use super::sockets::{IgnoredMessages, QueryOutcome, Tcp, Udp};

pub(super) struct Hickory {
    server: SocketAddr,
    context: Arc<PoolContext>,
    pub(super) ignored: Arc<IgnoredMessages>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

impl Hickory {
    pub(super) fn new(server: SocketAddr, deadline: Duration) -> Self {
        let mut options = ResolverOpts::default();
        options.timeout = deadline;
        // The kernel chooses at random as well, and only what is free.
        options.os_port_selection = true;
        let context = Arc::new(PoolContext::new(options, TlsConfig {}));
        Self { server, context, ignored: Arc::default() }
    }

    /// Sends `request` once.
    pub(super) async fn query(&self, transport: Transport, request: DnsRequest) -> Result<Response, LookupError> {
        let mut connection = match transport {
            Transport::Udp => ConnectionConfig::udp(),
            Transport::Tcp => ConnectionConfig::tcp(),
        };
        connection.port = self.server.port();
        let server = NameServerConfig::new(self.server.ip(), true, vec![connection]);
        let runtime = HickoryRuntime {
            handle: TokioHandle::default(),
            server: self.server,
            outcome: Arc::default(),
            ignored: Arc::clone(&self.ignored),
        };
        let outcome = Arc::clone(&runtime.outcome);
        let pool = NameServerPool::from_config([server], Arc::clone(&self.context), ConnectionFactory(runtime));
        let response = pool.send(request).first_answer().await;
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
    ignored: Arc<IgnoredMessages>,
}

type OpenFuture<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl RuntimeProvider for HickoryRuntime {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Udp;
    type Tcp = Tcp;

    fn create_handle(&self) -> TokioHandle {
        self.handle.clone()
    }

    /// To the server as configured: hickory's address has no scope.
    fn connect_tcp(&self, _: SocketAddr, _: Option<SocketAddr>, _: Option<Duration>) -> OpenFuture<Tcp> {
        Box::pin(Tcp::open(self.server, Arc::clone(&self.outcome)))
    }

    fn bind_udp(&self, local: SocketAddr, _: SocketAddr) -> OpenFuture<Udp> {
        Box::pin(Udp::open(local, self.server, Arc::clone(&self.outcome), Arc::clone(&self.ignored)))
    }
}

/// hickory's own connections, except that a datagram is sent once. Retries are decided in `wire.rs`.
#[derive(Clone)]
struct ConnectionFactory(HickoryRuntime);

impl ConnectionProvider for ConnectionFactory {
    type Conn = DnsExchange<HickoryRuntime>;
    type FutureConn = Pin<Box<dyn Future<Output = Result<Self::Conn, NetError>> + Send>>;
    type RuntimeProvider = HickoryRuntime;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        if !matches!(config.protocol, ProtocolConfig::Udp) {
            return self.0.new_connection(ip, config, context);
        }
        let datagrams = UdpClientStream::builder(SocketAddr::new(ip, config.port), self.0.clone())
            .with_timeout(Some(context.options.timeout))
            .with_os_port_selection(context.options.os_port_selection)
            .with_max_retries(1);
        Ok(Box::pin(ready(Ok(datagrams.exchange()))))
    }

    fn runtime_provider(&self) -> &HickoryRuntime {
        &self.0
    }
}
