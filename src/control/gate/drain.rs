//! The way to the end: not ready, then accepting no more, then waiting for the sessions that are open.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::Stop;
use crate::proxy::worker::Phase;
use crate::sys::runtime::{AllEnded, Publisher};
use crate::telemetry::status::Status;
use latticegate_core::config::Config;

/// How long connections have to end once `drain.timeout` is over: the second that a session gives to what it has sent,
/// and a little more to close.
const ENDING: Duration = Duration::from_millis(1500);

/// From the first signal to the end of the last worker. `workers` is closed when they all have ended: to join them would
/// take one more thread, which may not be had.
pub(super) async fn leave(
    config: &Config,
    status: &Status,
    phase: &Publisher<Phase>,
    workers: &mut AllEnded,
    mut stop: mpsc::UnboundedReceiver<Stop>,
) {
    let first = stop.recv().await;
    status.set_draining();
    let drain = async {
        if first == Some(Stop::Cut) {
            return;
        }
        tracing::info!(delay = ?config.drain.delay, "draining: not ready, still accepting");
        phase.publish(Phase::Draining);
        sleep(config.drain.delay).await;
        tracing::info!(timeout = ?config.drain.timeout, "draining: accepting no more, waiting for sessions");
        phase.publish(Phase::Closing);
        sleep(config.drain.timeout).await;
        tracing::info!("drain.timeout is over: ending what is still open");
        phase.publish(Phase::Ending);
        sleep(ENDING).await;
    };
    let again = async {
        if stop.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        tracing::info!("stopped again: cutting");
    };
    tokio::select! {
        () = workers.wait() => return,
        () = drain => {}
        () = again => {}
    }
    phase.publish(Phase::Cut);
    let _ = timeout(Duration::from_secs(5), workers.wait()).await;
}
