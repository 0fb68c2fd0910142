//! Addresses with a port.

use std::net::{IpAddr, SocketAddr};

use crate::yaml::{FromScalar, ValueError};

/// Addresses with a port, one type for each key: its help shows the key's own example.
macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident, $host:literal, $port:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(in crate::config) struct $name(pub(in crate::config) SocketAddr);

        impl FromScalar for $name {
            const EXPECTED: &'static str = concat!("an address and port, like \"", $host, ":", $port, "\"");

            fn from_scalar(text: &str) -> Result<Self, ValueError> {
                let error = |_| ValueError::new("is not an address and port", address_help(text, $host, $port));
                text.parse().map(Self).map_err(error)
            }

            #[cfg(test)]
            fn schema() -> serde_json::Value {
                serde_json::json!({ "type": "string" })
            }
        }
    )+};
}

addresses! {
    /// `listeners[].bind`.
    ListenerAddress, "[::]", "8443";
    /// `health.bind`.
    HealthAddress, "[::]", "9901";
    /// `admin.bind`.
    AdminAddress, "127.0.0.1", "9900";
    /// `dns.server`.
    ResolverAddress, "169.254.169.253", "53";
}

/// What to write instead of something that is almost an address and port; `host` and `usual` are those of the example.
fn address_help(text: &str, host: &str, usual: &str) -> String {
    let port = text.strip_prefix("*:").or(text.strip_prefix(':')).unwrap_or(text);
    if port.parse::<u16>().is_ok() {
        return format!("write \"{host}:{port}\"");
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
        && let Ok(IpAddr::V6(address)) = host.parse()
    {
        return format!("write \"[{address}]:{port}\"");
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return match address {
            IpAddr::V4(address) => format!("add the port, like \"{address}:{usual}\""),
            IpAddr::V6(address) => format!("add the port, like \"[{address}]:{usual}\""),
        };
    }
    format!("write an IP address and a port, like \"{host}:{usual}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_almost_right_is_shown_right() {
        for (text, help) in [
            ("8443", "write \"[::]:8443\""),
            (":8443", "write \"[::]:8443\""),
            ("*:8443", "write \"[::]:8443\""),
            (":::8443", "write \"[::]:8443\""),
            ("fd00::1:99999", "write an IP address and a port, like \"[::]:8443\""),
            ("0.0.0.0", "add the port, like \"0.0.0.0:8443\""),
            ("localhost:53", "write an IP address and a port, like \"[::]:8443\""),
        ] {
            assert_eq!(ListenerAddress::from_scalar(text).unwrap_err().help, help, "{text}");
        }
        for (text, help) in [
            ("53", "write \"169.254.169.253:53\""),
            ("10.0.0.2", "add the port, like \"10.0.0.2:53\""),
            ("[fd00:ec2::253]", "add the port, like \"[fd00:ec2::253]:53\""),
            ("resolver.example.com", "write an IP address and a port, like \"169.254.169.253:53\""),
        ] {
            assert_eq!(ResolverAddress::from_scalar(text).unwrap_err().help, help, "{text}");
        }
        assert_eq!(AdminAddress::from_scalar("9900").unwrap_err().help, "write \"127.0.0.1:9900\"");
        assert_eq!(HealthAddress::from_scalar("::").unwrap_err().help, "add the port, like \"[::]:9901\"");
    }
}
