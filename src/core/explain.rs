//! Why would this connection be let through, or not: the path of one connection told step by step.
//!
//! The answers come from the code of the data path: the parsers, the access list, the destination guard. What is
//! added here is only the story of the rules that were passed over.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use crate::client::{Client, EndpointId};
use crate::config::{Config, Listener, Protocol, ProxyProtocol};
use crate::hostname::Hostname;
use crate::outcome::RefuseReason;
use crate::policy::{Admission, DestinationGuard, ListenerView, Mismatch, Policy, Rule, RuleId};
use crate::protocol::Verdict;
use crate::protocol::client_hello;
use crate::protocol::http_head;
use crate::protocol::proxy_header::{self, Header};

/// Rules passed over that are still told one by one; past it only those that know the client's address are.
const MAX_TOLD: usize = 20;

/// A connection that could come.
#[derive(Debug)]
pub struct Question<'a> {
    pub listener: &'a Listener,
    /// The client, if no PROXY header in `bytes` tells it.
    pub from: Option<IpAddr>,
    pub via: Option<EndpointId>,
    /// The name, if `bytes` do not tell it.
    pub to: Option<Hostname>,
    /// What the client sends first: a PROXY header, a ClientHello or request head, or both.
    pub bytes: Option<&'a [u8]>,
    pub now: SystemTime,
}

/// Every step in order, and where they lead.
#[derive(Debug, Default)]
pub struct Explanation {
    pub steps: Vec<Step>,
    pub verdict: Option<Answer>,
    /// The name to resolve, if it came that far.
    pub target: Option<Hostname>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub what: &'static str,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Allowed,
    Refused(RefuseReason),
    /// The bytes end before anything can be decided.
    Unfinished,
    /// Neither the bytes nor the question say who asks, or for what.
    Unasked(&'static str),
}

/// From the first byte to the decision of the access list.
pub fn explain(policy: &Policy, config: &Config, question: &Question<'_>) -> Explanation {
    let mut story = Explanation::default();
    let verdict = story.tell(policy, config, question);
    story.verdict = Some(verdict.err().unwrap_or(Answer::Allowed));
    story
}

impl Explanation {
    fn tell(&mut self, policy: &Policy, config: &Config, question: &Question<'_>) -> Result<(), Answer> {
        let listener = question.listener;
        let view = ListenerView { name: &listener.name, public_port: listener.public_port, now: question.now };
        let protocol = match listener.protocol {
            Protocol::Tls => "tls",
            Protocol::Http => "http",
        };
        self.step("listener", format!("{} ({protocol}, clients connect to port {})", listener.name, view.public_port));
        let (client, rest) = self.client(question)?;
        let name = question.bytes.filter(|_| !rest.is_empty()).map(|_| rest);
        match policy.admit(&client, &view) {
            Admission::Denied(rule) => {
                self.rules(policy, &client, &view, None, rule);
                self.step("admit", format!("denied whatever name it asks for, by {}", by(policy, rule)));
                return Err(Answer::Refused(RefuseReason::ClientDenied));
            }
            Admission::Possible => self.step("admit", "some name may be allowed: the hello is read".to_owned()),
        }
        let name = match (name, &question.to) {
            (Some(bytes), _) => self.name(bytes, listener)?,
            (None, Some(name)) => name.clone(),
            (None, None) => return Err(Answer::Unasked("no name: give --to, or --hello with a hello in it")),
        };
        self.step("name", name.to_string());
        let decision = policy.route(&client, &view, &name);
        self.rules(policy, &client, &view, Some(&name), decision.rule);
        if !decision.allowed {
            self.step("route", format!("denied by {}", by(policy, decision.rule)));
            return Err(Answer::Refused(RefuseReason::NameDenied));
        }
        self.step("route", format!("allowed by {}", by(policy, decision.rule)));
        let target = config.upstream.name_to_resolve(&name);
        if *target != name {
            self.step("names", format!("{target} is resolved instead (upstream.names)"));
        }
        self.target = Some(target.clone());
        Ok(())
    }

    /// What the destination guard says of each address that the name has.
    pub fn addresses(&mut self, addresses: &[IpAddr], port: u16, reach: &DestinationGuard) {
        let mut refused = None;
        let mut reachable = false;
        for ip in addresses {
            let address = SocketAddr::new(*ip, port);
            match reach.check(address) {
                Ok(address) => {
                    reachable = true;
                    self.step("address", format!("{address} may be dialled"));
                }
                Err(reason) => {
                    refused = Some(reason);
                    self.step("address", format!("{address}: {}: {}", reason.word(), reach.explain(address, reason)));
                }
            }
        }
        if let Some(reason) = refused.filter(|_| !reachable) {
            self.verdict = Some(Answer::Refused(reason));
        }
    }

    /// The resolver's answer, where it has no address.
    pub fn unresolved(&mut self, why: String, answer: Answer) {
        self.step("resolve", why);
        self.verdict = Some(answer);
    }

    pub fn step(&mut self, what: &'static str, text: String) {
        self.steps.push(Step { what, text });
    }

    /// The client, and the bytes after its header.
    fn client<'a>(&mut self, question: &Question<'a>) -> Result<(Client, &'a [u8]), Answer> {
        let bytes = question.bytes.unwrap_or_default();
        let from = |ip: IpAddr| Client::new(SocketAddr::new(ip, 0), question.via);
        let required = question.listener.proxy_protocol == ProxyProtocol::Required;
        let (client, rest) = match proxy_header::parse(bytes) {
            Verdict::Found { value: Header::Proxy(client), len } if required => {
                self.step("header", format!("PROXY v2, {len} bytes"));
                let client = Client { endpoint: client.endpoint.or(question.via), ..client };
                (client, bytes.get(len..).unwrap_or_default())
            }
            Verdict::Found { value: Header::Local, len } if required => {
                self.step("header", "PROXY v2, LOCAL: the load balancer speaks for itself".to_owned());
                let rest = bytes.get(len..).unwrap_or_default();
                if rest.is_empty() {
                    return Err(Answer::Unasked("a health check asks for nothing and is counted as a probe"));
                }
                // The peer's address, which is not in the bytes.
                match question.from {
                    Some(ip) => (from(ip), rest),
                    None => {
                        return Err(Answer::Unasked("the client is the load balancer: give its address with --from"));
                    }
                }
            }
            Verdict::Refuse(reason) if required && question.from.is_none() => {
                self.step("header", "the listener requires one, and this is none".to_owned());
                return Err(Answer::Refused(reason));
            }
            _ => match question.from {
                Some(ip) => (from(ip), bytes),
                None => return Err(Answer::Unasked("no client: give --from, or --hello with a PROXY header in it")),
            },
        };
        let via = client.endpoint.map_or_else(String::new, |id| format!(", through {id}"));
        self.step("client", format!("{}{via}", client.ip));
        Ok((client, rest))
    }

    fn name(&mut self, bytes: &[u8], listener: &Listener) -> Result<Hostname, Answer> {
        let (what, verdict) = match listener.protocol {
            Protocol::Tls => ("ClientHello", map(client_hello::parse(bytes), |hello| hello.name)),
            Protocol::Http => ("request head", map(http_head::parse(bytes, listener.public_port), |head| head.name)),
        };
        match verdict {
            Verdict::Found { value, len } => {
                self.step("hello", format!("{what} of {len} bytes"));
                Ok(value)
            }
            Verdict::NeedMore => {
                self.step("hello", format!("the {} bytes are not a whole {what}", bytes.len()));
                Err(Answer::Unfinished)
            }
            Verdict::Refuse(reason) => {
                self.step("hello", format!("not a {what} that is taken: {}", reason.word()));
                Err(Answer::Refused(reason))
            }
        }
    }

    /// The rules from the first to the one that decides, each with what it lacks.
    fn rules(
        &mut self,
        policy: &Policy,
        client: &Client,
        view: &ListenerView<'_>,
        name: Option<&Hostname>,
        decider: Option<RuleId>,
    ) {
        let mut told = 0;
        let mut silent = 0;
        let until = decider.map_or(usize::MAX, RuleId::index);
        for (id, rule) in policy.rules().take_while(|(id, _)| id.index() <= until) {
            let mismatch = rule.mismatch(client, view, name).filter(|_| Some(id) != decider);
            if told >= MAX_TOLD && mismatch == Some(Mismatch::Source) {
                silent += 1;
                continue;
            }
            told += 1;
            let answer = match mismatch {
                None => "matches".to_owned(),
                Some(mismatch) => format!("no: {mismatch}"),
            };
            self.step("rule", format!("{}  {answer}", shown(policy, id, rule)));
        }
        if silent > 0 {
            self.step("rule", format!("({silent} more rules about other addresses)"));
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
            Some(answer) => writeln!(f, "{:<9} {answer}", "verdict"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => f.write_str("allowed"),
            Self::Refused(reason) => write!(f, "refused: {}", reason.word()),
            Self::Unfinished => f.write_str("undecided: more bytes are needed"),
            Self::Unasked(why) => write!(f, "undecided: {why}"),
        }
    }
}
