//! The access list as written: every key, nothing checked.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::yaml::{Many, Read};

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "`rules:` and a list of rules below it")]
pub(super) struct RawPolicy {
    /// Networks that several rules share, by name.
    pub(super) groups: Option<BTreeMap<String, Many<String>>>,
    /// The first rule that matches decides; if none does, the client is denied.
    #[cfg_attr(test, schemars(required))]
    pub(super) rules: Option<Vec<RawRule>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a rule, like `- allow: 10.0.0.0/8`")]
pub(super) struct RawRule {
    /// Clients that are allowed: `all`, networks, addresses, or names of groups.
    pub(super) allow: Option<Many<String>>,
    /// Clients that are denied: `all`, networks, addresses, or names of groups.
    pub(super) deny: Option<Many<String>>,
    /// Only for these names: exact, `*.example.com` for any depth below, or `any`. On a forward listener a rule that allows
    /// must have it.
    pub(super) to: Option<Many<String>>,
    /// Only on these listeners, by their names.
    pub(super) listener: Option<Many<String>>,
    /// Only on these ports, as clients know them; on a forward listener the ports that they ask for.
    pub(super) port: Option<Many<String>>,
    /// Only through these VPC endpoints (PrivateLink).
    pub(super) via: Option<Many<String>>,
    /// Shown in logs, metrics and `explain`.
    pub(super) name: Option<Read<String>>,
    /// The last day (UTC) on which the rule holds, like 2026-12-31, or a moment, like 2026-12-31T18:00:00Z.
    pub(super) until: Option<Read<String>>,
}
