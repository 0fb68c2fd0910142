//! Settings that are one of a few fixed words.

use crate::config::{Ipv6, LogFormat, OnReload, PolicyRefusal, Protocol, ProxyProtocol};
use crate::yaml::{FromScalar, ValueError, word};

/// Implements [`FromScalar`] for an enum by the words of its variants.
macro_rules! words {
    ($type:ident, $expected:literal: $($word:literal => $variant:ident),+) => {
        impl FromScalar for $type {
            const EXPECTED: &'static str = $expected;

            fn from_scalar(text: &str) -> Result<Self, ValueError> {
                word(text, &[$(($word, Self::$variant)),+])
            }

            #[cfg(test)]
            fn schema() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),+] })
            }
        }
    };
}

impl FromScalar for Protocol {
    const EXPECTED: &'static str = "tls or http";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        word(text, &[("tls", Self::Tls), ("http", Self::Http)]).map_err(|error| ValueError {
            // By spelling, https would be nearest to http.
            help: match text.to_ascii_lowercase().as_str() {
                "https" | "ssl" | "sni" | "tls1.2" | "tls1.3" => "write \"tls\"".to_owned(),
                "tcp" => "write \"tls\", or \"http\" for requests in the clear: the name must be read from one of them"
                    .to_owned(),
                _ => error.help,
            },
            ..error
        })
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "enum": ["tls", "http"] })
    }
}

words!(ProxyProtocol, "required or off": "required" => Required, "off" => Off);
words!(PolicyRefusal, "answer or silent": "answer" => Answer, "silent" => Silent);
words!(OnReload, "keep or close": "keep" => Keep, "close" => Close);
words!(Ipv6, "auto, on or off": "auto" => Auto, "on" => On, "off" => Off);
words!(LogFormat, "json, nginx or squid": "json" => Json, "nginx" => Nginx, "squid" => Squid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_for_a_protocol_lead_to_the_right_one() {
        for (text, help) in [
            ("https", "write \"tls\""),
            ("SSL", "write \"tls\""),
            ("TLS", "did you mean \"tls\"?"),
            ("htp", "did you mean \"http\"?"),
            ("udp", "write one of these"),
        ] {
            assert_eq!(Protocol::from_scalar(text).unwrap_err().help, help, "{text}");
        }
        assert!(Protocol::from_scalar("tcp").unwrap_err().help.starts_with("write \"tls\", or \"http\""));
    }
}
