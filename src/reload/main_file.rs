//! The main configuration is read at start only: whoever changes it later is told that it takes a restart.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::sleep;

use super::Looked;
use super::file::FileSource;
use crate::sys::blocking::{BlockingThread, Patience};
use crate::sys::files;

/// Nothing hangs on how soon it is told.
const POLL: Duration = Duration::from_secs(1);

pub struct MainFile {
    source: FileSource,
    /// CRC32C of the text that the process was started with.
    started_with: u32,
    differs: bool,
}

impl MainFile {
    /// None: it cannot be read any more, a moment after it was; a pipe, for one, never can.
    pub fn at_start(path: &Path) -> Option<Self> {
        if !std::fs::metadata(path).is_ok_and(|about| about.is_file()) {
            return None;
        }
        let bytes = files::read(path).ok()?;
        Some(Self { source: FileSource::new(path), started_with: crc32c::crc32c(&bytes), differs: false })
    }

    /// For ever. A change is told once, and again at each SIGHUP: whoever sends one expects it to be read.
    ///
    /// `thread`: where the file is read, as that may never return.
    pub async fn watch(mut self, hangup: io::Result<Signal>, thread: BlockingThread, mut patience: Patience) {
        let mut hangup = hangup.ok();
        let name = format!("the configuration {}", self.source.path().display());
        loop {
            let asked = async {
                match &mut hangup {
                    Some(hangup) => drop(hangup.recv().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = asked => {
                    self.differs = false;
                    self.source.forget();
                }
                () = sleep(POLL) => {}
            }
            let look = thread.run(move || {
                self.look();
                self
            });
            match patience.wait(&name, look).await {
                Some(same) => self = same,
                None => return,
            }
        }
    }

    fn look(&mut self) {
        let Ok(Looked::Fetched(found)) = self.source.fetch() else { return };
        let differs = crc32c::crc32c(&found.bytes) != self.started_with;
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
