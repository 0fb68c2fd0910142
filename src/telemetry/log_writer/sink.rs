//! Where lines are written to: a standard stream, a file, or another part of this process.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::Sender;

use super::file::{self, LogFile, Rotation, open_help};
use super::lines::{LineOutput, Unwritten, count};
use latticegate_core::config::{Config, LogOutput};
use latticegate_core::diagnostic::Diagnostic;

pub enum Sink {
    /// Standard output or standard error.
    Stream(OutputStream),
    File(LogFile),
    /// To another part of this process, in batches of whole lines.
    Channel(Sender<Vec<u8>>),
}

pub struct OutputStream(LineOutput);

/// The access log, for an operator.
pub fn cannot_open(config: &Config, path: &Path, error: &io::Error) -> Diagnostic {
    config.mistake("access_log.output", path.display(), format!("cannot be opened: {error}"), open_help(path))
}

impl Sink {
    pub fn open(output: &LogOutput) -> io::Result<Self> {
        match output {
            LogOutput::Stdout => Self::stdout(),
            LogOutput::File(path) => Ok(Self::File(LogFile::open(path)?)),
        }
    }

    pub fn stdout() -> io::Result<Self> {
        Self::stream(&io::stdout())
    }

    pub fn stderr() -> io::Result<Self> {
        Self::stream(&io::stderr())
    }

    fn stream(stream: &impl AsFd) -> io::Result<Self> {
        Ok(Self::Stream(OutputStream(LineOutput::to(stream.as_fd().try_clone_to_owned()?.into()))))
    }

    /// Whether `open` would succeed now; no file is created.
    pub fn try_open(config: &Config) -> Result<(), Diagnostic> {
        match &config.access_log.output {
            LogOutput::Stdout => Ok(()),
            LogOutput::File(path) => file::try_open(path).map_err(|error| cannot_open(config, path, &error)),
        }
    }

    /// Reopens the log, if it is a file.
    pub fn rotation(&self) -> Option<Rotation> {
        match self {
            Self::File(file) => Some(file.rotation()),
            Self::Stream(_) | Self::Channel(_) => None,
        }
    }

    /// Whether its reader is that of the process's output.
    pub fn is_output(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// How many of these bytes one write may take.
    pub(super) fn write_size(&self, lines: &[u8]) -> usize {
        match self {
            Self::Stream(OutputStream(output)) => output.write_size(lines),
            Self::File(file) => file.write_size(lines),
            Self::Channel(_) => lines.len(),
        }
    }

    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        match self {
            Self::Stream(OutputStream(output)) => output.write(lines),
            Self::File(file) => file.write(lines),
            Self::Channel(channel) => channel.send(lines.to_vec()).map_err(|unsent| Unwritten {
                error: io::ErrorKind::BrokenPipe.into(),
                lost: count(&unsent.0),
                partial: false,
            }),
        }
    }
}
