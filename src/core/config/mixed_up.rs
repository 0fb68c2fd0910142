//! One of our two files in the other's place: told as that, not as a key after key that is unknown there.

use crate::diagnostic::Problem;
use crate::yaml::{Document, Path};

/// Keys by which a configuration is known.
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

/// What is to be read as a configuration is an access list.
pub(super) fn list_as_configuration(document: &Document) -> Option<Problem> {
    let list =
        document.keys().any(|key| key == "rules") && document.keys().all(|key| matches!(key, "rules" | "groups"));
    let mend = "name it under the key `policy` of a configuration, or to `check` with --policy";
    list.then(|| told(document, "rules", "is an access list, not a configuration", mend))
}

/// What is to be read as an access list is a configuration.
pub(crate) fn configuration_as_list(document: &Document) -> Option<Problem> {
    if document.keys().any(|key| matches!(key, "rules" | "groups")) {
        return None;
    }
    let key = document.keys().find(|key| OF_A_CONFIGURATION.contains(key))?;
    let mend = "name it with --config; an access list has `rules:`";
    Some(told(document, key, "is a configuration, not an access list", mend))
}

/// About the whole file; nothing of it is wrong by itself.
fn told(document: &Document, key: &str, message: &str, mend: &str) -> Problem {
    let problem = document.problem(&Path::root().key(key), message, mend);
    Problem { key: Box::default(), value: None, at: None, ..problem }
}
