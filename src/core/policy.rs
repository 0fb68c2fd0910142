//! The access list. Ordered rules, first match wins, nothing matches = deny.
//!
//! A connection is checked twice: whether the client may be allowed at all ([`Policy::admit`], before a name is known),
//! and whether it may go to the requested name ([`Policy::route`]). Whether the address behind the name may be dialled is
//! checked by the [`DestinationGuard`]. A [`Policy`] never changes; a reload makes a new one.

mod blocks;
pub mod changes;
pub mod diff;
pub mod hits;
pub mod import;
mod index;
mod lint;
mod pattern;
pub mod ranges;
pub mod destination;
mod read;
mod raw;
mod values;

use std::fmt;
use std::time::SystemTime;

use ipnet::IpNet;

use crate::client::{Client, EndpointId};
use crate::config::{self, Protocol};
use crate::diagnostic::{Diagnostic, Origin};
use crate::hostname::Hostname;
use crate::yaml;
pub use destination::{DestinationGuard, Destinations};
use index::Index;
pub use pattern::NamePattern;
pub use values::endpoint;

#[derive(Debug)]
pub struct Policy {
    origin: Origin,
    /// The file's name, as logs show it: `ipcontrol.yaml`.
    source: Box<str>,
    rules: Vec<Rule>,
    /// Warnings found while reading.
    notes: Vec<Diagnostic>,
    index: Index,
}

/// One rule: an action, and conditions which must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub action: Action,
    pub sources: Sources,
    /// Requested names; empty = any, but on a `forward` listener none for an allow rule: it must say so itself.
    pub to: Box<[NamePattern]>,
    /// Names of listeners; empty = any.
    pub listeners: Box<[Box<str>]>,
    /// Ports as in [`RequestedPort`]; empty = any.
    pub ports: Box<[u16]>,
    /// VPC endpoints that the client came through; empty = any, or none.
    pub via: Box<[EndpointId]>,
    /// When the rule stops to hold; `None`: never.
    pub until: Option<SystemTime>,
    /// The operator's name for the rule.
    pub name: Option<Box<str>>,
    pub line: u32,
    pub column: u32,
    /// The rule as written, on one line.
    pub text: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Allow,
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sources {
    /// Every client, by IPv4 and IPv6.
    All,
    Networks(Box<[IpNet]>),
}

/// A rule's position in its list, from 0: lower rules decide first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u32);

/// The listener that a client came through, the port that it asks for, and the time.
#[derive(Debug, Clone, Copy)]
pub struct ListenerView<'a> {
    pub name: &'a str,
    /// What `port:` in a rule means.
    pub port: RequestedPort,
    /// The current time, for `until:`.
    pub now: SystemTime,
}

/// The port that a rule's `port:` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedPort {
    /// The port that the client connected to: `public_port` of a `tls` or `http` listener.
    Public(u16),
    /// The port that the client of a `forward` listener asks for; `None`: not known yet.
    Destination(Option<u16>),
}

/// The decision about a client before a name is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Denied for every name. The rule that decides; `None`: no rule matches.
    Denied(Option<RuleId>),
    /// There may be a name for which it is allowed.
    Possible,
}

/// The first condition of a rule that a connection does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    Source,
    Name,
    /// The rule has names, and none is known yet.
    NameUnknown,
    /// An allow rule without `to:`, which allows nothing on a `forward` listener.
    NoName,
    Listener,
    Port,
    /// The rule has ports, and the one asked for is not known yet.
    PortUnknown,
    Endpoint,
    Ended,
}

/// The decision about a client and a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// The rule that decided; `None`: no rule matches, so the client is denied.
    pub rule: Option<RuleId>,
    /// The name, if some rule has exactly it in `to:`.
    pub name: Option<NameId>,
}

/// The number of a name that a list has exactly in `to:`; below [`Policy::name_ids`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameId(u32);

impl Policy {
    /// Parses an access list from bytes, which must be UTF-8; see [`parse`](Self::parse).
    pub fn parse_bytes(bytes: Vec<u8>, origin: Origin) -> Result<Self, Vec<Diagnostic>> {
        let text = yaml::text(bytes, origin.clone()).map_err(|diagnostic| vec![diagnostic])?;
        Self::parse(&text, origin)
    }

    /// Parses an access list; `origin` names it in messages and in the labels of rules.
    ///
    /// # Errors
    ///
    /// All errors that were found, at most 25.
    pub fn parse(text: &str, origin: Origin) -> Result<Self, Vec<Diagnostic>> {
        let source = match &origin {
            Origin::File(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into(),
            Origin::Variable(name) => name.as_ref().into(),
            Origin::Defaults => "defaults".into(),
        };
        let (rules, notes) = read::rules(text, origin.clone())?;
        let index = Index::new(&rules);
        Ok(Self { origin, source, rules, notes, index })
    }

    /// Whether the client may be allowed for some name. Decided right after the PROXY header.
    pub fn admit(&self, client: &Client, listener: &ListenerView<'_>) -> Admission {
        self.index.admit(&self.rules, client, listener)
    }

    /// Whether the client may go to this name.
    pub fn route(&self, client: &Client, listener: &ListenerView<'_>, name: &Hostname) -> Decision {
        self.index.route(&self.rules, client, listener, name)
    }

    /// The number of this name, if some rule has exactly it in `to:`.
    pub fn name_id(&self, name: &Hostname) -> Option<NameId> {
        self.index.name_id(name)
    }

    /// All numbers of names are below this one.
    pub fn name_ids(&self) -> usize {
        self.index.name_ids()
    }

    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.index())
    }

    pub fn rules(&self) -> impl ExactSizeIterator<Item = (RuleId, &Rule)> {
        self.rules.iter().enumerate().map(|(index, rule)| (RuleId::new(index), rule))
    }

    /// The rule's file and line: `ipcontrol.yaml:12`.
    pub fn label(&self, id: RuleId) -> RuleLabel<'_> {
        RuleLabel { source: &self.source, line: self.rule(id).map_or(0, |rule| rule.line), name: None }
    }

    /// The label with the rule's name, if it has one: `ipcontrol.yaml:12 [partner]`.
    pub fn named_label(&self, id: RuleId) -> RuleLabel<'_> {
        RuleLabel { name: self.rule(id).and_then(|rule| rule.name.as_deref()), ..self.label(id) }
    }
}

impl Rule {
    /// The first condition that does not hold; `None` if the rule matches. For explanations: decisions come from the
    /// index.
    pub fn mismatch(&self, client: &Client, listener: &ListenerView<'_>, name: Option<&Hostname>) -> Option<Mismatch> {
        let ip = client.ip.get();
        let source = match &self.sources {
            Sources::All => true,
            Sources::Networks(networks) => networks.iter().any(|network| network.contains(&ip)),
        };
        let any_or = |empty: bool, holds: bool| empty || holds;
        let port_known = listener.port.known();
        let checks = [
            (source, Mismatch::Source),
            (
                any_or(self.listeners.is_empty(), self.listeners.iter().any(|l| **l == *listener.name)),
                Mismatch::Listener,
            ),
            (!(self.names_nothing() && listener.port.is_destination()), Mismatch::NoName),
            (any_or(self.ports.is_empty(), port_known.is_none_or(|port| self.ports.contains(&port))), Mismatch::Port),
            (any_or(self.via.is_empty(), client.endpoint.is_some_and(|id| self.via.contains(&id))), Mismatch::Endpoint),
            (self.until.is_none_or(|end| listener.now < end), Mismatch::Ended),
            (any_or(self.ports.is_empty(), port_known.is_some()), Mismatch::PortUnknown),
            (any_or(self.takes_every_name(), name.is_some()), Mismatch::NameUnknown),
            (
                any_or(self.takes_every_name(), name.is_none_or(|name| self.to.iter().any(|p| p.matches(name)))),
                Mismatch::Name,
            ),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map(|(_, mismatch)| mismatch)
    }

    /// Whether the conditions on listener, port and time hold. One on the port does not while the port is not known.
    #[inline]
    fn holds_on(&self, listener: &ListenerView<'_>) -> bool {
        (self.listeners.is_empty() || self.listeners.iter().any(|name| **name == *listener.name))
            && (self.ports.is_empty() || listener.port.known().is_some_and(|port| self.ports.contains(&port)))
            && self.until.is_none_or(|end| listener.now < end)
            && !(self.names_nothing() && listener.port.is_destination())
    }

    /// Whether it allows some client to go to this name.
    pub fn lets_someone_to(&self, name: &Hostname, listener: &ListenerView<'_>) -> bool {
        let names = || self.takes_every_name() || self.to.iter().any(|pattern| pattern.matches(name));
        self.action == Action::Allow && self.holds_on(listener) && names()
    }

    fn takes_every_name(&self) -> bool {
        self.to.is_empty() || self.to.contains(&NamePattern::Any)
    }

    /// Whether it allows any name without saying so: on a `forward` listener it allows none.
    fn names_nothing(&self) -> bool {
        self.action == Action::Allow && self.to.is_empty()
    }
}

impl<'a> ListenerView<'a> {
    /// The listener as a client finds it; on a `forward` listener the port is not known yet.
    pub fn of(listener: &'a config::Listener, now: SystemTime) -> Self {
        let port = match listener.protocol {
            Protocol::Tls | Protocol::Http => RequestedPort::Public(listener.public_port),
            Protocol::Forward => RequestedPort::Destination(None),
        };
        Self { name: &listener.name, port, now }
    }

    /// The same with the port that the client of a `forward` listener asks for; unchanged for other listeners.
    pub fn to_port(self, port: u16) -> Self {
        match self.port {
            RequestedPort::Public(_) => self,
            RequestedPort::Destination(_) => Self { port: RequestedPort::Destination(Some(port)), ..self },
        }
    }
}

impl RequestedPort {
    fn known(self) -> Option<u16> {
        match self {
            Self::Public(port) => Some(port),
            Self::Destination(port) => port,
        }
    }

    fn is_destination(self) -> bool {
        matches!(self, Self::Destination(_))
    }
}

impl NameId {
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl RuleId {
    fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("a file of 4 MiB has less than 2^32 rules"))
    }

    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Displays a rule as `file:line`, or as `file:line [name]`.
#[derive(Debug, Clone, Copy)]
pub struct RuleLabel<'a> {
    source: &'a str,
    line: u32,
    name: Option<&'a str>,
}

impl fmt::Display for RuleLabel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)?;
        self.name.map_or(Ok(()), |name| write!(f, " [{name}]"))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "another source",
            Self::Name => "another name",
            Self::NameUnknown => "only for some names",
            Self::NoName => "without `to:` it allows nothing on a forward listener",
            Self::Listener => "another listener",
            Self::Port => "another port",
            Self::PortUnknown => "only for some ports",
            Self::Endpoint => "another VPC endpoint",
            Self::Ended => "it has ended",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

#[cfg(test)]
mod tests;
