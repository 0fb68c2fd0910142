//! Settings that are one of a few fixed words.

use crate::config::{Ipv6, LogFormat, OnReload, PolicyRefusal, Protocol, ProxyProtocol, Tunnel};
use crate::yaml::{FromScalar, ValueError, word};

/// Implements [`FromScalar`] for an enum by the words of its variants, and the way back.
macro_rules! words {
    ($type:ident, $expected:literal: $($word:literal => $variant:ident),+) => {
        impl $type {
            /// As it is written.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

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
    const EXPECTED: &'static str = "tls, http or forward";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        let words = [("tls", Self::Tls), ("http", Self::Http), ("forward", Self::Forward)];
        word(text, &words).map_err(|error| ValueError {
            // By spelling, https would be nearest to http.
            help: match text.to_ascii_lowercase().as_str() {
                "connect" | "proxy" | "squid" | "egress" | "explicit" => {
                    "write \"forward\" for a proxy that clients ask by CONNECT".to_owned()
                }
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
        serde_json::json!({ "enum": ["tls", "http", "forward"] })
    }
}

words!(ProxyProtocol, "required or off": "required" => Required, "off" => Off);
words!(PolicyRefusal, "answer or silent": "answer" => Answer, "silent" => Silent);
words!(Tunnel, "tls or any": "tls" => Tls, "any" => Any);
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
            ("foward", "did you mean \"forward\"?"),
            ("squid", "write \"forward\" for a proxy that clients ask by CONNECT"),
        ] {
            assert_eq!(Protocol::from_scalar(text).unwrap_err().help, help, "{text}");
        }
        assert!(Protocol::from_scalar("tcp").unwrap_err().help.starts_with("write \"tls\", or \"http\""));
    }
}
