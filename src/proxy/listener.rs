//! A listener on one worker: bind, accept, back off when accept fails, stop when the process drains.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::proxy::refuse::{self, Spoken};
use crate::proxy::session;
use crate::proxy::unread::{ReceivedBytes, note_name, with_waiting};
use crate::proxy::worker::{OpenConnection, Phase, Worker};
use crate::runtime::{Instant, ListeningSocket, Stream, Watched, race, sleep, spawn, timeout, yield_if_busy};
use crate::sys::socket;
use crate::sys::socket::Trouble;
use crate::telemetry::reporter::{OpenRecord, Reporter};
use latticegate_core::client::Client;
use latticegate_core::config::{self, Config, ProxyProtocol};
use latticegate_core::outcome::{Outcome, RefuseReason};
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::proxy_header::{self, Header};

/// How long accepting pauses when the machine has no fd or memory for another connection. Waiting connections
/// stay in the kernel's queue; a loop without a pause would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Accepting succeeds again once it has not failed for so long.
const QUIET: Duration = Duration::from_secs(1);
/// How long new connections wait in the kernel's queue, for want of files or for `limits.connections`, before they
/// are closed. It runs from the moment at which accepting pauses.
const QUEUE_PATIENCE: Duration = Duration::from_secs(1);
/// Connections that are refused before the next pause, where files are short: the others of this worker go on meanwhile.
const CLOSED_AT_ONCE: usize = 64;
/// Handshakes that have begun when no new ones are taken any more end within this: some round trips in one region.
const LAST_HANDSHAKES: Duration = Duration::from_millis(200);

/// Takes the connections of one listener.
pub(crate) struct Acceptor {
    reporter: Rc<Reporter>,
    worker: Rc<Worker>,
    phase: Watched<Phase>,
    /// Accepted, while it waits for room below `limits.connections`.
    at_hand: Cell<Option<(Stream, SocketAddr)>>,
    /// Since when connections have been waiting in the kernel's queue for room below `limits.connections`.
    full_since: Cell<Option<Instant>>,
}

impl Acceptor {
    pub(crate) fn new(reporter: Reporter, worker: Rc<Worker>, phase: Watched<Phase>) -> Self {
        let (at_hand, full_since) = (Cell::default(), Cell::default());
        Self { reporter: Rc::new(reporter), worker, phase, at_hand, full_since }
    }

    pub(crate) async fn run(self, listener: ListeningSocket) {
        let mut phase = self.phase.clone();
        let closing = async {
            // The phase's sender is dropped only when the process is ending anyhow.
            phase.until(|phase| phase >= Phase::Draining).await;
            // A client that has not sent a byte yet waits in the kernel, where closing the listener would reset
            // it: let it in while there is time.
            if let Err(error) = socket::defer_accept(&listener, Duration::ZERO) {
                tracing::warn!(%error, "clients that are silent now may be reset");
            }
            phase.until(|phase| phase >= Phase::Closing).await;
        };
        let closing = async {
            closing.await;
            match socket::drop_syns(&listener) {
                Ok(()) => sleep(LAST_HANDSHAKES).await,
                Err(error) => tracing::warn!(%error, "clients in the middle of their handshake may be reset"),
            }
        };
        race(pin!(self.accept_all(&listener)), pin!(closing)).await;
        if let Some((stream, peer)) = self.at_hand.take() {
            self.serve(stream, peer);
        }
        // The kernel has completed these handshakes: for their clients they are connected.
        for _ in 0..socket::BACKLOG {
            let Some(Ok((stream, peer))) = listener.accept_now() else { break };
            self.serve(stream, peer);
            yield_if_busy().await;
        }
    }

    async fn accept_all(&self, listener: &ListeningSocket) {
        let mut failing_since = None;
        // While files are short for all workers, one of them may accept now and then: that is no end of it, and is not
        // logged as one.
        let mut last_failure = None;
        loop {
            match self.next(listener).await {
                Ok(accepted) => {
                    failing_since = None;
                    if last_failure.is_some_and(|last: Instant| last.elapsed() >= QUIET) {
                        last_failure = None;
                        tracing::warn!(listener = %self.reporter.listener.name, "accept succeeds again");
                    }
                    self.at_hand.set(Some(accepted));
                    self.wait_for_room().await;
                    if let Some((stream, peer)) = self.at_hand.take() {
                        self.serve(stream, peer);
                    }
                }
                Err(error) => {
                    let trouble = Trouble::of(&error);
                    if trouble == Trouble::OneConnection {
                        continue;
                    }
                    self.worker.metrics().accept_errors.increment(1);
                    if last_failure.replace(Instant::now()).is_none() {
                        tracing::warn!(%error, listener = %self.reporter.listener.name, "accept fails; trying again");
                    }
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    self.worker.make_room();
                    if trouble == Trouble::Shortage && since.elapsed() >= QUEUE_PATIENCE {
                        self.close_queued(listener);
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn next(&self, listener: &ListeningSocket) -> io::Result<(Stream, SocketAddr)> {
        if self.full_since.get().is_some() {
            // Without it a queue that never empties would keep the sessions of this worker waiting.
            yield_if_busy().await;
            if let Some(accepted) = listener.accept_now() {
                return accepted;
            }
            self.full_since.set(None);
        }
        listener.accept().await
    }

    /// At the limit of connections, leaves new ones in the kernel's queue for a while: all of them for one while, so
    /// that no client waits for long in a queue that hardly moves.
    async fn wait_for_room(&self) {
        let (limits, refusing) = (self.worker.limits(), &self.worker.refusing);
        while limits.is_full() {
            let since = self.full_since.get().unwrap_or_else(Instant::now);
            self.full_since.set(Some(since));
            if refusing.get() || since.elapsed() >= QUEUE_PATIENCE {
                break;
            }
            // Another worker's connections end without a word to this one.
            let _ = timeout(ACCEPT_PAUSE, self.worker.closed.notified()).await;
        }
        match (limits.is_full(), refusing.get()) {
            (true, false) => tracing::warn!("limits.connections is reached; new connections are closed as overloaded"),
            (false, true) => tracing::warn!("below limits.connections again"),
            _ => {}
        }
        refusing.set(limits.is_full());
    }

    /// No file has been available for a new connection since then. With the one kept for this, those who wait in the
    /// queue are taken one after another and closed: they can try elsewhere.
    fn close_queued(&self, listener: &ListeningSocket) {
        drop(self.worker.spare.take());
        for _ in 0..CLOSED_AT_ONCE {
            let Some(Ok((stream, peer))) = listener.accept_now() else { break };
            self.refuse(&stream, self.open(peer), "open files or memory");
        }
        self.worker.spare.set(socket::spare_file());
    }

    fn open(&self, peer: SocketAddr) -> OpenRecord {
        self.reporter.open(self.worker.next_id(), peer)
    }

    /// With what can be done at once, without waiting. A peer that is not trusted gets no answer here either. Returns
    /// whether there was an answer.
    fn refuse(&self, stream: &Stream, mut record: OpenRecord, short_of: &str) -> bool {
        let outcome = Outcome::Refused(RefuseReason::Overloaded);
        let listener = &self.reporter.listener;
        let trusted =
            listener.proxy_protocol == ProxyProtocol::Off || self.worker.config().trusts(record.peer.get().ip());
        let scratch = self.worker.resources.scratch();
        let request = {
            let mut buffer = scratch.borrow();
            let bytes = ReceivedBytes::of(None, with_waiting(stream, &[], &mut buffer));
            record.client = client(listener, record.peer.get(), bytes.header).filter(|_| trusted);
            note_name(&mut record, Some(listener.protocol), outcome, bytes);
            bytes.request()
        };
        let now = self.worker.now();
        let answer = refuse::answer(outcome, Spoken::of(listener.protocol, listener), record.id, request, now)
            .filter(|_| trusted);
        refuse::discard(stream, scratch);
        let status = answer.as_deref().and_then(refuse::status);
        record.note_status(status);
        let sent = refuse::send(stream, answer.as_deref().unwrap_or_default());
        record.count_answer(sent, status);
        record.detail = Some(short_of.into());
        record.close(outcome);
        answer.is_some()
    }

    fn serve(&self, stream: Stream, peer: SocketAddr) {
        let record = self.open(peer);
        if self.worker.limits().is_full() {
            if self.refuse(&stream, record, "limits.connections") {
                let worker = Rc::clone(&self.worker);
                spawn(async move { worker.lingering.linger(&stream, worker.resources.scratch()).await });
            }
            return;
        }
        let open = OpenConnection::new(&self.worker);
        spawn(session::serve(stream, record, Rc::clone(&self.reporter), open));
    }
}

/// Who is refused before a session has read the PROXY header, as far as that has come.
fn client(listener: &config::Listener, peer: SocketAddr, header: &[u8]) -> Option<Client> {
    match (listener.proxy_protocol, proxy_header::parse(header)) {
        (ProxyProtocol::Off, _) | (_, Verdict::Found { value: Header::Local, .. }) => Some(Client::new(peer, None)),
        (_, Verdict::Found { value: Header::Proxy(client), .. }) => Some(client),
        _ => None,
    }
}

/// Binds each listener once for each worker. A port of 0 is chosen by the kernel, the same for all workers.
pub fn bind(config: &Config) -> Result<Vec<Vec<(config::Listener, std::net::TcpListener)>>, BindError> {
    let patience = Some(config.timeouts.handshake.get());
    let mut workers: Vec<Vec<_>> = (0..config.workers.get()).map(|_| Vec::new()).collect();
    for listener in &config.listeners {
        let fail = |error| BindError { listener: listener.name.clone(), address: listener.bind, error };
        let (mut socket, fell_back) = socket::listen_any(listener.bind, patience).map_err(fail)?;
        let bind = socket.local_addr().map_err(fail)?;
        if fell_back {
            tracing::warn!(listener = %listener.name, address = %bind, "no IPv6 here: listening on IPv4 alone");
        }
        let listener = config::Listener { bind, ..listener.clone() };
        if let [others @ .., last] = workers.as_mut_slice() {
            for sockets in others {
                let next = socket::listen_beside(&socket, patience).map_err(fail)?;
                sockets.push((listener.clone(), std::mem::replace(&mut socket, next)));
            }
            last.push((listener, socket));
        }
    }
    Ok(workers)
}

/// A listener whose address cannot be had.
#[derive(Debug)]
pub struct BindError {
    pub listener: String,
    pub address: SocketAddr,
    pub error: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "listener {}: cannot listen on {}: {}", self.listener, self.address, self.error)?;
        f.write_str(match self.error.kind() {
            io::ErrorKind::AddrInUse => "; another process listens there (find it with: ss -ltnp)",
            io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need root: use 8443 and 8080, the NLB maps 443 and 80"
            }
            io::ErrorKind::AddrNotAvailable => "; no interface has this address: use [::] for all",
            _ => "",
        })
    }
}

impl std::error::Error for BindError {}
