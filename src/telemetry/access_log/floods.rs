//! Equal refusals that come fast are one line a second with their number: the first has its line, and for each second in which
//! there were more, one of them has one that stands for all of these.
//!
//! Equal are those of one listener, reason and client, the client as limits count it. What a client can choose at will (its
//! name, its port) does not make them different, or a flood would cost as many lines as it has names. A flood of many
//! clients is bounded too: beyond [`Floods::CLIENTS`] of them at a time, listener and reason alone make refusals equal.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::ascii;
use crate::runtime::Instant;
use crate::telemetry::record::{Record, RequestFacts};

use latticegate_core::client::{Client, ClientKey};
use latticegate_core::config::{self, LogFormat};
use latticegate_core::outcome::Outcome;

/// What makes two of them equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FloodKey {
    listener: SocketAddr,
    /// The line is about an absolute-form request, not about a connection.
    is_request: bool,
    outcome: Outcome,
    /// `None`: any of those that have no place of their own.
    client: Option<ClientKey>,
}

impl FloodKey {
    pub(super) fn connection(listener: &config::Listener, record: &Record, outcome: Outcome) -> Self {
        let client = key_of(record.client.as_ref(), record.peer.get());
        Self { listener: listener.bind, is_request: false, outcome, client }
    }

    pub(super) fn request(listener: &config::Listener, facts: &RequestFacts<'_>, outcome: Outcome) -> Self {
        let client = key_of(facts.client, facts.peer.get());
        Self { listener: listener.bind, is_request: true, outcome, client }
    }
}

/// The peer, where no header named a client.
fn key_of(client: Option<&Client>, peer: SocketAddr) -> Option<ClientKey> {
    Some(client.map_or_else(|| ClientKey::from(&Client::new(peer, None)), ClientKey::from))
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is written.
    First,
    /// It is to be [held](Floods::hold).
    Second,
    /// It is one more of those for which one is held.
    More,
}

#[derive(Debug, Default)]
pub(super) struct Floods(RefCell<HashMap<FloodKey, Flood>>);

#[derive(Debug)]
struct Flood {
    /// Of its second.
    end: Instant,
    /// Those of this second that have no line yet.
    repeated: u64,
    /// The line of the first of them.
    line: Vec<u8>,
}

impl Floods {
    const WINDOW: Duration = Duration::from_secs(1);
    /// Of one worker. So many lines a second are the most that refusals cost, times listeners and reasons for those without a
    /// place.
    const CLIENTS: usize = 128;

    pub(super) fn admit(&self, key: FloodKey, now: Instant) -> Admission {
        let mut floods = self.0.borrow_mut();
        let key = placed(&floods, key);
        let Some(flood) = floods.get_mut(&key) else {
            floods.insert(key, Flood { end: now + Self::WINDOW, repeated: 0, line: Vec::new() });
            return Admission::First;
        };
        flood.repeated = flood.repeated.saturating_add(1);
        if flood.repeated == 1 { Admission::Second } else { Admission::More }
    }

    /// Holds the line of one that was admitted as the second.
    pub(super) fn hold(&self, key: FloodKey, write: impl FnOnce(&mut Vec<u8>)) {
        let mut floods = self.0.borrow_mut();
        let key = placed(&floods, key);
        if let Some(flood) = floods.get_mut(&key) {
            flood.line.clear();
            write(&mut flood.line);
        }
    }

    /// When the next second is over.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.0.borrow().values().map(|flood| flood.end).min()
    }

    /// Writes the line of each flood whose second is over, with the number that it stands for. Where there is none, the flood
    /// is over too.
    pub(super) fn end(&self, now: Instant, mut write: impl FnMut(&[u8], u64)) {
        self.0.borrow_mut().retain(|_, flood| {
            if flood.end > now {
                return true;
            }
            flood.end = now + Self::WINDOW;
            flood.written(&mut write)
        });
    }

    /// Writes what there is.
    pub(super) fn end_all(&self, mut write: impl FnMut(&[u8], u64)) {
        for (_, mut flood) in self.0.borrow_mut().drain() {
            flood.written(&mut write);
        }
    }
}

/// The key under which it is counted.
fn placed(floods: &HashMap<FloodKey, Flood>, key: FloodKey) -> FloodKey {
    let has_place = floods.len() < Floods::CLIENTS || floods.contains_key(&key);
    if has_place { key } else { FloodKey { client: None, ..key } }
}

impl Flood {
    /// Whether there was a line.
    fn written(&mut self, write: &mut impl FnMut(&[u8], u64)) -> bool {
        let repeated = std::mem::take(&mut self.repeated);
        if repeated > 0 {
            write(&self.line, repeated);
        }
        repeated > 0
    }
}

/// Appends a line that stands for so many, itself included.
pub(super) fn with_repeats(out: &mut Vec<u8>, format: LogFormat, line: &[u8], repeated: u64) {
    let end: &[u8] = if format == LogFormat::Json { b"}\n" } else { b"\n" };
    let Some(line) = line.strip_suffix(end).filter(|_| repeated > 1) else { return out.extend_from_slice(line) };
    out.extend_from_slice(line);
    match format {
        LogFormat::Json if line == b"{" => out.extend_from_slice(b"\"repeated\":"),
        LogFormat::Json => out.extend_from_slice(b",\"repeated\":"),
        LogFormat::Squid | LogFormat::Nginx => out.extend_from_slice(b";repeated="),
    }
    ascii::decimal(out, repeated);
    out.extend_from_slice(end);
}

#[cfg(test)]
mod tests;
