//! The drain: not ready, then no longer accepting, then waiting for the open sessions.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::proxy::worker::Phase;
use crate::runtime::{AllEnded, Publisher};
use crate::telemetry::status::Status;
use latticegate_core::config::Config;

/// How the gate is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// Drain, then end.
    Drain,
    /// End now.
    Cut,
}

/// How long connections have to end once `drain.timeout` is over: the second that a session gives to what it has sent,
/// and a little more to close.
const ENDING: Duration = Duration::from_millis(1500);

/// From the first stop request to the end of the last worker. `workers` is closed when they all have ended: to join them would
/// take one more thread, which may not be available.
pub(super) async fn drain(
    config: &Config,
    status: &Status,
    phase: &Publisher<Phase>,
    workers: &mut AllEnded,
    mut stop: mpsc::UnboundedReceiver<StopRequest>,
) {
    let first = stop.recv().await;
    status.set_draining();
    let orderly = async {
        if first == Some(StopRequest::Cut) {
            return;
        }
        tracing::info!(delay = ?config.drain.delay, "draining: not ready, still accepting");
        phase.publish(Phase::Draining);
        sleep(config.drain.delay).await;
        tracing::info!(timeout = ?config.drain.timeout, "draining: no longer accepting, waiting for sessions");
        phase.publish(Phase::Closing);
        sleep(config.drain.timeout).await;
        tracing::info!("drain.timeout is over: ending open sessions");
        phase.publish(Phase::Ending);
        sleep(ENDING).await;
    };
    let again = async {
        if stop.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        tracing::info!("second stop request: cutting");
    };
    tokio::select! {
        () = workers.wait() => return,
        () = orderly => {}
        () = again => {}
    }
    phase.publish(Phase::Cut);
    let _ = timeout(Duration::from_secs(5), workers.wait()).await;
}
