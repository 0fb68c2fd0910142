//! The text of an access list → rules, or all errors in it.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;

use ipnet::IpNet;

use super::import::is_squids;
use super::raw::{RawPolicy, RawRule};
use super::values::{end, endpoint, group_name, rule_name};
use super::{Action, NamePattern, Rule, Sources};
use crate::config::configuration_as_list;
use crate::diagnostic::{Diagnostic, Origin, Position, nearest};
use crate::yaml::{Document, FromScalar, MAX_DIAGNOSTICS, Many, Path, ValueError};

/// Networks of all rules, groups expanded: ten times the size for which decisions are promised to be fast.
const MAX_NETWORKS: usize = 1_000_000;
/// Longest text of a rule kept for logs, in characters.
const MAX_TEXT: usize = 160;

/// The rules, and warnings about the rest of the text.
pub(super) fn rules(text: &str, origin: Origin) -> Result<(Vec<Rule>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let document = Document::parse(text, origin.clone())
        .map_err(|diagnostics| foreign(text, &origin).map_or(diagnostics, |diagnostic| vec![diagnostic]))?;
    if let Some(diagnostic) = configuration_as_list(&document) {
        return Err(vec![diagnostic]);
    }
    let mut diagnostics = Vec::new();
    let raw: RawPolicy = document.read(&mut diagnostics);
    let reader = Reader { document: &document, diagnostics, groups: HashMap::new(), used: HashSet::new(), networks: 0 };
    let (rules, mut notes) = reader.rules(raw, &text.lines().collect::<Vec<_>>())?;
    notes.extend(cut_short(text, origin));
    Ok((rules, notes))
}

/// The diagnostic for a file of another program.
fn foreign(text: &str, origin: &Origin) -> Option<Diagnostic> {
    let squid = || {
        let help = "turn it into an access list with `latticegate import --squid FILE`";
        let at = Position { line: is_squids(text)?, column: 1 };
        Some(Diagnostic::whole(origin.clone(), "is a file for Squid", help).at(at))
    };
    nginx(text, origin).or_else(squid)
}

/// The diagnostic for a file of nginx, like `allow 10.0.0.0/8;`.
fn nginx(text: &str, origin: &Origin) -> Option<Diagnostic> {
    let directive = |line: &str| {
        let code = line.split('#').next().unwrap_or_default().trim();
        code.ends_with(';') && matches!(code.split_whitespace().next(), Some("allow" | "deny" | "include"))
    };
    let (_, line) = text.lines().zip(1..).find(|(line, _)| directive(line))?;
    let help = "turn it into an access list with `latticegate import FILE`";
    Some(Diagnostic::whole(origin.clone(), "is a file for nginx", help).at(Position { line, column: 1 }))
}

/// A warning if the last line has no end: a part of `192.0.0.0/24` may be a network, too.
fn cut_short(text: &str, origin: Origin) -> Option<Diagnostic> {
    let last = text.lines().last().filter(|_| !text.ends_with('\n'))?;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let at = Position { line: number(text.lines().count()), column: number(last.chars().count()) + 1 };
    let help = "see that it is whole, and end it with a newline";
    Some(Diagnostic::whole(origin, "ends in the middle of a line, as a file does that was cut short", help).at(at))
}

struct Reader<'a> {
    document: &'a Document,
    diagnostics: Vec<Diagnostic>,
    groups: HashMap<String, Vec<IpNet>>,
    /// Groups that are named by a rule.
    used: HashSet<String>,
    networks: usize,
}

impl Reader<'_> {
    fn rules(mut self, raw: RawPolicy, lines: &[&str]) -> Result<(Vec<Rule>, Vec<Diagnostic>), Vec<Diagnostic>> {
        let RawPolicy { groups, rules } = raw;
        for (name, Many(members)) in groups.unwrap_or_default() {
            self.group(name, &members);
        }
        let section = Path::root().key("rules");
        if !self.document.has(&section) {
            let help = "add `rules:` and a list; `rules: []` denies everyone";
            self.error(&section, ValueError::new("is missing", help));
        }
        let places = self.document.lines(&section);
        if rules.as_ref().map_or(0, Vec::len) != places.len() {
            // An invalid rule was left out and reported. Without it, the lines of the others are not known.
            return Err(self.diagnostics);
        }
        let mut read = Vec::with_capacity(places.len());
        for (index, raw) in rules.unwrap_or_default().into_iter().enumerate() {
            let place = places.get(index).copied().unwrap_or((Position { line: 0, column: 0 }, 0));
            if let Some(rule) = self.rule(raw, index, place, lines) {
                read.push(rule);
            }
            if self.diagnostics.len() >= MAX_DIAGNOSTICS {
                break;
            }
        }
        if self.diagnostics.is_empty() { Ok((read, self.unused_groups())) } else { Err(self.diagnostics) }
    }

    fn unused_groups(&self) -> Vec<Diagnostic> {
        let unused = self.groups.keys().filter(|name| !self.used.contains(*name));
        let note = |name: &String| {
            let path = Path::root().key("groups").key(name);
            let diagnostic = self.document.diagnostic(&path, "is used by no rule", "remove it, or name it in a rule");
            Diagnostic { value: None, ..diagnostic }
        };
        unused.map(note).collect()
    }

    fn group(&mut self, name: String, members: &[String]) {
        let path = Path::root().key("groups").key(&name);
        if let Err(error) = group_name(&name) {
            let diagnostic = self.document.diagnostic(&path, error.message, error.help);
            return self.diagnostics.push(Diagnostic { value: None, ..diagnostic });
        }
        let mut networks = Vec::with_capacity(members.len());
        for (index, member) in members.iter().enumerate() {
            match IpNet::from_scalar(member) {
                Ok(network) => networks.push(network),
                Err(error) => self.element_error(&path, members, index, error),
            }
        }
        if members.is_empty() {
            self.error(&path, ValueError::new("is empty", "write the networks that the name stands for"));
        }
        self.groups.insert(name, networks);
    }

    fn rule(&mut self, raw: RawRule, index: usize, (first, last): (Position, u32), lines: &[&str]) -> Option<Rule> {
        let RawRule { allow, deny, to, listener, port, via, name, until } = raw;
        let at = RulePath(index);
        let (action, key, sources) = match (allow, deny) {
            (Some(sources), None) => (Action::Allow, "allow", sources),
            (None, Some(sources)) => (Action::Deny, "deny", sources),
            (Some(_), Some(_)) => {
                self.error(
                    &at.path(),
                    ValueError::new("has both allow and deny", "make two rules of it; the first decides"),
                );
                return None;
            }
            // A key that could not be read, or is misspelled, has been reported already.
            (None, None) if self.is_reported(at) => return None,
            (None, None) => {
                self.error(
                    &at.path(),
                    ValueError::new("has neither allow nor deny", "write `allow:` or `deny:`, then `all` or networks"),
                );
                return None;
            }
        };
        Some(Rule {
            action,
            sources: self.sources(&sources.0, at, key),
            to: self.names(to, at),
            listeners: self.each(listener, at, "listener", |text| Ok(text.into())),
            ports: self.each(port, at, "port", |text| NonZeroU16::from_scalar(text).map(NonZeroU16::get)),
            via: self.each(via, at, "via", endpoint),
            until: until.and_then(|until| self.single(at, "until", end(&until.0))),
            name: name.and_then(|name| self.single(at, "name", rule_name(&name.0))),
            line: first.line,
            column: first.column,
            text: source_text(lines, first.line, last),
        })
    }

    fn sources(&mut self, written: &[String], at: RulePath, key: &str) -> Sources {
        let mut networks = Vec::with_capacity(written.len());
        let mut all = false;
        for (index, text) in written.iter().enumerate() {
            if text == "all" {
                all = true;
            } else if let Some(group) = self.groups.get(text) {
                self.used.insert(text.clone());
                networks.extend_from_slice(group);
            } else {
                match IpNet::from_scalar(text) {
                    Ok(network) => networks.push(network),
                    Err(error) => {
                        let error = self.unknown_source(text, error);
                        self.element_error(&at.key(key), written, index, error);
                    }
                }
            }
        }
        self.networks += networks.len();
        if self.networks > MAX_NETWORKS {
            let help = "join neighbouring networks, or use the group in fewer rules";
            self.error(&at.key(key), ValueError::new("brings the list to more than a million networks", help));
        }
        if written.is_empty() {
            self.error(&at.key(key), ValueError::new("is empty", "write `all`, or networks, or a group's name"));
        }
        if all { Sources::All } else { Sources::Networks(networks.into()) }
    }

    /// The error about a word that is neither a network nor a group.
    fn unknown_source(&self, text: &str, error: ValueError) -> ValueError {
        if text.eq_ignore_ascii_case("any") || text == "*" || text.eq_ignore_ascii_case("all") {
            return ValueError::new("is not a network", "write `all` for every client");
        }
        if matches!(text, "no" | "none" | "off" | "false" | "yes" | "on" | "true") {
            return ValueError::new(
                "is not a network",
                "write `all` or networks; clients to refuse belong under `deny:`",
            );
        }
        if group_name(text).is_err() {
            return error;
        }
        let known = self.groups.keys().map(String::as_str).chain(["all"]);
        let help = match nearest(text, known) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("write a network or `all`, or define the group: `groups: {{ {text}: [10.0.0.0/8] }}`"),
        };
        ValueError::new("is neither a network nor a group of this file", help)
    }

    /// Beside `any`, other names say nothing.
    fn names(&mut self, to: Option<Many<String>>, at: RulePath) -> Box<[NamePattern]> {
        let names = self.each(to, at, "to", NamePattern::from_scalar);
        if names.contains(&NamePattern::Any) { [NamePattern::Any].into() } else { names }
    }

    fn each<T>(
        &mut self,
        written: Option<Many<String>>,
        at: RulePath,
        key: &str,
        read: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Box<[T]> {
        let Some(Many(written)) = written else { return Box::default() };
        if written.is_empty() {
            self.error(&at.key(key), ValueError::new("is empty", "remove the key if the rule is for any"));
        }
        let mut values = Vec::with_capacity(written.len());
        for (index, text) in written.iter().enumerate() {
            match read(text) {
                Ok(value) => values.push(value),
                Err(error) => self.element_error(&at.key(key), &written, index, error),
            }
        }
        values.into()
    }

    fn single<T>(&mut self, at: RulePath, key: &str, read: Result<T, ValueError>) -> Option<T> {
        read.map_err(|error| self.error(&at.key(key), error)).ok()
    }

    fn is_reported(&self, at: RulePath) -> bool {
        let below = format!("{}.", at.path());
        self.diagnostics.iter().any(|diagnostic| diagnostic.key.starts_with(&below))
    }

    /// An error about one element, which may be in a list, alone, or between commas.
    fn element_error(&mut self, path: &Path, all: &[String], index: usize, error: ValueError) {
        let element = path.index(index);
        if self.document.has(&element) {
            return self.error(&element, error);
        }
        self.error(path, all.get(index).filter(|_| all.len() > 1).map_or(error.clone(), |part| error.in_part(part)));
    }

    fn error(&mut self, path: &Path, error: ValueError) {
        self.diagnostics.push(self.document.diagnostic(path, error.message, error.help));
    }
}

/// The path of a rule, built only when there is an error.
#[derive(Clone, Copy)]
struct RulePath(usize);

impl RulePath {
    fn path(self) -> Path {
        Path::root().key("rules").index(self.0)
    }

    fn key(self, key: &str) -> Path {
        self.path().key(key)
    }
}

/// The lines of a rule joined, without its dash and comments.
fn source_text(lines: &[&str], first: u32, last: u32) -> Box<str> {
    let number = |line: u32| usize::try_from(line).unwrap_or(usize::MAX);
    let span = lines.get(number(first).saturating_sub(1)..number(last).min(lines.len())).unwrap_or_default();
    let parts = span.iter().map(|line| {
        let line = line.split(" #").next().unwrap_or(line).trim();
        line.strip_prefix("- ").unwrap_or(line).trim()
    });
    let mut text = String::new();
    for part in parts.filter(|part| !part.is_empty() && !part.starts_with('#')) {
        match text.chars().last() {
            None => {}
            Some(',' | ':' | '[' | '{') => text.push(' '),
            Some(_) => text.push_str(", "),
        }
        text.push_str(part);
    }
    match text.char_indices().nth(MAX_TEXT) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()).into(),
        None => text.into(),
    }
}
