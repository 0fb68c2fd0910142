//! A name in a rule: one name, all names below one, or every name.

use std::fmt;
use std::num::NonZeroU16;

use crate::hostname::{Hostname, NameError};
use crate::networks::{NetworkError, parse_network};
use crate::yaml::{FromScalar, ValueError};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NamePattern {
    /// `any`, or `*`: every name.
    Any,
    Exact(Hostname),
    /// `*.example.com`: all names below at any depth, not the name itself.
    Below(Hostname),
}

impl NamePattern {
    pub fn matches(&self, name: &Hostname) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == name,
            Self::Below(parent) => is_below(name.as_str(), parent.as_str()),
        }
    }

    /// Whether this pattern matches every name that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) | (Self::Exact(_), Self::Below(_)) => false,
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Below(wide), Self::Below(narrow)) => wide == narrow || is_below(narrow.as_str(), wide.as_str()),
        }
    }
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl FromScalar for NamePattern {
    const EXPECTED: &'static str = "a DNS name, *.name or any";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        if matches!(text, "any" | "*") {
            return Ok(Self::Any);
        }
        // A name of one label is valid, but whoever writes one of these means every name.
        if ["any", "all", "everything", "public", "internet"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
            return Err(ValueError::new("is not a name of a service", "write `any` for every name"));
        }
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(parent) => (true, parent),
            None => (false, text),
        };
        if name.contains('*') {
            let help = "write one whole name, or `*.` in front of it: \"*.example.com\"";
            return Err(ValueError::new("has a `*` elsewhere than as the whole first label", help));
        }
        let name = Hostname::from_scalar(name).map_err(|error| meant(text).unwrap_or(error))?;
        Ok(if wildcard { Self::Below(name) } else { Self::Exact(name) })
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }
}

/// What somebody means who writes it, used to other programs.
fn meant(text: &str) -> Option<ValueError> {
    let is_name = |text: &str| Hostname::parse(text.as_bytes()).is_ok();
    if let Some(name) = text.strip_prefix('.').filter(|rest| is_name(rest)) {
        let help = format!("write two names: {name} for itself, \"*.{name}\" for all below it");
        return Some(ValueError::new("begins with a dot, as Squid has it", help));
    }
    let what = match (Hostname::parse(text.as_bytes()), parse_network(text)) {
        (Err(NameError::IpAddress), _) => Some("an IP address"),
        (_, Err(NetworkError::NotANetwork)) => None,
        _ => Some("a network"),
    };
    if let Some(what) = what {
        let help = "write names; clients belong under `allow:` or `deny:`, networks of destinations in the configuration \
                    (`upstream.allowed_networks`, `denied_networks`)";
        return Some(ValueError::new(format!("is not a DNS name: it is {what}, not a name"), help));
    }
    if let Some((name, port)) = text.split_once(':').filter(|(name, _)| is_name(name.trim_start_matches("*.")))
        && port.parse::<NonZeroU16>().is_ok()
    {
        let help = format!("write \"{name}\", and `port: {port}` in the rule");
        return Some(ValueError::new("is a name with a port", help));
    }
    if text.contains(['\\', '^', '$', '(', '[', '|', '+']) {
        return Some(ValueError::new("is not a DNS name", "write whole names, or *.name: there are no other patterns"));
    }
    None
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Exact(name) => write!(f, "{name}"),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> NamePattern {
        NamePattern::from_scalar(text).unwrap()
    }

    #[test]
    fn a_wildcard_is_any_depth_below_but_not_the_name_itself() {
        for (name, matches) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            ("badexample.com", false),
            ("example.com.evil.test", false),
        ] {
            assert_eq!(
                pattern("*.Example.com.").matches(&Hostname::parse(name.as_bytes()).unwrap()),
                matches,
                "{name}"
            );
        }
    }

    #[test]
    fn covering_is_about_all_names() {
        for (wide, narrow, covers) in [
            ("*.example.com", "*.example.com", true),
            ("*.example.com", "*.a.example.com", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.a.example.com", "*.example.com", false),
            ("a.example.com", "*.a.example.com", false),
            ("a.example.com", "A.example.com", true),
            ("any", "*.example.com", true),
            ("*", "any", true),
            ("*.com", "any", false),
            ("any.example.com", "any", false),
        ] {
            assert_eq!(pattern(wide).covers(&pattern(narrow)), covers, "{wide} {narrow}");
        }
    }

    #[test]
    fn what_other_programs_call_a_name_is_answered_with_ours() {
        for (text, message, help) in [
            (
                ".b.example",
                "begins with a dot",
                "write two names: b.example for itself, \"*.b.example\" for all below it",
            ),
            (
                "b\u{fc}cher.example",
                "is not a DNS name: a character",
                "write it as DNS has it, like xn--bcher-kva.example",
            ),
            ("*.b\u{fc}cher.example", "is not a DNS name: a character", "like xn--bcher-kva.example"),
            ("https://a.example/", "is not a DNS name", "write a.example alone"),
            ("http://a.example:8080/x", "is not a DNS name", "write a.example alone"),
            ("a.example/x", "is not a DNS name", "write a.example alone"),
            ("93.184.216.0/24", "is not a DNS name: it is a network, not a name", "`upstream.allowed_networks`"),
            ("93.184.216.1/24", "it is a network, not a name", "`denied_networks`"),
            ("93.184.216.34", "is not a DNS name: it is an IP address, not a name", "clients belong under `allow:`"),
            ("2001:db8::/32", "it is a network, not a name", "`denied_networks`"),
            ("a.example:8443", "is a name with a port", "write \"a.example\", and `port: 8443` in the rule"),
            ("*.a.example:443", "is a name with a port", "write \"*.a.example\", and `port: 443` in the rule"),
            ("\\.example\\.com$", "is not a DNS name", "write whole names, or *.name"),
            ("a..example", "is not a DNS name: a label is empty", "write it like orders.example.com"),
        ] {
            let error = NamePattern::from_scalar(text).unwrap_err();
            assert!(error.message.contains(message) && error.help.contains(help), "{text}: {error:?}");
        }
    }

    #[test]
    fn an_invalid_pattern_is_refused_with_the_reason() {
        for (text, part) in [("a.*.com", "`*`"), ("10.0.0.1", "IP address"), ("*.", "empty"), ("a b", "character")] {
            assert!(NamePattern::from_scalar(text).unwrap_err().message.contains(part), "{text}");
        }
    }
}
