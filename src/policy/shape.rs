//! The access list as it is written: every key, nothing decided.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::yaml::{Many, Read};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "`rules:` and a list of rules below it")]
pub(super) struct RawPolicy {
    /// Sources that several rules share, by name.
    pub(super) groups: Option<BTreeMap<String, Many<String>>>,
    pub(super) rules: Option<Vec<RawRule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a rule, like `- allow: 10.0.0.0/8`")]
pub(super) struct RawRule {
    pub(super) allow: Option<Many<String>>,
    pub(super) deny: Option<Many<String>>,
    pub(super) to: Option<Many<String>>,
    pub(super) listener: Option<Many<String>>,
    pub(super) port: Option<Many<String>>,
    pub(super) via: Option<Many<String>>,
    pub(super) name: Option<Read<String>>,
    pub(super) until: Option<Read<String>>,
}
