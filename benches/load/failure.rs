//! Why a request got no answer, in one word each.

use std::error::Error as _;
use std::fmt;
use std::io::{self, ErrorKind};

use serde::{Deserialize, Serialize};

/// The kinds of failures. The last three are the generator's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Nothing listens there.
    ConnectionRefused,
    /// No way there, or no answer to the connection within the kernel's own time.
    Unreachable,
    /// The handshake was refused, or the certificate.
    Tls,
    Reset,
    /// The connection ended before the answer was complete.
    ShortAnswer,
    /// What came is not HTTP.
    InvalidAnswer,
    /// Not complete within `--timeout`.
    Timeout,
    /// The user still waited for earlier answers, too many or too long.
    NotSent,
    NoSourcePort,
    NoDescriptor,
    Other,
}

impl Failure {
    /// As in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::ConnectionRefused => "connection_refused",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::ShortAnswer => "short_answer",
            Self::InvalidAnswer => "invalid_answer",
            Self::Timeout => "timeout",
            Self::NotSent => "not_sent",
            Self::NoSourcePort => "no_source_port",
            Self::NoDescriptor => "no_descriptor",
            Self::Other => "other",
        }
    }
}

/// One failure, with what the library says about it.
#[derive(Debug)]
pub struct Failed {
    pub kind: Failure,
    pub detail: String,
    /// Nothing of an answer had come.
    pub unanswered: bool,
}

impl Failed {
    pub fn new(kind: Failure, detail: impl fmt::Display) -> Self {
        Self { kind, detail: detail.to_string(), unanswered: false }
    }

    /// Of sockets and TLS.
    pub fn io(error: &io::Error) -> Self {
        Self::new(kind_of(error), error)
    }

    /// Of an exchange.
    pub fn http(error: &hyper::Error) -> Self {
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(io) = inner.downcast_ref::<io::Error>() {
                return Self::io(io);
            }
            cause = inner.source();
        }
        let kind = if error.is_parse() {
            Failure::InvalidAnswer
        } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            Failure::ShortAnswer
        } else {
            Failure::Other
        };
        Self::new(kind, error)
    }

    pub fn unanswered(self) -> Self {
        Self { unanswered: true, ..self }
    }

    /// On a kept connection: the other side closed it while it was idle. Clients send such a request again.
    pub fn is_closed(&self) -> bool {
        self.unanswered && matches!(self.kind, Failure::Reset | Failure::ShortAnswer)
    }
}

fn kind_of(error: &io::Error) -> Failure {
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return Failure::Tls;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::ConnectionRefused,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Failure::Reset,
        ErrorKind::UnexpectedEof => Failure::ShortAnswer,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::TimedOut => Failure::Unreachable,
        ErrorKind::AddrNotAvailable => Failure::NoSourcePort,
        _ if [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
            .iter()
            .any(|full| error.raw_os_error() == Some(full.raw_os_error())) =>
        {
            Failure::NoDescriptor
        }
        _ => Failure::Other,
    }
}
