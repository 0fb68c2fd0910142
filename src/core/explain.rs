//! Why a connection would be allowed or refused, step by step.
//!
//! The decisions come from the code of the data path: the parsers, the access list, the destination guard. Only the
//! list of the rules that did not match is added here.

mod forward;
mod written;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use forward::Asked;
pub use written::{chosen, destination};

use crate::client::{Client, EndpointId};
use crate::config::{Config, Listener, Protocol, ProxyProtocol};
use crate::hostname::Hostname;
use crate::outcome::RefuseReason;
use crate::policy::{Admission, Destinations, ListenerView, Mismatch, Policy, Rule, RuleId};
use crate::protocol::Verdict;
use crate::protocol::client_hello;
use crate::protocol::http_head;
use crate::protocol::proxy_header::{self, Header};

/// Rules listed one by one, whether they match or not. Past it, rules about other addresses are only counted.
const MAX_LISTED: usize = 20;

const NO_NAME: Conclusion = Conclusion::Undecided("no name: give --to, or --hello with a hello in it");

/// A connection to explain.
#[derive(Debug)]
pub struct Query<'a> {
    pub listener: &'a Listener,
    /// The client, where `bytes` has no PROXY header that names one.
    pub from: Option<IpAddr>,
    /// The VPC endpoint, where the header has none.
    pub via: Option<EndpointId>,
    /// The requested name, where `bytes` has no ClientHello or request head.
    pub to: Option<Hostname>,
    /// The port that goes with it, on a `forward` listener.
    pub port: Option<u16>,
    /// What the client sends first: a PROXY header, a ClientHello or request head, or both.
    pub bytes: Option<&'a [u8]>,
    pub now: SystemTime,
}

/// Every step in order, and the result.
#[derive(Debug, Default)]
pub struct Explanation {
    pub steps: Vec<Step>,
    pub verdict: Option<Conclusion>,
    /// Where the connection goes, if the access list allowed it.
    pub target: Option<Target>,
}

/// A name to resolve, and the port to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: Hostname,
    pub port: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// A label of at most 9 characters: `admit`, `rule`, `route`.
    pub what: &'static str,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    Allowed,
    Refused(RefuseReason),
    /// With what is missing: bytes, the client, the name, or the resolver's answer.
    Undecided(&'static str),
}

/// Follows the connection from its first byte to the decision of the access list.
pub fn explain(policy: &Policy, config: &Config, query: &Query<'_>) -> Explanation {
    let mut explanation = Explanation::default();
    let verdict = explanation.decide(policy, config, query);
    explanation.verdict = Some(verdict.err().unwrap_or(Conclusion::Allowed));
    explanation
}

impl Explanation {
    fn decide(&mut self, policy: &Policy, config: &Config, query: &Query<'_>) -> Result<(), Conclusion> {
        let listener = query.listener;
        let view = ListenerView::of(listener, query.now);
        let (protocol, public_port) = (listener.protocol.word(), listener.public_port);
        self.step("listener", format!("{} ({protocol}, clients connect to port {public_port})", listener.name));
        let (client, rest) = self.client(query)?;
        let name = query.bytes.filter(|_| !rest.is_empty()).map(|_| rest);
        match policy.admit(&client, &view) {
            Admission::Denied(rule) => {
                self.rules(policy, &client, &view, None, rule);
                self.step("admit", format!("denied for every name, by {}", by(policy, rule)));
                return Err(Conclusion::Refused(RefuseReason::ClientDenied));
            }
            Admission::Possible => {
                let what = if listener.protocol == Protocol::Tls { "ClientHello" } else { "request head" };
                self.step("admit", format!("some name may be allowed: the {what} is read"));
            }
        }
        let asked = match &listener.forward {
            Some(forward) => self.asked(forward, query, name)?,
            None => Asked::reverse(self.requested(query, name)?, listener.upstream_port),
        };
        let Asked { name, port, .. } = &asked;
        self.step("name", name.to_string());
        if let Some(forward) = &listener.forward {
            self.port(forward, &asked)?;
        }
        let view = view.to_port(*port);
        let decision = policy.route(&client, &view, name);
        self.rules(policy, &client, &view, Some(name), decision.rule);
        if !decision.allowed {
            self.step("route", format!("denied by {}", by(policy, decision.rule)));
            return Err(Conclusion::Refused(RefuseReason::NameDenied));
        }
        self.step("route", format!("allowed by {}", by(policy, decision.rule)));
        let target = config.upstream.name_to_resolve(name);
        if target != name {
            self.step("names", format!("{target} is resolved instead (upstream.names)"));
        }
        if let Some(forward) = &listener.forward {
            self.tunnel(forward, &asked, |sni| {
                let decision = policy.route(&client, &view, sni);
                (decision.allowed, by(policy, decision.rule))
            })?;
        }
        self.target = Some(Target { name: target.clone(), port: *port });
        Ok(())
    }

    /// Adds what the destination guard says of each address of the target, and refuses if all are refused.
    pub fn addresses(&mut self, addresses: &[IpAddr], destinations: Destinations<'_>) {
        let port = self.target.as_ref().map_or(0, |target| target.port);
        let mut refused = None;
        let mut reachable = false;
        for ip in addresses {
            let address = SocketAddr::new(*ip, port);
            match destinations.check(address) {
                Ok(address) => {
                    reachable = true;
                    self.step("address", format!("{address} may be dialled"));
                }
                Err(reason) => {
                    refused = Some(reason);
                    self.step(
                        "address",
                        format!("{address}: {}: {}", reason.word(), destinations.explain(address, reason)),
                    );
                }
            }
        }
        if let Some(reason) = refused.filter(|_| !reachable) {
            self.verdict = Some(Conclusion::Refused(reason));
        }
    }

    /// Adds why the resolver gave no address, and what follows.
    pub fn unresolved(&mut self, why: String, conclusion: Conclusion) {
        self.step("resolve", why);
        self.verdict = Some(conclusion);
    }

    pub fn step(&mut self, what: &'static str, text: String) {
        self.steps.push(Step { what, text });
    }

    /// The client, and the bytes after its header.
    fn client<'a>(&mut self, query: &Query<'a>) -> Result<(Client, &'a [u8]), Conclusion> {
        let bytes = query.bytes.unwrap_or_default();
        let required = query.listener.proxy_protocol == ProxyProtocol::Required;
        let from = |ip: IpAddr| Client::new(SocketAddr::new(ip, 0), query.via.filter(|_| required));
        let (client, rest) = match proxy_header::parse(bytes) {
            Verdict::Found { value: Header::Proxy(client), len } if required => {
                self.step("header", format!("PROXY v2, {len} bytes"));
                let client = Client { endpoint: client.endpoint.or(query.via), ..client };
                (client, bytes.get(len..).unwrap_or_default())
            }
            Verdict::Found { value: Header::Local, len } if required => {
                self.step("header", "PROXY v2, LOCAL: sent by the load balancer itself".to_owned());
                let rest = bytes.get(len..).unwrap_or_default();
                if rest.is_empty() {
                    return Err(Conclusion::Undecided("a health check requests nothing and is counted as a probe"));
                }
                // The peer's address, which is not in the bytes.
                match query.from {
                    Some(ip) => (from(ip), rest),
                    None => {
                        return Err(Conclusion::Undecided(
                            "the client is the load balancer: give its address with --from",
                        ));
                    }
                }
            }
            Verdict::Refuse(reason) if required && query.from.is_none() => {
                self.step("header", "the listener requires a PROXY v2 header, and the bytes have none".to_owned());
                return Err(Conclusion::Refused(reason));
            }
            _ => match query.from {
                Some(ip) => (from(ip), bytes),
                None => {
                    return Err(Conclusion::Undecided("no client: give --from, or --hello with a PROXY header in it"));
                }
            },
        };
        let via = match (client.endpoint, query.via) {
            (Some(id), _) => format!(", through {id}"),
            (None, Some(id)) => format!("; not known to come through {id}: the listener has `proxy_protocol: off`"),
            (None, None) => String::new(),
        };
        self.step("client", format!("{}{via}", client.ip));
        Ok((client, rest))
    }

    /// The name in the bytes, or the one that was given instead.
    fn requested(&mut self, query: &Query<'_>, bytes: Option<&[u8]>) -> Result<Hostname, Conclusion> {
        let listener = query.listener;
        let Some(bytes) = bytes else { return query.to.clone().ok_or(NO_NAME) };
        let (what, verdict) = if listener.protocol == Protocol::Tls {
            ("ClientHello", map(client_hello::parse(bytes), |hello| hello.name))
        } else {
            ("request head", map(http_head::parse(bytes, listener.public_port), |head| head.name))
        };
        self.read(what, bytes, verdict).map(|(name, _)| name)
    }

    /// Reports what was read from `bytes`; returns it with its length.
    fn read<T>(&mut self, what: &str, bytes: &[u8], verdict: Verdict<T>) -> Result<(T, usize), Conclusion> {
        match verdict {
            Verdict::Found { value, len } => {
                self.step("hello", format!("{what} of {len} bytes"));
                Ok((value, len))
            }
            Verdict::NeedMore => {
                self.step("hello", format!("the {} bytes are not a complete {what}", bytes.len()));
                Err(Conclusion::Undecided("more bytes are needed"))
            }
            Verdict::Refuse(reason) => {
                self.step("hello", format!("the {what} is refused: {}", reason.word()));
                Err(Conclusion::Refused(reason))
            }
        }
    }

    /// The rules from the first to the one that decides, each with why it does not match.
    fn rules(
        &mut self,
        policy: &Policy,
        client: &Client,
        view: &ListenerView<'_>,
        name: Option<&Hostname>,
        decider: Option<RuleId>,
    ) {
        let (mut listed, mut omitted) = (0, 0);
        let last = decider.map_or(usize::MAX, RuleId::index);
        for (id, rule) in policy.rules().take_while(|(id, _)| id.index() <= last) {
            let mismatch = rule.mismatch(client, view, name).filter(|_| Some(id) != decider);
            if listed >= MAX_LISTED && mismatch == Some(Mismatch::Source) {
                omitted += 1;
                continue;
            }
            listed += 1;
            let result = match mismatch {
                None => "matches".to_owned(),
                Some(mismatch) => format!("no: {mismatch}"),
            };
            self.step("rule", format!("{}  {result}", shown(policy, id, rule)));
        }
        if omitted > 0 {
            self.step("rule", format!("({omitted} more rules about other addresses)"));
        }
        if decider.is_none() {
            self.step("rule", "no rule matches, so the client is denied".to_owned());
        }
    }
}

fn map<T, U>(verdict: Verdict<T>, change: impl Fn(T) -> U) -> Verdict<U> {
    match verdict {
        Verdict::Found { value, len } => Verdict::Found { value: change(value), len },
        Verdict::NeedMore => Verdict::NeedMore,
        Verdict::Refuse(reason) => Verdict::Refuse(reason),
    }
}

/// `4  ipcontrol.yaml:12  deny: all`: number from 1, place, text.
fn shown(policy: &Policy, id: RuleId, rule: &Rule) -> String {
    format!("{}  {}  {}", id.index() + 1, policy.named_label(id), rule.text)
}

fn by(policy: &Policy, rule: Option<RuleId>) -> String {
    match rule.and_then(|id| Some((id, policy.rule(id)?))) {
        Some((id, rule)) => format!("rule {}", shown(policy, id, rule)),
        None => "the end of the list: no rule matches".to_owned(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for step in &self.steps {
            let what = if step.what == last { "" } else { step.what };
            writeln!(f, "{what:<9} {}", step.text)?;
            last = step.what;
        }
        match self.verdict {
            Some(verdict) => writeln!(f, "{:<9} {verdict}", "verdict"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => f.write_str("allowed"),
            Self::Refused(reason) => write!(f, "refused: {}", reason.word()),
            Self::Undecided(why) => write!(f, "undecided: {why}"),
        }
    }
}
