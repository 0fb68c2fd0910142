//! Directives by which Squid refuses what `http_access` allows, or has something else judge it.
//!
//! Each that may is an error: without it the list would let more through. The others are left out. Some depend on a switch
//! elsewhere in the file, and an access list on its last line, so what they do is known at the end only.

use std::collections::BTreeMap;

use super::directives;

/// An access list beside `http_access`. What no line matches gets the opposite of the last one in it.
#[derive(Debug)]
struct AccessList {
    name: &'static str,
    /// Whether it is `allow` that makes a difference here, and not `deny`.
    by_allow: bool,
    /// The difference.
    why: &'static str,
    /// Why its other lines make none.
    otherwise: &'static str,
    /// It is read only if this is on.
    switch: Option<&'static str>,
}

const DENIES: AccessList = AccessList {
    name: "",
    by_allow: false,
    why: "it denies requests that http_access allows; write what it denies as http_access lines above the others, and \
          remove this line",
    otherwise: "it denies nothing",
    switch: None,
};

const LISTS: [AccessList; 6] = [
    AccessList { name: "adapted_http_access", ..DENIES },
    AccessList { name: "http_access2", ..DENIES },
    AccessList {
        name: "http_reply_access",
        why: "it denies answers to requests that http_access allows; write whose answers it denies as http_access lines \
              above the others, and remove this line",
        ..DENIES
    },
    AccessList { name: "miss_access", ..DENIES },
    AccessList {
        name: "never_direct",
        by_allow: true,
        why: "such requests go to a parent proxy, which may refuse them, and here every request goes to its destination; \
              write what the parent refuses as http_access lines, and remove this line",
        otherwise: "there are no parent proxies: every request goes to its destination",
        switch: None,
    },
    AccessList {
        name: "follow_x_forwarded_for",
        by_allow: true,
        why: "`src` then stands for the client that X-Forwarded-For names, a field that is not read here; have the proxies \
              before this one send a PROXY header (proxy_protocol.trusted), and remove this line",
        otherwise: "X-Forwarded-For is not read",
        switch: Some("acl_uses_indirect_client"),
    },
];

/// Switches on which other directives depend, as they are without a line.
const SWITCHES: [(&str, bool); 3] =
    [("acl_uses_indirect_client", true), ("ecap_enable", false), ("icap_enable", false)];

const INSPECTS: &str = "the service may refuse requests and answers, and contents are not inspected here; write what it \
                        refuses as http_access lines, and remove this line";
const REWRITES: &str = "the program may refuse requests, or send them elsewhere; write what it refuses as http_access \
                        lines, and remove this line";

/// Why Squid, with this line, may refuse what `http_access` allows, and the switch that it needs for that.
fn refusal(name: &str, arguments: &[&str]) -> Option<(&'static str, Option<&'static str>)> {
    let first = arguments.first().copied().unwrap_or_default();
    let why = match name {
        "cache_peer" if arguments.get(1).is_some_and(|kind| kind.eq_ignore_ascii_case("parent")) => {
            "a parent proxy may refuse requests, and here every request goes to its destination; write what the parent \
             refuses as http_access lines, and remove this line"
        }
        "client_ip_max_connections" if !first.starts_with('-') => {
            "it refuses connections; write the number to limits.per_client.connections, and remove this line"
        }
        "configuration_includes_quoted_values" if first != "off" => "quotes then mean something else",
        "ecap_service" => return Some((INSPECTS, Some("ecap_enable"))),
        "icap_service" => return Some((INSPECTS, Some("icap_enable"))),
        // These do nothing without a program.
        "redirect_program" | "url_rewrite_program" if first != "none" => REWRITES,
        "reply_body_max_size" if first != "none" => {
            "it refuses answers by their size, for which there is no limit here; remove this line if you can do without"
        }
        "request_body_max_size" if first != "0" => {
            "it refuses requests by their size, for which there is no limit here; remove this line if you can do without"
        }
        "ssl_bump" if arguments.contains(&"terminate") => {
            "it closes TLS connections; write the names that it lets through as dstdomain in http_access"
        }
        _ if !directives::is_known(name) && may_deny(name, arguments) => {
            "it is no directive of Squid that is known here, and it may deny; remove this line if it does nothing"
        }
        _ => return None,
    };
    Some((why, None))
}

fn may_deny(name: &str, arguments: &[&str]) -> bool {
    let denies = |word: &&str| ["deny", "terminate", "block"].iter().any(|action| word.eq_ignore_ascii_case(action));
    name.to_ascii_lowercase().ends_with("_access") || arguments.iter().any(denies)
}

/// What an import has to say about a line: `file:line: what: why`.
#[derive(Debug)]
pub(super) enum Finding {
    LeftOut(String),
    Error(String),
}

/// The directives beside `acl`, `http_access` and `include`.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    switches: BTreeMap<&'static str, bool>,
    lists: BTreeMap<&'static str, Lines>,
    /// Refusals that depend on a switch: the switch, `file:line: what`, why, and why not if it is off.
    pending: Vec<(&'static str, String, String, &'static str)>,
}

/// The lines of an access list.
#[derive(Debug, Default)]
struct Lines {
    /// One was for every request.
    is_closed: bool,
    /// Those that make no difference by themselves.
    harmless: Vec<String>,
    /// Whether the last one is of these.
    ends_harmless: bool,
}

impl Refusals {
    /// Takes a line; `what` is `file:line: its text`. Nothing comes back where more lines are needed.
    pub(super) fn line(&mut self, what: String, name: &str, arguments: &[&str]) -> Option<Finding> {
        if let Some((switch, _)) = SWITCHES.iter().find(|(switch, _)| *switch == name) {
            self.switches.insert(switch, !matches!(arguments.first(), Some(&("off" | "no"))));
        }
        if let Some(list) = LISTS.iter().find(|list| list.name == name) {
            return self.access(list, what, arguments);
        }
        let why_not = directives::left_out(name).unwrap_or("it is no directive of Squid that is known here");
        match refusal(name, arguments) {
            Some((why, switch)) => self.refuse(switch, what, why.to_owned(), why_not),
            None => Some(Finding::LeftOut(format!("{what}: {why_not}"))),
        }
    }

    fn access(&mut self, list: &'static AccessList, what: String, arguments: &[&str]) -> Option<Finding> {
        let (allow, acls) = match arguments {
            ["allow", acls @ ..] => (true, acls),
            ["deny", acls @ ..] => (false, acls),
            _ => return Some(Finding::Error(format!("{what}: it is not complete"))),
        };
        let lines = self.lists.entry(list.name).or_default();
        if acls.is_empty() {
            return Some(Finding::LeftOut(format!("{what}: Squid skips a line without ACLs")));
        }
        if lines.is_closed {
            return Some(Finding::LeftOut(format!("{what}: a line above is for every request")));
        }
        lines.is_closed = acls.iter().all(|acl| *acl == "all");
        lines.ends_harmless = allow != list.by_allow;
        if lines.ends_harmless {
            lines.harmless.push(what);
            return None;
        }
        self.refuse(list.switch, what, list.why.to_owned(), list.otherwise)
    }

    fn refuse(
        &mut self,
        switch: Option<&'static str>,
        what: String,
        why: String,
        why_not: &'static str,
    ) -> Option<Finding> {
        let Some(switch) = switch else { return Some(Finding::Error(format!("{what}: {why}"))) };
        self.pending.push((switch, what, why, why_not));
        None
    }

    /// What is known only now.
    pub(super) fn end(mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, mut lines) in std::mem::take(&mut self.lists) {
            let Some(list) = LISTS.iter().find(|list| list.name == name) else { continue };
            // The opposite of the last line decides about all other requests.
            if let Some(what) = lines.harmless.pop_if(|_| lines.ends_harmless && !lines.is_closed) {
                let why = format!("Squid does the opposite for requests that no line matches: {}", list.why);
                findings.extend(self.refuse(list.switch, what, why, list.otherwise));
            }
            let left_out = lines.harmless.into_iter().map(|what| format!("{what}: {}", list.otherwise));
            findings.extend(left_out.map(Finding::LeftOut));
        }
        let default = |switch| SWITCHES.iter().any(|(name, on)| *name == switch && *on);
        findings.extend(self.pending.into_iter().map(|(switch, what, why, why_not)| {
            match self.switches.get(switch).copied().unwrap_or_else(|| default(switch)) {
                true => Finding::Error(format!("{what}: {why}")),
                false => Finding::LeftOut(format!("{what}: {why_not}")),
            }
        }));
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The errors and what is left out of these lines, each without its reason.
    fn judge(text: &str) -> (Vec<String>, Vec<String>) {
        let mut refusals = Refusals::default();
        let line = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            refusals.line(line.to_owned(), words[0], &words[1..])
        };
        let mut findings: Vec<Finding> = text.split("; ").filter_map(line).collect();
        findings.extend(refusals.end());
        let what = |text: &str| text.split(": ").next().unwrap().to_owned();
        let (mut errors, mut left_out) = (Vec::new(), Vec::new());
        for finding in findings {
            match finding {
                Finding::Error(text) => errors.push(what(&text)),
                Finding::LeftOut(text) => left_out.push(what(&text)),
            }
        }
        (errors, left_out)
    }

    #[test]
    fn an_access_list_is_harmless_only_if_no_request_meets_its_other_action() {
        for (harmless, harmful) in [("allow", "deny"), ("deny", "allow")] {
            let names: &[&str] = match harmful {
                "deny" => &["adapted_http_access", "http_access2", "http_reply_access", "miss_access"],
                _ => &["follow_x_forwarded_for", "never_direct"],
            };
            for (lines, errors) in [
                ("L +all", &[][..]),
                ("L +all; L -a", &[]),
                ("L +a; L +all; L -all", &[]),
                ("L +", &[]),
                ("L -", &[]),
                ("L -a; L +all", &["L -a"]),
                ("L +a; L -all", &["L -all"]),
                // The opposite of the last line.
                ("L +a", &["L +a"]),
                ("L +a; L +b; L -", &["L +b"]),
                ("L -a; L +b", &["L -a", "L +b"]),
                ("L -all", &["L -all"]),
                ("L -a; L -b", &["L -a", "L -b"]),
                ("L", &["L"]),
            ] {
                for name in names {
                    let write = |text: &str| {
                        let text = text.replace('+', &format!("{harmless} ")).replace('-', &format!("{harmful} "));
                        text.replace("allow ;", "allow;").replace("deny ;", "deny;").trim_end().replace('L', name)
                    };
                    let text = write(lines);
                    let (found, left_out) = judge(&text);
                    assert_eq!(found, errors.iter().map(|line| write(line)).collect::<Vec<_>>(), "{text}");
                    assert_eq!(found.len() + left_out.len(), text.split("; ").count(), "{text}: {left_out:?}");
                }
            }
        }
    }

    #[test]
    fn switches_count_wherever_they_stand() {
        for (text, errors) in [
            ("icap_service s reqmod_precache icap://x; icap_enable on", 1),
            ("icap_enable on; icap_enable off; icap_service s respmod_precache icap://x", 0),
            ("icap_service s reqmod_precache icap://x", 0),
            ("ecap_enable on; ecap_service s reqmod_precache x; icap_service s reqmod_precache icap://x", 1),
            ("follow_x_forwarded_for allow a; acl_uses_indirect_client off", 0),
            ("acl_uses_indirect_client on; follow_x_forwarded_for deny a", 1),
        ] {
            let (found, left_out) = judge(text);
            assert_eq!(found.len(), errors, "{text}: {found:?}");
            assert_eq!(found.len() + left_out.len(), text.split("; ").count(), "{text}: {left_out:?}");
        }
    }

    #[test]
    fn a_line_that_may_refuse_is_an_error() {
        for (line, is_error) in [
            ("cache_peer p.example parent 3128 0 no-query", true),
            ("cache_peer p.example sibling 3128 3130", false),
            ("client_ip_max_connections 16", true),
            ("client_ip_max_connections -1", false),
            ("configuration_includes_quoted_values on", true),
            ("configuration_includes_quoted_values off", false),
            ("redirect_program /usr/bin/squidGuard", true),
            ("url_rewrite_program /usr/bin/ufdbgclient", true),
            ("url_rewrite_program none", false),
            ("url_rewrite_children 5", false),
            ("reply_body_max_size 10 MB a", true),
            ("reply_body_max_size none", false),
            ("request_body_max_size 1 KB", true),
            ("request_body_max_size 0 KB", false),
            ("ssl_bump terminate all", true),
            ("ssl_bump bump all", false),
            ("always_direct deny all", false),
            ("cache deny all", false),
            ("cache_peer_access p deny all", false),
            ("icp_access deny all", false),
            ("request_header_access Referer deny all", false),
            ("url_rewrite_access deny all", false),
            ("delay_access 1 deny all", false),
            // What Squid would not know either, or another version knows.
            ("htp_access deny bad", true),
            ("HTTP_ACCESS Deny bad", true),
            ("new_access bad", true),
            ("new_feature on", false),
        ] {
            let (errors, left_out) = judge(line);
            assert_eq!((errors.len(), left_out.len()), (usize::from(is_error), usize::from(!is_error)), "{line}");
        }
    }
}
