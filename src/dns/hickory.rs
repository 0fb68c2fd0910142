//! One question by hickory-resolver: it sends the message, waits for the answer to it, and holds the connection. What
//! comes is judged where it is received (`sockets.rs`), before hickory drops it or logs a warning for each.
//!
//! Each question has a pool of its own, so nothing is shared between questions: not a connection whose end would fail
//! all who wait on it, not an equal question that was sent before and may be lost. hickory's `Resolver` adds what is not
//! wanted here: a cache, retries, and aliases followed only in the order in which they come.

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
use super::message::Reply;
use super::sockets::{Conclusion, Ignored, Tcp, Udp};

pub(super) struct Hickory {
    server: SocketAddr,
    context: Arc<PoolContext>,
    pub(super) ignored: Arc<Ignored>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Over {
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
    pub(super) async fn ask(&self, over: Over, request: DnsRequest) -> Result<Reply, LookupError> {
        let mut connection = match over {
            Over::Udp => ConnectionConfig::udp(),
            Over::Tcp => ConnectionConfig::tcp(),
        };
        connection.port = self.server.port();
        let server = NameServerConfig::new(self.server.ip(), true, vec![connection]);
        let runtime = Runtime {
            handle: TokioHandle::default(),
            server: self.server,
            conclusion: Arc::default(),
            ignored: Arc::clone(&self.ignored),
        };
        let conclusion = Arc::clone(&runtime.conclusion);
        let pool = NameServerPool::from_config([server], Arc::clone(&self.context), Connections(runtime));
        let response = pool.send(request).first_answer().await;
        // hickory has one error for all that it could not send or receive.
        conclusion.take().unwrap_or_else(|| {
            tracing::debug!(?response, "DNS question without a conclusion");
            Err(if matches!(response, Err(NetError::Timeout)) { LookupError::Timeout } else { LookupError::Failed })
        })
    }
}

/// What hickory's connections stand on: for one question.
#[derive(Clone)]
struct Runtime {
    handle: TokioHandle,
    server: SocketAddr,
    conclusion: Arc<Conclusion>,
    ignored: Arc<Ignored>,
}

type Opening<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl RuntimeProvider for Runtime {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Udp;
    type Tcp = Tcp;

    fn create_handle(&self) -> TokioHandle {
        self.handle.clone()
    }

    /// To the server as it is configured: hickory's address has no scope.
    fn connect_tcp(&self, _: SocketAddr, _: Option<SocketAddr>, _: Option<Duration>) -> Opening<Tcp> {
        Box::pin(Tcp::open(self.server, Arc::clone(&self.conclusion)))
    }

    fn bind_udp(&self, local: SocketAddr, _: SocketAddr) -> Opening<Udp> {
        Box::pin(Udp::open(local, self.server, Arc::clone(&self.conclusion), Arc::clone(&self.ignored)))
    }
}

/// hickory's own connections, but a datagram is sent once. When it is sent again is decided in `wire.rs`.
#[derive(Clone)]
struct Connections(Runtime);

impl ConnectionProvider for Connections {
    type Conn = DnsExchange<Runtime>;
    type FutureConn = Pin<Box<dyn Future<Output = Result<Self::Conn, NetError>> + Send>>;
    type RuntimeProvider = Runtime;

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

    fn runtime_provider(&self) -> &Runtime {
        &self.0
    }
}
