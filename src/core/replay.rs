//! Yesterday's access log against a list: who would be refused, by which rule and why, before anybody switches.
//!
//! Line by line, and in bounded memory: requests are counted in groups by client, name, port and deciding rule.

mod groups;
mod lines;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

use crate::canonical_ip::CanonicalIp;
use crate::client::{Client, EndpointId};
use crate::config::{Config, Forward, Listener, Protocol, ProxyProtocol};
use crate::hostname::Hostname;
use crate::outcome::RefuseReason;
use crate::policy::{Admission, ListenerView, NamePattern, Policy};
use crate::protocol::ParseError;
use crate::protocol::forward_refused::refused_host;
use crate::protocol::forward_target::Target;
use groups::{Group, Groups, Why};
use lines::{Line, Request};

/// Unreadable lines that are shown.
const MAX_SHOWN: usize = 5;

/// A log while it is read.
#[derive(Debug)]
pub struct Replay<'a> {
    policy: &'a Policy,
    config: &'a Config,
    /// The listener that all requests go to; `None`: the one that fits.
    listener: Option<&'a Listener>,
    /// The VPC endpoint that all clients come through: logs have none.
    via: Option<EndpointId>,
    now: SystemTime,
    /// Whether some rule has names: without any, a line without a name can be decided.
    names_matter: bool,
    lines: u64,
    requests: u64,
    allowed: u64,
    /// Went through, and would be refused.
    refused: Groups,
    /// Was refused, and would be.
    still_refused: Groups,
    /// Was refused, and would go through.
    newly_allowed: Groups,
    /// The log has no name, and the list decides by it.
    undecided: Groups,
    other: BTreeMap<&'static str, u64>,
    unreadable: u64,
    /// The first of them: number and why.
    shown: Vec<(u64, &'static str)>,
}

/// No listener of the configuration is for such a log.
#[derive(Debug, PartialEq, Eq)]
pub struct NoListener(String);

/// The decision about one request.
enum Decided {
    Allowed(Why),
    Refused(Why),
    Undecided,
}

impl<'a> Replay<'a> {
    pub fn new(
        policy: &'a Policy,
        config: &'a Config,
        listener: Option<&'a Listener>,
        via: Option<EndpointId>,
        now: SystemTime,
    ) -> Self {
        let has_names = |pattern: &NamePattern| *pattern != NamePattern::Any;
        Self {
            policy,
            config,
            listener,
            via,
            now,
            names_matter: policy.rules().any(|(_, rule)| rule.to.iter().any(has_names)),
            lines: 0,
            requests: 0,
            allowed: 0,
            refused: Groups::default(),
            still_refused: Groups::default(),
            newly_allowed: Groups::default(),
            undecided: Groups::default(),
            other: BTreeMap::new(),
            unreadable: 0,
            shown: Vec::new(),
        }
    }

    /// The next line, without its end.
    pub fn line(&mut self, line: &[u8]) -> Result<(), NoListener> {
        match lines::parse(line) {
            Line::Request(request) => {
                self.lines += 1;
                self.request(&request)
            }
            Line::Other(why) => {
                self.lines += 1;
                self.other(why)
            }
            Line::Unreadable(why) => {
                self.unreadable(why);
                Ok(())
            }
        }
    }

    /// A line that is not even a line.
    pub fn unreadable(&mut self, why: &'static str) {
        self.lines += 1;
        self.unreadable += 1;
        if self.shown.len() < MAX_SHOWN {
            self.shown.push((self.lines, why));
        }
    }

    /// Requests that went through and would be refused.
    pub fn refused(&self) -> u64 {
        self.refused.total()
    }

    /// Requests for which the log does not say enough.
    pub fn undecided(&self) -> u64 {
        self.undecided.total()
    }

    /// Whether the log has no request that a list decides about; an empty one has none.
    pub fn has_nothing(&self) -> bool {
        self.requests == 0
    }

    fn request(&mut self, request: &Request<'_>) -> Result<(), NoListener> {
        let client = |listener: &Listener| {
            // Without the load balancer's header no client comes through an endpoint that is known.
            let via = self.via.filter(|_| listener.proxy_protocol == ProxyProtocol::Required);
            Client::new(SocketAddr::new(request.client, 0), via)
        };
        let (name, port, decided) = match &request.target {
            lines::Target::Unnamed { port } => match self.unnamed(*port)? {
                None => return self.other("requests on ports that no listener is for"),
                Some(listener) if request.is_peer && listener.proxy_protocol == ProxyProtocol::Required => {
                    return self.other("connections without a PROXY header, like health checks");
                }
                Some(listener) => {
                    let port = Some(port.unwrap_or(listener.public_port));
                    (String::new(), port, self.admit(&client(listener), listener))
                }
            },
            lines::Target::Connect(to) => {
                let listener = self.forward()?;
                self.route(&client(listener), listener, "CONNECT", to)
            }
            lines::Target::Url { method, url } => {
                let listener = self.forward()?;
                self.route(&client(listener), listener, method, url)
            }
        };
        self.requests += 1;
        let (groups, why) = match (decided, request.was_refused) {
            (Decided::Allowed(_), false) => {
                self.allowed += 1;
                return Ok(());
            }
            (Decided::Allowed(why), true) => (&mut self.newly_allowed, why),
            (Decided::Refused(why), false) => (&mut self.refused, why),
            (Decided::Refused(why), true) => (&mut self.still_refused, why),
            (Decided::Undecided, _) => (&mut self.undecided, Why::Nameless),
        };
        groups.add(Group::new(CanonicalIp::new(request.client), &name, port, why));
        Ok(())
    }

    fn other(&mut self, why: &'static str) -> Result<(), NoListener> {
        *self.other.entry(why).or_default() += 1;
        Ok(())
    }

    /// What is asked for, as far as it can be read, and the decision: in the order of the data path.
    fn route(
        &self,
        client: &Client,
        listener: &Listener,
        method: &str,
        target: &str,
    ) -> (String, Option<u16>, Decided) {
        let view = ListenerView::of(listener, self.now);
        let target = asked_for(method, target);
        let (name, port) = match &target {
            Ok((name, port)) => (name.to_string(), Some(*port)),
            Err((_, written)) => (written.clone(), None),
        };
        let decided = match (self.policy.admit(client, &view), target) {
            (Admission::Denied(rule), _) => Decided::Refused(Why::Rule(RefuseReason::ClientDenied, rule)),
            (Admission::Possible, Err((reason, _))) => Decided::Refused(Why::Reason(reason)),
            (Admission::Possible, Ok((_, port))) if !takes(listener, method == "CONNECT", port) => {
                Decided::Refused(Why::Reason(RefuseReason::PortDenied))
            }
            (Admission::Possible, Ok((name, port))) => {
                let decision = self.policy.route(client, &view.to_port(port), &name);
                match decision.allowed {
                    true => Decided::Allowed(Why::Allowed(decision.rule)),
                    false => Decided::Refused(Why::Rule(RefuseReason::NameDenied, decision.rule)),
                }
            }
        };
        (name, port, decided)
    }

    /// Without a name.
    fn admit(&self, client: &Client, listener: &Listener) -> Decided {
        let view = ListenerView::of(listener, self.now);
        match self.policy.admit(client, &view) {
            Admission::Denied(rule) => Decided::Refused(Why::Rule(RefuseReason::ClientDenied, rule)),
            Admission::Possible if self.names_matter => Decided::Undecided,
            Admission::Possible => {
                let any = Hostname::parse(b"name.invalid").ok();
                Decided::Allowed(Why::Allowed(any.and_then(|any| self.policy.route(client, &view, &any).rule)))
            }
        }
    }

    /// The listener for requests to a forward proxy.
    fn forward(&self) -> Result<&'a Listener, NoListener> {
        match self.listener {
            Some(listener) if listener.protocol == Protocol::Forward => Ok(listener),
            Some(listener) => Err(NoListener(format!("the log is of a forward proxy, and {} is none", listener.name))),
            None => self.only(|listener| listener.protocol == Protocol::Forward)?.ok_or_else(|| {
                NoListener("the log is of a forward proxy, and no listener has `protocol: forward`".to_owned())
            }),
        }
    }

    /// The listener for requests on this port, as the log has it: that of clients, or that behind a load balancer.
    fn unnamed(&self, port: Option<u16>) -> Result<Option<&'a Listener>, NoListener> {
        match (self.listener, port) {
            (Some(listener), _) if listener.protocol != Protocol::Forward => Ok(Some(listener)),
            (Some(listener), _) => {
                Err(NoListener(format!("the log is of nginx, and {} is a forward proxy", listener.name)))
            }
            (None, Some(port)) => {
                let mut listeners =
                    self.config.listeners.iter().filter(|listener| listener.protocol != Protocol::Forward);
                let public = listeners.clone().find(|listener| listener.public_port == port);
                Ok(public.or_else(|| listeners.find(|listener| listener.bind.port() == port)))
            }
            (None, None) => self.only(|listener| listener.protocol == Protocol::Http),
        }
    }

    fn only(&self, fits: impl Fn(&Listener) -> bool) -> Result<Option<&'a Listener>, NoListener> {
        let mut found = self.config.listeners.iter().filter(|listener| fits(listener));
        match (found.next(), found.next()) {
            (Some(one), Some(other)) => {
                let names = format!("{} and {}", one.name, other.name);
                Err(NoListener(format!("the log may be of {names}; choose one with --listener NAME")))
            }
            (one, _) => Ok(one),
        }
    }
}

/// Name and port, or why the request is refused, and its host as it was written.
fn asked_for(method: &str, target: &str) -> Result<(Hostname, u16), (RefuseReason, String)> {
    let asked = match Target::of(method, target) {
        Ok(Target { name, .. }) if method == "TRACE" => return Err((RefuseReason::TraceMethod, name.to_string())),
        asked => asked,
    };
    asked.map(|target| (target.name, target.port)).map_err(|error| {
        let reason = match error {
            ParseError::Refuse(reason) => reason,
            ParseError::NeedMore => RefuseReason::TargetInvalid,
        };
        let host = refused_host(method, target).unwrap_or_default();
        (reason, String::from_utf8_lossy(&host).into_owned())
    })
}

/// Whether a `forward` listener takes such a request for this port.
fn takes(listener: &Listener, connect: bool, port: u16) -> bool {
    listener.forward.as_ref().is_some_and(|Forward { connect_ports, http_ports, .. }| {
        if connect { connect_ports.contains(&port) } else { http_ports.contains(&port) }
    })
}

impl fmt::Display for NoListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoListener {}

impl fmt::Display for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<9} {}: {}", "log", count(self.lines, "line"), count(self.requests, "request"))?;
        for (why, number) in &self.other {
            writeln!(f, "{:<9} {number} {why}", "")?;
        }
        if self.unreadable > 0 {
            writeln!(f, "{:<9} {} that cannot be read", "", count(self.unreadable, "line"))?;
            for (line, why) in &self.shown {
                writeln!(f, "{:<9}   line {line}: {why}", "")?;
            }
        }
        writeln!(f, "{:<9} {}, as before", "allowed", count(self.allowed, "request"))?;
        for (label, groups, what) in [
            ("refused", &self.refused, "that went through before"),
            ("still", &self.still_refused, "refused before, and now"),
            ("opened", &self.newly_allowed, "refused before, and allowed now"),
            ("undecided", &self.undecided, "allowed for some names, and the log has no name"),
        ] {
            if groups.total() > 0 {
                writeln!(f, "{label:<9} {} {what}:", count(groups.total(), "request"))?;
                groups.write(f, self.policy)?;
            }
        }
        let undecided = match self.undecided.total() {
            0 => String::new(),
            some => format!("; {} undecided", count(some, "request")),
        };
        match self.refused.total() {
            0 => writeln!(f, "{:<9} no request that went through would be refused{undecided}", "verdict"),
            some => {
                writeln!(f, "{:<9} {} that went through would be refused{undecided}", "verdict", count(some, "request"))
            }
        }
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
