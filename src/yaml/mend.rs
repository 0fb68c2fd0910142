//! What was probably meant by text that is not YAML, or other YAML than it seems.

/// What is probably wrong with a line that is not YAML.
pub(super) fn syntax(text: &str, line: u32) -> String {
    let line = usize::try_from(line).unwrap_or(usize::MAX);
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let above = line.checked_sub(2).and_then(|above| text.lines().nth(above)).unwrap_or_default();
    if let Some(value) = with_a_star(source) {
        format!("put it in quotes, \"{value}\"")
    } else if let Some(mend) = missing_space(source).or_else(|| missing_space(above)) {
        mend
    } else if source.contains("::") {
        "put IPv6 addresses in quotes, like \"[::]:8443\" or \"2001:db8::/32\"".to_owned()
    } else if source.contains('\t') {
        "use spaces instead of tabs".to_owned()
    } else {
        "look for a missing quote, bracket, colon or space in this line or the one above".to_owned()
    }
}

/// `allow:10.0.0.0/8` is a value for YAML; whoever wrote it meant a key.
pub(super) fn missing_space(line: &str) -> Option<String> {
    let start = line.trim_start().trim_start_matches("- ").trim_start();
    // Between braces, a key may also stand behind a comma.
    let (first, flow) = start.split_once('{').unwrap_or((start, ""));
    [first].into_iter().chain(flow.split(['{', ','])).find_map(|part| {
        let (key, rest) = part.trim_start().split_once(':')?;
        let value = rest.split([' ', '\t', ',', '}']).next().filter(|value| !value.is_empty())?;
        (is_key(key) && !value.starts_with(['/', ':']))
            .then(|| format!("a space is missing after the colon: write `{key}: {value}`"))
    })
}

/// A word as keys are, and not the start of an IPv6 address.
fn is_key(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        && word.bytes().any(|b| b.is_ascii_lowercase() && b > b'f')
}

/// A value that YAML takes for an alias.
fn with_a_star(line: &str) -> Option<&str> {
    let code = line.split_once(" #").map_or(line, |(code, _)| code);
    code.split([' ', '\t', ',', '[', ']', '{', '}']).find(|word| word.starts_with('*'))
}
