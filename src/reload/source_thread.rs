//! A source on its own thread, which runs from the start of the process to its end. Reading a file may never return,
//! parsing 100 000 rules takes most of a second, and later it may be impossible to start a thread.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::current::Loaded;
use super::fetched::{ListVersion, SourceError, Update};
use super::source::ListSource;
use crate::sys::blocking;
use latticegate_core::config::PolicySource;

/// Handles one request after another.
pub struct SourceThread {
    requests: UnboundedSender<CheckRequest>,
    /// The source, for messages.
    name: String,
}

struct CheckRequest {
    known: Option<ListVersion>,
    /// Read the list even if it seems unchanged.
    force: bool,
    reply: oneshot::Sender<Result<Update<Box<Loaded>>, SourceError>>,
}

impl SourceThread {
    pub fn start(from: &PolicySource) -> io::Result<Self> {
        let (requests, received) = unbounded_channel();
        let (ready, started) = mpsc::channel();
        let (name, source) = (from.to_string(), from.clone());
        blocking::spawn("list", move || match start_runtime(&source) {
            Ok(runtime) => {
                // `start` waits for it.
                let _ = ready.send(Ok(()));
                runtime.block_on(serve(source, received));
            }
            Err(error) => drop(ready.send(Err(error))),
        })?;
        started.recv().map_err(io::Error::other)??;
        Ok(Self { requests, name })
    }

    /// The present list, whichever it is.
    pub async fn first(&self) -> Result<Loaded, SourceError> {
        Ok(*self.check(None, true).await?.into_new()?)
    }

    /// `known`: the list in force.
    pub(super) async fn check(
        &self,
        known: Option<ListVersion>,
        force: bool,
    ) -> Result<Update<Box<Loaded>>, SourceError> {
        let (reply, result) = oneshot::channel();
        let gone = || SourceError::Unreachable(format!("{}: the thread that reads it has ended", self.name));
        self.requests.send(CheckRequest { known, force, reply }).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Resolving a bucket's name and reading a token need a thread of the runtime: it is started now and kept.
fn start_runtime(source: &PolicySource) -> io::Result<LocalRuntime> {
    const ALWAYS: Duration = Duration::from_hours(24 * 365 * 100);
    let runtime =
        Builder::new_current_thread().enable_all().thread_keep_alive(ALWAYS).build_local(LocalOptions::default())?;
    if matches!(source, PolicySource::S3(_)) {
        // Without a thread the runtime would panic.
        blocking::spawn("probe", || {})?;
        let kept = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(|| {})));
        kept.map_err(|_| io::Error::other("no thread can be started"))?;
    }
    Ok(runtime)
}

async fn serve(from: PolicySource, mut requests: UnboundedReceiver<CheckRequest>) {
    let mut source = ListSource::new(&from);
    while let Some(CheckRequest { known, force, reply }) = requests.recv().await {
        let check = async {
            // What the source needs, such as certificates, may exist by now.
            if source.is_err() {
                source = ListSource::new(&from);
            }
            match &mut source {
                Ok(source) => check(source, known.as_ref(), force).await,
                Err(error) => Err(SourceError::Unreachable(error.to_string())),
            }
        };
        let panicked = |_| Err(SourceError::Unreachable(format!("{from}: reading it panicked")));
        let result = AssertUnwindSafe(check).catch_unwind().await.unwrap_or_else(panicked);
        // The requester may have stopped waiting.
        let _ = reply.send(result);
    }
}

async fn check(
    source: &mut ListSource,
    known: Option<&ListVersion>,
    force: bool,
) -> Result<Update<Box<Loaded>>, SourceError> {
    if force {
        source.force_read();
    }
    Ok(match source.fetch(known).await? {
        Update::Unchanged => Update::Unchanged,
        Update::InForce => Update::InForce,
        Update::New(text) => Update::New(Box::new(source.parse(text)?)),
    })
}
