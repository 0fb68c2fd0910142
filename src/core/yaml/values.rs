//! Single values that configuration and access list share: text, paths, numbers, networks, names.

use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use ipnet::IpNet;

use super::{FromScalar, ValueError, number, number_error, typed};
use crate::hostname::Hostname;
use crate::hostname_help::name_help;
use crate::networks::{NetworkError, parse_network};

impl FromScalar for String {
    const EXPECTED: &'static str = "a single value";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        Ok(text.to_owned())
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": ["string", "number", "boolean"] })
    }
}

impl FromScalar for PathBuf {
    const EXPECTED: &'static str = "a file's path";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() || text.contains('\0') {
            return Err(ValueError::new("is not a path", "write a file's path, like ipcontrol.yaml"));
        }
        Ok(Self::from(text))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }
}

impl FromScalar for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        typed(text).ok_or_else(|| ValueError::new("is neither true nor false", "write one of them"))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "boolean" })
    }
}

/// Numbers: the type, what is expected, what is wrong with another value, what to write, and the bounds for the schema.
macro_rules! numbers {
    ($($type:ty: $expected:literal, $message:literal, $help:literal, { $($bounds:tt)+ };)+) => {$(
        impl FromScalar for $type {
            const EXPECTED: &'static str = $expected;

            fn from_scalar(text: &str) -> Result<Self, ValueError> {
                number(text).ok_or_else(|| number_error(text, || ValueError::new($message, $help)))
            }

            #[cfg(test)]
            fn schema() -> serde_json::Value {
                serde_json::json!({ "type": "integer", $($bounds)+ })
            }
        }
    )+};
}

numbers! {
    NonZeroU16: "a port number", "is not a port", "write a number from 1 to 65535", { "minimum": 1, "maximum": 65535 };
    NonZeroUsize: "a number", "is not a number above 0", "write one", { "minimum": 1 };
    NonZeroU32: "a number", "is not a number above 0", "write one, or remove the key", { "minimum": 1 };
    u32: "a number", "is not a number", "write 0 or more", { "minimum": 0 };
}

impl FromScalar for IpNet {
    const EXPECTED: &'static str = "a network, like 10.0.0.0/8";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        parse_network(text).map_err(|error| match error {
            NetworkError::HostBits(network) => {
                let address = text.split('/').next().unwrap_or(text);
                let help = format!("write \"{network}\", or \"{address}\" for the one address");
                ValueError::new("has bits set after its prefix", help)
            }
            NetworkError::NotANetwork if text == "all" => {
                ValueError::new("is not a network", "write \"0.0.0.0/0\" and \"::/0\" if you mean every address")
            }
            NetworkError::NotANetwork => {
                ValueError::new("is not a network", "write a CIDR or an address, like 10.0.0.0/8 or \"2001:db8::/32\"")
            }
        })
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }
}

impl FromScalar for Hostname {
    const EXPECTED: &'static str = "a DNS name";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        Self::parse(text.as_bytes())
            .map_err(|error| ValueError::new(format!("is not a DNS name: {error}"), name_help(text, error)))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }
}
