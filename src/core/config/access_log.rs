//! The access log: where its lines go, which connections have one, and what is in it.

use std::num::NonZeroU32;
use std::path::PathBuf;

#[derive(Debug, Clone)]
pub struct AccessLog {
    pub format: LogFormat,
    pub output: LogOutput,
    pub keep: LogKeep,
    /// What is in a JSON line, in this order; `None`: everything.
    pub fields: Option<Box<[LogField]>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    /// The incumbent's nginx line.
    Nginx,
    /// Squid's native line.
    Squid,
}

/// Which connections have a line in the log; metrics count all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKeep {
    All,
    /// Those that were refused, failed or did not finish.
    Failures,
    /// Those, and one of so many that were relayed.
    Sample(NonZeroU32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    Stdout,
    File(PathBuf),
}

/// The keys at the top level of a JSON line, in their usual order.
macro_rules! fields {
    ($($field:ident = $word:literal,)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum LogField {
            $($field,)+
        }

        impl LogField {
            pub const ALL: &[(&str, Self)] = &[$(($word, Self::$field),)+];
        }
    };
}

fields! {
    Time = "time",
    Id = "id",
    Listener = "listener",
    Peer = "peer",
    Client = "client",
    ClientPort = "client_port",
    Vpce = "vpce",
    Rule = "rule",
    Name = "name",
    Upstream = "upstream",
    Outcome = "outcome",
    Reason = "reason",
    Detail = "detail",
    BytesUp = "bytes_up",
    BytesDown = "bytes_down",
    HeaderMs = "header_ms",
    HelloMs = "hello_ms",
    DnsMs = "dns_ms",
    ConnectMs = "connect_ms",
    TotalMs = "total_ms",
    ClosedBy = "closed_by",
    DnsStale = "dns_stale",
    Hello = "hello",
    Forward = "forward",
    Request = "request",
}
