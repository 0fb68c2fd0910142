//! What is known of one absolute-form request on a `forward` listener when it is over: a line and a count of its own.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

use std::time::Duration;

use crate::telemetry::record::Address;
use latticegate_core::client::Client;
use latticegate_core::outcome::{ByteCounts, Outcome};

/// One absolute-form request, answered or not. Never its path or query, which carry secrets.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// Of its connection.
    pub id: u64,
    pub peer: Address,
    pub client: Option<&'a Client>,
    /// The rule that decided about it, as `ipcontrol.yaml:12`.
    pub rule: Option<&'a str>,
    pub method: &'a str,
    pub host: &'a str,
    pub port: u16,
    /// The address that was dialled.
    pub upstream: Option<Address>,
    /// Of the final answer that the client was sent, ours included. None: there was none.
    pub status: Option<u16>,
    /// What was passed on, heads included; an answer of ours does not count.
    pub bytes: ByteCounts,
    /// From the request's first byte, or its head if that was not noted, to the end of its answer.
    pub duration: Duration,
    /// What ended it otherwise than by a whole answer of the upstream.
    pub cut: Option<Outcome>,
}
