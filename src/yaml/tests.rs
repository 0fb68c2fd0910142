//! What is refused, where it is said to stand, and that two readers agree about the rest.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn problems(text: &str) -> Vec<String> {
    match Document::parse(text, Origin::file("a.yaml")) {
        Ok(document) => panic!("taken: {document:?}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

fn bytes(bytes: &[u8]) -> String {
    source::text(bytes.to_vec(), Origin::file("a.yaml")).unwrap_err().to_string()
}

#[test]
fn what_yaml_has_beyond_values_is_refused_at_its_place() {
    for (text, expected) in [
        ("a: 1\nb: &x 2\n", "a.yaml:2:4: b: has an anchor (`&`)"),
        ("a: *x\n", "a.yaml:1:4: "),
        ("a: &x [1]\nb: *x\n", "a.yaml:1:4: a: has an anchor"),
        ("a: !!str 1\n", "a.yaml:1:4: a: has a tag (`!`)"),
        ("a: !env X\n", "has a tag (`!`)"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1: starts a second YAML document"),
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3:1: a: stands twice"),
        ("a: { b: 1, \"b\": 2 }\n", "a.yaml:1:12: a.b: stands twice"),
        ("? [a]\n: 1\n", "used as a key"),
        ("a:\n", "a: has no value"),
        ("a: ~\n", "a.yaml:1:4: a: has no value"),
        ("a: [1, null]\n", "a.yaml:1:8: a[1]: has no value"),
        ("a:\n\tb: 1\n", "a.yaml:2:1: is indented with a tab"),
        ("a:\n  \tb: 1\n", "a.yaml:2:3: is indented with a tab"),
        ("a: 1\n \t\nb: 2\n", "a.yaml:2:2: is indented with a tab"),
        ("", "a.yaml: is empty"),
        ("# only a comment\n", "a.yaml: is empty"),
        ("a: [1, 2\nb: 3\n", "is not YAML"),
        // What is missing is missing at the end of the last line, whether a newline follows or not.
        ("a: 1\nb: [1, é\n", "a.yaml:2:9: b[2]: is not YAML"),
        ("a: 1\nb: [1, é", "a.yaml:2:9: b[2]: is not YAML"),
        ("a: \"x\n", "a.yaml:1:4: a: is not YAML"),
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
        let told = problems(text);
        assert!(told.iter().any(|line| line.contains(expected)), "{text:?}\n{told:#?}");
    }
}

#[test]
fn all_duplicates_and_empty_values_are_told() {
    assert_eq!(problems("a: 1\na: 2\nb:\nc: 3\nc: 4\n").len(), 3);
}

#[test]
fn what_looks_odd_but_is_clear_is_taken() {
    let read = |text: &str| {
        let mut problems = Vec::new();
        let values: BTreeMap<String, Many<String>> =
            Document::parse(text, Origin::file("a.yaml")).unwrap().read(&mut problems);
        assert!(problems.is_empty(), "{text}: {problems:?}");
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

#[test]
fn text_comes_as_utf8_and_bounded() {
    assert_eq!(
        bytes(b"a: 1\nb: caf\xe9 # Latin-1\n"),
        "a.yaml:2:7: is not UTF-8: byte 0xe9 here is 'é' in Latin-1; save the file as UTF-8"
    );
    assert!(bytes(b"\xff\xfea\0:\0").contains("is UTF-16"));
    assert!(bytes(&vec![b'#'; MAX_BYTES + 1]).contains("larger than 4 MiB"));
    assert_eq!(source::text(b"\xef\xbb\xbfa: 1".to_vec(), Origin::Defaults).unwrap(), "a: 1");
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let told = |path: &std::path::Path| load(path).unwrap_err().to_string();
    assert!(told(directory.path()).ends_with("is a directory; name the file in it"));
    assert!(told(&directory.path().join("none.yaml")).contains("does not exist"));
    // Endless, and still answered.
    assert!(told("/dev/zero".as_ref()).contains("larger than 4 MiB"));
}

#[test]
fn depth_and_number_of_nodes_are_bounded() {
    let deep = |levels: usize| format!("a: {}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(problems(&deep(16))[0].contains("nested deeper than 16 levels"));
    // The reader's own limit, before ours is asked.
    assert!(problems(&deep(100_000))[0].contains("recursion limit exceeded"));
    assert!(Document::parse(&deep(15), Origin::Defaults).is_ok());
    let wide = format!("a: [{}]", "1,".repeat(1_000_001));
    assert!(problems(&wide)[0].contains("more than a million"));
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
        (&["a"][..], "{ b: 1, b: 2 }", "a.b: stands twice"),
        (&["a", "b"][..], "[", "is not YAML"),
    ] {
        let told = set(path, value).unwrap_err().iter().map(ToString::to_string).collect::<String>();
        assert!(told.contains(part) && told.starts_with("environment variable V: "), "{told}");
    }
    let mut none = Vec::new();
    let read: BTreeMap<String, serde_yaml::Value> = document.read(&mut none);
    assert_eq!(serde_yaml::to_string(&read).unwrap(), "a:\n  b:\n  - y\n  - z\nc:\n- d:\n  - 1\n  - 2\n");
}

#[test]
fn problems_count_list_elements_as_the_operator_does() {
    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Numbers {
        #[allow(dead_code, reason = "only its reading matters")]
        list: Vec<Read<std::num::NonZeroU16>>,
    }
    let document = Document::parse("list: [0, 1, x, 2, y]\n", Origin::file("a.yaml")).unwrap();
    let mut problems = Vec::new();
    let _: Numbers = document.read(&mut problems);
    let keys: Vec<&str> = problems.iter().map(|problem| &*problem.key).collect();
    assert_eq!(keys, ["list[0]", "list[2]", "list[4]"]);
}

proptest! {
    #[test]
    fn no_text_panics(text in "[-a:\\[\\]{}&*!#?|>'\"%@` \t\r\n0-9,~é\u{feff}]{0,60}") {
        let _ = Document::parse(&text, Origin::Defaults);
    }
}
