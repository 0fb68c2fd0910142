//! A second list that decides nothing: where it would have decided otherwise.

use super::{Decision, ListenerView, Policy};
use crate::client::Client;
use crate::hostname::Hostname;

/// The two lists say different things about one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disagreement {
    pub active: Decision,
    pub shadow: Decision,
}

impl Policy {
    /// What `shadow` would have changed about `active`, this list's decision; other rules with the same answer are
    /// no disagreement.
    pub fn disagreement(
        shadow: &Self,
        active: Decision,
        client: &Client,
        listener: &ListenerView<'_>,
        name: &Hostname,
    ) -> Option<Disagreement> {
        let shadow = shadow.route(client, listener, name);
        (shadow.allowed != active.allowed).then_some(Disagreement { active, shadow })
    }
}
