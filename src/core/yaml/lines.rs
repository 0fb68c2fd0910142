//! Lines as YAML counts them: a lone CR ends one, too.

pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('\r'))
}
