//! Whether `dns.server` answers at all, for each family that is queried.

use std::time::Duration;

use futures_util::future::join_all;

use super::Finding;
use crate::dns::{AddressSet, Family, Lookup, LookupError, Wire};
use crate::runtime::Instant;
use latticegate_core::config::Config;
use latticegate_core::hostname::Hostname;

const CHECK: &str = "dns";

/// What one family's query came to, and how long it took.
pub(super) struct Answer {
    pub(super) family: Family,
    pub(super) result: Result<AddressSet, LookupError>,
    pub(super) took: Duration,
}

/// Queries every family at the same time.
pub(super) async fn query(wire: &Wire, name: &Hostname, ipv6: bool) -> Vec<Answer> {
    let queries = Family::queried(ipv6).iter().map(|family| {
        let lookup = wire.lookup(name, *family);
        async move {
            let begin = Instant::now();
            let result = lookup.await;
            Answer { family: *family, result, took: begin.elapsed() }
        }
    });
    join_all(queries).await
}

/// The record type that is queried for a family.
pub(super) fn record_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "A",
        Family::V6 => "AAAA",
    }
}

/// Asks for a name that need not exist: that it does not is an answer.
pub(super) async fn examine(wire: &Wire, config: &Config, ipv6: bool) -> Vec<Finding> {
    let server = config.dns.server.to_string();
    let Ok(name) = Hostname::parse(b"doctor.latticegate.internal") else { return Vec::new() };
    let answers = query(wire, &name, ipv6).await;
    let mut findings: Vec<Finding> = answers
        .iter()
        .map(|answer| {
            let kind = record_type(answer.family);
            match &answer.result {
                Ok(_) | Err(LookupError::Unknown) => {
                    Finding::pass(CHECK, &server, format!("answers queries for {kind} in {:.1?}", answer.took))
                }
                Err(error) => {
                    let (why, help) = failure(*error, config);
                    Finding::fail(CHECK, &server, format!("query for {kind}: {why}"), help)
                }
            }
        })
        .collect();
    if !ipv6 {
        let text = "AAAA is not queried: dns.ipv6 is off, or there is no route to an IPv6 network that may be dialled";
        findings.push(Finding::pass(CHECK, &server, text));
    }
    findings
}

/// Why a query has failed, and what to do.
pub(super) fn failure(error: LookupError, config: &Config) -> (String, &'static str) {
    match error {
        LookupError::Timeout => (
            format!("no answer within {:?} (dns_timeout)", config.dns.timeout.get()),
            "is dns.server right? In a VPC it is 169.254.169.253:53, with enableDnsSupport on; elsewhere, does a firewall \
             let UDP and TCP to it through?",
        ),
        LookupError::Shortage => {
            ("no socket for the query".to_owned(), "open files or memory are short: see the lines about them")
        }
        LookupError::Failed | LookupError::Limited | LookupError::Unknown => (
            "it fails, or nothing listens there (dns_failed)".to_owned(),
            "is dns.server right, and may this address ask it? `dig @SERVER NAME` shows what it says",
        ),
    }
}
