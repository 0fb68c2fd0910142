//! Worker threads: each has an event loop and listening sockets of its own; a connection lives and dies on it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc as blocking_mpsc};

use crate::dns::ResolverFactory;
use crate::proxy::inquiries;
use crate::proxy::listener::Acceptor;
use crate::proxy::worker::{Phase, Shared, Worker};
use crate::reload::notify_sessions;
use crate::runtime::{Alive, EventLoop, ListeningSocket, Watched, spawn};
use crate::sys::blocking;
use crate::telemetry::access_log::AccessLogger;
use crate::telemetry::inquiry::Inquiries;
use crate::telemetry::log_writer::Writer;
use crate::telemetry::recent::Recent;
use crate::telemetry::reporter::Reporter;
use latticegate_core::config;

/// Everything a worker thread is started with.
pub struct Setup {
    pub number: usize,
    pub shared: Arc<Shared>,
    pub resolvers: ResolverFactory,
    pub writer: Writer,
    pub phase: Watched<Phase>,
    /// This worker's own sockets.
    pub sockets: Vec<(config::Listener, std::net::TcpListener)>,
    /// Where this worker's connection ids begin; far from the others'.
    pub first_id: u64,
    /// What the operator's page asks it.
    pub(crate) inquiries: Inquiries,
    /// Dropped when the thread ends, however that happens.
    pub(crate) alive: Alive,
}

/// Starts one worker, which accepts when this returns; the thread ends after [`Phase::Closing`], when its connections
/// have.
pub fn start_worker(setup: Setup) -> io::Result<()> {
    let (started, outcome) = blocking_mpsc::channel();
    let number = setup.number;
    blocking::spawn(&format!("worker-{number}"), move || {
        let alive = setup.alive.clone();
        if let Err(error) = run(setup, &started) {
            // The starter waits for it.
            let _ = started.send(Err(error));
        }
        drop(alive);
    })?;
    outcome.recv().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
}

fn run(setup: Setup, started: &blocking_mpsc::Sender<io::Result<()>>) -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let Setup { number, shared, resolvers, writer, phase, sockets, first_id, inquiries, alive: _alive } = setup;
    let running = Running::new(Worker::new(shared, resolvers.resolver(), number, first_id), writer);
    event_loop.block_on(running.serve(sockets, phase, inquiries, || drop(started.send(Ok(())))))?;
    running.end(|| drop(event_loop));
    Ok(())
}

/// One worker, on the thread of its event loop.
pub(crate) struct Running {
    pub(crate) worker: Rc<Worker>,
    log: Rc<AccessLogger>,
    /// Set when what is still open is cut.
    stopping: Rc<Cell<bool>>,
}

impl Running {
    pub(crate) fn new(worker: Worker, writer: Writer) -> Self {
        let omitted = worker.metrics().lines_omitted.clone();
        let log = AccessLogger::new(&worker.config().access_log, writer, omitted, worker.clock().clone());
        Self { worker: Rc::new(worker), log, stopping: Rc::default() }
    }

    /// Accepts connections until the process drains, and returns when they have ended or are to be cut.
    pub(crate) async fn serve(
        &self,
        sockets: Vec<(config::Listener, std::net::TcpListener)>,
        phase: Watched<Phase>,
        inquiries: Inquiries,
        started: impl FnOnce(),
    ) -> io::Result<()> {
        let Self { worker, log, stopping } = self;
        let flusher = Rc::clone(log);
        spawn(async move { flusher.keep_flushing().await });
        let summariser = Rc::clone(log);
        spawn(async move { summariser.keep_summarising().await });
        spawn(Rc::clone(&worker.half_open).run_evictions());
        spawn(worker.resources.keep_pipes_few());
        spawn(Rc::clone(worker).make_room_for_dials());
        let groups = Rc::clone(&worker.groups);
        spawn(notify_sessions(worker.policy_changes(), move || groups.notify_all()));
        spawn(Rc::clone(worker).follow(phase.clone()));
        let recent = Rc::new(Recent::default());
        spawn(inquiries::answer(Rc::clone(worker), Rc::clone(&recent), inquiries));
        spawn(inquiries::forget(Rc::clone(&recent)));
        let mut loops = Vec::new();
        for (listener, socket) in sockets {
            let metrics = worker.metrics().listener(&listener);
            let (log, recent) = (Rc::clone(log), Rc::clone(&recent));
            let reporter = Reporter { listener, log, metrics, recent, stopping: Rc::clone(stopping) };
            let acceptor = Acceptor::new(reporter, Rc::clone(worker), phase.clone());
            loops.push(spawn(acceptor.run(ListeningSocket::from_std(socket)?)));
        }
        started();
        for accept_loop in loops {
            // A defect in one loop must not keep the others from draining.
            accept_loop.await;
        }
        worker.drained(phase).await;
        Ok(())
    }

    /// What is still open is dropped with the loop, and reported then.
    pub(crate) fn end(self, drop_loop: impl FnOnce()) {
        self.stopping.set(true);
        drop_loop();
        self.log.finish();
    }
}
