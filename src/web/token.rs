//! The secret that requests to the admin port bring, if `admin.token_file` is set.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq;

use crate::sys::files;
use latticegate_core::config::Config;
use latticegate_core::diagnostic::Diagnostic;

/// Guessing a shorter one over the network could succeed.
const MIN: usize = 16;
/// Longer ones do not fit into a request's head with what else is there.
const MAX: usize = 4096;

#[derive(Clone)]
pub struct Token(Box<str>);

/// What to do about a file that has no token.
const HELP: &str = "write one line with it, like that of `openssl rand -hex 32`";

impl Token {
    /// That of `admin.token_file`, if the configuration has one. May wait for the file.
    pub fn configured(config: &Config) -> Result<Option<Self>, Diagnostic> {
        let Some(path) = &config.admin_access.token_file else { return Ok(None) };
        let read = Self::read(path).map(Some);
        read.map_err(|message| config.mistake("admin.token_file", path.display(), message, HELP))
    }

    /// From a file with one line.
    fn read(path: &Path) -> Result<Self, String> {
        let bytes = files::read(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "does not exist".to_owned(),
            _ => format!("cannot be read: {error}"),
        })?;
        Self::parse(&bytes)
    }

    /// White space around it does not belong to it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let token = bytes.trim_ascii();
        if token.is_empty() {
            return Err("has no token".to_owned());
        }
        // What a Bearer credential and a password in a browser can have (RFC 6750 §2.1 has fewer).
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err("has more than one line or word, or what is not printable ASCII".to_owned());
        }
        if !(MIN..=MAX).contains(&token.len()) {
            return Err(format!("has a token of {} characters, and {MIN} to {MAX} are required", token.len()));
        }
        Ok(Self(String::from_utf8_lossy(token).into()))
    }

    /// As a client sends it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes as long whether the first character differs or the last; how long the token is, is no secret.
    fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

/// What a request says to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credentials {
    Right,
    Wrong,
    None,
}

impl Credentials {
    /// `Authorization: Bearer TOKEN`, or Basic with any user and the token as password, which every browser asks for.
    pub(super) fn of(headers: &HeaderMap, token: &Token) -> Self {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (Some(given), None) = (all.next(), all.next()) else { return Self::None };
        let given = given.as_bytes();
        let (scheme, rest) = given.split_at(given.iter().position(|&b| b == b' ').unwrap_or(given.len()));
        let rest = rest.trim_ascii();
        let is_right = if scheme.eq_ignore_ascii_case(b"bearer") {
            token.is(rest)
        } else if scheme.eq_ignore_ascii_case(b"basic") {
            STANDARD.decode(rest).is_ok_and(|pair| {
                let colon = pair.iter().position(|&b| b == b':');
                colon.and_then(|at| pair.get(at + 1..)).is_some_and(|password| token.is(password))
            })
        } else {
            false
        };
        if is_right { Self::Right } else { Self::Wrong }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn given(value: &str) -> Credentials {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, value.parse().unwrap());
        Credentials::of(&headers, &Token::parse(TOKEN.as_bytes()).unwrap())
    }

    #[test]
    fn bearer_and_basic_bring_it_and_nothing_else_does() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let right = [
            format!("Bearer {TOKEN}"),
            format!("bearer  {TOKEN} "),
            basic(&format!("admin:{TOKEN}")),
            basic(&format!(":{TOKEN}")),
        ];
        for value in right {
            assert_eq!(given(&value), Credentials::Right, "{value}");
        }
        let wrong = [
            String::new(),
            TOKEN.to_owned(),
            "Bearer".to_owned(),
            "Bearer 0123456789abcdeF".to_owned(),
            format!("Bearer {TOKEN}0"),
            format!("Bearer {}", &TOKEN[1..]),
            format!("Digest {TOKEN}"),
            basic(TOKEN),
            basic(&format!("{TOKEN}:")),
            basic(&format!("a:b:{TOKEN}")),
            format!("Basic {TOKEN}"),
            "Basic =".to_owned(),
        ];
        for value in wrong {
            assert_eq!(given(&value), Credentials::Wrong, "{value}");
        }
        let mut headers = HeaderMap::new();
        let token = Token::parse(TOKEN.as_bytes()).unwrap();
        assert_eq!(Credentials::of(&headers, &token), Credentials::None);
        for _ in 0..2 {
            headers.append(AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap());
        }
        assert_eq!(Credentials::of(&headers, &token), Credentials::None, "two are none");
    }

    #[test]
    fn a_file_that_is_no_token_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Token::read(&path).map(|token| token.as_str().to_owned())
        };
        assert_eq!(read(&format!("  {TOKEN}\r\n")), Ok(TOKEN.to_owned()));
        for (text, why) in [
            ("", "has no token"),
            (" \n", "has no token"),
            ("0123456789abcde", "has a token of 15 characters, and 16 to 4096 are required"),
            ("0123456789 abcdef", "has more than one line or word"),
            ("0123456789abcdef\nfedcba9876543210\n", "has more than one line or word"),
            ("0123456789abcdefé", "what is not printable ASCII"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(Token::read(&directory.path().join("none")).err().as_deref(), Some("does not exist"));
        assert!(Token::read(directory.path()).is_err_and(|why| why.starts_with("cannot be read: ")));
    }
}
