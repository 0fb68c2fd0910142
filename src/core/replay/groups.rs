//! Requests, counted by who asked for what, and by what decides.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::canonical_ip::CanonicalIp;
use crate::outcome::RefuseReason;
use crate::policy::{Policy, RuleId};

/// Groups that are kept apart. What comes later is counted together: a log has no end, memory has.
const MAX_GROUPS: usize = 10_000;
/// Groups that are written, the largest first.
const MAX_WRITTEN: usize = 1000;
/// Longest name that is kept, in characters: no DNS name is longer.
const MAX_NAME: usize = 253;

#[derive(Debug, Default)]
pub(super) struct Groups {
    counts: HashMap<Group, u64>,
    /// Requests that found no place in `counts`.
    others: u64,
    total: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Group {
    /// An IPv4 address, or the first address of an IPv6 /64.
    client: IpAddr,
    /// As it was requested; empty if the log has none.
    name: Box<str>,
    port: Option<u16>,
    why: Why,
}

/// What decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Why {
    /// Refused by the list. `None`: no rule matches.
    Rule(RefuseReason, Option<RuleId>),
    /// Refused before the list is asked for the name.
    Reason(RefuseReason),
    Allowed(Option<RuleId>),
    Nameless,
}

impl Group {
    pub(super) fn new(client: CanonicalIp, name: &str, port: Option<u16>, why: Why) -> Self {
        let client = match client.get() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
            v4 @ IpAddr::V4(_) => v4,
        };
        // The clients chose it.
        let shown = |c: char| if c.is_ascii_graphic() { c.to_ascii_lowercase() } else { '?' };
        let name: String = name.chars().take(MAX_NAME).map(shown).collect();
        Self { client, name: name.into(), port, why }
    }
}

impl Groups {
    pub(super) fn add(&mut self, group: Group) {
        self.total += 1;
        if let Some(count) = self.counts.get_mut(&group) {
            *count += 1;
        } else if self.counts.len() < MAX_GROUPS {
            self.counts.insert(group, 1);
        } else {
            self.others += 1;
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// One group a line, the largest first.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, policy: &Policy) -> fmt::Result {
        let mut rows: Vec<(&Group, u64)> = self.counts.iter().map(|(group, count)| (group, *count)).collect();
        rows.sort_unstable_by(|(a, more), (b, less)| {
            let key = |group: &Group| (group.name.clone(), group.port, group.client);
            less.cmp(more).then_with(|| key(a).cmp(&key(b)))
        });
        let written = rows.get(..MAX_WRITTEN).unwrap_or(&rows);
        for (group, count) in written {
            let client = match group.client {
                IpAddr::V6(network) => format!("{network}/64"),
                IpAddr::V4(address) => address.to_string(),
            };
            let asked = match (&*group.name, group.port) {
                ("", None) => "?".to_owned(),
                ("", Some(port)) => format!("port {port}"),
                (name, None) => name.to_owned(),
                (name, Some(port)) => format!("{name}:{port}"),
            };
            writeln!(f, "{:<9} {count:>8}  {client}  {asked}  {}", "", group.why.text(policy))?;
        }
        let rest: u64 = rows.iter().skip(written.len()).map(|(_, count)| count).sum();
        match rest + self.others {
            0 => Ok(()),
            more => writeln!(f, "{:<9} {more:>8}  in further groups", ""),
        }
    }
}

impl Why {
    fn text(self, policy: &Policy) -> String {
        let by = |rule: Option<RuleId>| match rule.and_then(|id| Some((id, policy.rule(id)?))) {
            Some((id, rule)) => format!("by {}  {}", policy.named_label(id), rule.text),
            None => "because no rule matches".to_owned(),
        };
        match self {
            Self::Rule(reason, rule) => format!("{} {}", reason.word(), by(rule)),
            Self::Reason(reason) => format!("{}{}", reason.word(), explained(reason)),
            Self::Allowed(rule) => format!("allowed {}", by(rule)),
            Self::Nameless => String::new(),
        }
    }
}

fn explained(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::PortDenied => ": not in `connect_ports`, or for http:// not in `http_ports`",
        RefuseReason::HostIpAddress => ": an address is not a name",
        RefuseReason::OriginForm => ": a proxy is asked by CONNECT or for http://",
        RefuseReason::TraceMethod => ": TRACE is answered with 405",
        RefuseReason::SchemeUnsupported => ": only CONNECT and http:// are forwarded",
        _ => "",
    }
}
