//! The operator's port: `/metrics`, `/status.json`, `/explain`, `/refused` and a page for people.
//!
//! It shows who connects, so it listens on loopback, and it answers browsers only under an IP address or `localhost`:
//! a web site whose name is made to resolve to this port (DNS rebinding) gets nothing. Everything is read-only.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;

use super::explain::{self, Form};
use super::response::{FullResponse, not_found, text, with_type};
use super::server::Service;
use super::snapshot::Snapshot;
use super::{page, refused, rule_metrics};
use crate::dns::ResolverFactory;
use crate::proxy::worker::Shared;
use crate::telemetry::recent::RecentReader;

pub struct AdminService {
    pub shared: Arc<Shared>,
    pub resolvers: ResolverFactory,
    pub recent: RecentReader,
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
        // Scrapers use service names, and numbers alone are no secret.
        if path != "/metrics" && !is_local_name(request) {
            let why =
                "this port answers only under an IP address or localhost, as a protection against DNS rebinding\n";
            return text(StatusCode::MISDIRECTED_REQUEST, why);
        }
        let query = request.uri.query().unwrap_or_default();
        match path {
            // Prometheus text format 0.0.4.
            "/metrics" => with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics()),
            "/status.json" => {
                let body = format!("{:#}\n", self.snapshot().await.to_json());
                with_type(StatusCode::OK, "application/json", body)
            }
            "/explain" => match self.explain(&Form::read(query)).await {
                Ok(steps) => text(StatusCode::OK, steps),
                Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
            },
            "/refused" => refused::respond(self.shared.refused_bytes.as_ref(), query),
            "/" => {
                let form = Form::read(query);
                let explained = if form.is_empty() { None } else { Some(self.explain(&form).await) };
                page::respond(&self.snapshot().await, &form, explained)
            }
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

    async fn snapshot(&self) -> Snapshot {
        /// Enough for a person to read.
        const NAMES: usize = 200;
        Snapshot {
            now: self.shared.clock.now(),
            uptime: Duration::from_secs(self.started.elapsed().as_secs()),
            ready: self.shared.status.ready(),
            shared: Arc::clone(&self.shared),
            loaded: self.shared.policy.load(),
            shadow: self.shared.shadow.as_ref().and_then(|shadow| shadow.load()),
            dns: self.resolvers.view(NAMES).await,
            recent: self.recent.read().await,
        }
    }
}

/// Whether the request names this port by something that cannot be the name of a foreign web site.
fn is_local_name(request: &Parts) -> bool {
    // The host of an absolute target takes precedence over the Host field (RFC 9112 §3.2.2).
    let host = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}
