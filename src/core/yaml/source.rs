//! From bytes to text: bounded, UTF-8, without a byte order mark. Otherwise a diagnostic that says what to do.

use std::io::{self, ErrorKind};

use crate::diagnostic::{Diagnostic, Origin, Position};

/// Largest text accepted, in bytes. 100 000 rules of one line each are about 2 MiB.
pub const MAX_BYTES: usize = 4 << 20;

/// The bytes as UTF-8 text without its byte order mark; at most [`MAX_BYTES`].
pub fn text(bytes: Vec<u8>, origin: Origin) -> Result<String, Diagnostic> {
    if bytes.len() > MAX_BYTES {
        let help = "join neighbouring networks into larger ones, or split the list";
        return Err(Diagnostic::whole(origin, "is larger than 4 MiB", help));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Diagnostic::whole(origin, "is UTF-16", "save it as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(&error, origin))?;
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}

/// The diagnostic for a file that cannot be read.
pub fn unreadable(error: &io::Error, origin: Origin) -> Diagnostic {
    match error.kind() {
        ErrorKind::NotFound => Diagnostic::whole(origin, "does not exist", "name the file that you mean, or create it"),
        ErrorKind::IsADirectory => Diagnostic::whole(origin, "is a directory", "name the file in it"),
        ErrorKind::PermissionDenied => {
            Diagnostic::whole(origin, "may not be read by this user", "let the user that runs latticegate read it")
        }
        _ => Diagnostic::whole(origin, format!("cannot be read: {error}"), ""),
    }
}

fn not_utf8(error: &std::string::FromUtf8Error, origin: Origin) -> Diagnostic {
    let bytes = error.as_bytes();
    let valid = bytes.get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let byte = bytes.get(valid.len()).copied().unwrap_or_default();
    let line_start = valid.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(valid.get(line_start..).unwrap_or_default()).chars().count() + 1;
    let line = memchr::memchr_iter(b'\n', valid).count() + 1;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let latin1 = char::from(byte);
    let message = if latin1.is_alphanumeric() {
        format!("is not UTF-8: byte 0x{byte:02x} here is {latin1:?} in Latin-1")
    } else {
        format!("is not UTF-8: byte 0x{byte:02x} here")
    };
    Diagnostic::whole(origin, message, "save the file as UTF-8")
        .at(Position { line: number(line), column: number(column) })
}
