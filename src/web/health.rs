//! `/healthz` and `/readyz`, for the load balancer and ECS.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::http::request::Parts;

use super::response::{FullResponse, not_found, text};
use super::server::Service;
use crate::telemetry::status::Status;

pub struct HealthService(pub Arc<Status>);

impl Service for HealthService {
    const PROXY_HEADER: bool = true;

    async fn answer(&self, _: &Parts, path: &str) -> FullResponse {
        match path {
            "/healthz" => text(StatusCode::OK, "alive\n"),
            "/readyz" => match readiness(&self.0) {
                Ok(ready) => text(StatusCode::OK, ready),
                Err(unready) => text(StatusCode::SERVICE_UNAVAILABLE, unready),
            },
            _ => not_found("/healthz /readyz"),
        }
    }
}

/// Ready, with warnings, or why not, in lines.
pub(super) fn readiness(status: &Status) -> Result<String, String> {
    status.ready().map_err(|unready| format!("not ready: {unready}\n"))?;
    let warnings = status.warnings().map(|warning| format!("warning: {warning}\n"));
    Ok(std::iter::once("ready\n".to_owned()).chain(warnings).collect())
}
