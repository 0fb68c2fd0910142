//! Where the access list comes from: a file, an HTTP URL on loopback, or an S3 object.

use std::path::Path;

use super::current::Loaded;
use super::fetched::{ListText, ListVersion, SourceError, Update};
use super::file::FileSource;
use super::http::HttpSource;
#[cfg(feature = "s3")]
use super::s3::S3Source;
use latticegate_core::config::PolicySource;
use latticegate_core::diagnostic::Origin;
use latticegate_core::policy::Policy;

#[derive(Debug)]
pub enum ListSource {
    File(FileSource),
    Http(HttpSource),
    #[cfg(feature = "s3")]
    S3(Box<S3Source>),
}

impl ListSource {
    pub fn new(source: &PolicySource) -> Result<Self, SourceError> {
        Ok(match source {
            PolicySource::File(path) => Self::File(FileSource::new(path)),
            PolicySource::Http(url) => Self::Http(HttpSource::new(url.clone())),
            #[cfg(feature = "s3")]
            PolicySource::S3(object) => Self::S3(Box::new(S3Source::new(object)?)),
            #[cfg(not(feature = "s3"))]
            PolicySource::S3(_) => {
                let message = "this build has no S3: build it with `--features s3`, or name a file";
                return Err(SourceError::Unreachable(message.into()));
            }
        })
    }

    /// The present list, whichever it is.
    pub async fn first(&mut self) -> Result<Loaded, SourceError> {
        let text = self.fetch(None).await?.into_new()?;
        self.parse(text)
    }

    /// `known`: the list in force. (None is not the same as `ListVersion::none()`, which is that of an empty text.)
    pub(super) async fn fetch(&mut self, known: Option<&ListVersion>) -> Result<Update<ListText>, SourceError> {
        let update = match self {
            Self::File(file) => file.fetch()?,
            Self::Http(http) => http.fetch(known).await?,
            #[cfg(feature = "s3")]
            Self::S3(s3) => s3.fetch(known).await?,
        };
        Ok(match update {
            // A file that was touched, or a server without ETags.
            Update::New(text) if known == Some(&ListVersion::of(&text)) => Update::InForce,
            other => other,
        })
    }

    /// The next fetch reads the list even if it seems unchanged.
    pub(super) fn force_read(&mut self) {
        if let Self::File(file) = self {
            file.force_read();
        }
    }

    /// 100 000 rules take most of a second.
    pub(super) fn parse(&self, text: ListText) -> Result<Loaded, SourceError> {
        let (version, modified) = (ListVersion::of(&text), text.modified);
        let policy = Policy::parse_bytes(text.bytes, self.origin()).map_err(SourceError::Invalid)?;
        Ok(Loaded { modified, ..Loaded::new(policy, version) })
    }

    fn origin(&self) -> Origin {
        match self {
            Self::File(file) => Origin::file(file.path()),
            Self::Http(http) => Origin::file(Path::new(&http.to_string())),
            #[cfg(feature = "s3")]
            Self::S3(s3) => Origin::file(Path::new(&s3.to_string())),
        }
    }
}
