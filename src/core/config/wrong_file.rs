//! A configuration where an access list belongs, or the other way round: reported as that, and not as one unknown key
//! after the other.

use crate::diagnostic::Diagnostic;
use crate::yaml::{Document, Path};

/// Keys by which a configuration differs from an access list.
const OF_A_CONFIGURATION: [&str; 12] = [
    "listeners",
    "proxy_protocol",
    "policy",
    "dns",
    "upstream",
    "timeouts",
    "limits",
    "drain",
    "health",
    "admin",
    "access_log",
    "metrics",
];

pub(super) fn is_section(word: &str) -> bool {
    OF_A_CONFIGURATION.contains(&word)
}

/// The diagnostic if an access list is to be read as a configuration.
pub(super) fn list_as_configuration(document: &Document) -> Option<Diagnostic> {
    let list =
        document.keys().any(|key| key == "rules") && document.keys().all(|key| matches!(key, "rules" | "groups"));
    let help = "name it under the key `policy` of a configuration, or to `check` with --policy";
    list.then(|| whole_file(document, "rules", "is an access list, not a configuration", help))
}

/// The diagnostic if a configuration is to be read as an access list.
pub(crate) fn configuration_as_list(document: &Document) -> Option<Diagnostic> {
    if document.keys().any(|key| matches!(key, "rules" | "groups")) {
        return None;
    }
    let key = document.keys().find(|key| OF_A_CONFIGURATION.contains(key))?;
    let help = "name it with --config; an access list has `rules:`";
    Some(whole_file(document, key, "is a configuration, not an access list", help))
}

/// A diagnostic about the file as a whole: no line of it is wrong by itself.
fn whole_file(document: &Document, key: &str, message: &str, help: &str) -> Diagnostic {
    let diagnostic = document.diagnostic(&Path::root().key(key), message, help);
    Diagnostic { key: Box::default(), value: None, at: None, ..diagnostic }
}
