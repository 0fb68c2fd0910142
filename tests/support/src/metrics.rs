//! The samples of `/metrics`.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::http::get_with;

/// All of them, by name with labels.
pub fn scrape(admin: SocketAddr) -> HashMap<String, f64> {
    scrape_with(admin, "")
}

/// The same, with lines of the request's head.
pub fn scrape_with(admin: SocketAddr, fields: &str) -> HashMap<String, f64> {
    let (status, body) = get_with(admin, "/metrics", fields);
    assert_eq!(status, 200);
    let samples = body.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(n, v)| (n.to_owned(), v.parse().unwrap())).collect()
}

/// One of them, 0 if it is not there.
pub fn sample(admin: SocketAddr, name: &str) -> f64 {
    scrape(admin).remove(name).unwrap_or(0.0)
}
