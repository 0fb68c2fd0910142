//! `squid.conf`, read: its ACLs, its `http_access` lines, and what else it has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::{Include, Included, MAX_DEPTH};
use super::refusals::{Finding, Refusals};
use super::sets::{Clients, Names, Pattern, Ports};
use super::text::{self, Line};
use super::values::{self, Domain};

/// Where something stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// An `acl`, all its lines together.
#[derive(Debug)]
pub(super) struct Acl {
    pub(super) what: Meaning,
    kind: String,
    /// Of its first line; `None`: Squid has it built in.
    pub(super) at: Option<Place>,
    /// Values that cannot be imported. The ACL is what the others stand for.
    pub(super) bad: Vec<String>,
    pub(super) used: bool,
    /// Whether `bad` has been reported, as errors and as left out.
    pub(super) reported: [bool; 2],
}

/// What an ACL is about.
#[derive(Debug)]
pub(super) enum Meaning {
    Clients(Clients),
    Names(Names),
    Ports(Ports),
    /// `method CONNECT`.
    Connect,
    /// Nothing that gets as far as the access list here, and why.
    Never(String),
    /// It cannot be imported, and what else can be done.
    Unknown(String),
}

/// An `http_access` line.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) at: Place,
    pub(super) line: Line,
    pub(super) allow: bool,
    /// Names of ACLs, each with whether it is negated.
    pub(super) acls: Vec<(bool, String)>,
}

#[derive(Debug)]
pub(super) struct Config<'a> {
    include: Files<'a>,
    pub(super) acls: BTreeMap<String, Acl>,
    pub(super) access: Vec<Access>,
    /// Comments beside names in files.
    pub(super) comments: BTreeMap<String, String>,
    /// `file:line: what: why`, as in [`Imported`](super::super::Imported).
    pub(super) left_out: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) errors: Vec<String>,
    refusals: Refusals,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
}

struct Files<'a>(&'a dyn Include);

impl std::fmt::Debug for Files<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files")
    }
}

impl<'a> Config<'a> {
    pub(super) fn read(files: &[Included], include: &'a dyn Include) -> Self {
        let mut config = Self {
            include: Files(include),
            acls: built_in(),
            access: Vec::new(),
            comments: BTreeMap::new(),
            left_out: Vec::new(),
            notes: Vec::new(),
            errors: Vec::new(),
            refusals: Refusals::default(),
            open: Vec::new(),
        };
        for file in files {
            config.file(&file.name, &file.text);
        }
        let findings = std::mem::take(&mut config.refusals).end();
        config.report(findings);
        config
    }

    fn file(&mut self, name: &str, text: &str) {
        self.open.push(self.include.0.identity(name));
        for line in text::lines(text) {
            let at = Place { file: name.to_owned(), line: line.number };
            if line.is_cut {
                let why = "what stands behind a carriage return is not read, by Squid either";
                self.left_out.push(format!("{at}: {}: {why}", line.text()));
            }
            self.directive(at, line);
        }
        self.open.pop();
    }

    fn directive(&mut self, at: Place, line: Line) {
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        match words[..] {
            [] => {}
            ["acl", name, kind, ref values @ ..] => self.acl(&at, name, kind, values, line.comment.as_deref()),
            ["http_access", action @ ("allow" | "deny"), ref acls @ ..] => {
                let literal = |word: &&str| match word.strip_prefix('!') {
                    Some(name) => (true, name.to_owned()),
                    None => (false, (*word).to_owned()),
                };
                let acls: Vec<(bool, String)> = acls.iter().map(literal).collect();
                if acls.is_empty() {
                    return self.left_out.push(format!("{at}: {}: Squid skips a line without ACLs", line.text()));
                }
                let allow = action == "allow";
                self.access.push(Access { at, line, allow, acls });
            }
            ["include", ref patterns @ ..] => patterns.iter().for_each(|pattern| self.included(&at, pattern)),
            ["acl" | "http_access", ..] => {
                self.errors
                    .push(format!("{at}: {}: it is not complete, and Squid does not start with it", line.text()));
            }
            ["allow" | "deny", .., last] if last.ends_with(';') => {
                let why = "it is a line of nginx; import the file without --squid";
                self.errors.push(format!("{at}: {}: {why}", line.text()));
            }
            ["if" | "else" | "endif", ..] => {
                self.errors.push(format!("{at}: {}: conditions are not supported; write what holds", line.text()));
            }
            [name, ref arguments @ ..] => {
                let finding = self.refusals.line(format!("{at}: {}", line.text()), name, arguments);
                self.report(finding);
            }
        }
    }

    fn report(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            match finding {
                Finding::LeftOut(text) => self.left_out.push(text),
                Finding::Error(text) => self.errors.push(text),
            }
        }
    }

    fn included(&mut self, at: &Place, pattern: &str) {
        let what = format!("{at}: include {pattern}");
        if self.open.len() > MAX_DEPTH {
            return self.errors.push(format!("{what}: includes are nested too deep"));
        }
        match self.include.0.find(&at.file, pattern) {
            Ok(files) if files.is_empty() => self.notes.push(format!("{what}: no file matches")),
            Ok(files) => {
                for file in files {
                    if self.open.contains(&self.include.0.identity(&file.name)) {
                        self.errors.push(format!("{what}: {} would include itself", file.name));
                        continue;
                    }
                    self.file(&file.name, &file.text);
                }
            }
            // It may have lines that deny.
            Err(error) => self.errors.push(format!("{what}: {error}")),
        }
    }

    fn acl(&mut self, at: &Place, name: &str, kind: &str, values: &[&str], comment: Option<&str>) {
        if let Some(acl) = self.acls.get(name).filter(|acl| acl.kind != kind && name != "manager") {
            let before = acl.at.as_ref().map_or("in Squid itself".to_owned(), |place| format!("at {place}"));
            let why = format!("it is also {} ({before}), and Squid does not start with both", acl.kind);
            return self.errors.push(format!("{at}: acl {name} {kind}: {why}"));
        }
        let (flags, values) = values.split_at(values.iter().take_while(|word| is_flag(word)).count());
        let bad_flag = flags.iter().find(|flag| !matches!(**flag, "-n" | "-i" | "+i" | "--"));
        let read = match bad_flag {
            Some(flag) => Err(format!("the option {flag} cannot be imported")),
            None => self.values(at, values, comment),
        };
        let values = match read {
            Ok(values) => values,
            Err(why) => return self.errors.push(format!("{at}: acl {name} {kind}: {why}")),
        };
        let mut acl = self.acls.remove(name).unwrap_or_else(|| Acl::new(kind, empty(name, kind)));
        acl.at.get_or_insert_with(|| at.clone());
        for Value { at, text, comment, unread } in values {
            let what = format!("{at}: acl {name} {kind} {text}");
            let added = unread.map_or_else(|| acl.add(kind, &text), |why| Err(why.to_owned()));
            match added {
                Ok(added) => {
                    self.notes.extend(added.note.map(|note| format!("{what}: {note}")));
                    if let Some(comment) = comment {
                        self.comments.extend(added.names.into_iter().map(|name| (name, comment.clone())));
                    }
                }
                Err(why) => acl.bad.push(format!("{what}: {why}")),
            }
        }
        self.acls.insert(name.to_owned(), acl);
    }

    /// The values of an `acl` line, those from files included.
    fn values(&self, at: &Place, words: &[&str], comment: Option<&str>) -> Result<Vec<Value>, String> {
        let mut values = Vec::new();
        let mut unread = None;
        for word in words {
            let mut push = |text: &str, comment, unread| {
                values.push(Value { at: at.clone(), text: text.to_owned(), comment, unread });
            };
            let Some(path) = word.strip_prefix(['"', '\'']).filter(|_| unread.is_none()) else {
                let comment = comment.filter(|_| words.len() == 1).map(str::to_owned);
                push(word, comment, unread.or_else(|| word.starts_with("parameters(").then_some(PARAMETERS)));
                continue;
            };
            unread = Some(BEHIND_A_FILE);
            let (path, rest) = path.split_once(['"', '\'']).unwrap_or((path, ""));
            if !rest.is_empty() {
                push(rest, None, unread);
            }
            for file in self.include.0.find(&at.file, path)? {
                for (line, number) in file.text.lines().zip(1..) {
                    if let (Some(value), comment) = text::value(line) {
                        let at = Place { file: file.name.clone(), line: number };
                        let comment = comment.map(str::to_owned);
                        values.push(Value { at, text: value.to_owned(), comment, unread: None });
                    }
                }
            }
        }
        Ok(values)
    }
}

struct Value {
    at: Place,
    text: String,
    comment: Option<String>,
    /// Why Squid does not read it.
    unread: Option<&'static str>,
}

// Both seen with 5.7. The end of a file is the end of the line that names it.
const BEHIND_A_FILE: &str = "Squid reads nothing that stands behind a file on the line; write it in a line of its own";
const PARAMETERS: &str = "Squid takes it for a value, and reads no file; write the file's name in quotes alone";

/// What a value has added to its ACL.
#[derive(Default)]
struct Added {
    note: Option<String>,
    /// The first pattern of a name: its comment stands there.
    names: Option<String>,
}

impl Acl {
    fn new(kind: &str, what: Meaning) -> Self {
        Self { what, kind: kind.to_owned(), at: None, bad: Vec::new(), used: false, reported: [false; 2] }
    }

    fn add(&mut self, kind: &str, text: &str) -> Result<Added, String> {
        let mut added = Added::default();
        match &mut self.what {
            Meaning::Clients(clients) => {
                let (more, note) = values::clients(text)?;
                *clients = clients.union(&more);
                added.note = note;
            }
            Meaning::Names(names) => match values::domain(text)? {
                Domain::Names(patterns) => {
                    added.names = patterns.first().map(Pattern::to_string);
                    patterns.into_iter().for_each(|pattern| names.insert(pattern));
                }
                Domain::Address => {
                    added.note =
                        Some("requests for an address are refused in any case, so it needs no rule".to_owned());
                }
            },
            Meaning::Ports(ports) => ports.0.extend(values::ports(text)?.0),
            Meaning::Connect | Meaning::Never(_) if kind == "method" => {
                let why = "an access list knows CONNECT and other requests, by their ports, and no further methods";
                let connect = text.eq_ignore_ascii_case("CONNECT");
                self.what = if connect { Meaning::Connect } else { Meaning::Unknown(why.to_owned()) };
            }
            Meaning::Never(_) if kind == "dst" && !values::is_not_public(text) => {
                let why = "the access list knows names, not their addresses; write them to upstream.denied_networks of \
                           the listener, and remove the lines that use this ACL";
                self.what = Meaning::Unknown(why.to_owned());
            }
            Meaning::Never(_) if kind == "proto" && is_http(text) => {
                self.what = Meaning::Unknown("the access list knows no schemes".to_owned());
            }
            Meaning::Connect | Meaning::Never(_) | Meaning::Unknown(_) => {}
        }
        Ok(added)
    }
}

fn is_flag(word: &str) -> bool {
    word.starts_with(['-', '+']) && word.len() >= 2
}

/// Schemes that requests here may have for Squid; which one CONNECT has depends on its version.
fn is_http(scheme: &str) -> bool {
    ["http", "https", "none", "authority_form"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

/// An ACL of this type before its first value.
fn empty(name: &str, kind: &str) -> Meaning {
    match kind {
        "url_regex" | "proto" if name == "manager" => Meaning::Never(NO_MANAGER.to_owned()),
        "src" => Meaning::Clients(Clients::default()),
        "dstdomain" => Meaning::Names(Names::default()),
        "port" => Meaning::Ports(Ports::default()),
        "method" => Meaning::Never("it has no method".to_owned()),
        "dst" => Meaning::Never(NOT_DIALLED.to_owned()),
        "proto" => Meaning::Never("other schemes than http:// are refused here".to_owned()),
        "proxy_auth" | "proxy_auth_regex" | "ident" | "ident_regex" | "ext_user" => Meaning::Unknown(
            "there is no authentication; clients are known by address and VPC endpoint (`via:`)".to_owned(),
        ),
        "time" => Meaning::Unknown("rules have an end (`until:`), but no hours".to_owned()),
        "maxconn" => Meaning::Unknown("see limits.per_client.connections, which holds for each client".to_owned()),
        "dstdom_regex" | "url_regex" | "urlpath_regex" | "srcdom_regex" => {
            Meaning::Unknown("there are no regular expressions; write the names as dstdomain".to_owned())
        }
        "ssl::server_name" | "ssl::server_name_regex" => Meaning::Unknown(
            "write the names as dstdomain: with `tunnel: tls` the TLS server name has to be one of them".to_owned(),
        ),
        _ => Meaning::Unknown(format!("the access list knows no {kind}")),
    }
}

const NO_MANAGER: &str = "there is no cache manager here";
const NOT_DIALLED: &str = "these addresses are never dialled with `upstream.allowed_networks: [public]`";

/// What Squid defines itself.
fn built_in() -> BTreeMap<String, Acl> {
    let local = ["127.0.0.1", "::1"].iter().filter_map(|text| values::clients(text).ok());
    let local = local.fold(Clients::default(), |sum, (clients, _)| sum.union(&clients));
    [
        ("all", "src", Meaning::Clients(Clients::all())),
        ("localhost", "src", Meaning::Clients(local)),
        ("to_localhost", "dst", Meaning::Never(NOT_DIALLED.to_owned())),
        ("to_linklocal", "dst", Meaning::Never(NOT_DIALLED.to_owned())),
        ("manager", "url_regex", Meaning::Never(NO_MANAGER.to_owned())),
        ("CONNECT", "method", Meaning::Connect),
    ]
    .into_iter()
    .map(|(name, kind, what)| (name.to_owned(), Acl::new(kind, what)))
    .collect()
}
