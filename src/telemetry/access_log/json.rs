//! One JSON object, written straight into the buffer of the log. Every connection pays for this line, and a general
//! serializer costs three times as much (`benches/instructions`, `record_json`): it escapes our own keys, too.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::ascii;

/// A key with all that stands around it, `,"rule":"`, so that it is written by one copy of a known length. The comma of the
/// first one becomes the brace. Keys are our own words and need no escaping. [`key!`] makes them.
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) &'static str);

macro_rules! key {
    ($name:literal) => {
        $crate::telemetry::access_log::json::Key(concat!(",\"", $name, "\":\""))
    };
}
pub(super) use key;

/// An unfinished object.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// Where it starts.
    start: usize,
}

// The short ones are inlined always: where the key is known.
impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }

    pub(super) fn end(self) {
        match self.out.get_mut(self.start) {
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
    }

    /// Any text, escaped where JSON requires it.
    #[inline(always)]
    pub(super) fn text(&mut self, key: Key, value: &str) {
        self.quoted(key, |out| escaped(out, value));
    }

    #[inline(always)]
    pub(super) fn text_if_any(&mut self, key: Key, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A word of ours, or another text that needs no escaping.
    #[inline(always)]
    pub(super) fn word(&mut self, key: Key, value: &str) {
        self.quoted(key, |out| out.extend_from_slice(value.as_bytes()));
    }

    #[inline(always)]
    pub(super) fn word_if_any(&mut self, key: Key, value: Option<&str>) {
        if let Some(value) = value {
            self.word(key, value);
        }
    }

    /// 16 digits.
    #[inline(always)]
    pub(super) fn hex(&mut self, key: Key, value: u64) {
        self.quoted(key, |out| ascii::hex(out, value));
    }

    #[inline(always)]
    pub(super) fn number(&mut self, key: Key, value: u64) {
        self.key(key, false);
        ascii::decimal(self.out, value);
    }

    #[inline(always)]
    pub(super) fn boolean(&mut self, key: Key, value: bool) {
        self.key(key, false);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    #[inline(always)]
    pub(super) fn ip(&mut self, key: Key, value: IpAddr) {
        self.quoted(key, |out| ascii::ip(out, value));
    }

    #[inline(always)]
    pub(super) fn address(&mut self, key: Key, value: SocketAddr) {
        self.quoted(key, |out| ascii::address(out, value));
    }

    /// As milliseconds with three decimals, rounded.
    #[inline(always)]
    pub(super) fn millis(&mut self, key: Key, value: Duration) {
        self.key(key, false);
        // In 64 bits: what Duration returns has 128.
        let micros = u64::from((value.subsec_nanos() + 500) / 1000);
        ascii::thousandths(self.out, value.as_secs().saturating_mul(1_000_000).saturating_add(micros));
    }

    /// An object inside this one.
    #[inline(always)]
    pub(super) fn object(&mut self, key: Key) -> Object<'_> {
        self.key(key, false);
        Object::begin(self.out)
    }

    /// What `write` appends, in quotes; it must need no escaping.
    #[inline(always)]
    pub(super) fn quoted(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) {
        self.key(key, true);
        write(self.out);
        self.out.push(b'"');
    }

    #[inline(always)]
    fn key(&mut self, Key(key): Key, quoted: bool) {
        let key = match key.as_bytes() {
            [key @ .., b'"'] if !quoted => key,
            key => key,
        };
        self.out.extend_from_slice(key);
    }
}

/// Between two quotes, of which the second follows.
#[inline(never)]
fn escaped(out: &mut Vec<u8>, value: &str) {
    if is_plain(value.as_bytes()) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    // It writes both quotes itself. A str always has a JSON form, and a Vec takes every byte.
    out.pop();
    let _ = serde_json::to_writer(&mut *out, value);
    out.pop();
}

/// RFC 8259 §7: all but the quotation mark, the backslash and the control characters may stand as they are.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks();
    let mut last = *b"8 plain.";
    last.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
    words.iter().chain([&last]).all(|word| is_plain_word(u64::from_ne_bytes(*word)))
}

/// Eight bytes at once. Subtracting from a byte sets its highest bit if the byte was smaller, or large from the start.
fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let any_below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let any_equal = |byte: u8| any_below(word ^ (ONES * u64::from(byte)), 1);
    any_below(word, 0x20) | any_equal(b'"') | any_equal(b'\\') == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn object_of(write: impl FnOnce(&mut Object<'_>)) -> Value {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        write(&mut object);
        object.end();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_object_of_every_kind_of_value() {
        let value = object_of(|object| {
            object.number(key!("number"), u64::MAX);
            object.boolean(key!("yes"), true);
            object.word(key!("word"), "done");
            object.hex(key!("hex"), 0x0123_4567_89ab_cdef);
            object.text_if_any(key!("nothing"), None);
            let mut inner = object.object(key!("inner"));
            inner.word(key!("first"), "");
            inner.boolean(key!("no"), false);
            inner.end();
            object.object(key!("empty")).end();
        });
        let expected = json!({ "number": u64::MAX, "yes": true,
            "word": "done", "hex": "0123456789abcdef", "inner": { "first": "", "no": false }, "empty": {} });
        assert_eq!(value, expected);
    }

    #[test]
    fn times_are_rounded_to_the_microsecond() {
        for (nanos, written) in [(0, "0.000"), (499, "0.000"), (500, "0.001"), (1_234_567_890, "1234.568")] {
            let mut out = Vec::new();
            let mut object = Object::begin(&mut out);
            object.millis(key!("t"), Duration::from_nanos(nanos));
            object.end();
            assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"t\":{written}}}"));
        }
        object_of(|object| object.millis(key!("t"), Duration::MAX));
    }

    #[test]
    fn what_needs_escaping_is_found_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for (length, at) in (1..=17).flat_map(|length| (0..length).map(move |at| (length, at))) {
                for around in [b'x', 0x7f, 0x80, 0xff] {
                    let mut text = vec![around; length];
                    text[at] = byte;
                    assert_eq!(is_plain(&text), byte >= 0x20 && byte != b'"' && byte != b'\\', "{byte} in {text:?}");
                }
            }
        }
        assert!(is_plain(b""));
    }

    proptest! {
        #[test]
        fn text_is_read_back_unchanged(text in any::<String>(), odd in "[\"\\\\\u{0}-\u{1f}\u{7f}\u{2028}]*") {
            let value = object_of(|object| { object.text(key!("text"), &text); object.text(key!("odd"), &odd); });
            prop_assert_eq!(value, json!({ "text": text, "odd": odd }));
        }
    }
}
