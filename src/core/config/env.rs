//! Environment variables as further lines of the configuration: `LATTICEGATE_DNS__TIMEOUT=1s` is `dns: { timeout: 1s }`.
//!
//! `__` separates levels, a list element is given by its number, the value is YAML. Variables are put into the document
//! before it is read, so errors in them are found by the same code and reported under the variable's name.

use super::defaults;
use super::injected::is_injected;
use super::raw::RawConfig;
use crate::diagnostic::{Diagnostic, Origin};
use crate::yaml::Document;

const PREFIX: &str = "LATTICEGATE_";
/// Filters the process log (`tracing`); it must work without a valid configuration.
const LOG_FILTER: &str = "LATTICEGATE_LOG";

/// Puts every `LATTICEGATE_…` variable into `document`; returns the names of those that Kubernetes or docker has set.
pub(super) fn apply(
    document: &mut Document,
    variables: impl Iterator<Item = (String, String)>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let is_injected = |name: &str, value: &str| name.strip_prefix(PREFIX).is_some_and(|rest| is_injected(rest, value));
    let (injected, ours): (Vec<_>, Vec<_>) = variables.partition(|(name, value)| is_injected(name, value));
    let mut variables: Vec<Variable> =
        ours.into_iter().filter_map(|(name, value)| Variable::new(name, value)).collect();
    // A section before its keys, so that the keys win; element 2 before element 10.
    variables.sort_by_key(|variable| {
        let depth = variable.path.len();
        let number = |step: &String| step.parse::<u64>().unwrap_or(u64::MAX);
        (depth, variable.path.iter().map(|step| (number(step), step.clone())).collect::<Vec<_>>())
    });
    for Variable { name, path, value } in variables {
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        let origin = Origin::Variable(name.into());
        if let Err(found) = document.set(&steps, &as_yaml(&value), origin) {
            diagnostics.extend(found);
        }
    }
    let mut injected: Vec<String> = injected.into_iter().map(|(name, _)| name).collect();
    injected.sort_unstable();
    injected
}

/// The variable that was probably meant by an unknown one: the same with two underscores in place of some single ones.
pub(super) fn with_two_underscores(name: &str) -> Option<String> {
    /// Underscores for which both readings are tried; no key of ours has more in its path.
    const MAX: usize = 8;
    let words: Vec<&str> = name.strip_prefix(PREFIX)?.split('_').filter(|word| !word.is_empty()).collect();
    let gaps = words.len().saturating_sub(1);
    if gaps > MAX {
        return None;
    }
    let candidates = (1_u32..1 << gaps).map(|steps| {
        let mut meant = PREFIX.to_owned();
        for (gap, word) in words.iter().enumerate() {
            match gap.checked_sub(1).map(|before| steps & (1 << before) != 0) {
                None => {}
                Some(true) => meant.push_str("__"),
                Some(false) => meant.push('_'),
            }
            meant.push_str(word);
        }
        meant
    });
    candidates.filter(|candidate| candidate != name).find(|candidate| is_known(candidate))
}

/// Whether the variable names a key that takes a single value.
fn is_known(name: &str) -> bool {
    let mut document = Document::empty();
    let mut diagnostics = Vec::new();
    if document.set(&["listeners"], defaults::LISTENERS, Origin::Defaults).is_err() {
        return false;
    }
    apply(&mut document, std::iter::once((name.to_owned(), "x".to_owned())), &mut diagnostics);
    let _: RawConfig = document.read(&mut diagnostics);
    // Whether `x` is a valid value does not matter.
    diagnostics.iter().all(|diagnostic| diagnostic.value.is_some())
}

struct Variable {
    name: String,
    path: Vec<String>,
    value: String,
}

impl Variable {
    fn new(name: String, value: String) -> Option<Self> {
        let path = name.strip_prefix(PREFIX).filter(|_| name != LOG_FILTER)?;
        let path = path.split("__").map(str::to_lowercase).collect();
        Some(Self { name, path, value })
    }
}

/// The value as YAML. `[::]:8443` would be a broken list, but can only be meant as an address.
fn as_yaml(value: &str) -> String {
    let value = value.trim();
    if value.starts_with('[') && !value.ends_with(']') {
        return format!("{value:?}");
    }
    value.to_owned()
}
