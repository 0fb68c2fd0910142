//! What the operator's page asks a worker, answered by a task beside its sessions.

use std::rc::Rc;

use crate::proxy::worker::Worker;
use crate::runtime::sleep;
use crate::telemetry::busiest::PERIOD;
use crate::telemetry::inquiry::{Inquiries, WorkerView};
use crate::telemetry::recent::Recent;

/// Replies to each; returns when no more can come.
pub(crate) async fn answer(worker: Rc<Worker>, recent: Rc<Recent>, mut inquiries: Inquiries) {
    while let Some(mut inquiry) = inquiries.next().await {
        let live = worker.census(std::mem::take(&mut inquiry.query), inquiry.asked).await;
        inquiry.reply(WorkerView { refusals: recent.refusals(), busiest: recent.busiest.view(), live });
    }
}

/// Forgets in time who was busy; never returns.
pub(crate) async fn forget(recent: Rc<Recent>) {
    loop {
        sleep(PERIOD).await;
        recent.busiest.turn();
    }
}
