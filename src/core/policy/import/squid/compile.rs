//! `http_access` lines → rules of an access list, of which the first that matches decides as well.
//!
//! A rule has clients, names and ports, all of them positive. `!` on clients and ports is their complement. `!` on names
//! is none of a rule: for the names behind it the lines that follow are written first, narrowed to these names. So a
//! set of rules is made for each part of the requests ("region") that decides about all of it.

use std::collections::BTreeSet;

use super::sets::{Clients, Names};

/// Steps after which a configuration counts as too entangled: each `!` on names may double them.
const MAX_STEPS: usize = 20_000;

/// Requests: all that come from these clients, for these names and ports.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) clients: Clients,
    /// `None`: any name.
    pub(super) names: Option<Names>,
    /// `None`: any port, because no line has a condition on it.
    pub(super) ports: Option<BTreeSet<u16>>,
}

/// An `http_access` line, its ACLs joined.
#[derive(Debug)]
pub(super) struct Clause {
    pub(super) allow: bool,
    pub(super) region: Region,
    /// Names for which it does not hold.
    pub(super) except: Names,
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) allow: bool,
    pub(super) region: Region,
    /// The clause that it comes from; the number of clauses for the end of the list.
    pub(super) clause: usize,
}

impl Rule {
    /// The ports that are written, where `all` are those of the listener: a rule that denies all of them needs none.
    pub(super) fn ports_beside<'a>(&'a self, all: Option<&BTreeSet<u16>>) -> Option<&'a BTreeSet<u16>> {
        self.region.ports.as_ref().filter(|ports| self.allow || Some(*ports) != all)
    }
}

/// Too many steps were needed.
#[derive(Debug)]
pub(super) struct TooEntangled;

impl Region {
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
            || self.names.as_ref().is_some_and(Names::is_empty)
            || self.ports.as_ref().is_some_and(BTreeSet::is_empty)
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let ports = match (&self.ports, &other.ports) {
            (Some(ours), Some(theirs)) => Some(ours & theirs),
            (ours, theirs) => ours.as_ref().or(theirs.as_ref()).cloned(),
        };
        Self {
            clients: self.clients.intersection(&other.clients),
            names: both(self.names.as_ref(), other.names.as_ref()),
            ports,
        }
    }

    /// Whether it has all requests of `other`.
    fn includes(&self, other: &Self) -> bool {
        let ports = match (&self.ports, &other.ports) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => theirs.is_subset(ours),
        };
        self.has_names_of(other) && ports && self.clients.intersection(&other.clients) == other.clients
    }

    pub(super) fn has_names_of(&self, other: &Self) -> bool {
        match (&self.names, &other.names) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => ours.includes(theirs),
        }
    }
}

fn both(ours: Option<&Names>, theirs: Option<&Names>) -> Option<Names> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => Some(ours.intersection(theirs)),
        (ours, theirs) => ours.or(theirs).cloned(),
    }
}

/// Rules that decide every request of `everything` as the clauses do; what none of them matches is allowed if
/// `otherwise` is true.
pub(super) fn compile(clauses: &[Clause], otherwise: bool, everything: &Region) -> Result<Vec<Rule>, TooEntangled> {
    let mut compiler = Compiler { clauses, otherwise, steps: 0 };
    let mut rules = Vec::new();
    compiler.rules(0, everything, &mut rules)?;
    Ok(rules)
}

struct Compiler<'a> {
    clauses: &'a [Clause],
    otherwise: bool,
    steps: usize,
}

impl Compiler<'_> {
    /// What the clauses from `start` on decide about a region.
    fn rules(&mut self, start: usize, region: &Region, rules: &mut Vec<Rule>) -> Result<(), TooEntangled> {
        for (index, clause) in self.clauses.iter().enumerate().skip(start) {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(TooEntangled);
            }
            let mut part = region.intersection(&clause.region);
            // What is excepted as a whole is not in the rule; what is excepted in part goes first.
            part.names = part.names.map(|names| names.without(&clause.except));
            if part.is_empty() {
                continue;
            }
            let excepted = Region { names: both(Some(&clause.except), part.names.as_ref()), ..part.clone() };
            if !excepted.is_empty() {
                self.exception(index, &excepted, rules)?;
            }
            let last = part.includes(region);
            rules.push(Rule { allow: clause.allow, region: part, clause: index });
            if last {
                return Ok(());
            }
        }
        rules.push(Rule { allow: self.otherwise, region: region.clone(), clause: self.clauses.len() });
        Ok(())
    }

    /// What the clauses after `index` decide about a part of its requests that it excepts.
    fn exception(&mut self, index: usize, region: &Region, rules: &mut Vec<Rule>) -> Result<(), TooEntangled> {
        let mut parts = Vec::new();
        self.rules(index + 1, region, &mut parts)?;
        let first = parts.first().is_some_and(|rule| rule.allow);
        if parts.iter().all(|rule| rule.allow == first) {
            parts = vec![Rule { allow: first, region: region.clone(), clause: index }];
        }
        rules.extend(parts.into_iter().map(|rule| Rule { clause: index, ..rule }));
        Ok(())
    }
}
