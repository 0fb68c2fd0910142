//! Rules and `forward` listeners: those that allow nothing there, and those that make it an open proxy.

use std::time::SystemTime;

use ipnet::IpNet;

use super::{Lints, is_for};
use crate::config::{Config, Listener};
use crate::policy::{Action, Rule, Sources};
use crate::special_purpose::is_public;

impl Lints<'_> {
    pub(super) fn forward_listeners(&mut self, config: &Config, now: SystemTime) {
        let live = |rule: &Rule| rule.action == Action::Allow && rule.until.is_none_or(|end| end > now);
        for (id, rule) in self.policy.rules().filter(|(_, rule)| live(rule)) {
            let forward = config.listeners.iter().filter(|listener| listener.forward.is_some());
            let forward: Vec<&Listener> = forward.filter(|listener| is_for(rule, listener)).collect();
            if rule.names_nothing() {
                if !forward.is_empty() {
                    let message = format!("allows nothing on listener {}", names(&forward));
                    self.warn(id, message, unnamed_help(rule, config));
                }
                continue;
            }
            let open: Vec<&Listener> = forward.into_iter().filter(|listener| reaches_everything(listener)).collect();
            if rule.takes_every_name() && rule.via.is_empty() && !open.is_empty() && is_wide(&rule.sources) {
                let message = format!("makes listener {} an open proxy: to anywhere, for anyone", names(&open));
                self.warn(id, message, "write the networks of your own clients, their `via:`, or names");
            }
        }
    }
}

fn unnamed_help(rule: &Rule, config: &Config) -> String {
    let others = config.listeners.iter().filter(|listener| listener.forward.is_none() && is_for(rule, listener));
    let others: Vec<&Listener> = others.collect();
    let help = "write `to: any` or names";
    if others.is_empty() {
        return help.to_owned();
    }
    format!("{help}, or `listener: [{}]` if it is not for that one", names(&others))
}

fn names(listeners: &[&Listener]) -> String {
    listeners.iter().map(|listener| &*listener.name).collect::<Vec<_>>().join(", ")
}

fn reaches_everything(listener: &Listener) -> bool {
    listener.networks.public || listener.networks.allowed.iter().any(|network| network.prefix_len() == 0)
}

/// Whether it is for clients all over the internet, and not for those of some organisation.
fn is_wide(sources: &Sources) -> bool {
    /// The shortest prefixes that a registry assigns to one organisation.
    const ASSIGNED: (u8, u8) = (8, 16);
    let wide = |network: &IpNet| {
        let shortest = if network.addr().is_ipv4() { ASSIGNED.0 } else { ASSIGNED.1 };
        let ends = [network.network(), network.broadcast()];
        network.prefix_len() < shortest && (network.prefix_len() < 3 || ends.into_iter().any(is_public))
    };
    match sources {
        Sources::All => true,
        Sources::Networks(networks) => networks.iter().any(wide),
    }
}
