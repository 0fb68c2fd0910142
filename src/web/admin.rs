//! The operator's port: `/metrics`, `/status.json`, `/explain`, `/refused` and a page for people.
//!
//! It shows who connects: `web/access.rs` decides who may read it. Everything is read-only.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use hyper::http::request::Parts;

use super::access::Access;
use super::explain;
use super::form::Form;
use super::response::{FullResponse, not_found, text, with_type};
use super::server::Service;
use super::snapshot::Snapshot;
use super::{page, refused, rule_metrics, status_json};
use crate::dns::ResolverFactory;
use crate::proxy::worker::Shared;
use crate::telemetry::history::History;
use crate::telemetry::inquiry::Inquirer;

pub struct AdminService {
    pub shared: Arc<Shared>,
    pub resolvers: ResolverFactory,
    pub workers: Inquirer,
    pub history: Rc<RefCell<History>>,
    pub access: Access,
    pub started: Instant,
}

/// On every response of this port.
const HEADERS: [(HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("referrer-policy"), "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

impl Service for AdminService {
    const PROXY_HEADER: bool = false;

    async fn answer(&self, request: &Parts, path: &str) -> FullResponse {
        self.route(request, path).await
    }

    fn complete(response: &mut FullResponse) {
        for (name, value) in HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
}

impl AdminService {
    async fn route(&self, request: &Parts, path: &str) -> FullResponse {
        if let Some(refusal) = self.access.refusal(request) {
            return refusal;
        }
        let query = request.uri.query().unwrap_or_default();
        let form = Form::read(query);
        match path {
            // Prometheus text format 0.0.4.
            "/metrics" => with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics()),
            "/status.json" => {
                let body = format!("{:#}\n", status_json::of(&self.snapshot(&form).await));
                with_type(StatusCode::OK, "application/json", body)
            }
            "/explain" => match self.explain(&form).await {
                Ok(steps) => text(StatusCode::OK, steps),
                Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
            },
            "/refused" => refused::respond(self.shared.refused_bytes.as_ref(), query),
            "/" => {
                let explained = if form.asks_to_explain() { Some(self.explain(&form).await) } else { None };
                page::document(&self.snapshot(&form).await, &form, explained)
            }
            "/live" => page::fragment(&self.snapshot(&form).await, &form),
            _ => not_found("/ /status.json /explain?from=IP&to=NAME /metrics /refused"),
        }
    }

    fn metrics(&self) -> String {
        let mut text = self.shared.metrics.export(self.shared.levels());
        let shadow = self.shared.shadow.as_ref().and_then(|shadow| shadow.load());
        rule_metrics::write(&mut text, &self.shared.policy.load(), shadow.as_deref());
        text.into_text()
    }

    async fn explain(&self, form: &Form) -> Result<String, String> {
        let loaded = self.shared.policy.load();
        let resolver = self.resolvers.resolver();
        explain::answer(form, &loaded.policy, &self.shared.config, &self.shared.destinations, &resolver).await
    }

    async fn snapshot(&self, form: &Form) -> Snapshot {
        /// Enough for a person to read.
        const NAMES: usize = 200;
        let (workers, dns) = join(self.workers.ask(&form.query()), self.resolvers.view(NAMES)).await;
        Snapshot {
            now: self.shared.clock.now(),
            uptime: Duration::from_secs(self.started.elapsed().as_secs()),
            ready: self.shared.status.ready(),
            shared: Arc::clone(&self.shared),
            loaded: self.shared.policy.load(),
            shadow: self.shared.shadow.as_ref().and_then(|shadow| shadow.load()),
            dns,
            workers,
            history: Rc::clone(&self.history),
        }
    }
}
