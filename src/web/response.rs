//! Plain responses: a status, a type, a body.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// Every body is whole before it is sent.
pub(super) type FullResponse = Response<Full<Bytes>>;

pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> FullResponse {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> FullResponse {
    with_type(status, "text/plain; charset=utf-8", body)
}

pub(super) fn not_found(known: &'static str) -> FullResponse {
    text(StatusCode::NOT_FOUND, format!("no such page; there are: {known}\n"))
}
