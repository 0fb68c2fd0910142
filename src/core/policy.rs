//! The access list. Ordered rules, first match wins, nothing matches = deny.
//!
//! Two questions are asked on the way of a connection: may this client enter at all ([`Policy::admit`], before a
//! name is known), and may it go to this name ([`Policy::route`]). The third, may we reach that address, is
//! [`reach`]. A [`Policy`] never changes; a reload makes another.

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
use crate::diagnostic::{Diagnostic, Origin};
use crate::hostname::Hostname;
use crate::yaml;
pub use destination::DestinationGuard;
use index::Index;
pub use pattern::NamePattern;
pub use values::endpoint;

#[derive(Debug)]
pub struct Policy {
    origin: Origin,
    /// The file's name, as logs show it: `ipcontrol.yaml`.
    source: Box<str>,
    rules: Vec<Rule>,
    /// What was found doubtful while reading.
    notes: Vec<Diagnostic>,
    index: Index,
}

/// One rule: an action, and conditions which must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub action: Action,
    pub sources: Sources,
    /// Names that the rule is about; empty = any.
    pub to: Box<[NamePattern]>,
    /// Names of listeners; empty = any.
    pub listeners: Box<[Box<str>]>,
    /// Public ports; empty = any.
    pub ports: Box<[u16]>,
    /// VPC endpoints that the client may have come through; empty = any, or none.
    pub via: Box<[EndpointId]>,
    /// The first moment at which the rule no longer holds.
    pub until: Option<SystemTime>,
    /// What the operator calls it.
    pub name: Option<Box<str>>,
    pub line: u32,
    pub column: u32,
    /// The rule as it is written.
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

/// A rule's place in its list: what is lower is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u32);

/// The listener through which a client came, and when.
#[derive(Debug, Clone, Copy)]
pub struct ListenerView<'a> {
    pub name: &'a str,
    /// The port that the client connected to, as `port:` in a rule means it.
    pub public_port: u16,
    /// For `until:`; a rule that has ended is as good as removed.
    pub now: SystemTime,
}

/// What can be said of a client before a name is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Whatever name it asks for; with the rule that says so, if not the silent deny at the end.
    Denied(Option<RuleId>),
    /// There is a name for which it would be allowed.
    Possible,
}

/// Why a rule is not about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    Source,
    Name,
    /// The rule asks for a name, and none is known yet.
    NameUnknown,
    Listener,
    Port,
    Endpoint,
    Ended,
}

/// What is decided about a client and a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// None: no rule matched, so the client is denied.
    pub rule: Option<RuleId>,
}

impl Policy {
    /// The same for a text that came from elsewhere; `origin` names it in messages and in rules' labels.
    pub fn parse_bytes(bytes: Vec<u8>, origin: Origin) -> Result<Self, Vec<Diagnostic>> {
        let text = yaml::text(bytes, origin.clone()).map_err(|diagnostic| vec![diagnostic])?;
        Self::parse(&text, origin)
    }

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

    /// May this client enter? Asked right after the PROXY header.
    pub fn admit(&self, client: &Client, listener: &ListenerView<'_>) -> Admission {
        self.index.admit(&self.rules, client, listener)
    }

    /// May this client go to this name?
    pub fn route(&self, client: &Client, listener: &ListenerView<'_>, name: &Hostname) -> Decision {
        self.index.route(&self.rules, client, listener, name)
    }

    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.index())
    }

    pub fn rules(&self) -> impl ExactSizeIterator<Item = (RuleId, &Rule)> {
        self.rules.iter().enumerate().map(|(index, rule)| (RuleId::new(index), rule))
    }

    /// The rule's place: `ipcontrol.yaml:12`.
    pub fn label(&self, id: RuleId) -> RuleLabel<'_> {
        RuleLabel { source: &self.source, line: self.rule(id).map_or(0, |rule| rule.line), name: None }
    }

    /// The rule as logs name it: `ipcontrol.yaml:12 [partner]`.
    pub fn named_label(&self, id: RuleId) -> RuleLabel<'_> {
        RuleLabel { name: self.rule(id).and_then(|rule| rule.name.as_deref()), ..self.label(id) }
    }
}

impl Rule {
    /// What the rule lacks to match, condition by condition; for explanations. Decisions come from the index.
    pub fn mismatch(&self, client: &Client, listener: &ListenerView<'_>, name: Option<&Hostname>) -> Option<Mismatch> {
        let ip = client.ip.get();
        let source = match &self.sources {
            Sources::All => true,
            Sources::Networks(networks) => networks.iter().any(|network| network.contains(&ip)),
        };
        let any_or = |empty: bool, holds: bool| empty || holds;
        let checks = [
            (source, Mismatch::Source),
            (
                any_or(self.listeners.is_empty(), self.listeners.iter().any(|l| **l == *listener.name)),
                Mismatch::Listener,
            ),
            (any_or(self.ports.is_empty(), self.ports.contains(&listener.public_port)), Mismatch::Port),
            (any_or(self.via.is_empty(), client.endpoint.is_some_and(|id| self.via.contains(&id))), Mismatch::Endpoint),
            (self.until.is_none_or(|end| listener.now < end), Mismatch::Ended),
            (any_or(self.to.is_empty(), name.is_some()), Mismatch::NameUnknown),
            (
                any_or(self.to.is_empty(), name.is_none_or(|name| self.to.iter().any(|p| p.matches(name)))),
                Mismatch::Name,
            ),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map(|(_, mismatch)| mismatch)
    }

    /// Whether the conditions hold that concern neither addresses, names nor endpoints.
    fn is_open(&self, listener: &ListenerView<'_>) -> bool {
        (self.listeners.is_empty() || self.listeners.iter().any(|name| **name == *listener.name))
            && (self.ports.is_empty() || self.ports.contains(&listener.public_port))
            && self.until.is_none_or(|end| listener.now < end)
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

/// Shows a rule as `file:line`, with its name where it was asked for and there is one.
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
            Self::Listener => "another listener",
            Self::Port => "another port",
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
