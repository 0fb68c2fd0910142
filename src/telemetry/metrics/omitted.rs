//! Lines that the access log leaves out because of its configuration.

use super::exposition::{Exposition, Kind};
use crate::telemetry::count::Count;

#[derive(Debug, Clone, Default)]
pub struct OmittedLines {
    /// Of relayed connections and requests, by `access_log.keep`.
    pub keep: Count,
    /// For which another line stands.
    pub flood: Count,
    /// Of requests, because `access_log.fields` has not what they are about.
    pub fields: Count,
}

impl OmittedLines {
    pub(super) fn export(&self, text: &mut Exposition) {
        let help = "Lines left out of the access log on purpose: by its keep, in a flood of equal refusals, or for want of fields.";
        let mut omitted = text.family("latticegate_access_log_omitted_lines_total", Kind::Counter, help);
        for (cause, count) in [("fields", &self.fields), ("flood", &self.flood), ("keep", &self.keep)] {
            omitted.sample(&[("cause", cause)], count.value());
        }
    }
}
