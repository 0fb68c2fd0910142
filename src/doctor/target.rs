//! Which names are examined, and on which listeners: where a rule of the access list lets someone go there.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::Finding;
use latticegate_core::config::{Config, Listener, Protocol, Tunnel};
use latticegate_core::explain::destination;
use latticegate_core::hostname::Hostname;
use latticegate_core::policy::{Action, ListenerView, NamePattern, Policy};

const CHECK: &str = "names";
/// Names of the list that are examined without being asked for.
const MAX_LISTED: usize = 50;

/// A name, and the ways to it.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) name: Hostname,
    pub(super) routes: Vec<Route<'a>>,
}

/// A listener, the port that it dials, and what a service there has to answer.
#[derive(Debug)]
pub(super) struct Route<'a> {
    pub(super) listener: &'a Listener,
    pub(super) port: u16,
    pub(super) speaks: Speaks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Tls,
    Http,
    /// Whatever the client does.
    Anything,
}

/// What is examined, and what is to be said about the choice.
pub(super) struct Targets<'a> {
    pub(super) targets: Vec<Target<'a>>,
    pub(super) findings: Vec<Finding>,
}

/// The names that were asked for; if there are none, those that rules of the list have exactly.
pub(super) fn choose<'a>(
    names: &[String],
    config: &'a Config,
    policy: Option<&Policy>,
    now: SystemTime,
) -> Targets<'a> {
    let mut chosen = Targets { targets: Vec::new(), findings: Vec::new() };
    if !names.is_empty() {
        names.iter().for_each(|name| chosen.given(name, config, policy, now));
    } else if let Some(policy) = policy {
        chosen.listed(config, policy, now);
    }
    chosen
}

impl<'a> Targets<'a> {
    fn given(&mut self, text: &str, config: &'a Config, policy: Option<&Policy>, now: SystemTime) {
        let (mut name, mut routes, mut errors) = (None, Vec::new(), Vec::new());
        for listener in &config.listeners {
            match destination(text, listener) {
                Ok((read, port)) => {
                    routes.extend(self::routes(listener).filter(|route| port.is_none_or(|port| route.is_to(port))));
                    name = Some(read);
                }
                Err(error) => errors.push(error),
            }
        }
        let Some(name) = name.filter(|_| !routes.is_empty()) else {
            let why = errors.pop().unwrap_or_else(|| "no listener leads to this port".to_owned());
            let help = "write NAME, or NAME:PORT with a port that a listener is for";
            self.findings.push(Finding::fail(CHECK, text, why, help));
            return;
        };
        if let Some(policy) = policy {
            let (allowed, others): (Vec<_>, Vec<_>) =
                routes.into_iter().partition(|route| route.is_allowed(policy, &name, now));
            routes = if allowed.is_empty() { others } else { allowed };
            if !routes.iter().any(|route| route.is_allowed(policy, &name, now)) {
                let help =
                    "add the name to the access list: `latticegate explain --to NAME --from CLIENT` shows what decides";
                let text = "no rule of the list lets anyone go there";
                self.findings.push(Finding::warn(CHECK, name.to_string(), text, help));
            }
        }
        self.targets.push(Target { name, routes });
    }

    fn listed(&mut self, config: &'a Config, policy: &Policy, now: SystemTime) {
        let allowing = policy.rules().map(|(_, rule)| rule).filter(|rule| rule.action == Action::Allow);
        let (mut exact, mut patterns) = (BTreeSet::new(), 0_usize);
        for pattern in allowing.flat_map(|rule| &rule.to) {
            match pattern {
                NamePattern::Exact(name) => drop(exact.insert(name.as_str())),
                NamePattern::Below(_) | NamePattern::Any => patterns += 1,
            }
        }
        let names = exact.iter().filter_map(|name| Hostname::parse(name.as_bytes()).ok());
        let reachable = names.filter_map(|name| {
            let listeners = config.listeners.iter().flat_map(self::routes);
            let routes: Vec<_> = listeners.filter(|route| route.is_allowed(policy, &name, now)).collect();
            (!routes.is_empty()).then_some(Target { name, routes })
        });
        let mut reachable: Vec<_> = reachable.collect();
        let all = reachable.len();
        reachable.truncate(MAX_LISTED);
        let help = "name those to examine: latticegate doctor NAME ...";
        let finding = if reachable.is_empty() {
            Finding::warn(CHECK, "", "none was examined: no rule of the list allows a name exactly", help)
        } else if all > reachable.len() {
            Finding::warn(CHECK, "", format!("{MAX_LISTED} of {all} names of the list were examined"), help)
        } else {
            let others = if patterns > 0 { format!("; {patterns} patterns stand for others") } else { String::new() };
            Finding::pass(CHECK, "", format!("{all} of the list{others}"))
        };
        self.findings.push(finding);
        self.targets = reachable;
    }
}

impl Route<'_> {
    fn is_allowed(&self, policy: &Policy, name: &Hostname, now: SystemTime) -> bool {
        let view = ListenerView::of(self.listener, now).to_port(self.port);
        policy.rules().any(|(_, rule)| rule.lets_someone_to(name, &view))
    }

    /// Whether clients who write this port mean it.
    fn is_to(&self, port: u16) -> bool {
        match self.listener.protocol {
            Protocol::Tls | Protocol::Http => self.listener.public_port == port,
            Protocol::Forward => self.port == port,
        }
    }
}

/// Every way that leads from a listener to a service.
fn routes(listener: &Listener) -> impl Iterator<Item = Route<'_>> {
    let own = match listener.protocol {
        Protocol::Tls => Some((listener.upstream_port, Speaks::Tls)),
        Protocol::Http => Some((listener.upstream_port, Speaks::Http)),
        Protocol::Forward => None,
    };
    let forward = listener.forward.iter().flat_map(|forward| {
        let tunnelled = if forward.tunnel == Tunnel::Tls { Speaks::Tls } else { Speaks::Anything };
        let connect = forward.connect_ports.iter().map(move |port| (*port, tunnelled));
        connect.chain(forward.http_ports.iter().map(|port| (*port, Speaks::Http)))
    });
    own.into_iter().chain(forward).map(move |(port, speaks)| Route { listener, port, speaks })
}
