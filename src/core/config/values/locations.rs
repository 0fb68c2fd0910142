//! Where the access list comes from, and where the access log goes.

use std::net::SocketAddr;
use std::path::PathBuf;

use http::uri::PathAndQuery;

use crate::config::{LogOutput, LoopbackUrl, PolicySource, S3Object};
use crate::yaml::{FromScalar, ValueError};

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
            "has port 0, where nothing can listen",
            "write it like http://127.0.0.1:2772/path",
        ));
    }
    if path.parse::<PathAndQuery>().is_err() || path.contains('#') || !path.is_ascii() {
        let help = "write spaces and all that is not ASCII as %20 and the like, and no `#`";
        return Err(ValueError::new("has a character that no URL may have", help));
    }
    Ok(LoopbackUrl { address, path: path.into() })
}

impl FromScalar for LogOutput {
    const EXPECTED: &'static str = "stdout, or a file's path";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        match text {
            "stdout" => Ok(Self::Stdout),
            // A bare word is more likely a mistyped `stdout` than a file in an unknown directory.
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
