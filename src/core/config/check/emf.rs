//! CloudWatch metrics.

use std::collections::BTreeMap;

use super::{Checker, or};
use crate::config::raw::{RawEmf, RawMetrics};
use crate::config::{Emf, defaults};
use crate::yaml::{Path, Read};

impl Checker<'_> {
    pub(super) fn emf(&mut self, raw: RawMetrics) -> Option<Emf> {
        /// CloudWatch allows 30; one is `reason`.
        const MAX_DIMENSIONS: usize = 29;
        let path = Path::root().key("metrics").key("emf");
        let RawEmf { interval, namespace, dimensions } = raw.emf?;
        let interval = or(interval, defaults::EMF_INTERVAL);
        let namespace = namespace.map_or_else(|| defaults::EMF_NAMESPACE.into(), |read| read.0.0);
        let raw = dimensions.unwrap_or_default();
        if raw.len() > MAX_DIMENSIONS {
            self.key_error(&path.key("dimensions"), "has more than 29 keys", "CloudWatch takes no more");
        }
        let mut dimensions = BTreeMap::new();
        for (name, Read(value)) in raw {
            let valid = name.bytes().all(|b| b.is_ascii_graphic()) && (1..=255).contains(&name.len());
            if !valid || name.starts_with(':') || Emf::TAKEN_NAMES.contains(&name.as_str()) {
                let message = "the key cannot be the name of a dimension";
                self.key_error(&path.key("dimensions").key(&name), message, "use another, like `cluster`");
            }
            dimensions.insert(name.into(), value.0);
        }
        Some(Emf { interval, namespace, dimensions })
    }
}
