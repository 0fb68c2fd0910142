//! How a connection can end, and the one fixed word for each ending.
//!
//! The access log, the metrics, `explain` and `docs/reasons.md` use the same words; a test compares the table in that
//! file with the lists below.

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The upstream was connected, and bytes were relayed.
    Relayed(Close),
    /// The client, or what it requested, is not allowed.
    Refused(RefuseReason),
    /// The client is allowed, but DNS, the upstream or this machine failed.
    Failed(Failure),
    /// A health check or a port scan: nothing was requested. Counted, not logged.
    Probe(Probe),
    /// It ended before anything was decided.
    Unfinished(Unfinished),
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Self::Relayed(_) => "relayed",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Probe(_) => "probe",
            Self::Unfinished(_) => "unfinished",
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Self::Relayed(close) => close.word(),
            Self::Refused(reason) => reason.word(),
            Self::Failed(failure) => failure.word(),
            Self::Probe(probe) => probe.word(),
            Self::Unfinished(unfinished) => unfinished.word(),
        }
    }

    /// Its index in [`Outcome::all`].
    pub fn index(self) -> usize {
        let (relayed, refused) = (Close::ALL.len(), RefuseReason::ALL.len());
        let (failed, probe) = (Failure::ALL.len(), Probe::ALL.len());
        match self {
            Self::Relayed(close) => close.index(),
            Self::Refused(reason) => relayed + reason.index(),
            Self::Failed(failure) => relayed + refused + failure.index(),
            Self::Probe(probe) => relayed + refused + failed + probe.index(),
            Self::Unfinished(unfinished) => relayed + refused + failed + probe + unfinished.index(),
        }
    }

    /// Every outcome with every reason, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        let relayed = Close::ALL.iter().map(|&close| Self::Relayed(close));
        let refused = RefuseReason::ALL.iter().map(|&reason| Self::Refused(reason));
        let failed = Failure::ALL.iter().map(|&failure| Self::Failed(failure));
        let probe = Probe::ALL.iter().map(|&probe| Self::Probe(probe));
        let unfinished = Unfinished::ALL.iter().map(|&unfinished| Self::Unfinished(unfinished));
        relayed.chain(refused).chain(failed).chain(probe).chain(unfinished)
    }
}

/// Bytes written to the receiving socket, in each direction: `up` from client to upstream, `down` the other way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByteCounts {
    pub up: u64,
    pub down: u64,
}

impl ByteCounts {
    /// What has been added since an earlier count.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { up: self.up.saturating_sub(before.up), down: self.down.saturating_sub(before.down) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Upstream,
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

/// A closed list of reasons: each variant has one word.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its index in [`Self::ALL`].
            #[expect(clippy::as_conversions, reason = "variants without values are numbered from 0 in their order")]
            fn index(self) -> usize {
                self as usize
            }

            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

reasons! {
    /// How a relayed connection closed.
    Close {
        /// Both sides sent their FIN.
        Done = "done",
        /// No byte moved in either direction for `timeouts.idle`.
        Idle = "idle",
        ClientReset = "client_reset",
        UpstreamReset = "upstream_reset",
        /// A new access list forbids it, and `on_reload` is `close`.
        Forbidden = "forbidden",
        /// Cut at the end of `drain.timeout`, or by a second signal.
        Drained = "drained",
        /// An HTTP/1 connection between two requests, closed because the process is draining; nothing was cut.
        DrainIdle = "drain_idle",
    }
}

reasons! {
    /// Why a client was refused.
    RefuseReason {
        /// The TCP peer is not in `proxy_protocol.trusted`.
        UntrustedPeer = "untrusted_peer",
        /// The first bytes are not the PROXY v2 signature.
        ProxyMissing = "proxy_missing",
        /// A PROXY v1 (text) header.
        ProxyV1 = "proxy_v1",
        /// Version, command, lengths or TLVs contradict the specification.
        ProxyMalformed = "proxy_malformed",
        /// UDP, UNIX or UNSPEC: no address for the access list.
        ProxyUnsupported = "proxy_unsupported",
        /// The CRC32C TLV does not match.
        ProxyChecksum = "proxy_checksum",
        /// The access list denies the client for every name.
        ClientDenied = "client_denied",
        /// Header and hello were not complete within `timeouts.handshake`.
        HandshakeTimeout = "handshake_timeout",
        /// The hello arrived slower than `limits.handshake_rate`, measured from its first byte.
        HandshakeSlow = "handshake_slow",
        /// `limits.connections`, `half_open` or `half_open_bytes` is reached, or open files or memory ran out.
        Overloaded = "overloaded",
        /// `limits.half_open_per_client`.
        ClientHalfOpen = "client_half_open",
        /// `limits.per_client.connections`.
        ClientConnections = "client_connections",
        /// `limits.per_client.per_second`.
        ClientRate = "client_rate",
        /// `limits.per_name.connections`.
        NameConnections = "name_connections",
        /// `limits.per_name.per_second`.
        NameRate = "name_rate",
        /// Too many lookups of names that are not in the cache (`limits.lookups_per_second`) to resolve this one in time.
        LookupRate = "lookup_rate",
        NotTls = "not_tls",
        /// An HTTP request on a TLS listener.
        PlainHttp = "plain_http",
        Sslv2 = "sslv2",
        HelloMalformed = "hello_malformed",
        HelloTooLong = "hello_too_long",
        SniMissing = "sni_missing",
        SniInvalid = "sni_invalid",
        SniIpAddress = "sni_ip_address",
        /// Two names, or two server_name extensions.
        SniAmbiguous = "sni_ambiguous",
        NotHttp = "not_http",
        /// A ClientHello on an HTTP listener.
        TlsOnHttp = "tls_on_http",
        Http09 = "http09",
        /// HTTP/2 with prior knowledge on a cleartext listener.
        Http2Preface = "http2_preface",
        /// CONNECT: this is not a forward proxy.
        ConnectMethod = "connect_method",
        /// A request to a forward proxy without the absolute target that it needs (RFC 9112 §3.2.2).
        OriginForm = "origin_form",
        /// An absolute target of another scheme than `http`.
        SchemeUnsupported = "scheme_unsupported",
        /// CONNECT without a port.
        PortMissing = "port_missing",
        /// A target with userinfo, a fragment, an empty host or a port that is not a plain number.
        TargetInvalid = "target_invalid",
        /// TRACE, which shows the client's fields to whoever reads the response.
        TraceMethod = "trace_method",
        /// The request has been forwarded by a proxy of this fleet before.
        ViaLoop = "via_loop",
        /// OPTIONS with `Max-Forwards: 0`, which this proxy answers itself (RFC 9110 §7.6.2).
        MaxForwards = "max_forwards",
        HeadMalformed = "head_malformed",
        HeadTooLong = "head_too_long",
        HostMissing = "host_missing",
        HostInvalid = "host_invalid",
        HostIpAddress = "host_ip_address",
        /// Two Host fields, or a Host that differs from an absolute-form target.
        HostAmbiguous = "host_ambiguous",
        /// The port in Host is not the listener's public port.
        HostPort = "host_port",
        /// A later request on the connection has another host than the first.
        HostChanged = "host_changed",
        /// A chunked body that two parsers could understand differently, or bytes where no body is allowed.
        BodyMalformed = "body_malformed",
        /// The client did not finish the body of its request within `timeouts.idle`.
        BodyTimeout = "body_timeout",
        /// The client ended its side of the connection before the body of its request was complete.
        BodyCut = "body_cut",
        /// What came through CONNECT is not TLS, and `tunnel` is `tls`.
        TunnelNotTls = "tunnel_not_tls",
        /// The ClientHello in a tunnel has no server name.
        TunnelSniMissing = "tunnel_sni_missing",
        /// The SNI in a tunnel is neither the name in CONNECT nor one that this client may reach on this port.
        TunnelSniDenied = "tunnel_sni_denied",
        /// The access list denies this client this name.
        NameDenied = "name_denied",
        /// The request asks for a port that is not in the listener's `connect_ports` or `http_ports`.
        PortDenied = "port_denied",
        /// The name does not exist, or has no address.
        NameUnknown = "name_unknown",
        /// The name's addresses are outside `upstream.allowed_networks`.
        DestinationForbidden = "destination_forbidden",
        /// The name's addresses are those of the load balancer or of this proxy.
        PointsToSelf = "points_to_self",
    }
}

reasons! {
    /// What failed before the upstream was connected, or before it answered a request that was rewritten for it.
    Failure {
        DnsTimeout = "dns_timeout",
        /// SERVFAIL, REFUSED, a referral, an invalid answer, or a resolver that cannot be reached.
        DnsFailed = "dns_failed",
        ConnectTimeout = "connect_timeout",
        ConnectRefused = "connect_refused",
        ConnectUnreachable = "connect_unreachable",
        /// No local port is free for this address (EADDRNOTAVAIL).
        NoLocalPort = "no_local_port",
        /// Any other error of connect.
        ConnectFailed = "connect_failed",
        /// The response to a request that a forward proxy has passed on is not HTTP/1, or its end is ambiguous.
        ResponseMalformed = "response_malformed",
        /// The upstream closed the connection before it answered.
        UpstreamClosed = "upstream_closed",
        /// The upstream took the request and did not begin an answer within `timeouts.idle`.
        ResponseTimeout = "response_timeout",
    }
}

impl Failure {
    /// What one connect can come to.
    pub const OF_CONNECT: [Self; 5] =
        [Self::ConnectTimeout, Self::ConnectRefused, Self::ConnectUnreachable, Self::NoLocalPort, Self::ConnectFailed];
}

reasons! {
    /// What a connection was that requested nothing.
    Probe {
        /// Closed without a byte.
        Empty = "empty",
        /// A PROXY header with the command LOCAL and nothing after it: the load balancer's own health check.
        Local = "local",
    }
}

reasons! {
    /// What ended a connection before anything was decided.
    Unfinished {
        /// The client closed or reset before its header or hello was complete, or before its name could be looked up.
        ClientLeft = "client_left",
        /// The process stopped.
        Stopped = "stopped",
        /// A bug: the session was dropped without an outcome.
        Lost = "lost",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_index_is_the_position_in_the_list() {
        assert!(Outcome::all().enumerate().all(|(position, outcome)| outcome.index() == position));
    }

    #[test]
    fn words_are_unique_and_fit_a_metric_label() {
        let mut seen = HashSet::new();
        for outcome in Outcome::all() {
            let reason = outcome.reason();
            assert!(seen.insert(reason), "{reason} is used twice");
            assert!(reason.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{reason}");
        }
    }
}
