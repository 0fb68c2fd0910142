//! AWS Signature Version 4 as VPC Lattice wants it: the body is not covered, and a header says so.

use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use anyhow::{Context, Result};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;

pub struct Signer {
    service: String,
    region: String,
    credentials: RwLock<Credentials>,
}

impl Signer {
    pub fn new(service: &str, region: &str, credentials: Credentials) -> Self {
        Self { service: service.to_owned(), region: region.to_owned(), credentials: RwLock::new(credentials) }
    }

    /// From now on with these.
    pub fn renew(&self, credentials: Credentials) {
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    /// The header fields that sign a GET of this URL, of which Host is covered too.
    pub fn fields(&self, url: &str, time: SystemTime) -> Result<Vec<(String, String)>> {
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = self.credentials.read().unwrap_or_else(PoisonError::into_inner).clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(time)
            .settings(settings)
            .build()?
            .into();
        let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::UnsignedPayload)?;
        let (instructions, _) = sign(request, &parameters).context("signing")?.into_parts();
        Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
