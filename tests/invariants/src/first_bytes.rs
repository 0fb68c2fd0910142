//! What the record of a refused connection says of its first bytes: whatever they are, wherever they end.

use latticegate_core::hostname::Hostname;
use latticegate_core::protocol::first_bytes::{FirstBytes, name, split_header};

/// `expected`: the name that the strict parser has found, if it has found one.
pub(crate) fn check(bytes: &[u8], expected: Option<&Hostname>) {
    let whole = name(bytes);
    if let Some(expected) = expected {
        let named = whole.as_deref().map(Hostname::parse);
        assert_eq!(named.as_ref().and_then(|named| named.as_ref().ok()), Some(expected), "the name for the record");
    }
    for cut in crate::verdict::cuts(bytes.len()) {
        let part = name(&bytes[..cut]);
        assert!(part.is_none() || part == whole, "{cut} bytes: {part:?}, all: {whole:?}");
    }
    if let Some(name) = &whole {
        assert!(bytes.len() >= name.len() && !name.is_empty());
    }
    let (header, rest) = split_header(bytes);
    assert_eq!([header, rest].concat(), bytes);
    if let FirstBytes::Other(shown) = FirstBytes::of(bytes) {
        assert!(shown.len() <= 16 && bytes.starts_with(shown));
    }
}
