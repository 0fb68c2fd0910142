//! Squid's `http_access`, or an allow list of domains → our access list for a listener with `protocol: forward`.
//!
//! What Squid denies the new list has to deny: a line that denies and cannot be written as rules is an error, and so
//! is a `!` before an ACL that cannot. What only lets less through is left out and listed.

mod compile;
mod config;
mod directives;
mod list;
mod ports;
mod prune;
mod refusals;
mod sets;
#[cfg(test)]
mod tests;
mod text;
mod values;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use super::{Imported, Include, Included, SCHEMA, printable};
use crate::yaml::MAX_BYTES;
use compile::{Clause, Region, compile};
use config::{Access, Config, Meaning};
use list::{Kind, Lists};
use ports::ListenerPorts;
use prune::prune;
use sets::{Clients, Names};
use write::Writer;

/// What a `squid.conf` does not say.
#[derive(Debug, Default, Clone)]
pub struct SquidOptions {
    /// The listener's `connect_ports`; unless given, 443 and what else a short list of ports allows.
    pub connect_ports: Option<Vec<u16>>,
    /// The listener's `http_ports`; unless given, 80 and the ports that are named one by one.
    pub http_ports: Option<Vec<u16>>,
    /// The listener that every rule is for; unless given, rules have no such condition.
    pub listener: Option<String>,
}

/// Imports configurations or allow lists, in the order of the files. With errors there is no list.
pub fn import_squid(files: &[Included], options: &SquidOptions, include: &dyn Include) -> Imported {
    let mut out = Imported::default();
    let kinds: Vec<Kind> = files.iter().map(|file| list::kind(&file.text)).collect();
    let is_list = |kind: &Kind| *kind == Kind::List;
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let names = printable(&names.join(", "));
    let head = format!("{SCHEMA}# Imported from {names} by `latticegate import --squid`");
    let others: Vec<String> = files.iter().zip(&kinds).filter_map(|(file, kind)| neither(file, kind)).collect();
    if !others.is_empty() {
        out.errors = others;
    } else if kinds.iter().all(is_list) {
        import_lists(files, options, head, &mut out);
    } else if !kinds.iter().any(is_list) {
        import_config(files, options, include, head, &mut out);
    } else {
        out.errors.push(
            "configurations and allow lists cannot be joined; name the configurations alone: lists that they have in \
             quotes are read with them"
                .to_owned(),
        );
    }
    if out.yaml.len() > MAX_BYTES {
        let size = out.yaml.len() >> 20;
        out.errors
            .push(format!("the new list would have {size} MiB, and an access list has at most 4 MiB; leave names out"));
    }
    if !out.errors.is_empty() {
        out.yaml.clear();
        out.rules = 0;
    }
    // They quote the files, and are for a terminal.
    for text in out.left_out.iter_mut().chain(&mut out.notes).chain(&mut out.errors) {
        *text = printable(text);
    }
    out
}

fn neither(file: &Included, kind: &Kind) -> Option<String> {
    let Kind::Neither(line) = kind else { return None };
    let text = file.text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
    let why = "it is no domain, and no line has a directive of Squid; a list has one domain on each line";
    Some(format!("{}:{line}: {text}: {why}", file.name))
}

/// The line by which a text is a file of Squid, if it is one.
pub fn is_squids(text: &str) -> Option<u32> {
    list::recognise(text)
}

fn import_lists(files: &[Included], options: &SquidOptions, head: String, out: &mut Imported) {
    let comments = BTreeMap::new();
    let mut writer = writer(options, head + ".\n", &comments);
    let mut lists = Lists::new(&mut writer, out);
    for file in files {
        if files.len() > 1 {
            lists.writer.blank();
            lists.writer.comment(&format!("from {}", file.name));
        }
        lists.file(file);
    }
    if writer.rules == 0 && out.left_out.is_empty() {
        out.notes.push("no domain was found: the new list denies everyone".to_owned());
    } else if writer.rules == 0 {
        out.errors.push(format!("{}: no line could be imported: the list would deny everyone", head_name(files)));
    }
    writer.blank();
    writer.deny_all();
    (out.yaml, out.rules) = (writer.yaml, writer.rules);
}

fn writer<'a>(options: &'a SquidOptions, head: String, comments: &'a BTreeMap<String, String>) -> Writer<'a> {
    Writer { yaml: head + "\nrules:\n", rules: 0, listener: options.listener.as_deref(), comments, ports: None }
}

fn import_config(files: &[Included], options: &SquidOptions, include: &dyn Include, head: String, out: &mut Imported) {
    let mut config = Config::read(files, include);
    let ports = ListenerPorts::of(&config, options);
    let access = std::mem::take(&mut config.access);
    let everything = Region { clients: Clients::all(), names: None, ports: ports.as_ref().map(ListenerPorts::all) };
    let mut reader = Reader { config: &mut config, ports: ports.as_ref(), everything: &everything, idle: Vec::new() };
    let clauses: Vec<Clause> = access.iter().map(|access| reader.clause(access)).collect();
    let idle = reader.idle;
    out.errors.append(&mut config.errors);
    out.left_out.append(&mut config.left_out);
    out.notes.append(&mut config.notes);
    out.left_out.extend(unused(&config));
    let head = match &ports {
        None => {
            if !access.is_empty() {
                out.notes.push(
                    "no http_access line has a condition on ports: the list has none either, and what may be asked for is \
                     what the listener has in connect_ports (443) and http_ports (80)"
                        .to_owned(),
                );
            }
            head + ".\n"
        }
        Some(ports) => {
            note_ports(ports, out);
            let (connect, http) = (list(&ports.connect), list(&ports.http));
            format!("{head}\n# for a listener with `connect_ports: [{connect}]` and `http_ports: [{http}]`.\n")
        }
    };
    let otherwise = access.last().is_some_and(|last| !last.allow);
    let Ok(rules) = compile(&clauses, otherwise, &everything) else {
        let help = "too many lines have a `!` before names; write them as `deny` lines above";
        return out.errors.push(format!("{}: {help}", head_name(files)));
    };
    let with_rules: BTreeSet<usize> = rules.iter().map(|rule| rule.clause).collect();
    let rules = prune(rules, everything.ports.as_ref());
    let mut writer = writer(options, head, &config.comments);
    writer.ports.clone_from(&everything.ports);
    for (index, access) in access.iter().enumerate() {
        access.line.above.iter().for_each(|comment| writer.comment(comment));
        let why = idle.get(index).and_then(Option::as_deref);
        let own = || rules.iter().filter(|rule| rule.clause == index);
        let reached = with_rules.last().is_some_and(|last| *last >= index);
        let why = match why {
            Some(why) => format!(": {why}"),
            None if own().next().is_some() => String::new(),
            None if !reached => ": never reached".to_owned(),
            None if with_rules.contains(&index) => ": the rules above decide about all of it".to_owned(),
            None if access.allow => ": no request that is left matches".to_owned(),
            None => ": what it denies, no rule below allows".to_owned(),
        };
        let comment = access.line.comment.as_ref().map(|comment| format!("   # {comment}")).unwrap_or_default();
        writer.comment(&format!("{}: {}{why}{comment}", access.at, access.line.text()));
        own().for_each(|rule| writer.rule(rule));
    }
    let implicit: Vec<_> = rules.iter().filter(|rule| rule.clause == access.len()).collect();
    if !implicit.is_empty() {
        let why = match access.last() {
            None => "there is no http_access line, so everyone is denied".to_owned(),
            Some(last) => format!(
                "no http_access line is for every request; for the others Squid does the opposite of the last one, so \
                 {} was added",
                if last.allow { "`deny: all`" } else { "`allow: all`, `to: any`" }
            ),
        };
        writer.comment("Squid does the opposite of its last line with all other requests:");
        out.notes.push(why);
        implicit.into_iter().for_each(|rule| writer.rule(rule));
    }
    (out.yaml, out.rules) = (writer.yaml, writer.rules);
}

fn head_name(files: &[Included]) -> &str {
    files.first().map_or("squid.conf", |file| &file.name)
}

fn list(ports: &BTreeSet<u16>) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// What the operator has to know about the ports of the listener.
fn note_ports(ports: &ListenerPorts, out: &mut Imported) {
    if !ports.ambiguous.is_empty() {
        out.errors.push(format!(
            "port {} is for CONNECT and for other requests, and an http_access line asks which it is: a list tells it by \
             the port alone; give --connect-ports and --http-ports without a port in both",
            list(&ports.ambiguous)
        ));
    }
    let (connect, http) = (list(&ports.connect), list(&ports.http));
    let how = if ports.by_method { "; CONNECT is told from other requests by the port" } else { "" };
    let default = if connect == "443" && http == "80" { ", which are its defaults" } else { "" };
    out.notes.push(format!(
        "the list is for a listener with connect_ports: [{connect}] and http_ports: [{http}]{default}{how}"
    ));
    if !ports.beyond.is_empty() {
        out.notes.push(format!(
            "Squid may let through as well, and the new list does not: {}; to carry some of them, give --connect-ports or \
             --http-ports, and set the listener to the same",
            ports.beyond.join("; ")
        ));
    }
}

fn unused(config: &Config<'_>) -> Vec<String> {
    let unused = config.acls.iter().filter(|(_, acl)| !acl.used);
    unused
        .filter_map(|(name, acl)| Some(format!("{}: acl {name}: no http_access line uses it", acl.at.as_ref()?)))
        .collect()
}

/// Turns lines into clauses.
struct Reader<'a, 'b> {
    config: &'a mut Config<'b>,
    ports: Option<&'a ListenerPorts>,
    everything: &'a Region,
    /// For each line why it makes no rule, if that is its ACLs' doing.
    idle: Vec<Option<String>>,
}

impl Reader<'_, '_> {
    fn clause(&mut self, access: &Access) -> Clause {
        let mut clause = Clause { allow: access.allow, region: self.everything.clone(), except: Names::default() };
        let why = self.never(access).or_else(|| {
            access.acls.iter().find_map(|(negated, name)| self.condition(access, *negated, name, &mut clause))
        });
        if why.is_some() {
            clause.region.clients = Clients::default();
        }
        self.idle.push(why);
        clause
    }

    /// Why no request ever matches the line.
    fn never(&mut self, access: &Access) -> Option<String> {
        let why = access.acls.iter().find_map(|(negated, name)| match &self.config.acls.get(name)?.what {
            Meaning::Never(why) if !negated => Some(why.clone()),
            _ => None,
        })?;
        for (_, name) in &access.acls {
            self.config.acls.entry(name.clone()).and_modify(|acl| acl.used = true);
        }
        self.config.notes.push(format!("{}: {}: {why}", access.at, access.line.text()));
        Some(why)
    }

    /// Narrows the clause to what an ACL matches. Returns why the line cannot be imported.
    fn condition(&mut self, access: &Access, negated: bool, name: &str, clause: &mut Clause) -> Option<String> {
        let what = format!("{}: {}", access.at, access.line.text());
        let Some(acl) = self.config.acls.get_mut(name) else {
            let near = "Squid does not start with it";
            let why = match name {
                "" => "a `!` stands alone; write it right before the name of an ACL".to_owned(),
                _ => values::odd_blank(name).unwrap_or_else(|| format!("there is no ACL {name}; {near}")),
            };
            self.config.errors.push(format!("{what}: {why}"));
            return Some(near.to_owned());
        };
        acl.used = true;
        // Without a value an ACL matches less: does the line then let more through?
        let harmful = access.allow == negated;
        let [as_errors, as_left_out] = &mut acl.reported;
        let (list, reported) = match harmful {
            true => (&mut self.config.errors, as_errors),
            false => (&mut self.config.left_out, as_left_out),
        };
        if !std::mem::replace(reported, true) {
            list.extend_from_slice(&acl.bad);
        }
        let all_ports = || self.everything.ports.clone().unwrap_or_default();
        let ports = match &acl.what {
            Meaning::Clients(clients) => {
                let clients = if negated { clients.complement() } else { clients.clone() };
                clause.region.clients = clause.region.clients.intersection(&clients);
                return None;
            }
            Meaning::Names(names) if negated => {
                clause.except = clause.except.union(names);
                return None;
            }
            Meaning::Names(names) => {
                let both = clause.region.names.as_ref().map(|before| before.intersection(names));
                clause.region.names = Some(both.unwrap_or_else(|| names.clone()));
                return None;
            }
            Meaning::Never(_) => return None,
            Meaning::Ports(ports) => self.ports.map(|own| own.matching(ports)),
            Meaning::Connect => self.ports.map(|own| own.connect.clone()),
            Meaning::Unknown(why) => {
                let why = format!("{name}: {why}");
                let (deny, except) = (!access.allow, negated);
                let list = if deny || except { &mut self.config.errors } else { &mut self.config.left_out };
                list.push(format!("{what}: {why}"));
                return Some("not imported".to_owned());
            }
        };
        let ports = ports.unwrap_or_default();
        let ports = if negated { &all_ports() - &ports } else { ports };
        clause.region.ports = clause.region.ports.as_ref().map(|before| before & &ports);
        None
    }
}
