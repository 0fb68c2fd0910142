//! What `allowed_networks` has: networks, and the word `public`.

use std::fmt;

use ipnet::IpNet;

use crate::diagnostic::nearest;
use crate::yaml::{FromScalar, ValueError};

#[derive(Debug, Clone, Copy)]
pub(in crate::config) enum Destination {
    /// Every public address.
    Public,
    Network(IpNet),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl FromScalar for Destination {
    const EXPECTED: &'static str = "a network, like 10.0.0.0/8, or public";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        const PUBLIC: &str = "public";
        if text == PUBLIC {
            return Ok(Self::Public);
        }
        // What begins with a digit, or has a colon, is a misspelt network.
        let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.contains([':', '/', '.']);
        if !is_word {
            return IpNet::from_scalar(text).map(Self::Network);
        }
        let help = match nearest(text, [PUBLIC]) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "write a CIDR or an address, or \"public\" for every public address".to_owned(),
        };
        Err(ValueError::new("is neither a network nor \"public\"", help))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_public_is_not_taken_for_a_misspelt_network() {
        for (text, help) in [
            ("Public", "did you mean \"public\"?"),
            ("PUBLIC", "did you mean \"public\"?"),
            ("pubic", "did you mean \"public\"?"),
            ("publik", "did you mean \"public\"?"),
            ("pulbic", "did you mean \"public\"?"),
            ("internet", "or \"public\" for every public address"),
            ("all", "or \"public\" for every public address"),
        ] {
            let error = Destination::from_scalar(text).unwrap_err();
            assert!(error.message == "is neither a network nor \"public\"" && error.help.contains(help), "{error:?}");
        }
        for text in ["10.0.0.0/33", "fe80::/129", "10.0.0.1/8", "fd00:ec2::zz", ""] {
            let error = Destination::from_scalar(text).unwrap_err();
            assert_eq!(error, IpNet::from_scalar(text).unwrap_err(), "{text}");
        }
        assert!(matches!(Destination::from_scalar("public"), Ok(Destination::Public)));
        assert!(matches!(Destination::from_scalar("fd00::/8"), Ok(Destination::Network(_))));
        assert!(matches!(Destination::from_scalar("dead::1"), Ok(Destination::Network(_))));
    }
}
