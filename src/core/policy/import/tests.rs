//! What is converted from nginx, and what is listed instead.

use super::*;
use crate::diagnostic::Origin;
use crate::policy::Policy;

fn no_include(_: &str, pattern: &str) -> Result<Vec<Included>, String> {
    Err(format!("{pattern} cannot be read"))
}

fn imported(text: &str) -> Imported {
    let imported = import("ipcontrol.conf", text, &no_include);
    let policy = Policy::parse(&imported.yaml, Origin::Defaults).unwrap_or_else(|p| panic!("{p:?}\n{}", imported.yaml));
    assert_eq!(policy.rules().len(), imported.rules);
    imported
}

fn body(imported: &Imported) -> &str {
    imported.yaml.split_once("rules:\n").unwrap().1
}

#[test]
fn the_incumbents_list_is_converted() {
    let imported = imported("allow 192.168.0.0/16;\nallow 172.16.0.0/12;\nallow 10.0.0.0/8;\ndeny all;\n");
    assert_eq!(
        body(&imported),
        "  - allow: 192.168.0.0/16\n  - allow: 172.16.0.0/12\n  - allow: 10.0.0.0/8\n  - deny: all\n"
    );
    assert!(imported.left_out.is_empty() && imported.notes.is_empty());
}

#[test]
fn comments_stay_where_they_are() {
    let imported = imported("# office\n\nallow 192.0.2.1; # Ann's desk\nallow\n  2001:db8::/32 ;#v6\ndeny all;\r\n");
    assert_eq!(
        body(&imported),
        "  # office\n\n  - allow: 192.0.2.1   # Ann's desk\n  - allow: \"2001:db8::/32\"   # v6\n  - deny: all\n"
    );
}

/// Behind them would stand a rule.
#[test]
fn what_ends_a_line_of_yaml_ends_no_comment() {
    for end in ['\u{85}', '\u{2028}', '\u{2029}', '\u{7}'] {
        let imported =
            imported(&format!("# a{end}  - allow: all\nallow 10.0.0.1; # b{end}c\nfoo{end}bar;\ndeny all;\n"));
        assert_eq!((imported.rules, imported.yaml.contains(end)), (2, false), "{end:?}");
    }
}

#[test]
fn what_nginx_does_silently_is_written_out() {
    let first = imported("allow 10.0.0.5/8;\n");
    assert_eq!(
        body(&first).lines().map(str::trim).collect::<Vec<_>>(),
        [
            "- allow: 10.0.0.0/8   # nginx ignores the host bits of 10.0.0.5/8",
            "# nginx allows clients that no rule above matches. Remove this line if that was never meant.",
            "- allow: all"
        ]
    );
    assert_eq!(first.notes.len(), 2);
    assert!(body(&imported("allow 10.0.0.1;\nsatisfy any;\n")).ends_with("  # - allow: all\n"));
    assert!(imported("# nothing\n").notes[0].contains("denies everyone"));
}

#[test]
fn what_cannot_be_converted_is_listed_with_its_line() {
    let text = "allow unix:;\nsatisfy any;\nlocation /x {\n  allow 1.2.3.4; # }\n  if (a) { deny all; }\n}\n\
                allow example.com;\ninclude more.conf;\nallow 'a b';\ndeny all;\nallow 10.0.0.1";
    let imported = imported(text);
    assert_eq!(imported.rules, 1, "{}", imported.yaml);
    assert_eq!(
        imported.left_out,
        [
            "ipcontrol.conf:1: allow unix:: there are no UNIX sockets here",
            "ipcontrol.conf:2: satisfy any: only allow, deny and include are supported",
            "ipcontrol.conf:3: location /x { … }: blocks are not supported",
            "ipcontrol.conf:7: allow example.com: it is not a network",
            "ipcontrol.conf:8: include more.conf: more.conf cannot be read",
            "ipcontrol.conf:9: allow a b: it is not a network",
            "ipcontrol.conf:11: allow 10.0.0.1: the `;` at its end is missing",
        ]
    );
}

#[test]
fn includes_are_followed_and_end_somewhere() {
    let include = |from: &str, pattern: &str| {
        let text = match (from, pattern) {
            ("a.conf" | "c.conf", "b.conf") => "allow 10.0.0.1;\ninclude c.conf;",
            ("b.conf", "c.conf") => "allow 10.0.0.2;\ninclude b.conf;\nallow 10.0.0.3;",
            other => panic!("{other:?}"),
        };
        Ok(vec![Included { name: pattern.to_owned(), text: text.to_owned() }])
    };
    // The same file twice is no cycle.
    let imported = import("a.conf", "include b.conf;\ninclude b.conf;\ndeny all;\n", &include);
    assert_eq!(imported.rules, 7);
    let cycle = "c.conf:2: include b.conf: b.conf would include itself";
    assert_eq!(imported.left_out, [cycle, cycle]);
    let deeper = |_: &str, pattern: &str| {
        let text = format!("allow 10.0.0.1;\ninclude {pattern}x;");
        Ok(vec![Included { name: pattern.to_owned(), text }])
    };
    let imported = import("a.conf", "include x;\ndeny all;\n", &deeper);
    assert_eq!((imported.rules, imported.left_out.len()), (1 + MAX_DEPTH, 1));
    assert!(imported.left_out[0].ends_with("includes are nested too deep"), "{:?}", imported.left_out);
}

#[test]
fn a_missing_end_is_reported_as_that() {
    for (text, expected) in [
        ("allow 10.0.0.1\ndeny all;\n", "allow 10.0.0.1 deny all: a `;` is missing after `allow 10.0.0.1`"),
        ("allow 10.0.0.1 # x\nallow all", "allow 10.0.0.1 allow all: a `;` is missing after `allow 10.0.0.1`"),
        ("deny all\n", "deny all: the `;` at its end is missing"),
        ("location /x {\n  deny all;\n", "location /x: the `}` at its end is missing"),
        ("allow 10.0.0.1 location / { deny all; }", "allow 10.0.0.1 location / { … }: blocks are not supported"),
        ("satisfy any\nallow all;\n", "satisfy any allow all: a `;` is missing after `satisfy any`"),
        ("allow \"10.0.0.1;\ndeny all;\n", "the `\"` at its end is missing"),
    ] {
        let imported = imported(text);
        assert!(imported.left_out.len() == 1 && imported.left_out[0].ends_with(expected), "{:?}", imported.left_out);
    }
}
