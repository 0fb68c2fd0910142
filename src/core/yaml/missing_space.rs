//! The most common mistake: no space after the colon.

/// `allow:10.0.0.0/8` is a single value to YAML; a key and a value were meant.
pub(super) fn missing_space(line: &str) -> Option<String> {
    let start = line.trim_start().trim_start_matches("- ").trim_start();
    // Between braces, a key may also follow a comma.
    let (first, flow) = start.split_once('{').unwrap_or((start, ""));
    [first].into_iter().chain(flow.split(['{', ','])).find_map(|part| {
        let (key, rest) = part.trim_start().split_once(':')?;
        let value = rest.split([' ', '\t', ',', '}']).next().filter(|value| !value.is_empty())?;
        (is_key(key) && !value.starts_with(['/', ':']))
            .then(|| format!("a space is missing after the colon: write `{key}: {value}`"))
    })
}

/// Whether this looks like a key, and not like the start of an IPv6 address.
fn is_key(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        && word.bytes().any(|b| b.is_ascii_lowercase() && b > b'f')
}
