//! One name: what it resolves to, and then each way to it.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;

use super::path;
use super::resolver::{Answer, failure, query, record_type};
use super::target::Target;
use super::{Finding, Grade};
use crate::dns::{LookupError, Wire};
use latticegate_core::config::Config;
use latticegate_core::hostname::Hostname;
use latticegate_core::policy::DestinationGuard;

const CHECK: &str = "name";

/// What all names are examined with.
#[derive(Clone, Copy)]
pub(super) struct Examination<'a> {
    pub(super) config: &'a Config,
    pub(super) wire: &'a Wire,
    /// Whether AAAA is queried.
    pub(super) ipv6: bool,
    pub(super) guard: &'a DestinationGuard,
}

impl Examination<'_> {
    pub(super) async fn run(self, target: &Target<'_>) -> Vec<Finding> {
        let resolved = self.config.upstream.name_to_resolve(&target.name);
        let answers = query(self.wire, resolved, self.ipv6).await;
        let (addresses, mut findings) = self.resolution(&target.name, resolved, &answers);
        if addresses.is_empty() {
            return findings;
        }
        let routes = target.routes.iter();
        let examined = routes.map(|route| path::examine(self.config, self.guard, &target.name, route, &addresses));
        findings.extend(join_all(examined).await.into_iter().flatten());
        findings
    }

    /// The addresses, and what is to be said about them.
    fn resolution(&self, name: &Hostname, resolved: &Hostname, answers: &[Answer]) -> (Vec<IpAddr>, Vec<Finding>) {
        let about = if name == resolved { name.to_string() } else { format!("{name}, resolved as {resolved}") };
        let (mut addresses, mut found, mut findings) = (Vec::new(), Vec::new(), Vec::new());
        for Answer { family, result, took } in answers {
            let kind = record_type(*family);
            match result {
                Ok(set) if !set.addresses.is_empty() => {
                    addresses.extend(&set.addresses);
                    let list: Vec<String> = set.addresses.iter().map(IpAddr::to_string).collect();
                    let source = match set.ttl {
                        Duration::MAX => "it is never looked up".to_owned(),
                        ttl => format!("TTL {} s, in {took:.1?}", ttl.as_secs()),
                    };
                    found.push(format!("{kind} {} ({source})", list.join(" ")));
                }
                Ok(_) | Err(LookupError::Unknown) => {}
                Err(error) => {
                    let (why, help) = failure(*error, self.config);
                    findings.push((format!("query for {kind}: {why}"), help));
                }
            }
        }
        let is_known = !addresses.is_empty();
        let grade = if is_known { Grade::Warn } else { Grade::Fail };
        let mut findings: Vec<Finding> =
            findings.into_iter().map(|(text, help)| Finding::new(grade, CHECK, &about, text, help)).collect();
        if is_known {
            findings.insert(0, Finding::pass(CHECK, about, found.join(", ")));
        } else if findings.is_empty() {
            let text = format!("{} knows no address of it (name_unknown)", self.config.dns.server);
            let help = "is the private hosted zone associated with this VPC, and has it a record for this name (an alias, or a CNAME \
                        to the service's Lattice domain)?";
            findings.push(Finding::fail(CHECK, about, text, help));
        }
        (addresses, findings)
    }
}
