//! The query of a request to the admin port.

use crate::telemetry::live::Query;

/// As it was written; empty where it was not.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) listener: String,
    pub(super) port: String,
    pub(super) via: String,
    /// Which open connections.
    pub(super) show: String,
    pub(super) find: String,
}

/// The order of open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Newest,
    Longest,
    Largest,
}

/// Connections shown at most.
const CONNECTIONS: usize = 200;
/// A name has at most 255 bytes.
const MAX_FIND: usize = 255;

impl Form {
    /// Unknown keys are ignored.
    pub(super) fn read(query: &str) -> Self {
        let mut form = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*key {
                "from" => &mut form.from,
                "to" => &mut form.to,
                "listener" => &mut form.listener,
                "port" => &mut form.port,
                "via" => &mut form.via,
                "show" => &mut form.show,
                "find" => &mut form.find,
                _ => continue,
            };
            value.trim().clone_into(field);
        }
        form
    }

    pub(super) fn asks_to_explain(&self) -> bool {
        !self.from.is_empty() || !self.to.is_empty()
    }

    pub(super) fn show(&self) -> Show {
        Show::ALL.into_iter().map(|(show, ..)| show).find(|show| show.word() == self.show).unwrap_or(Show::Newest)
    }

    /// What the workers are asked.
    pub(super) fn query(&self) -> Query {
        let find: String = self.find.chars().take(MAX_FIND).collect();
        Query { find: find.to_ascii_lowercase().into(), most: CONNECTIONS }
    }
}

impl Show {
    /// With the word of the query, and for people.
    pub(super) const ALL: [(Self, &str, &str); 3] = [
        (Self::Newest, "newest", "newest"),
        (Self::Longest, "longest", "longest-lived"),
        (Self::Largest, "largest", "most bytes"),
    ];

    pub(super) fn word(self) -> &'static str {
        Self::ALL.into_iter().find(|(show, ..)| *show == self).map_or("", |(_, word, _)| word)
    }
}
