//! What the control thread does at intervals: noticing a stuck log, totals for charts, metrics for CloudWatch.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{interval, sleep};

use crate::proxy::worker::Shared;
use crate::sys::blocking::PATIENCE;
use crate::sys::clock::Clock;
use crate::telemetry::emf;
use crate::telemetry::history::History;
use crate::telemetry::log_writer::Writer;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::process_log;
use crate::telemetry::status::Status;

/// Every few seconds; never returns.
pub(super) async fn run(metrics: Metrics, status: Arc<Status>) {
    let mut tick = interval(Duration::from_secs(5));
    let mut log_hangs = false;
    loop {
        tick.tick().await;
        process_log::report_left_out(false);
        metrics.upstreams.forget_unused(Instant::now());
        let hangs = metrics.blocked.access_log.elapsed() >= PATIENCE;
        match (log_hangs, hangs) {
            (false, true) => {
                tracing::warn!("the access log accepts no lines; they are queued, and lost once the queue is full")
            }
            (true, false) => tracing::warn!("the access log accepts lines again"),
            _ => {}
        }
        log_hangs = hangs;
        // Per listener: each is a separate target of the load balancer.
        let open = metrics.listeners().values().map(|listener| listener.active()).max().unwrap_or(0);
        let open = usize::try_from(open).unwrap_or(usize::MAX);
        if status.set_crowded(open) {
            tracing::warn!(open, "open connections exceed the number at which a load balancer runs out of ports");
        }
    }
}

/// Has the charts of the operator's page go on; never returns.
pub(super) async fn remember(history: Rc<RefCell<History>>, metrics: Metrics, clock: Clock) {
    let mut tick = interval(History::STEP);
    // The first one is at once, and nothing has happened yet.
    tick.tick().await;
    loop {
        tick.tick().await;
        history.borrow_mut().tick(&metrics, clock.now());
    }
}

/// A line at each interval; never returns. The writer's queue is bounded: what does not fit is lost, not waited for.
pub(super) async fn emit_metrics(emitter: &mut emf::Emitter, writer: &Writer, shared: &Shared) {
    loop {
        sleep(emitter.interval()).await;
        if !writer.send(emitter.lines(shared.clock.now(), shared.levels())) {
            tracing::warn!("metrics for CloudWatch were lost: the reader of standard output is too slow");
        }
    }
}
