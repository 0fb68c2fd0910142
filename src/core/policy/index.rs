//! The compiled rules: a prefix trie leads from an address to the rules that could match it.
//!
//! However long a list is, few of its prefixes cover a given address. The trie finds the longest of them, and each links
//! to the next shorter one that covers it. A prefix has the ids of its rules in order; those with names or endpoints are
//! found by hashing the requested name and the endpoint. The first match overall is the lowest id among them.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use std::collections::{BTreeSet, HashMap};

use super::{Action, Admission, Decision, ListenerView, NameId, NamePattern, RequestedPort, Rule, RuleId, Sources};
use crate::client::{Client, EndpointId};
use crate::hostname::Hostname;

/// Names of allow rules, and ports, that are tried for one client before it has named any. Past it, the client is
/// admitted, which is always safe: [`Index::route`] decides.
const MAX_TRIED: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Index {
    v4: PrefixMap<Ipv4Net, BucketId>,
    v6: PrefixMap<Ipv6Net, BucketId>,
    buckets: Vec<Bucket>,
    /// The lists of all buckets, one after the other.
    ids: Vec<RuleId>,
    keyed: Vec<HashMap<ConditionKey, Span>>,
    names: NameIndex,
    endpoints: HashMap<EndpointId, Term>,
    /// Every port that an allow rule names.
    allowed_ports: BTreeSet<u16>,
}

/// What is known about one prefix.
#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    /// Rules without names and endpoints.
    plain: Span,
    /// The index in `Index::keyed` of the others.
    keyed: Option<u32>,
    /// Allow rules for some names only.
    named_allows: Span,
    /// The bucket of the longest prefix that covers this one.
    outer: Option<BucketId>,
}

#[derive(Debug, Clone, Copy)]
struct BucketId(u32);

/// A part of `ids`, ascending.
#[derive(Debug, Default, Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

/// A name pattern or endpoint that occurs in the list, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Term(u32);

/// `None`: the rule has no condition on the name, or on the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ConditionKey {
    name: Option<Term>,
    endpoint: Option<Term>,
}

#[derive(Debug, Default)]
struct NameIndex {
    exact: HashMap<Hostname, Term>,
    /// By the name below which they match.
    below: HashMap<Box<str>, Term>,
    /// Labels of the longest key in `below`.
    depth: usize,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        let mut drafts: HashMap<IpNet, Draft> = HashMap::new();
        for (number, rule) in rules.iter().enumerate() {
            let keys = index.keys(rule);
            if rule.action == Action::Allow {
                index.allowed_ports.extend(&rule.ports);
            }
            let everything = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
            let networks = match &rule.sources {
                Sources::All => everything.as_slice(),
                Sources::Networks(networks) => networks,
            };
            for network in networks {
                drafts.entry(network.trunc()).or_default().add(rule, RuleId::new(number), &keys);
            }
        }
        // Neighbouring networks are looked up together, so they are next to each other in memory.
        let mut drafts: Vec<(IpNet, Draft)> = drafts.into_iter().collect();
        drafts.sort_unstable_by_key(|(network, _)| *network);
        for (network, draft) in drafts {
            let bucket = Bucket { outer: index.covering(&network), ..index.bucket(draft) };
            let id = BucketId(to_u32(index.buckets.len()));
            index.buckets.push(bucket);
            match network {
                IpNet::V4(network) => drop(index.v4.insert(network, id)),
                IpNet::V6(network) => drop(index.v6.insert(network, id)),
            }
        }
        index
    }

    /// The longest prefix that covers `network`. Networks are inserted after those that cover them.
    fn covering(&self, network: &IpNet) -> Option<BucketId> {
        match network {
            IpNet::V4(network) => self.v4.get_lpm(network).map(|(_, id)| *id),
            IpNet::V6(network) => self.v6.get_lpm(network).map(|(_, id)| *id),
        }
    }

    pub(super) fn route(
        &self,
        rules: &[Rule],
        client: &Client,
        listener: &ListenerView<'_>,
        name: &Hostname,
    ) -> Decision {
        let evaluation = Evaluation { rules, client, listener };
        let (exact, patterns) = self.names.of(name);
        let decision = decision(rules, self.first(&evaluation, self.innermost(client), &patterns));
        Decision { name: exact.map(|term| NameId(term.0)), ..decision }
    }

    pub(super) fn name_id(&self, name: &Hostname) -> Option<NameId> {
        self.names.exact.get(name).map(|term| NameId(term.0))
    }

    pub(super) fn name_ids(&self) -> usize {
        self.names.exact.len() + self.names.below.len()
    }

    pub(super) fn admit(&self, rules: &[Rule], client: &Client, listener: &ListenerView<'_>) -> Admission {
        let mut tried = 0;
        let denied = self.admit_to(rules, client, listener, &mut tried);
        if listener.port == RequestedPort::Destination(None) && denied != Admission::Possible {
            // So far that was about a port that no rule names. What that denies, only an allow rule that names its port
            // can allow.
            for port in &self.allowed_ports {
                tried += 1;
                let view = listener.to_port(*port);
                if tried > MAX_TRIED || self.admit_to(rules, client, &view, &mut tried) == Admission::Possible {
                    return Admission::Possible;
                }
            }
        }
        denied
    }

    fn admit_to(&self, rules: &[Rule], client: &Client, listener: &ListenerView<'_>, tried: &mut usize) -> Admission {
        let evaluation = Evaluation { rules, client, listener };
        // The rule that decides about all names that the list does not mention.
        let innermost = self.innermost(client);
        let nameless = self.first(&evaluation, innermost, &[]);
        if decision(rules, nameless).allowed || self.some_name_is_allowed(&evaluation, innermost, nameless, tried) {
            return Admission::Possible;
        }
        Admission::Denied(nameless)
    }

    /// Whether an allow rule with names, before `end`, is the first match for one of its names.
    fn some_name_is_allowed(
        &self,
        evaluation: &Evaluation<'_>,
        innermost: Option<&Bucket>,
        end: Option<RuleId>,
        tried: &mut usize,
    ) -> bool {
        for bucket in self.outwards(innermost) {
            let before_end = |id: &&RuleId| end.is_none_or(|end| **id < end);
            for id in self.span(bucket.named_allows).iter().take_while(before_end) {
                let Some(rule) = evaluation.rules.get(id.index()).filter(|rule| evaluation.holds(rule)) else {
                    continue;
                };
                for pattern in &rule.to {
                    // What covers the wildcard matches all names below it.
                    let terms = self.names.of_pattern(pattern);
                    *tried += 1;
                    if *tried > MAX_TRIED
                        || decision(evaluation.rules, self.first(evaluation, innermost, &terms)).allowed
                    {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// The first rule that matches this client and has no names or one of `names`.
    fn first(&self, evaluation: &Evaluation<'_>, innermost: Option<&Bucket>, names: &[Term]) -> Option<RuleId> {
        let endpoint = evaluation.client.endpoint.and_then(|id| self.endpoints.get(&id)).copied();
        let mut best = None;
        for bucket in self.outwards(innermost) {
            self.lower(evaluation, bucket.plain, &mut best);
            let Some(keyed) = bucket.keyed.and_then(|at| self.keyed.get(usize::try_from(at).ok()?)) else { continue };
            for name in std::iter::once(None).chain(names.iter().copied().map(Some)) {
                for endpoint in std::iter::once(None).chain(endpoint.map(Some)) {
                    if let Some(span) = keyed.get(&ConditionKey { name, endpoint }) {
                        self.lower(evaluation, *span, &mut best);
                    }
                }
            }
        }
        best
    }

    /// Lowers `best` to the first rule of `span` that holds on the listener.
    #[inline]
    fn lower(&self, evaluation: &Evaluation<'_>, span: Span, best: &mut Option<RuleId>) {
        for id in self.span(span) {
            if best.is_some_and(|best| best <= *id) {
                return;
            }
            if evaluation.rules.get(id.index()).is_some_and(|rule| rule.holds_on(evaluation.listener)) {
                *best = Some(*id);
                return;
            }
        }
    }

    fn span(&self, span: Span) -> &[RuleId] {
        let at = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        self.ids.get(at(span.start)..at(span.start).saturating_add(at(span.len))).unwrap_or_default()
    }

    /// The bucket of the longest prefix that covers the client's address.
    fn innermost(&self, client: &Client) -> Option<&Bucket> {
        self.at(self.covering(&IpNet::from(client.ip.get()))?)
    }

    /// The bucket and those of all shorter prefixes that cover it.
    fn outwards<'a>(&'a self, innermost: Option<&'a Bucket>) -> impl Iterator<Item = &'a Bucket> {
        std::iter::successors(innermost, |bucket| self.at(bucket.outer?))
    }

    fn at(&self, id: BucketId) -> Option<&Bucket> {
        self.buckets.get(usize::try_from(id.0).ok()?)
    }

    /// The keys under which a rule is found.
    fn keys(&mut self, rule: &Rule) -> Vec<ConditionKey> {
        let names: Vec<Option<Term>> = match &*rule.to {
            [] => vec![None],
            names => names.iter().map(|name| self.names.term(name)).collect(),
        };
        let endpoints: Vec<Option<Term>> = match &*rule.via {
            [] => vec![None],
            ids => ids.iter().map(|id| Some(number(&mut self.endpoints, *id))).collect(),
        };
        let pairs = names.iter().flat_map(|name| endpoints.iter().map(|endpoint| (*name, *endpoint)));
        pairs.map(|(name, endpoint)| ConditionKey { name, endpoint }).collect()
    }

    fn bucket(&mut self, draft: Draft) -> Bucket {
        let Draft { plain, keyed, named_allows } = draft;
        let (plain, named_allows) = (self.store(&plain), self.store(&named_allows));
        let keyed = (!keyed.is_empty()).then(|| {
            let spans = keyed.into_iter().map(|(key, ids)| (key, self.store(&ids))).collect();
            self.keyed.push(spans);
            to_u32(self.keyed.len() - 1)
        });
        Bucket { plain, keyed, named_allows, outer: None }
    }

    fn store(&mut self, ids: &[RuleId]) -> Span {
        let start = to_u32(self.ids.len());
        self.ids.extend_from_slice(ids);
        Span { start, len: to_u32(ids.len()) }
    }
}

/// What rules are evaluated for.
struct Evaluation<'a> {
    rules: &'a [Rule],
    client: &'a Client,
    listener: &'a ListenerView<'a>,
}

impl Evaluation<'_> {
    /// Whether all conditions hold, except those on source and name.
    fn holds(&self, rule: &Rule) -> bool {
        let via = rule.via.is_empty() || self.client.endpoint.is_some_and(|id| rule.via.contains(&id));
        via && rule.holds_on(self.listener)
    }
}

fn decision(rules: &[Rule], first: Option<RuleId>) -> Decision {
    let allowed = first.and_then(|id| rules.get(id.index())).is_some_and(|rule| rule.action == Action::Allow);
    Decision { allowed, rule: first, name: None }
}

/// The rules of a prefix while they are collected.
#[derive(Default)]
struct Draft {
    plain: Vec<RuleId>,
    keyed: HashMap<ConditionKey, Vec<RuleId>>,
    named_allows: Vec<RuleId>,
}

impl Draft {
    fn add(&mut self, rule: &Rule, id: RuleId, keys: &[ConditionKey]) {
        for key in keys {
            let unconditional = *key == ConditionKey { name: None, endpoint: None };
            let list = if unconditional { &mut self.plain } else { self.keyed.entry(*key).or_default() };
            if list.last() != Some(&id) {
                list.push(id);
            }
        }
        let named = keys.iter().any(|key| key.name.is_some());
        if rule.action == Action::Allow && named && self.named_allows.last() != Some(&id) {
            self.named_allows.push(id);
        }
    }
}

impl NameIndex {
    /// `None` for the pattern of every name, which is no condition.
    fn term(&mut self, pattern: &NamePattern) -> Option<Term> {
        // One numbering for both maps: a term is either a name or a wildcard.
        let next = Term(to_u32(self.exact.len() + self.below.len()));
        Some(match pattern {
            NamePattern::Any => return None,
            NamePattern::Exact(name) => *self.exact.entry(name.clone()).or_insert(next),
            NamePattern::Below(parent) => {
                self.depth = self.depth.max(labels(parent.as_str()));
                *self.below.entry(parent.as_str().into()).or_insert(next)
            }
        })
    }

    /// Every pattern that matches `name`, and which of them is the name itself.
    fn of(&self, name: &Hostname) -> (Option<Term>, Vec<Term>) {
        let exact = self.exact.get(name).copied();
        let mut terms: Vec<Term> = exact.into_iter().collect();
        terms.extend(self.below(name.as_str()));
        (exact, terms)
    }

    /// Every pattern that covers `pattern`.
    fn of_pattern(&self, pattern: &NamePattern) -> Vec<Term> {
        match pattern {
            NamePattern::Any => Vec::new(),
            NamePattern::Exact(name) => self.of(name).1,
            NamePattern::Below(parent) => {
                let mut terms: Vec<Term> = self.below.get(parent.as_str()).copied().into_iter().collect();
                terms.extend(self.below(parent.as_str()));
                terms
            }
        }
    }

    /// The wildcards that match `name`, shortest first, with no more labels than the longest in the list.
    fn below(&self, name: &str) -> impl Iterator<Item = Term> {
        let dots = memchr::memrchr_iter(b'.', name.as_bytes()).take(self.depth);
        dots.filter_map(|dot| self.below.get(name.get(dot + 1..)?).copied())
    }
}

fn labels(name: &str) -> usize {
    name.split('.').count()
}

fn number(terms: &mut HashMap<EndpointId, Term>, id: EndpointId) -> Term {
    let next = Term(to_u32(terms.len()));
    *terms.entry(id).or_insert(next)
}

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).expect("a file of 4 MiB and a million networks have less than 2^32 entries")
}
