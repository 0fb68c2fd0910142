//! AWS Signature Version 4, both sides: what the demo's client signs and what the Lattice stand-in verifies.
//!
//! The `aws-sigv4` crate does the work; verifying is signing again what the client signed, and comparing.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap};

use super::names;

/// AWS refuses a request whose date is further than this from its own clock.
const MAX_SKEW: Duration = Duration::from_secs(300);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &str = "x-amz-date";
const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// What VPC Lattice requires in `x-amz-content-sha256`: it does not look into bodies.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Why a request is not validly signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureError {
    Missing,
    Malformed,
    UnknownKey,
    WrongScope,
    Skewed,
    PayloadSigned,
    Unsigned(&'static str),
    Mismatch,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "none",
            Self::Malformed => "refused, the Authorization or x-amz-date field is malformed",
            Self::UnknownKey => "refused, the access key is not the demo's",
            Self::WrongScope => "refused, the scope is not us-west-2/vpc-lattice-svcs",
            Self::Skewed => "refused, x-amz-date is more than 5 minutes from now",
            Self::PayloadSigned => "refused, x-amz-content-sha256 must be UNSIGNED-PAYLOAD",
            Self::Unsigned(header) => return write!(f, "refused, {header} is not among the signed headers"),
            Self::Mismatch => "refused, it does not match: key, path or a signed header differs",
        })
    }
}

/// The parts of a request that a signature covers.
#[derive(Clone, Copy)]
pub(super) struct Signable<'a> {
    pub(super) method: &'a str,
    pub(super) path_and_query: &'a str,
    pub(super) headers: &'a HeaderMap,
}

/// Verifies the signature with the demo's own credentials; returns which headers it covers.
pub(super) fn verify(request: Signable<'_>, now: SystemTime) -> Result<String, SignatureError> {
    let authorization = text(request.headers, AUTHORIZATION.as_str()).ok_or(SignatureError::Missing)?;
    let claim = Claim::parse(authorization).ok_or(SignatureError::Malformed)?;
    let date = text(request.headers, DATE).ok_or(SignatureError::Malformed)?;
    let time = parse_date(date).ok_or(SignatureError::Malformed)?;
    if claim.key != names::ACCESS_KEY {
        return Err(SignatureError::UnknownKey);
    }
    let day = date.get(..8).unwrap_or_default();
    if claim.scope != format!("{day}/{}/{}/aws4_request", names::REGION, names::SIGNING_NAME) {
        return Err(SignatureError::WrongScope);
    }
    if time.max(now).duration_since(time.min(now)).is_ok_and(|skew| skew > MAX_SKEW) {
        return Err(SignatureError::Skewed);
    }
    if text(request.headers, CONTENT_SHA256) != Some(UNSIGNED) {
        return Err(SignatureError::PayloadSigned);
    }
    for required in [HOST.as_str(), DATE, CONTENT_SHA256] {
        if !claim.covers(required) {
            return Err(SignatureError::Unsigned(required));
        }
    }
    let covered = request.headers.iter().filter_map(|(name, value)| {
        // The signer adds these three by itself.
        let added = [HOST.as_str(), DATE, CONTENT_SHA256].contains(&name.as_str());
        (claim.covers(name.as_str()) && !added).then_some((name.as_str(), value.to_str().ok()?))
    });
    let host = text(request.headers, HOST.as_str()).ok_or(SignatureError::Malformed)?;
    let signed = signature(request.method, host, request.path_and_query, covered, time, names::SECRET_KEY)
        .ok_or(SignatureError::Malformed)?;
    if signed.signature == claim.signature { Ok(claim.signed.to_owned()) } else { Err(SignatureError::Mismatch) }
}

/// The header fields that sign a request without a body for VPC Lattice.
pub(super) fn fields(
    method: &str,
    host: &str,
    path_and_query: &str,
    time: SystemTime,
    secret: &str,
) -> Option<Vec<(String, String)>> {
    signature(method, host, path_and_query, std::iter::empty(), time, secret).map(|signed| signed.fields)
}

struct Signed {
    fields: Vec<(String, String)>,
    signature: String,
}

fn signature<'a>(
    method: &'a str,
    host: &str,
    path_and_query: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    time: SystemTime,
    secret: &str,
) -> Option<Signed> {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    // The caller says what is covered; curl signs fields that the SDKs leave out.
    settings.excluded_headers = None;
    let identity = Credentials::new(names::ACCESS_KEY, secret, None, None, "demo").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(names::REGION)
        .name(names::SIGNING_NAME)
        .time(time)
        .settings(settings)
        .build()
        .ok()?
        .into();
    let uri = format!("https://{host}{path_and_query}");
    let request = SignableRequest::new(method, uri, headers, SignableBody::UnsignedPayload).ok()?;
    let (instructions, signature) = sign(request, &params).ok()?.into_parts();
    let fields = instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Signed { fields, signature })
}

/// An `Authorization` field taken apart.
struct Claim<'a> {
    key: &'a str,
    /// `20261121/us-west-2/vpc-lattice-svcs/aws4_request`
    scope: &'a str,
    /// Names of the covered header fields, in lower case, joined by `;`.
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    fn parse(field: &'a str) -> Option<Self> {
        let parts = field.strip_prefix(ALGORITHM)?;
        let part = |name: &str| {
            parts.split(',').find_map(|part| part.trim().strip_prefix(name)?.trim_start().strip_prefix('='))
        };
        let (key, scope) = part("Credential")?.split_once('/')?;
        Some(Self { key, scope, signed: part("SignedHeaders")?, signature: part("Signature")? })
    }

    fn covers(&self, header: &str) -> bool {
        self.signed.split(';').any(|name| name == header)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `20261121T101500Z`
fn parse_date(date: &str) -> Option<SystemTime> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().into())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    const PATH: &str = "/invoices?month=11&year=2026";

    fn now() -> SystemTime {
        parse_date("20261121T101500Z").unwrap()
    }

    fn signed_with(secret: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(names::BILLING));
        for (name, value) in fields("GET", names::BILLING, PATH, now(), secret).unwrap() {
            headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        headers
    }

    fn check(headers: &HeaderMap) -> Result<String, SignatureError> {
        verify(Signable { method: "GET", path_and_query: PATH, headers }, now())
    }

    #[test]
    fn good_signature_names_what_it_covers() {
        let headers = signed_with(names::SECRET_KEY);
        assert_eq!(check(&headers).unwrap(), "host;x-amz-content-sha256;x-amz-date");
    }

    #[test]
    fn every_change_of_what_is_signed_is_detected() {
        let good = signed_with(names::SECRET_KEY);
        assert_eq!(check(&signed_with("another secret")), Err(SignatureError::Mismatch));

        let path = Signable { method: "GET", path_and_query: "/other", headers: &good };
        assert_eq!(verify(path, now()), Err(SignatureError::Mismatch));
        let method = Signable { method: "POST", path_and_query: PATH, headers: &good };
        assert_eq!(verify(method, now()), Err(SignatureError::Mismatch));

        let mut host = good.clone();
        host.insert(HOST, HeaderValue::from_static(names::ORDERS));
        assert_eq!(check(&host), Err(SignatureError::Mismatch));
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let good = signed_with(names::SECRET_KEY);
        assert_eq!(check(&HeaderMap::new()), Err(SignatureError::Missing));

        let later = Signable { method: "GET", path_and_query: PATH, headers: &good };
        assert_eq!(verify(later, now() + MAX_SKEW), verify(later, now()));
        let too_late = now() + MAX_SKEW + Duration::from_secs(1);
        assert_eq!(verify(later, too_late), Err(SignatureError::Skewed));

        let change = |name: &'static str, edit: &dyn Fn(&str) -> String| {
            let mut headers = good.clone();
            let value = edit(text(&headers, name).unwrap());
            headers.insert(name, HeaderValue::try_from(value).unwrap());
            check(&headers).unwrap_err()
        };
        assert_eq!(change("authorization", &|_| "Basic Zm9v".into()), SignatureError::Malformed);
        assert_eq!(change("authorization", &|a| a.replace("AKIDEMO", "AKIOTHER")), SignatureError::UnknownKey);
        assert_eq!(change("authorization", &|a| a.replace("us-west-2", "us-east-1")), SignatureError::WrongScope);
        assert_eq!(change("authorization", &|a| a.replace("vpc-lattice-svcs", "s3")), SignatureError::WrongScope);
        assert_eq!(change("authorization", &|a| a.replace("host;", "")), SignatureError::Unsigned("host"));
        assert_eq!(change("x-amz-content-sha256", &|_| "e3b0c442".into()), SignatureError::PayloadSigned);
        assert_eq!(change("x-amz-date", &|_| "yesterday".into()), SignatureError::Malformed);
    }
}
