//! Lines that the access log leaves out because of its configuration.

use metrics::{Counter, counter};

#[derive(Clone)]
pub struct OmittedLines {
    /// Of relayed connections and requests, by `access_log.keep`.
    pub keep: Counter,
    /// For which another line stands.
    pub flood: Counter,
    /// Of requests, because `access_log.fields` has not what they are about.
    pub fields: Counter,
}

impl OmittedLines {
    pub(super) fn new() -> Self {
        let [keep, flood, fields] = ["keep", "flood", "fields"]
            .map(|cause| counter!("latticegate_access_log_omitted_lines_total", "cause" => cause));
        Self { keep, flood, fields }
    }
}
