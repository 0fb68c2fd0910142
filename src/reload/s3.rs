//! An S3 object, by object_store: requested with the ETag of the list in force, with the credentials of the ECS task
//! role (or of the usual AWS_ variables), and only from the account that is expected to own the bucket.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ClientOptions, Error, GetOptions, ObjectStore, RetryConfig};
use reqwest::header::{HeaderMap, HeaderValue};

use super::fetched::{ListText, ListVersion, SourceError, TOO_LARGE, Update};
use latticegate_core::config::S3Object;
use latticegate_core::yaml::MAX_BYTES;

/// For one request; with its retries, at most three times that.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct S3Source {
    object: S3Object,
    store: AmazonS3,
    key: Path,
}

impl S3Source {
    pub fn new(object: &S3Object) -> Result<Self, SourceError> {
        let unusable = |why: &dyn fmt::Display| SourceError::Unreachable(format!("s3://{}: {why}", object.bucket));
        // If one is installed already, it is the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(owner) = &object.owner {
            let owner = HeaderValue::from_str(owner).map_err(|error| unusable(&error))?;
            headers.insert("x-amz-expected-bucket-owner", owner);
        }
        let allow_http = std::env::var_os("AWS_ALLOW_HTTP").is_some();
        let options = ClientOptions::new()
            .with_default_headers(headers)
            .with_timeout(TIMEOUT)
            .with_connect_timeout(TIMEOUT)
            .with_allow_http(allow_http);
        let retry = RetryConfig { max_retries: 2, retry_timeout: TIMEOUT * 3, ..RetryConfig::default() };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(&*object.bucket)
            .with_client_options(options)
            .with_retry(retry)
            .build()
            .map_err(|error| unusable(&error))?;
        let key = Path::parse(&*object.key).map_err(|error| unusable(&error))?;
        Ok(Self { object: object.clone(), store, key })
    }

    pub(super) async fn fetch(&self, known: Option<&ListVersion>) -> Result<Update<ListText>, SourceError> {
        // The label of the list in force is `ETag version-id`.
        let etag = known.and_then(|known| known.label.split(' ').next()).filter(|etag| !etag.is_empty());
        let options = GetOptions { if_none_match: etag.map(str::to_owned), ..GetOptions::default() };
        let object = match self.store.get_opts(&self.key, options).await {
            Ok(object) => object,
            Err(Error::NotModified { .. }) => return Ok(Update::InForce),
            Err(error) => return Err(self.failed(&error)),
        };
        if object.meta.size > u64::try_from(MAX_BYTES).unwrap_or(u64::MAX) {
            return Err(self.unreachable(&TOO_LARGE));
        }
        let modified = Some(object.meta.last_modified.into());
        let etag = object.meta.e_tag.clone().unwrap_or_default();
        let label = match &object.meta.version {
            Some(version) => format!("{etag} {version}"),
            None => etag,
        };
        let bytes = object.bytes().await.map_err(|error| self.failed(&error))?;
        Ok(Update::New(ListText { bytes: bytes.to_vec(), label: label.into(), modified }))
    }

    /// With the innermost cause: "error sending request" alone hides an untrusted certificate.
    fn failed(&self, error: &Error) -> SourceError {
        let mut innermost = None;
        let mut next = error.source();
        while let Some(cause) = next {
            innermost = Some(cause.to_string());
            next = cause.source();
        }
        let text = error.to_string();
        match innermost {
            Some(cause) if !text.contains(&cause) => self.unreachable(&format_args!("{text}: {cause}")),
            _ => self.unreachable(&text),
        }
    }

    fn unreachable(&self, why: &dyn fmt::Display) -> SourceError {
        SourceError::Unreachable(format!("{self}: {why}"))
    }
}

impl fmt::Display for S3Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.object.bucket, self.object.key)
    }
}
