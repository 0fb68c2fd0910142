//! Stand-in for the internet: two sites behind one address, HTTPS and HTTP. The access list has one of them.
//!
//! An answer says what the site saw: of HTTPS latticegate changes nothing, of plain HTTP it writes the head anew.

use hyper::StatusCode;
use hyper::header::VIA;

use super::authority::Authority;
use super::web_server::{Asked, Page, WebServer};
use super::{Error, names};

/// Starts both sites.
pub(super) async fn start(authority: &Authority) -> Result<WebServer, Error> {
    let tls = authority.server(&[names::PACKAGES, names::BLOCKED])?;
    WebServer::start(names::SITES, tls, answer).await.map_err(Error::of("the stand-in for the internet"))
}

fn answer(asked: &Asked<'_>, page: &mut Page) -> StatusCode {
    let (status, verdict) = match asked.host().split(':').next() {
        Some(names::PACKAGES) => (StatusCode::OK, "hello from packages, a site on the internet"),
        Some(names::BLOCKED) => (StatusCode::OK, "hello from blocked, a site that the access list does not have"),
        _ => (StatusCode::NOT_FOUND, "no site of this name (the site says so)"),
    };
    page.verdict(verdict);
    page.request(asked);
    match asked.field(VIA.as_str()) {
        "" => page.line("via", "-"),
        via => page.line("via", via),
    }
    page.tls(asked.connection);
    page.line("came from", &format!("{} (latticegate)", asked.connection.from));
    status
}
