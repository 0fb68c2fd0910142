//! Single values as an operator writes them: addresses, ports, durations, networks, fixed words.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use http::uri::PathAndQuery;
use ipnet::IpNet;
use jiff::SignedDuration;

use super::{
    Ipv6, LogFormat, LogKeep, LogOutput, LoopbackUrl, OnReload, PolicyRefusal, PolicySource, Protocol, ProxyProtocol,
    S3Object,
};
use crate::hostname::Hostname;
use crate::networks::{NetworkError, parse_network};
use crate::yaml::{FromScalar, ValueError, number, typed, word};

/// Longest duration taken: whoever writes more has mistyped the unit.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
/// More threads than any machine that Fargate offers; more is a typing error.
const MAX_WORKERS: usize = 1024;
/// Listener names stand in every log line and metric.
const MAX_NAME: usize = 32;

/// Zero is a duration too; whether it makes sense is for [`super::check`] to say.
impl FromScalar for Duration {
    const EXPECTED: &'static str = "a duration, like \"10s\" or \"2m\"";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        let negative = || ValueError::new("is negative", "write how long to wait");
        if text.parse::<f64>().is_ok_and(f64::is_finite) {
            let help = format!("write \"{text}s\" for seconds or \"{text}ms\" for milliseconds");
            return Err(if text.starts_with('-') { negative() } else { ValueError::new("has no unit", help) });
        }
        let read: SignedDuration = text
            .parse()
            .map_err(|_| ValueError::new("is not a duration", "write it like \"10s\", \"500ms\" or \"2m\""))?;
        let duration = Self::try_from(read).map_err(|_| negative())?;
        if duration > MAX_DURATION {
            return Err(ValueError::new("is longer than a day", "check the unit: s, m or h"));
        }
        Ok(duration)
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string", "pattern": "^[0-9]", "examples": ["10s", "500ms", "2m"] })
    }
}

/// An address and port, by what it is for: each has its own example in the help.
macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident, $host:literal, $port:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $name(pub(super) SocketAddr);

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

/// What was meant by something that is almost an address and port; `host` and `usual` are the example's.
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

impl FromScalar for NonZeroU16 {
    const EXPECTED: &'static str = "a port number";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        number(text).ok_or_else(|| ValueError::new("is not a port", "write a number from 1 to 65535"))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "integer", "minimum": 1, "maximum": 65535 })
    }
}

impl FromScalar for NonZeroUsize {
    const EXPECTED: &'static str = "a number";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        number(text).ok_or_else(|| ValueError::new("is not a number above 0", "write one"))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "integer", "minimum": 1 })
    }
}

impl FromScalar for NonZeroU32 {
    const EXPECTED: &'static str = "a number";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        number(text).ok_or_else(|| ValueError::new("is not a number above 0", "write one, or remove the key"))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "integer", "minimum": 1 })
    }
}

impl FromScalar for u32 {
    const EXPECTED: &'static str = "a number";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        number(text).ok_or_else(|| ValueError::new("is not a number", "write 0 or more"))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "integer", "minimum": 0 })
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

/// `limits.connections` and `limits.half_open`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Connections {
    Auto,
    Number(NonZeroUsize),
}

impl FromScalar for Connections {
    const EXPECTED: &'static str = "`auto` or a number";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let error = || ValueError::new("is not a number above 0", "write `auto` or a number");
        number(text).map(Self::Number).ok_or_else(error)
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1 }] })
    }
}

/// `limits.half_open_bytes`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Memory {
    Auto,
    Bytes(u64),
}

/// Below this a handful of long hellos would be all that fits.
const MIN_MEMORY: u64 = 1 << 20;

impl FromScalar for Memory {
    const EXPECTED: &'static str = "`auto` or a size, like 128MiB";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        const UNITS: [(&str, u64); 6] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("kB", 1000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
        ];
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if let Ok(number) = text.parse::<u64>() {
            // So much can only be meant in bytes.
            let help = match number >> 20 {
                0 => format!("write \"{text}MiB\" or \"{text}KiB\""),
                mebibytes => format!("write \"{mebibytes}MiB\""),
            };
            return Err(ValueError::new("has no unit", help));
        }
        let size = UNITS.iter().find_map(|(unit, bytes)| {
            let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(*bytes)
        });
        match size {
            None => Err(ValueError::new("is not a size", "write `auto`, or a size like \"128MiB\"")),
            Some(size) if size < MIN_MEMORY => Err(ValueError::new("is less than 1 MiB", "write more, or `auto`")),
            Some(size) => Ok(Self::Bytes(size)),
        }
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string", "pattern": "^(auto|[0-9]+ *([KMG]iB|kB|MB|GB))$", "examples": ["auto", "128MiB"] })
    }
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
            .map_err(|error| ValueError::new(format!("is not a DNS name: {error}"), "write it like orders.example.com"))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }
}

/// A listener's name: unique, and harmless in a log line and a metric's label.
#[derive(Debug, Clone)]
pub(super) struct ListenerName(pub(super) String);

impl FromScalar for ListenerName {
    const EXPECTED: &'static str = "a listener's name";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(allowed) {
            return Err(ValueError::new("is not a listener's name", "use 1 to 32 letters, digits, `-` or `_`"));
        }
        Ok(Self(text.to_owned()))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": ["string", "number", "boolean"], "pattern": "^[A-Za-z0-9_-]{1,32}$" })
    }
}

/// A namespace, or the value of a dimension, in CloudWatch.
#[derive(Debug, Clone)]
pub(super) struct MetricWord(pub(super) Box<str>);

impl FromScalar for MetricWord {
    const EXPECTED: &'static str = "a word for CloudWatch";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        // CloudWatch: 1 to 255 characters of ASCII, not beginning with a colon.
        let valid = !text.is_empty() && text.len() <= 255 && !text.starts_with(':');
        if !valid || !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) || text.trim().is_empty() {
            return Err(ValueError::new(
                "is no name for CloudWatch",
                "use 1 to 255 letters, digits or ./-_#, like latticegate",
            ));
        }
        Ok(Self(text.into()))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": ["string", "number", "boolean"], "minLength": 1, "maxLength": 255 })
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Workers {
    Auto,
    Number(NonZeroUsize),
}

impl FromScalar for Workers {
    const EXPECTED: &'static str = "auto, or a number";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match number::<NonZeroUsize>(text) {
            Some(number) if number.get() <= MAX_WORKERS => Ok(Self::Number(number)),
            _ => Err(ValueError::new("is not a number of workers", "write auto, or a number from 1 to 1024")),
        }
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": MAX_WORKERS }] })
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

impl FromScalar for PolicySource {
    const EXPECTED: &'static str = "a file's path, s3://bucket/key or http://127.0.0.1:PORT/PATH";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        if let Some(object) = text.strip_prefix("s3://") {
            let help = "write it like s3://bucket/ipcontrol.yaml";
            let (bucket, key) = object.split_once('/').ok_or_else(|| ValueError::new("has no key", help))?;
            if bucket.is_empty() || key.is_empty() {
                return Err(ValueError::new("has no bucket or no key", help));
            }
            return Ok(Self::S3(S3Object { bucket: bucket.into(), key: key.into(), owner: None }));
        }
        if let Some(url) = text.strip_prefix("http://") {
            return loopback_url(url).map(Self::Http);
        }
        if text.contains("://") {
            return Err(ValueError::new(
                "is no source known here",
                "name a file, s3://bucket/key, or http:// on loopback",
            ));
        }
        PathBuf::from_scalar(text).map(Self::File)
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }
}

fn loopback_url(url: &str) -> Result<LoopbackUrl, ValueError> {
    let (authority, path) = url.find('/').map_or((url, "/"), |at| url.split_at(at));
    let with_port = if authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()) {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let address: SocketAddr = with_port
        .replace("localhost:", "127.0.0.1:")
        .parse()
        .map_err(|_| ValueError::new("has no loopback address", "write it like http://127.0.0.1:2772/path"))?;
    if !address.ip().is_loopback() {
        return Err(ValueError::new(
            "leaves this machine in plain text",
            "use s3://, a file, or an agent on 127.0.0.1",
        ));
    }
    if address.port() == 0 {
        return Err(ValueError::new(
            "has the port 0, where nobody listens",
            "write it like http://127.0.0.1:2772/path",
        ));
    }
    if path.parse::<PathAndQuery>().is_err() || path.contains('#') || !path.is_ascii() {
        let help = "write spaces and all that is not ASCII as %20 and the like, and no `#`";
        return Err(ValueError::new("has a character that no URL may have", help));
    }
    Ok(LoopbackUrl { address, path: path.into() })
}

/// An AWS account id.
#[derive(Debug, Clone)]
pub(super) struct AccountId(pub(super) Box<str>);

impl FromScalar for AccountId {
    const EXPECTED: &'static str = "an AWS account id in quotes";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self(text.into()));
        }
        Err(ValueError::new("is not an account id", "write its 12 digits in quotes"))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": ["string", "integer"], "pattern": "^[0-9]{12}$" })
    }
}

impl FromScalar for LogKeep {
    const EXPECTED: &'static str = "all, refused or sample:N";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        const HELP: &str = "write all, refused, or sample:N for one of N relayed connections, like sample:100";
        match (text, text.strip_prefix("sample:")) {
            ("all", _) => Ok(Self::All),
            ("refused", _) => Ok(Self::Refused),
            (_, Some(count)) => match count.parse() {
                Ok(one_of) if count.starts_with(|c: char| c.is_ascii_digit() && c != '0') => Ok(Self::Sample(one_of)),
                _ => Err(ValueError::new("has no sample size: a number from 1 to 4294967295", HELP)),
            },
            _ => Err(ValueError::new("is none of all, refused and sample:N", HELP)),
        }
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "enum": ["all", "refused"] }, { "type": "string", "pattern": "^sample:[1-9][0-9]*$" }] })
    }
}

impl FromScalar for LogOutput {
    const EXPECTED: &'static str = "stdout, or a file's path";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        match text {
            "stdout" => Ok(Self::Stdout),
            // A bare word is more likely a mistyped `stdout` than a file in a directory nobody knows.
            path if path.contains('/') => PathBuf::from_scalar(path).map(Self::File),
            _ => Err(ValueError::new(
                "is neither stdout nor a path",
                format!("write stdout, or \"./{text}\" for a file"),
            )),
        }
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "const": "stdout" }, { "type": "string", "pattern": "/" }] })
    }
}

/// An enum that is written as one of a few fixed words.
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
            // By its letters, https would be nearest to http.
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
words!(LogFormat, "json or nginx": "json" => Json, "nginx" => Nginx);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_a_sign_and_a_bound() {
        assert_eq!(Duration::from_scalar("610s"), Ok(Duration::from_secs(610)));
        assert_eq!(Duration::from_scalar("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(Duration::from_scalar("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(Duration::from_scalar("0s"), Ok(Duration::ZERO));
        for (text, message, help) in [
            ("3", "has no unit", "\"3s\""),
            ("-3s", "is negative", "how long"),
            ("-1", "is negative", "how long"),
            ("nan", "is not a duration", "\"10s\""),
            ("25h", "is longer than a day", "unit"),
            ("soon", "is not a duration", "\"10s\""),
            ("", "is not a duration", "\"10s\""),
        ] {
            let error = Duration::from_scalar(text).unwrap_err();
            assert!(error.message == message && error.help.contains(help), "{text}: {error:?}");
        }
    }

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
