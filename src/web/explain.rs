//! `/explain`: what would happen to a connection, by the list that is in force and the addresses that DNS gives.

use std::net::IpAddr;
use std::time::SystemTime;

use super::form::Form;
use crate::dns::{LookupError, Resolver};
use latticegate_core::config::{Config, Listener};
use latticegate_core::explain::{self, Conclusion, Query, Target, chosen, destination};
use latticegate_core::outcome::RefuseReason;
use latticegate_core::policy::{DestinationGuard, Policy, endpoint};

/// The steps and the verdict, or what is wrong with the query.
pub(super) async fn answer(
    form: &Form,
    policy: &Policy,
    config: &Config,
    destinations: &DestinationGuard,
    resolver: &Resolver,
) -> Result<String, String> {
    let from: IpAddr =
        form.from.parse().map_err(|_| "from: not an IP address; write /explain?from=203.0.113.9&to=NAME")?;
    let listener = listener(form, config)?;
    let (to, port) = destination(&form.to, listener).map_err(|error| format!("to: {error}"))?;
    let via = match form.via.as_str() {
        "" => None,
        id => Some(endpoint(id).map_err(|error| format!("via: {}; {}", error.message, error.help))?),
    };
    let query = Query { listener, from: Some(from), via, to: Some(to), port, bytes: None, now: SystemTime::now() };
    let mut explanation = explain::explain(policy, config, &query);
    if let (Some(Conclusion::Allowed), Some(Target { name, .. })) = (explanation.verdict, explanation.target.clone()) {
        match resolver.resolve(&name, None).await {
            Ok(answer) => {
                let stale = if answer.stale { ", stale: the resolver does not answer" } else { "" };
                let list: Vec<String> = answer.addresses.iter().map(ToString::to_string).collect();
                explanation.step("resolve", format!("{}{stale}", list.join(", ")));
                let destinations = destinations.within(&listener.networks);
                explanation.addresses(&answer.addresses, destinations);
            }
            Err(error) => {
                let undecided = Conclusion::Undecided("the resolver did not answer");
                let (why, verdict) = match error {
                    LookupError::Unknown => ("the name has no address", Conclusion::Refused(RefuseReason::NameUnknown)),
                    LookupError::Limited => {
                        ("too many new names are being looked up", Conclusion::Refused(RefuseReason::LookupRate))
                    }
                    LookupError::Timeout => ("the resolver does not answer: dns_timeout", undecided),
                    LookupError::Failed => ("the resolver fails: dns_failed", undecided),
                    LookupError::Shortage => {
                        ("out of file descriptors or memory", Conclusion::Refused(RefuseReason::Overloaded))
                    }
                };
                explanation.unresolved(why.to_owned(), verdict);
            }
        }
    }
    Ok(explanation.to_string())
}

fn listener<'a>(form: &Form, config: &'a Config) -> Result<&'a Listener, String> {
    let port = match form.port.as_str() {
        "" => None,
        port => Some(port.parse().map_err(|_| "port: not a port; write a number from 1 to 65535")?),
    };
    let name = Some(form.listener.as_str()).filter(|name| !name.is_empty());
    chosen(config, name, port).map_err(|error| format!("listener: {error}"))
}
