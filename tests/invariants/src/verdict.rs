//! What every parser of network bytes promises (`Verdict`): the way the bytes were cut into reads changes nothing.

use std::fmt::Debug;

use latticegate_core::protocol::Verdict;

/// Inputs up to this length are cut at every byte, longer ones at `CUTS` places: the whole is quadratic.
const CUT_EVERYWHERE: usize = 300;
const CUTS: usize = 40;

/// Judges `bytes`, checks that any prefix gives the same verdict or asks for more, and that nothing which follows
/// changes it. `most` is the bound on what the parser may ask for.
pub(crate) fn stable<T: Debug + PartialEq>(
    bytes: &[u8],
    most: usize,
    parse: impl Fn(&[u8]) -> Verdict<T>,
) -> Verdict<T> {
    let whole = parse(bytes);
    match &whole {
        Verdict::Found { len, .. } => {
            assert!(*len <= bytes.len(), "it says {len} of {} bytes", bytes.len());
            assert!(*len <= most, "{len} bytes are above the bound of {most}");
            assert_eq!(parse(&bytes[..*len]), whole, "it read past its own end");
            assert_eq!(parse(&bytes[..len - 1]), Verdict::NeedMore, "it was complete a byte earlier");
        }
        Verdict::NeedMore => {
            assert!(bytes.len() < most, "it wants more than the bound of {most}");
            for filler in [b"\0", b"a", bytes].iter().filter(|filler| !filler.is_empty()) {
                let full: Vec<u8> = bytes.iter().chain(filler.iter().cycle()).take(most).copied().collect();
                assert_ne!(parse(&full), Verdict::NeedMore, "{most} bytes are not enough");
            }
        }
        Verdict::Refuse(_) => {}
    }
    for cut in cuts(bytes.len()) {
        let part = parse(&bytes[..cut]);
        assert!(part == Verdict::NeedMore || part == whole, "{cut} bytes: {part:?}, all: {whole:?}");
    }
    if whole != Verdict::NeedMore {
        for tail in [&[0][..], b"\r\n\r\n", b"\x16\x03\x01", bytes] {
            assert_eq!(parse(&[bytes, tail].concat()), whole, "what follows changed the verdict");
        }
    }
    whole
}

/// Parsers that remember how far they have come are shown `bytes` in parts, and say at each what one says that begins
/// anew.
pub(crate) fn resumes<T: Debug + PartialEq, P: FnMut(&[u8]) -> Verdict<T>>(bytes: &[u8], parser: impl Fn() -> P) {
    let mut resumed = parser();
    for cut in cuts(bytes.len()).chain([bytes.len(), bytes.len()]) {
        let part = &bytes[..cut];
        assert_eq!(resumed(part), parser()(part), "resumed at {cut} bytes");
    }
}

pub(crate) fn cuts(len: usize) -> impl Iterator<Item = usize> {
    let step = if len <= CUT_EVERYWHERE { 1 } else { len / CUTS };
    (0..len).step_by(step)
}
