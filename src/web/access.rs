//! Who may read the admin port: requests that name it by an address or a known name and, where a token is configured, bring
//! it.
//!
//! A web site whose name is made to resolve to this port (DNS rebinding) gets nothing: its name is in Host. Nor is a browser
//! asked there for the token.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{HOST, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;

use super::response::{FullResponse, text};
use super::token::{Credentials, Token};
use latticegate_core::config::AdminAccess;
use latticegate_core::hostname::Hostname;

pub struct Access {
    required: Required,
    hosts: Vec<Hostname>,
    wrong: WrongTokens,
}

enum Required {
    /// The port is on loopback.
    Nothing,
    Token(Token),
    /// A token that is not known.
    Unknown,
}

impl Access {
    /// `token`: what `admin.token_file` has.
    pub fn new(config: &AdminAccess, token: Option<Token>) -> Self {
        let required = match (&config.token_file, token) {
            (_, Some(token)) => Required::Token(token),
            (Some(_), None) => Required::Unknown,
            (None, None) => Required::Nothing,
        };
        Self { required, hosts: config.hosts.clone(), wrong: WrongTokens::default() }
    }

    /// The response to a request that gets nothing else.
    pub(super) fn refusal(&self, request: &Parts) -> Option<FullResponse> {
        if !self.is_own_name(host(request)) {
            let why = "this port answers under an IP address, localhost, or a name in admin.hosts, as a protection against \
                       DNS rebinding\n";
            return Some(text(StatusCode::MISDIRECTED_REQUEST, why));
        }
        let credentials = match &self.required {
            Required::Nothing => return None,
            Required::Token(token) => Credentials::of(&request.headers, token),
            Required::Unknown => Credentials::None,
        };
        match credentials {
            Credentials::Right => return None,
            Credentials::Wrong => self.wrong.report(),
            Credentials::None => {}
        }
        let why = "the token of admin.token_file is required: as the password of any user, or in a field\n\
                   Authorization: Bearer TOKEN\n";
        let mut response = text(StatusCode::UNAUTHORIZED, why);
        // Two fields: old browsers read the first challenge of a field only.
        for challenge in
            ["Basic realm=\"latticegate: any user, the token as password\"", "Bearer realm=\"latticegate\""]
        {
            response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        Some(response)
    }

    /// Whether it cannot be the name of a foreign web site.
    fn is_own_name(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case("localhost")
            || bare.parse::<IpAddr>().is_ok()
            || Hostname::parse(name.as_bytes()).is_ok_and(|name| self.hosts.contains(&name))
    }
}

/// The host of an absolute target takes precedence over the Host field (RFC 9112 §3.2.2).
fn host(request: &Parts) -> &str {
    match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    }
}

/// Requests with a wrong token, logged once a minute at most.
#[derive(Default)]
struct WrongTokens {
    unreported: Cell<u64>,
    reported: Cell<Option<Instant>>,
}

impl WrongTokens {
    fn report(&self) {
        const PAUSE: Duration = Duration::from_secs(60);
        let requests = self.unreported.get().saturating_add(1);
        self.unreported.set(requests);
        if self.reported.get().is_none_or(|reported| reported.elapsed() >= PAUSE) {
            tracing::warn!(requests, "admin port: a wrong token");
            self.reported.set(Some(Instant::now()));
            self.unreported.set(0);
        }
    }
}
