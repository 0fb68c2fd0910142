//! What is refused, at which location, and that the two readers agree about the rest.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn diagnostics(text: &str) -> Vec<String> {
    match Document::parse(text, Origin::file("a.yaml")) {
        Ok(document) => panic!("accepted: {document:?}"),
        Err(diagnostics) => diagnostics.iter().map(ToString::to_string).collect(),
    }
}

fn bytes(bytes: &[u8]) -> String {
    source::text(bytes.to_vec(), Origin::file("a.yaml")).unwrap_err().to_string()
}

#[test]
fn what_yaml_has_beyond_values_is_refused_with_its_location() {
    for (text, expected) in [
        ("a: 1\nb: &x 2\n", "a.yaml:2:4: b: has an anchor (`&`)"),
        ("a: *x\n", "a.yaml:1:4: "),
        ("a: &x [1]\nb: *x\n", "a.yaml:1:4: a: has an anchor"),
        ("a: !!str 1\n", "a.yaml:1:4: a: has a tag (`!`)"),
        ("a: !env X\n", "has a tag (`!`)"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1: starts a second YAML document"),
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3:1: a: appears twice"),
        ("a: { b: 1, \"b\": 2 }\n", "a.yaml:1:12: a.b: appears twice"),
        ("? [a]\n: 1\n", "used as a key"),
        ("a: 1\n: 2\n", "a.yaml:2:1: has no key before the colon; write one"),
        ("a:\n", "a: has no value"),
        ("a: ~\n", "a.yaml:1:4: a: has no value"),
        ("a: [1, null]\n", "a.yaml:1:8: a[1]: has no value"),
        ("a:\n\tb: 1\n", "a.yaml:2:1: is indented with a tab"),
        ("a:\n  \tb: 1\n", "a.yaml:2:3: is indented with a tab"),
        ("a: [\n\t1,\n\t2\n\t3: 4: 5]\nb:\n\tc: 1\n", "a.yaml:4:3: a[1]: is not YAML: illegal placement"),
        ("a: 1\u{c}\n", "a.yaml:1:5: has a control character (U+000C) here; remove it"),
        ("a: 1\n# \u{2028}\n", "a.yaml:2:3: has a line separator (U+2028) here; put a line break there, or remove it"),
        ("a: 1\n\u{feff}b: 2\n", "a.yaml:2:1: has a byte order mark (U+FEFF) here, not at its beginning; remove it"),
        ("a: null\n", "; if you mean the word, put it in quotes: \"null\""),
        ("", "a.yaml: is empty"),
        ("# only a comment\n", "a.yaml: is empty"),
        ("a: [1, 2\nb: 3\n", "is not YAML"),
        // What is missing is missing at the end of the last line, whether a newline follows or not.
        ("a: 1\nb: [1, é\n", "a.yaml:2:9: b[2]: is not YAML"),
        ("a: 1\nb: [1, é", "a.yaml:2:9: b[2]: is not YAML"),
        ("a: \"x\n", "a.yaml:1:4: a: is not YAML"),
        ("a: 1\rb: [1, é\r\n", "a.yaml:2:9: b[2]: is not YAML"),
        ("a: 1\n\rto: *.example.com # x\n", "a.yaml:3:5: "),
        ("a: 1\n\rto: *.example.com # x\n", "; put it in quotes, \"*.example.com\""),
        ("a: b: c\n", "a.yaml:1:5: "),
        ("a: [10.0.0.0/8, ::/0]\n", "a.yaml:1:17: is not YAML: did not find expected node content; put IPv6"),
        ("bind: [::]:8443\n", "put IPv6 addresses in quotes"),
        ("a: { bind: [::]:8443, b: 1 }\n", "quotes"),
        ("to: *.example.com # x\n", "; put it in quotes, \"*.example.com\""),
        ("to: [a, *.example.com]\n", "; put it in quotes, \"*.example.com\""),
        ("- allow: *\n", "; put it in quotes, \"*\""),
        ("- allow:10.0.0.0/8\n  to: a.b\n", "; a space is missing after the colon: write `allow: 10.0.0.0/8`"),
        ("a: { to:x.y, b: 1 }\n", "; a space is missing after the colon: write `to: x.y`"),
        ("rules:[]\n", "; a space is missing after the colon: write `rules: []`"),
        ("a: {\n  face:b00c::, b: [\n", "put IPv6 addresses in quotes"),
    ] {
        let lines = diagnostics(text);
        assert!(lines.iter().any(|line| line.contains(expected)), "{text:?}\n{lines:#?}");
    }
}

#[test]
fn all_duplicates_and_empty_values_are_reported() {
    assert_eq!(diagnostics("a: 1\na: 2\nb:\nc: 3\nc: 4\n").len(), 3);
}

#[test]
fn unusual_but_clear_text_is_accepted() {
    let read = |text: &str| {
        let mut diagnostics = Vec::new();
        let values: BTreeMap<String, Many<String>> =
            Document::parse(text, Origin::file("a.yaml")).unwrap().read(&mut diagnostics);
        assert!(diagnostics.is_empty(), "{text}: {diagnostics:?}");
        values.into_values().flat_map(|many| many.0).collect::<Vec<_>>()
    };
    assert_eq!(read("a: ::/0\n"), ["::/0"]);
    assert_eq!(read("a: [fd00:ec2:80::/64]\n"), ["fd00:ec2:80::/64"]);
    assert_eq!(read("a:\n- ::/0\n"), ["::/0"]);
    assert_eq!(read("a: no\nb: off\nc: yes\n"), ["no", "off", "yes"]);
    assert_eq!(read("a: true\n"), ["true"]);
    assert_eq!(read("a: x\r\nb: y\r\n"), ["x", "y"]);
    assert_eq!(read("---\na: x\n"), ["x"]);
    assert_eq!(read("a: x, y ,z\n"), ["x", "y", "z"]);
    assert_eq!(read("a: \"x\" # \t# comment\n"), ["x"]);
}

/// YAML allows tabs there; text that looks like a number must not become one.
#[test]
fn tabs_between_tokens_and_text_that_looks_typed_are_read_as_written() {
    let read = |text: &str| {
        let mut diagnostics = Vec::new();
        let read = Document::parse(text, Origin::file("a.yaml"));
        let values: serde_yaml::Value = read.unwrap_or_else(|p| panic!("{text:?}: {}", p[0])).read(&mut diagnostics);
        assert!(diagnostics.is_empty(), "{text:?}: {diagnostics:?}");
        serde_json::to_string(&values).unwrap()
    };
    for (text, values) in [
        ("{\n\t\"a\": [\n\t\t1,\t2\n\t],\n\t\"b\":\t3\n}\n", r#"{"a":["1","2"],"b":"3"}"#),
        ("{\t'a'\t:\t\"x\ty\"\t}\t# c\n", r#"{"a":"x\ty"}"#),
        ("{\r\n\t\"a\":\t1\r\n}\r\n", r#"{"a":"1"}"#),
        ("a: {\r\n  b: 1\r\n}\r\nc: [\r\n  1,\r\n]\r\n", r#"{"a":{"b":"1"},"c":["1"]}"#),
        ("a: [\n\t{ b:\tc }\n]\n", r#"{"a":[{"b":"c"}]}"#),
        ("a:\t1\nb:\tx\t\nc: 2\t# d\n", r#"{"a":"1","b":"x","c":"2"}"#),
        ("a: 1\n \t\n\t\nb: 2\n\t# c\n", r#"{"a":"1","b":"2"}"#),
        ("a: x\ty\n", r#"{"a":"x\ty"}"#),
    ] {
        assert_eq!(read(text), values, "{text:?}");
    }
    let looks = "1.10 0x1F 0o17 017 0b11 1_000 1:30 1e3 1. .5 +1 -0 .inf -.INF .nan yes No ON off true True FALSE y n \
                 9999-12-31 2026-12-31T18:00:00Z 123456789012345678901234567890 -99999999999999999999 1.0.0 <<";
    for look in looks.split(' ') {
        let quoted = serde_json::to_string(look).unwrap();
        for (text, values) in [
            (format!("a: {look}\n"), format!("{{\"a\":{quoted}}}")),
            (format!("{look}: [a, {look}]\n"), format!("{{{quoted}:[\"a\",{quoted}]}}")),
            (format!("{{ {look}: {{ b: {look} }} }}\n"), format!("{{{quoted}:{{\"b\":{quoted}}}}}")),
            (format!("a: '{look}'\n"), format!("{{\"a\":{quoted}}}")),
        ] {
            assert_eq!(read(&text), values, "{text}");
        }
    }
    // Two keys that are one number.
    assert_eq!(read("1.10: a\n1.1: b\n0x10: c\n16: d\n"), r#"{"1.10":"a","1.1":"b","0x10":"c","16":"d"}"#);
}

/// Following the help must be enough.
#[test]
fn invisible_characters_are_named_with_their_location() {
    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[allow(dead_code, reason = "only its reading matters")]
        rules: Option<Vec<Rule>>,
    }
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its reading matters")]
    struct Rule {
        allow: Read<ipnet::IpNet>,
        name: Option<Read<String>>,
    }
    let read = |text: &str| {
        let mut diagnostics = Vec::new();
        match Document::parse(text, Origin::file("a.yaml")) {
            Ok(document) => drop(document.read::<File>(&mut diagnostics)),
            Err(found) => diagnostics = found,
        }
        diagnostics
    };
    for (text, at, help) in [
        (
            "rules:\n- allow:_10.0.0.0/8\n",
            (2, 9),
            "write a plain space instead of the no-break space (U+00A0) in column 9",
        ),
        (
            "rules:\n- allow: 10.0.0.0/8_\n",
            (2, 20),
            "write a plain space instead of the no-break space (U+00A0) in column 20",
        ),
        (
            "rules:\n-_allow: 10.0.0.0/8\n",
            (2, 2),
            "write a plain space instead of the no-break space (U+00A0) in line 2, column 2",
        ),
        (
            "rules:\n- allow: 10.0.0.0/8\n_ name: x\n",
            (3, 1),
            "write a plain space instead of the no-break space (U+00A0) in column 1",
        ),
        (
            "rules:\n- allow: 10.0.0.0/8\n  _name: x\n",
            (3, 3),
            "write a plain space instead of the no-break space (U+00A0) in column 3",
        ),
        (
            "rules:\n- allow: 10.0.0.0/8\n  name:_x\n",
            (3, 8),
            "write a plain space instead of the no-break space (U+00A0) in column 8",
        ),
        ("rules:\n- allow: 10.0.*0.0/8\n", (2, 15), "remove the zero-width space (U+200B) in column 15"),
        ("*rules:\n- allow: 10.0.0.0/8\n", (1, 1), "remove the zero-width space (U+200B) in column 1"),
    ] {
        let text = text.replace('_', "\u{a0}").replace('*', "\u{200b}");
        let diagnostics = read(&text);
        assert!(diagnostics.iter().any(|diagnostic| &*diagnostic.help == help), "{text:?}: {diagnostics:?}");
        let (line, column) = at;
        let plain = invisible::replaced(
            &text.lines().nth(line - 1).unwrap().chars().skip(column - 1).take(1).collect::<String>(),
        );
        let fixed: Vec<String> = text
            .lines()
            .zip(1..)
            .map(|(source, number)| match number == line {
                true => {
                    source.chars().take(column - 1).chain(plain.chars()).chain(source.chars().skip(column)).collect()
                }
                false => source.to_owned(),
            })
            .collect();
        // In indentation, what was replaced may now be a space too many, which is another error.
        if column > 3 || line == 1 {
            assert!(read(&(fixed.join("\n") + "\n")).is_empty(), "{fixed:?}");
        }
    }
    // In a comment they do no harm, and are not blamed.
    assert!(read("rules:\n- allow: 10.0.0.0/8 # \u{a0}x\n").is_empty());
    assert!(!read("rules:\n- allow: 10.0.0.0/99 # \u{a0}x\n")[0].help.contains("no-break"));
}

#[test]
fn numbers_and_truth_values_are_those_of_yaml() {
    for (text, number_) in [
        ("443", Some(443)),
        ("0x1BB", Some(443)),
        ("0o17", Some(15)),
        ("+7", Some(7)),
        ("0", Some(0)),
        ("007", None),
        ("0443", None),
        ("+07", None),
        ("00", None),
        ("4.0", None),
        ("", None),
        ("!!int 5", None),
        ("&a 5", None),
        ("1_000", None),
    ] {
        assert_eq!(number::<u16>(text), number_, "{text}");
    }
    for (text, flag) in [("true", Some(true)), ("False", Some(false)), ("TRUE", Some(true)), ("yes", None), ("1", None)]
    {
        assert_eq!(typed::<bool>(text), flag, "{text}");
    }
}

#[test]
fn text_must_be_utf8_and_is_bounded() {
    assert_eq!(
        bytes(b"a: 1\nb: caf\xe9 # Latin-1\n"),
        "a.yaml:2:7: is not UTF-8: byte 0xe9 here is 'é' in Latin-1; save the file as UTF-8"
    );
    assert!(bytes(b"\xff\xfea\0:\0").contains("is UTF-16"));
    assert!(bytes(&vec![b'#'; MAX_BYTES + 1]).contains("larger than 4 MiB"));
    assert_eq!(source::text(b"\xef\xbb\xbfa: 1".to_vec(), Origin::Defaults).unwrap(), "a: 1");
}

#[test]
fn depth_and_number_of_nodes_are_bounded() {
    let deep = |levels: usize| format!("a: {}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(diagnostics(&deep(16))[0].contains("nested deeper than 16 levels"));
    // saphyr-parser's own limit is reached before ours.
    assert!(diagnostics(&deep(100_000))[0].contains("recursion limit exceeded"));
    assert!(Document::parse(&deep(15), Origin::Defaults).is_ok());
    let wide = format!("a: [{}]", "1,".repeat(1_000_001));
    assert!(diagnostics(&wide)[0].contains("more than a million"));
}

#[test]
fn a_variable_goes_to_its_path_and_creates_what_is_missing() {
    let mut document = Document::parse("a: { b: [x] }\n", Origin::file("a.yaml")).unwrap();
    let mut set = |path: &[&str], value| document.set(path, value, Origin::Variable("V".into()));
    set(&["a", "b", "0"], "y").unwrap();
    set(&["a", "b", "1"], "z").unwrap();
    set(&["c", "0", "d"], "[1, 2]").unwrap();
    for (path, value, part) in [
        (&["a", "b", "9"][..], "q", "a.b[9]: has no element 9: it has 2, counted from 0, and 2 would add one"),
        (&["a", "b", "0", "e"][..], "q", "a.b[0].e: cannot be set"),
        (&["a"][..], "", "a: has no value"),
        (&["a"][..], "{ b: 1, b: 2 }", "a.b: appears twice"),
        (&["a", "b"][..], "[", "is not YAML"),
    ] {
        let lines = set(path, value).unwrap_err().iter().map(ToString::to_string).collect::<String>();
        assert!(lines.contains(part) && lines.starts_with("environment variable V: "), "{lines}");
    }
    let mut none = Vec::new();
    let read: BTreeMap<String, serde_yaml::Value> = document.read(&mut none);
    assert_eq!(serde_yaml::to_string(&read).unwrap(), "a:\n  b:\n  - y\n  - z\nc:\n- d:\n  - '1'\n  - '2'\n");
}

#[test]
fn paths_count_list_elements_as_the_operator_does() {
    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Numbers {
        #[allow(dead_code, reason = "only its reading matters")]
        list: Vec<Read<std::num::NonZeroU16>>,
    }
    let document = Document::parse("list: [0, 1, x, 2, y]\n", Origin::file("a.yaml")).unwrap();
    let mut diagnostics = Vec::new();
    let _: Numbers = document.read(&mut diagnostics);
    let keys: Vec<&str> = diagnostics.iter().map(|diagnostic| &*diagnostic.key).collect();
    assert_eq!(keys, ["list[0]", "list[2]", "list[4]"]);
}

proptest! {
    #[test]
    fn no_text_panics(text in "[-a:\\[\\]{}&*!#?|>'\"%@` \t\r\n0-9,~é\u{feff}]{0,60}") {
        let _ = Document::parse(&text, Origin::Defaults);
    }
}
