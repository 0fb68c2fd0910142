//! Where the access list comes from: a file, an HTTP URL on loopback, or an S3 object.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::Loaded;
use super::file::FileSource;
use super::http::HttpSource;
#[cfg(feature = "s3")]
use super::s3::S3Source;
use latticegate_core::config::PolicySource;
use latticegate_core::diagnostic::{Diagnostic, Origin};
use latticegate_core::policy::Policy;

/// Which list it is: what the source calls it (an ETag, a version id) and a hash of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The source's own word: an ETag, an S3 version id; empty for a file.
    pub label: Arc<str>,
    /// CRC32C of the text: tells two lists apart, not meant against an adversary.
    pub hash: u32,
}

/// A list's text as fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    pub bytes: Vec<u8>,
    pub label: Arc<str>,
}

/// What a look at a source brought.
#[derive(Debug)]
pub(super) enum Looked {
    /// Nothing since the last look, whatever that brought.
    Unchanged,
    /// The list that is in force.
    AsInForce,
    Fetched(Fetched),
}

#[derive(Debug)]
pub enum Source {
    File(FileSource),
    Http(HttpSource),
    #[cfg(feature = "s3")]
    S3(Box<S3Source>),
}

/// Why there is no list to be had from the source.
#[derive(Debug)]
pub enum SourceError {
    /// The text is there, but no list.
    Problems(Vec<Diagnostic>),
    /// It could not be fetched.
    Unreachable(String),
}

impl Source {
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

    /// The list at start, whatever it is.
    pub async fn first(&mut self) -> Result<Loaded, SourceError> {
        match self.fetch(None).await? {
            Looked::Fetched(fetched) => self.parse(fetched),
            Looked::Unchanged | Looked::AsInForce => {
                Err(SourceError::Unreachable("the source says that nothing has changed".into()))
            }
        }
    }

    /// `known` is the list that is there already. No list is known by no version: an empty text's hash is 0.
    pub(super) async fn fetch(&mut self, known: Option<&Version>) -> Result<Looked, SourceError> {
        let looked = match self {
            Self::File(file) => file.fetch()?,
            Self::Http(http) => http.fetch(known).await?,
            #[cfg(feature = "s3")]
            Self::S3(s3) => s3.fetch(known).await?,
        };
        Ok(match looked {
            // A file that was touched, or a server without ETags: the same text is no news.
            Looked::Fetched(fetched) if known == Some(&Version::of(&fetched)) => Looked::AsInForce,
            other => other,
        })
    }

    /// Whatever is there next is to be read, also if it looks unchanged.
    pub(super) fn forget(&mut self) {
        if let Self::File(file) = self {
            file.forget();
        }
    }

    /// 100 000 rules take a good part of a second.
    pub(super) fn parse(&self, fetched: Fetched) -> Result<Loaded, SourceError> {
        let version = Version::of(&fetched);
        let policy = Policy::parse_bytes(fetched.bytes, self.origin()).map_err(SourceError::Problems)?;
        Ok(Loaded::new(policy, version))
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

impl Version {
    /// Of a list that came from no source.
    pub(super) fn none() -> Self {
        Self { label: "".into(), hash: 0 }
    }

    fn of(fetched: &Fetched) -> Self {
        Self { label: Arc::clone(&fetched.label), hash: crc32c::crc32c(&fetched.bytes) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.label.is_empty() {
            write!(f, "{:08x}", self.hash)
        } else {
            write!(f, "{} {:08x}", self.label, self.hash)
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::Problems(diagnostics) => {
                for (index, diagnostic) in diagnostics.iter().enumerate() {
                    write!(f, "{}{diagnostic}", if index == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for SourceError {}
