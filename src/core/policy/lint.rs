//! Warnings about rules that are valid but probably not meant: rules that never match, catch-alls that do not cover
//! everyone, rules that end soon; with a configuration also rules that do not fit its listeners.

mod forward;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use jiff::Timestamp;

use super::ranges::{Covered, Range, decisions};
use super::{Action, NamePattern, Policy, Rule, RuleId, Sources};
use crate::config::{Config, Listener, ProxyProtocol};
use crate::diagnostic::{Diagnostic, Position};

/// How long before its end a rule is warned about: time to find out whether it is still needed.
const ENDS_SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Warnings reported at most.
const MAX_LINTS: usize = 100;
/// Sets of conditions up to which all are compared with each rule. Past it, only those equal to the rule's own and the
/// empty set are.
const MAX_CONDITIONS: usize = 64;

impl Policy {
    /// All warnings, in the order of the rules; with a configuration also about what does not fit it.
    pub fn lints(&self, now: SystemTime, config: Option<&Config>) -> Vec<Diagnostic> {
        let mut lints = Lints { policy: self, config, found: self.notes.clone() };
        if self.rules.is_empty() {
            let diagnostic = Diagnostic::whole(self.origin.clone(), "has no rules, so everyone is denied", "add one");
            lints.found.push(diagnostic);
        }
        lints.ends(now);
        lints.no_hostnames();
        lints.catch_alls();
        lints.never_reached(now);
        if let Some(config) = config {
            lints.unknown_listeners(config);
            lints.unknown_endpoints(config);
            lints.forward_listeners(config, now);
            lints.denied_trusted(config, now);
        }
        lints.found.sort_by_key(|diagnostic| diagnostic.at);
        lints.found.truncate(MAX_LINTS);
        lints.found
    }
}

struct Lints<'a> {
    policy: &'a Policy,
    config: Option<&'a Config>,
    found: Vec<Diagnostic>,
}

impl Lints<'_> {
    fn warn(&mut self, id: RuleId, message: impl Into<Box<str>>, help: impl Into<Box<str>>) {
        let Some(rule) = self.policy.rule(id) else { return };
        let diagnostic = Diagnostic::whole(self.policy.origin.clone(), message, help);
        let key = format!("rules[{}]", id.index()).into();
        self.found.push(Diagnostic { key, ..diagnostic.at(Position { line: rule.line, column: rule.column }) });
    }

    fn ends(&mut self, now: SystemTime) {
        for (id, rule) in self.policy.rules() {
            let Some(end) = rule.until else { continue };
            let when = Timestamp::try_from(end).map_or_else(|_| "long ago".to_owned(), |end| end.to_string());
            if end <= now {
                self.warn(id, format!("ended at {when} and matches no client"), "remove it, or write a later `until:`");
            } else if end <= now + ENDS_SOON {
                self.warn(id, format!("ends at {when}"), "write a later `until:` if it is still needed");
            }
        }
    }

    /// Names that are valid in DNS but not for a host (RFC 1123 §2.1), or are not looked up in DNS.
    fn no_hostnames(&mut self) {
        let is_odd = |name: &&NamePattern| match name {
            NamePattern::Any => false,
            NamePattern::Exact(name) | NamePattern::Below(name) => {
                let name = name.as_str();
                name == "localhost" || name.split('.').any(|label| label.starts_with('-') || label.ends_with('-'))
            }
        };
        for (id, rule) in self.policy.rules() {
            for name in rule.to.iter().filter(is_odd) {
                let why = if name.to_string().ends_with("localhost") { "this machine" } else { "no host" };
                self.warn(id, format!("is for {name}, which is the name of {why}"), "write it like orders.example.com");
            }
        }
    }

    /// `0.0.0.0/0` looks like everyone but covers IPv4 only. Beside networks of IPv6 it was written with both in mind.
    fn catch_alls(&mut self) {
        let is_everything = |network: &IpNet, v4: bool| network.prefix_len() == 0 && network.addr().is_ipv4() == v4;
        let has = |rule: &Rule, v4: bool| match &rule.sources {
            Sources::All => true,
            Sources::Networks(networks) => networks.iter().any(|network| is_everything(network, v4)),
        };
        for (id, rule) in self.policy.rules() {
            let partner = |v4: bool| {
                let like =
                    |other: &Rule| other.action == rule.action && self.conditions(other) == self.conditions(rule);
                let has_some = |network: &IpNet| network.addr().is_ipv4() == v4;
                let beside = matches!(&rule.sources, Sources::Networks(networks) if networks.iter().any(has_some));
                beside || self.policy.rules.iter().any(|other| like(other) && has(other, v4))
            };
            match (has(rule, true), has(rule, false)) {
                (true, false) if !partner(false) => {
                    self.warn(id, "0.0.0.0/0 does not cover IPv6 clients", "write `all` if you mean everyone");
                }
                (false, true) if !partner(true) => {
                    self.warn(id, "::/0 does not cover IPv4 clients", "write `all` if you mean everyone");
                }
                _ => {}
            }
        }
    }

    fn never_reached(&mut self, now: SystemTime) {
        let mut earlier: Vec<(Conditions<'_>, Covered)> = Vec::new();
        let mut by_conditions: HashMap<Conditions<'_>, usize> = HashMap::new();
        let policy = self.policy;
        for (id, rule) in policy.rules() {
            if rule.until.is_some_and(|end| end <= now) || self.found.len() >= MAX_LINTS {
                continue;
            }
            let conditions = self.conditions(rule);
            let own = by_conditions.get(&conditions).copied();
            let all = || earlier.iter().filter(|(other, _)| conditions.imply(other)).map(|(_, covered)| covered);
            let none = |never_on_forward| Conditions { never_on_forward, ..Conditions::default() };
            let none = [false, conditions.never_on_forward].map(|never| by_conditions.get(&none(never)).copied());
            let few = || [own].into_iter().chain(none).flatten();
            let sets: Vec<&Covered> = if earlier.len() <= MAX_CONDITIONS {
                all().collect()
            } else {
                few().filter_map(|at| earlier.get(at)).map(|(_, covered)| covered).collect()
            };
            let is_covered = |range: Range| {
                let left = |parts: Vec<Range>, set: &&Covered| parts.into_iter().flat_map(|p| set.missing(p)).collect();
                sets.iter().fold(vec![range], left).is_empty()
            };
            self.covered(id, rule, is_covered);
            let own = own.unwrap_or_else(|| {
                earlier.push((conditions.clone(), Covered::default()));
                by_conditions.insert(conditions, earlier.len() - 1);
                earlier.len() - 1
            });
            if let Some((_, covered)) = earlier.get_mut(own) {
                for range in Range::of_sources(&rule.sources) {
                    covered.insert(range);
                }
            }
        }
    }

    fn covered(&mut self, id: RuleId, rule: &Rule, is_covered: impl Fn(Range) -> bool) {
        let networks = match &rule.sources {
            Sources::All => {
                if Range::of_sources(&rule.sources).into_iter().all(is_covered) {
                    self.unreached(id, rule, "never matches", &rule.sources);
                }
                return;
            }
            Sources::Networks(networks) => networks,
        };
        let unreached: Vec<&IpNet> = networks.iter().filter(|network| Range::of(network).all(&is_covered)).collect();
        if unreached.len() == networks.len() {
            return self.unreached(id, rule, "never matches", &rule.sources);
        }
        let mut own = Covered::default();
        let mut by_size: Vec<&IpNet> = networks.iter().collect();
        by_size.sort_by_key(|network| (network.addr().is_ipv6(), network.prefix_len()));
        for network in by_size {
            if unreached.contains(&network) {
                let sources = Sources::Networks([*network].into());
                self.unreached(id, rule, &format!("has {network}, which never matches"), &sources);
            } else if Range::of(network).all(|range| own.contains(range)) {
                let message = format!("has {network}, which its other networks cover");
                self.warn(id, message, "remove it from the rule");
            }
            for range in Range::of(network) {
                own.insert(range);
            }
        }
    }

    /// Warns about networks for which an earlier rule decides, and names it.
    fn unreached(&mut self, id: RuleId, rule: &Rule, what: &str, sources: &Sources) {
        let ranges = Range::of_sources(sources);
        let conditions = self.conditions(rule);
        let covers = |earlier: &Rule| {
            let mut set = Covered::default();
            for range in Range::of_sources(&earlier.sources) {
                set.insert(range);
            }
            conditions.imply(&self.conditions(earlier)) && ranges.iter().all(|range| set.contains(*range))
        };
        let first = self.policy.rules.iter().take(id.index()).find(|earlier| covers(earlier));
        let Some(first) = first else {
            let message = format!("{what}: earlier rules together decide about all of it");
            return self.warn(id, message, "move it up, or remove it");
        };
        let (line, text) = (first.line, &first.text);
        let same = first.sources == *sources && self.conditions(first) == conditions;
        if first.action != rule.action {
            self.warn(id, format!("{what}: line {line} ({text}) decides first"), "move it up, or remove it");
        } else if same {
            self.warn(id, format!("{what}: line {line} ({text}) says the same"), "remove one of the two");
        } else {
            self.warn(id, format!("{what}: line {line} ({text}) already covers it"), "remove it");
        }
    }

    fn unknown_listeners(&mut self, config: &Config) {
        for (id, rule) in self.policy.rules() {
            for name in &rule.listeners {
                if !config.listeners.iter().any(|listener| *listener.name == **name) {
                    let names: Vec<&str> = config.listeners.iter().map(|listener| &*listener.name).collect();
                    let help = format!("the configuration has {}", names.join(", "));
                    self.warn(id, format!("is for listener {name:?}, which does not exist"), help);
                }
            }
            for port in &rule.ports {
                if !config
                    .listeners
                    .iter()
                    .any(|listener| is_for(rule, listener) && listener.ports().any(|one| one == *port))
                {
                    let of_the_rule = if rule.listeners.is_empty() { "" } else { " of the rule" };
                    let message = format!("is for port {port}, which no listener{of_the_rule} has");
                    self.warn(id, message, port_help(rule, config));
                }
            }
        }
    }

    /// An endpoint is in the load balancer's PROXY header, and nowhere else.
    fn unknown_endpoints(&mut self, config: &Config) {
        for (id, rule) in self.policy.rules().filter(|(_, rule)| !rule.via.is_empty()) {
            let listeners: Vec<&Listener> = config.listeners.iter().filter(|listener| is_for(rule, listener)).collect();
            if listeners.is_empty() || listeners.iter().any(|listener| listener.proxy_protocol != ProxyProtocol::Off) {
                continue;
            }
            let names: Vec<&str> = listeners.iter().map(|listener| &*listener.name).collect();
            let message = format!("never matches: with `proxy_protocol: off`, {} knows no `via:`", names.join(", "));
            self.warn(id, message, "write `proxy_protocol: required` for a listener of the rule, or remove the rule");
        }
    }

    fn conditions<'b>(&self, rule: &'b Rule) -> Conditions<'b> {
        let never_on_forward = match self.config {
            // There may be one.
            None => rule.names_nothing(),
            Some(config) => {
                rule.names_nothing() || !config.listeners.iter().any(|l| l.forward.is_some() && is_for(rule, l))
            }
        };
        Conditions::of(rule, never_on_forward)
    }

    /// The load balancer's subnets are usually also those of clients in the VPC, but not where all clients come to an explicit
    /// proxy: its load balancer may have a VPC to itself.
    fn denied_trusted(&mut self, config: &Config, now: SystemTime) {
        if config.listeners.iter().all(|listener| listener.forward.is_some()) {
            return;
        }
        let mut allowed = Covered::default();
        let live = |rule: &Rule| rule.until.is_none_or(|end| end > now);
        // A deny rule with conditions does not deny a client for all names.
        let counts = |rule: &Rule| {
            let conditions = Conditions { never_on_forward: false, ..self.conditions(rule) };
            conditions == Conditions::default() || rule.action == Action::Allow
        };
        let plain = decisions(self.policy.rules().filter(|(_, rule)| live(rule) && counts(rule)));
        for (range, id) in &plain {
            if self.policy.rule(*id).is_some_and(|rule| rule.action == Action::Allow) {
                allowed.insert(*range);
            }
        }
        for network in config.trusted.iter() {
            let denied = |range: Range| allowed.is_disjoint(range);
            if !Range::of(network).all(denied) {
                continue;
            }
            let message = format!(
                "denies all of {network}, which is in proxy_protocol.trusted: \
                 clients in the load balancer's own subnets cannot pass"
            );
            let help = "allow the network if such clients exist";
            let by = plain.iter().find(|(range, _)| Range::of(network).any(|part| part.intersection(*range).is_some()));
            match by {
                Some((_, id)) => self.warn(*id, message, help),
                None => self.found.push(Diagnostic::whole(self.policy.origin.clone(), message, help)),
            }
        }
    }
}

/// Whether the rule's `listener:` is absent or has this one.
fn is_for(rule: &Rule, listener: &Listener) -> bool {
    rule.listeners.is_empty() || rule.listeners.iter().any(|name| **name == *listener.name)
}

/// What `port:` means on the listeners that the rule is for.
fn port_help(rule: &Rule, config: &Config) -> &'static str {
    let has = |forward: bool| config.listeners.iter().any(|l| is_for(rule, l) && l.forward.is_some() == forward);
    match (has(false), has(true)) {
        (_, false) => "write the port that clients connect to (`public_port` of a listener)",
        (false, true) => "write the destination's port, one of `connect_ports` or `http_ports` of the listener",
        (true, true) => {
            "write the port that clients connect to (`public_port`); on a forward listener the destination's, one of \
             its `connect_ports` or `http_ports`"
        }
    }
}

/// All conditions of a rule except its sources; `to: any` is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Conditions<'a> {
    to: &'a [NamePattern],
    listeners: &'a [Box<str>],
    ports: &'a [u16],
    via: &'a [crate::client::EndpointId],
    until: Option<SystemTime>,
    /// It matches nothing on any `forward` listener.
    never_on_forward: bool,
}

impl<'a> Conditions<'a> {
    fn of(rule: &'a Rule, never_on_forward: bool) -> Self {
        let Rule { to, listeners, ports, via, until, .. } = rule;
        let to = if rule.takes_every_name() { &[] } else { &**to };
        Self { to, listeners, ports, via, until: *until, never_on_forward }
    }

    /// Whether `other` holds whenever these hold.
    fn imply(&self, other: &Self) -> bool {
        fn within<T: PartialEq>(these: &[T], others: &[T]) -> bool {
            others.is_empty() || (!these.is_empty() && these.iter().all(|one| others.contains(one)))
        }
        let names = other.to.is_empty()
            || (!self.to.is_empty() && self.to.iter().all(|name| other.to.iter().any(|wide| wide.covers(name))));
        names
            && within(self.listeners, other.listeners)
            && within(self.ports, other.ports)
            && within(self.via, other.via)
            && other.until.is_none_or(|theirs| self.until.is_some_and(|ours| ours <= theirs))
            && (self.never_on_forward || !other.never_on_forward)
    }
}
