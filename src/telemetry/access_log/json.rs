//! One JSON object, written straight into the buffer of the log. Every connection pays for this line, and a general
//! serializer costs three times as much (`benches/instructions`, `record_json`): it escapes our own keys, too.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::ascii;

/// An unfinished object. Keys are our own words and need no escaping.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    /// Any text, escaped where JSON requires it.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        if value.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
            self.quoted(|out| out.extend_from_slice(value.as_bytes()));
        } else {
            // A str always has a JSON form, and a Vec takes every byte.
            let _ = serde_json::to_writer(&mut *self.out, value);
        }
    }

    /// A word of ours, which needs no escaping.
    pub(super) fn word(&mut self, key: &str, value: &str) {
        self.key(key);
        self.quoted(|out| out.extend_from_slice(value.as_bytes()));
    }

    pub(super) fn text_if_any(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A value whose text needs no escaping.
    pub(super) fn plain(&mut self, key: &str, value: impl Display) {
        self.key(key);
        self.quoted(|out| ascii::display(out, value));
    }

    /// 16 digits.
    pub(super) fn hex(&mut self, key: &str, value: u64) {
        self.key(key);
        self.quoted(|out| ascii::hex(out, value));
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        ascii::decimal(self.out, value);
    }

    pub(super) fn boolean(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub(super) fn ip(&mut self, key: &str, value: IpAddr) {
        self.key(key);
        self.quoted(|out| ascii::ip(out, value));
    }

    pub(super) fn address(&mut self, key: &str, value: SocketAddr) {
        self.key(key);
        self.quoted(|out| ascii::address(out, value));
    }

    /// As milliseconds with three decimals, rounded.
    pub(super) fn millis(&mut self, key: &str, value: Duration) {
        self.key(key);
        let micros = value.saturating_add(Duration::from_nanos(500)).as_micros();
        ascii::thousandths(self.out, u64::try_from(micros).unwrap_or(u64::MAX));
    }

    /// An object inside this one.
    pub(super) fn object(&mut self, key: &str) -> Object<'_> {
        self.key(key);
        Object::begin(self.out)
    }

    /// What `write` appends, in quotes; it must need no escaping.
    pub(super) fn quoted_by(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.key(key);
        self.quoted(write);
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn quoted(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }
}

/// RFC 8259 §7: all but the quotation mark, the backslash and the control characters may stand as they are.
fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
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
            object.number("number", u64::MAX);
            object.boolean("yes", true);
            object.plain("plain", 7);
            object.word("word", "done");
            object.hex("hex", 0x0123_4567_89ab_cdef);
            object.text_if_any("nothing", None);
            let mut inner = object.object("inner");
            inner.boolean("no", false);
            inner.end();
            object.object("empty").end();
        });
        let expected = json!({ "number": u64::MAX, "yes": true, "plain": "7",
            "word": "done", "hex": "0123456789abcdef", "inner": { "no": false }, "empty": {} });
        assert_eq!(value, expected);
    }

    #[test]
    fn times_are_rounded_to_the_microsecond() {
        for (nanos, written) in [(0, "0.000"), (499, "0.000"), (500, "0.001"), (1_234_567_890, "1234.568")] {
            let mut out = Vec::new();
            Object::begin(&mut out).millis("t", Duration::from_nanos(nanos));
            assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"t\":{written}"));
        }
        object_of(|object| object.millis("t", Duration::MAX));
    }

    proptest! {
        #[test]
        fn text_is_read_back_unchanged(text in any::<String>(), odd in "[\"\\\\\u{0}-\u{1f}\u{7f}\u{2028}]*") {
            let value = object_of(|object| { object.text("text", &text); object.text("odd", &odd); });
            prop_assert_eq!(value, json!({ "text": text, "odd": odd }));
        }
    }
}
