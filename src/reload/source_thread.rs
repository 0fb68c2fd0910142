//! A source on a thread of its own, which is there from the start to the end of the process. Reading a file may never
//! return, 100 000 rules take a good part of a second to be read, and later on there may be no thread to be had.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::Loaded;
use super::source::{Looked, Source, SourceError, Version};
use crate::sys::blocking;
use latticegate_core::config::PolicySource;

/// Asked one thing at a time.
pub struct SourceThread {
    asks: UnboundedSender<LookRequest>,
    /// What is asked, for messages.
    name: String,
}

struct LookRequest {
    known: Option<Version>,
    /// Read it, also if it looks unchanged.
    anew: bool,
    answer: oneshot::Sender<Result<Look, SourceError>>,
}

/// What a look at the source brought.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing since the last look, whatever that brought.
    Unchanged,
    AsInForce,
    Loaded(Box<Loaded>),
}

impl SourceThread {
    pub fn start(from: &PolicySource) -> io::Result<Self> {
        let (asks, asked) = unbounded_channel();
        let (ready, started) = mpsc::channel();
        let (name, source) = (from.to_string(), from.clone());
        blocking::spawn("list", move || match start_runtime(&source) {
            Ok(runtime) => {
                // The starter waits for it.
                let _ = ready.send(Ok(()));
                runtime.block_on(answer(source, asked));
            }
            Err(error) => drop(ready.send(Err(error))),
        })?;
        started.recv().map_err(io::Error::other)??;
        Ok(Self { asks, name })
    }

    /// The list at start, whatever it is.
    pub async fn first(&self) -> Result<Loaded, SourceError> {
        match self.look(None, true).await? {
            Look::Loaded(loaded) => Ok(*loaded),
            Look::Unchanged | Look::AsInForce => {
                Err(SourceError::Unreachable("the source says that nothing has changed".into()))
            }
        }
    }

    /// `known` is the list that is there already.
    pub(super) async fn look(&self, known: Option<Version>, anew: bool) -> Result<Look, SourceError> {
        let (answer, answered) = oneshot::channel();
        let gone = || SourceError::Unreachable(format!("{}: the thread that reads it has ended", self.name));
        self.asks.send(LookRequest { known, anew, answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Resolving a bucket's name and reading a token take a thread of the runtime: it is started now and kept.
fn start_runtime(source: &PolicySource) -> io::Result<LocalRuntime> {
    const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 100);
    let runtime =
        Builder::new_current_thread().enable_all().thread_keep_alive(FOR_EVER).build_local(LocalOptions::default())?;
    if matches!(source, PolicySource::S3(_)) {
        // Without a thread the runtime would panic.
        blocking::spawn("probe", || {})?;
        let kept = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(|| {})));
        kept.map_err(|_| io::Error::other("no thread can be started"))?;
    }
    Ok(runtime)
}

async fn answer(from: PolicySource, mut asked: UnboundedReceiver<LookRequest>) {
    let mut source = Source::new(&from);
    while let Some(LookRequest { known, anew, answer }) = asked.recv().await {
        let look = async {
            // What it takes to reach the source, such as certificates, may be there later.
            if source.is_err() {
                source = Source::new(&from);
            }
            match &mut source {
                Ok(source) => look(source, known.as_ref(), anew).await,
                Err(error) => Err(SourceError::Unreachable(error.to_string())),
            }
        };
        let panicked = |_| Err(SourceError::Unreachable(format!("{from}: reading it panicked")));
        let looked = AssertUnwindSafe(look).catch_unwind().await.unwrap_or_else(panicked);
        // Whoever asked may have stopped waiting.
        let _ = answer.send(looked);
    }
}

async fn look(source: &mut Source, known: Option<&Version>, anew: bool) -> Result<Look, SourceError> {
    if anew {
        source.forget();
    }
    Ok(match source.fetch(known).await? {
        Looked::Unchanged => Look::Unchanged,
        Looked::AsInForce => Look::AsInForce,
        Looked::Fetched(fetched) => Look::Loaded(Box::new(source.parse(fetched)?)),
    })
}
