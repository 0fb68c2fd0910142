//! The main configuration is read at start only. If the file changes later, a log line says that this takes a restart.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::sleep;

use super::fetched::Update;
use super::file::FileSource;
use crate::sys::blocking::{BlockingThread, Patience};
use crate::sys::files;

/// A change is not urgent.
const POLL: Duration = Duration::from_secs(1);

pub struct MainFile {
    source: FileSource,
    /// CRC32C of the text that the process was started with.
    started_with: u32,
    differs: bool,
}

impl MainFile {
    /// None: it cannot be read a second time, as a pipe cannot.
    pub fn at_start(path: &Path) -> Option<Self> {
        if !std::fs::metadata(path).is_ok_and(|about| about.is_file()) {
            return None;
        }
        let bytes = files::read(path).ok()?;
        Some(Self { source: FileSource::new(path), started_with: crc32c::crc32c(&bytes), differs: false })
    }

    /// Never returns. A change is logged once, and again at each SIGHUP, as its sender expects the file to be read.
    ///
    /// `thread`: where the file is read, as that may never return.
    pub async fn watch(mut self, hangup: io::Result<Signal>, thread: BlockingThread, mut patience: Patience) {
        let mut signal = hangup.ok();
        let name = format!("the configuration {}", self.source.path().display());
        loop {
            let hangup = async {
                match &mut signal {
                    Some(signal) => drop(signal.recv().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = hangup => {
                    self.differs = false;
                    self.source.force_read();
                }
                () = sleep(POLL) => {}
            }
            let check = thread.run(move || {
                self.check();
                self
            });
            match patience.wait(&name, check).await {
                Some(same) => self = same,
                None => return,
            }
        }
    }

    fn check(&mut self) {
        let Ok(Update::New(text)) = self.source.fetch() else { return };
        let differs = crc32c::crc32c(&text.bytes) != self.started_with;
        let file = self.source.path().display();
        match (std::mem::replace(&mut self.differs, differs), differs) {
            (false, true) => tracing::warn!(
                %file,
                "the configuration has changed; it is read at start only: try it with `latticegate check`, then restart"
            ),
            (true, false) => tracing::info!(%file, "the configuration is again what the process was started with"),
            _ => {}
        }
    }
}
