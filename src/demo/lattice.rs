//! Stand-in for VPC Lattice: two services behind one address, HTTPS and HTTP, one of them for signed requests only.
//!
//! An answer says what the service saw, which shows that latticegate changed nothing on the way.

use std::time::SystemTime;

use hyper::StatusCode;

use super::authority::Authority;
use super::sigv4::{self, Signable};
use super::web_server::{Asked, Page, WebServer};
use super::{Error, names};

/// Starts both services.
pub(super) async fn start(authority: &Authority) -> Result<WebServer, Error> {
    let tls = authority.server(&[names::ORDERS, names::BILLING])?;
    WebServer::start(names::LATTICE, tls, answer).await.map_err(Error::of("the stand-in for VPC Lattice"))
}

fn answer(asked: &Asked<'_>, page: &mut Page) -> StatusCode {
    let signature = sigv4::verify(
        Signable {
            method: asked.head.method.as_str(),
            path_and_query: asked.path_and_query(),
            headers: &asked.head.headers,
        },
        SystemTime::now(),
    );
    let (status, verdict) = match (asked.host(), &signature) {
        (names::ORDERS, _) => (StatusCode::OK, "hello from orders, a service open to everyone"),
        (names::BILLING, Ok(_)) => (StatusCode::OK, "hello from billing, your signature is good"),
        (names::BILLING, Err(_)) => (StatusCode::FORBIDDEN, "billing takes signed requests only (the service says so)"),
        _ => (StatusCode::NOT_FOUND, "no service of this name (the service says so)"),
    };
    page.verdict(verdict);
    page.request(asked);
    page.tls(asked.connection);
    match signature {
        Ok(covered) => page.line("signature", &format!("good, covers {covered}")),
        Err(error) => page.line("signature", &error.to_string()),
    }
    page.line("came from", &format!("{} (latticegate, at layer 4)", asked.connection.from));
    status
}
