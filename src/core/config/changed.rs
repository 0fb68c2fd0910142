//! What an operator has changed: the settings that differ from the program's own, for a summary.

use std::fmt::{self, Display, Write};

use super::{Config, Machine, Setting, WrittenAt};
use crate::diagnostic::{Diagnostic, OneLine, Origin};

/// Longest value in a line, in characters: enough to recognise it. Lists of names may be as long as the file.
const MAX_SHOWN: usize = 160;
/// Places named at most.
const MAX_PLACES: usize = 3;

impl Config {
    /// The settings that were written and are not what they would be on this machine otherwise. A listener's name, address
    /// and protocol are not among them, and neither is the list's source: nobody leaves them to chance, and they are
    /// logged anyway.
    pub fn changed(&self, machine: &Machine) -> Vec<&Setting> {
        let usual = Self::parse_for_list(None, std::iter::empty(), machine).map(|(usual, _)| usual);
        let is_usual = |setting: &Setting| {
            let same = |other: &Setting| other.key == setting.key && other.value == setting.value;
            usual.as_ref().is_ok_and(|usual| {
                usual.settings.iter().any(same) && listener(&setting.key).is_none_or(|index| self.is_like(usual, index))
            })
        };
        let settings = self.settings.iter().filter(|setting| !setting.written.is_empty());
        settings.filter(|setting| !is_logged_anyway(&setting.key) && !is_usual(setting)).collect()
    }

    /// Where the address of a listener was written.
    pub fn listener_setting(&self, index: usize) -> Option<&Setting> {
        self.setting(&format!("listeners[{index}].bind"))
    }

    pub fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| *setting.key == *key)
    }

    /// What is wrong with a setting and shows only when it is used, such as a file that is not there.
    pub fn mistake(&self, key: &str, value: impl Display, message: String, help: &str) -> Diagnostic {
        let written = self.setting(key).and_then(|setting| setting.written.first().cloned());
        let WrittenAt { origin, at } = written.unwrap_or(WrittenAt { origin: Origin::Defaults, at: None });
        let (key, value) = (key.into(), Some(value.to_string().into()));
        Diagnostic { key, value, at, ..Diagnostic::whole(origin, message, help) }
    }

    /// Whether the defaults have this listener: only then its keys can be compared.
    fn is_like(&self, usual: &Self, index: usize) -> bool {
        let (own, other) = (self.listeners.get(index), usual.listeners.get(index));
        own.zip(other).is_some_and(|(own, other)| own.name == other.name && own.protocol == other.protocol)
    }
}

/// The number in `listeners[0].bind`.
fn listener(key: &str) -> Option<usize> {
    key.strip_prefix("listeners[")?.split_once(']')?.0.parse().ok()
}

fn is_logged_anyway(key: &str) -> bool {
    let of_a_listener = listener(key).and_then(|_| key.split_once("]."));
    key == "policy" || of_a_listener.is_some_and(|(_, key)| matches!(key, "name" | "bind" | "protocol"))
}

/// Where it comes from: a file's line, a variable, or the defaults.
pub struct Source<'a>(pub &'a Setting);

impl Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine(f);
        let Some((first, others)) = self.0.written.split_first() else { return line.write_str("default") };
        write!(line, "{first}")?;
        others.iter().take(MAX_PLACES - 1).try_for_each(|place| write!(line, ", {place}"))?;
        match others.len().saturating_sub(MAX_PLACES - 1) {
            0 => Ok(()),
            more => write!(line, " and {more} more"),
        }
    }
}

/// `dns.timeout: 4s (conf/latticegate.yaml:12)`, on one line whatever has been written.
impl Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine(f);
        write!(line, "{}: ", self.key)?;
        match self.value.char_indices().nth(MAX_SHOWN) {
            None => line.write_str(&self.value)?,
            Some((end, _)) => write!(line, "{}…", self.value.get(..end).unwrap_or_default())?,
        }
        write!(f, " ({})", Source(self))
    }
}
