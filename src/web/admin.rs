//! `/metrics` for Prometheus.

use std::sync::Arc;

use hyper::{Method, Response, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;

use super::{Body, Site, not_found, respond, text};
use crate::metrics::Metrics;
use crate::status::Status;

pub struct Admin {
    pub metrics: Metrics,
    pub handle: PrometheusHandle,
    pub status: Arc<Status>,
}

impl Site for Admin {
    const PROXY_HEADER: bool = false;

    fn answer(&self, method: &Method, path: &str, _query: Option<&str>) -> Response<Body> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        match path {
            "/metrics" => {
                self.metrics.policy.refresh();
                self.metrics.ready.set(if self.status.ready().is_ok() { 1.0 } else { 0.0 });
                // Prometheus text format 0.0.4.
                respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.handle.render())
            }
            _ => not_found("/metrics"),
        }
    }
}
