//! Descriptors: one for each user's connection, asked for before anything is sent.

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the threads' own, standard streams and lookups.
const OTHERS: u64 = 64;

/// Raises the soft limit as far as it is needed and allowed.
pub fn need_descriptors(users: usize) -> Result<()> {
    let needed = users as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    match plan(needed, limit.current, limit.maximum) {
        Descriptors::Enough => {}
        Descriptors::Raise => setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })?,
        Descriptors::TooFew(hard) => bail!(
            "{users} users need {needed} descriptors, and this process may have {hard}: raise the limit (ulimit -Hn; `nofile` of the \
             container), use fewer --users, or more --generators"
        ),
    }
    Ok(())
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub enum Descriptors {
    Enough,
    Raise,
    TooFew(u64),
}

/// `None` is no limit.
pub fn plan(needed: u64, soft: Option<u64>, hard: Option<u64>) -> Descriptors {
    match (soft, hard) {
        (None, _) => Descriptors::Enough,
        (Some(soft), _) if soft >= needed => Descriptors::Enough,
        (_, Some(hard)) if hard < needed => Descriptors::TooFew(hard),
        _ => Descriptors::Raise,
    }
}
