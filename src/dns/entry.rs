//! The cache's state for one name: for each family the last answer and the last failure, and the result that follows
//! from both. No clock, no socket: `cache.rs` passes the time in and sends the queries.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::Instant;

use super::cache_config::CacheConfig;
use super::ranked_map::{Rank, Worth};
use super::request::{CachedName, Waiter};
use super::{AddressSet, Family, LookupError, ResolvedAddresses};
use latticegate_core::hostname::Hostname;

pub(super) struct NameEntry {
    v4: FamilyState,
    v6: FamilyState,
    pub(super) waiters: Vec<Waiter>,
    /// Since when the first of them waits.
    waiting_since: Instant,
    /// The outcome so far of the queries in flight.
    outcome: Option<Result<(), LookupError>>,
    /// Once the addresses of one family are known, the other is not waited for after this moment (RFC 8305 §3).
    delay_until: Instant,
    pub(super) last_used: Instant,
    /// It was used again after its lookup: not an invented name.
    pub(super) used_again: bool,
    /// A client wanted the name while a failure was cached.
    pub(super) wanted: bool,
    /// An event will come when the failure is no longer held against the name.
    pub(super) retry_scheduled: bool,
}

/// One family.
#[derive(Default)]
struct FamilyState {
    cached: Option<CachedAnswer>,
    /// Boxed: few names have one, and all that are cached need the room.
    failed: Option<Box<CachedFailure>>,
    /// Since when a query is in flight.
    in_flight: Option<Instant>,
}

/// The last answer; without addresses it is negative.
struct CachedAnswer {
    addresses: Box<[IpAddr]>,
    expires: Instant,
    renew_at: Instant,
}

/// The last query failed; this is held against the name for a while.
#[derive(Clone, Copy)]
struct CachedFailure {
    error: LookupError,
    started: Instant,
    at: Instant,
    hold: Duration,
}

impl CachedFailure {
    /// `recovered`: since then the server responds again after an outage. Queries sent before no longer count.
    fn until(&self, config: &CacheConfig, recovered: Option<Instant>) -> Instant {
        if recovered.is_some_and(|recovered| self.started < recovered) {
            return self.started + self.hold.min(config.first_hold());
        }
        self.at + self.hold
    }
}

impl NameEntry {
    /// How long the faster family waits for the slower one (RFC 8305 §3).
    pub(super) const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

    pub(super) fn new(now: Instant) -> Self {
        Self {
            v4: FamilyState::default(),
            v6: FamilyState::default(),
            waiters: Vec::new(),
            waiting_since: now,
            outcome: None,
            delay_until: now,
            last_used: now,
            used_again: false,
            wanted: false,
            retry_scheduled: false,
        }
    }

    pub(super) fn wait(&mut self, waiter: Waiter, now: Instant) {
        if self.waiters.is_empty() {
            self.waiting_since = now;
        }
        self.waiters.push(waiter);
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.v4.in_flight.is_some() || self.v6.in_flight.is_some()
    }

    /// There are addresses that serve now, or would serve if the server failed.
    pub(super) fn is_in_use(&self, now: Instant, config: &CacheConfig) -> bool {
        let serves = |state: &FamilyState| state.addresses_until(config.max_stale).is_some_and(|until| now < until);
        serves(&self.v4) || serves(&self.v6)
    }

    /// The families to query now: neither known nor in flight, and without a recent failure.
    pub(super) fn due(
        &self,
        now: Instant,
        config: &CacheConfig,
        recovered: Option<Instant>,
    ) -> impl Iterator<Item = Family> + use<> {
        let due = |family| {
            let (state, other) = self.with_other(family);
            let held = state.failure().is_some_and(|failed| now < failed.until(config, recovered));
            // That one family has no address is not queried again while the other has some.
            let spare = state.is_known_empty() && other.has_fresh_addresses(now) && !other.is_renewal_due(now);
            state.in_flight.is_none() && !held && state.is_renewal_due(now) && !spare
        };
        let families = config.families();
        [Family::V4, Family::V6]
            .map(|family| (families.contains(&family) && due(family)).then_some(family))
            .into_iter()
            .flatten()
    }

    pub(super) fn start(&mut self, family: Family, now: Instant) {
        self.state_mut(family).in_flight = Some(now);
    }

    /// Takes the result of a query. Returns whether the resolution delay for the other family begins now.
    pub(super) fn finish(
        &mut self,
        family: Family,
        result: Result<AddressSet, LookupError>,
        now: Instant,
        config: &CacheConfig,
    ) -> bool {
        let merged = match (self.outcome.take(), AddressSet::outcome(&result)) {
            (Some(Ok(())), _) | (_, Ok(())) => Ok(()),
            // Beside a negative answer a failure counts: the name may have an address.
            (Some(Err(LookupError::Unknown)) | None, error) | (Some(error), Err(_)) => error,
        };
        self.outcome = Some(merged);
        let state = self.state_mut(family);
        let started = state.in_flight.take().unwrap_or(now);
        let set = match result {
            Ok(set) => set,
            Err(error) => {
                state.fail(error, started, now, config);
                return false;
            }
        };
        let has_addresses = !set.addresses.is_empty();
        state.store(set, now, config);
        if has_addresses {
            self.delay_until = now + Self::RESOLUTION_DELAY;
        }
        has_addresses && self.is_in_flight()
    }

    /// The outcome of the last queries for this name, once none is in flight.
    pub(super) fn take_outcome(&mut self) -> Option<Result<(), LookupError>> {
        if self.is_in_flight() { None } else { self.outcome.take() }
    }

    /// The result for a new request. None: it has to wait for a query.
    pub(super) fn result(
        &self,
        now: Instant,
        config: &CacheConfig,
    ) -> Option<Result<Arc<ResolvedAddresses>, LookupError>> {
        self.result_as_of(now, now, config)
    }

    /// The result for the waiters: an answer that arrived while they waited serves them, however short its TTL is.
    pub(super) fn result_for_waiters(
        &self,
        now: Instant,
        config: &CacheConfig,
    ) -> Option<Result<Arc<ResolvedAddresses>, LookupError>> {
        self.result_as_of(now, self.waiting_since, config)
    }

    /// `as_of`: answers that were fresh then, or have arrived since, serve.
    fn result_as_of(
        &self,
        now: Instant,
        as_of: Instant,
        config: &CacheConfig,
    ) -> Option<Result<Arc<ResolvedAddresses>, LookupError>> {
        let families = config.families().iter().map(|family| self.with_other(*family));
        let is_complete = families
            .clone()
            .all(|(state, other)| state.is_fresh(as_of) || state.is_known_empty() && other.has_fresh_addresses(as_of));
        let is_pending = families.clone().any(|(state, _)| state.in_flight.is_some() && !state.is_fresh(as_of));
        if let Some(fresh) = self.fresh(now, as_of, is_complete) {
            let is_early = is_pending && !is_complete && now < self.delay_until;
            return (!is_early).then(|| Ok(Arc::new(fresh)));
        }
        if is_complete {
            return Some(Err(LookupError::Unknown));
        }
        let failed = families.filter(|(state, _)| !state.is_fresh(as_of)).find_map(|(state, _)| state.failure());
        // The last query failed: while the old answer may serve, no client waits for the next one (RFC 8767 §5).
        if let (Some(_), Some(stale)) = (failed, self.stale(now, config)) {
            return Some(Ok(Arc::new(stale)));
        }
        if is_pending {
            return None;
        }
        failed.map(|failed| Err(failed.error))
    }

    /// All fresh addresses. Where a family is missing, they expire soon, as it may arrive.
    fn fresh(&self, now: Instant, as_of: Instant, is_complete: bool) -> Option<ResolvedAddresses> {
        let families = || self.both().filter(|state| state.has_fresh_addresses(as_of));
        let answers = || families().filter_map(|state| state.cached.as_ref());
        let expires = answers().map(|answer| answer.expires).min()?.max(now);
        let renew_at = answers().map(|answer| answer.renew_at).min()?;
        // Most names have the addresses of one family, which are copied in one piece.
        let addresses = match (answers().next(), answers().nth(1)) {
            (Some(only), None) => only.addresses.clone(),
            _ => answers().flat_map(|answer| answer.addresses.iter().copied()).collect(),
        };
        let soon = now + CacheConfig::FIRST_HOLD;
        Some(ResolvedAddresses {
            addresses,
            expires: if is_complete { expires } else { expires.min(soon) },
            renew_at: if is_complete { renew_at } else { renew_at.min(soon) },
            stale: false,
        })
    }

    /// The expired addresses, if they may still serve. They are handed out until the next query may bring newer ones.
    fn stale(&self, now: Instant, config: &CacheConfig) -> Option<ResolvedAddresses> {
        let usable = |state: &&FamilyState| state.addresses_until(config.max_stale).is_some_and(|until| now < until);
        let addresses: Box<[IpAddr]> = self.both().filter(usable).flat_map(FamilyState::addresses).collect();
        let retry_at = self.retry_at(config, None).filter(|_| !self.is_in_flight()).unwrap_or(now);
        let until = retry_at.clamp(now, now + CacheConfig::FIRST_HOLD);
        (!addresses.is_empty()).then_some(ResolvedAddresses { addresses, expires: until, renew_at: until, stale: true })
    }

    /// When the first of the cached failures is no longer held against the name.
    pub(super) fn retry_at(&self, config: &CacheConfig, recovered: Option<Instant>) -> Option<Instant> {
        let failed = [self.v4.failure(), self.v6.failure()].into_iter().flatten();
        failed.map(|failed| failed.until(config, recovered)).min()
    }

    pub(super) fn rank(&self, now: Instant, config: &CacheConfig) -> Rank {
        match (self.is_in_use(now, config), self.used_again) {
            (false, _) => Rank::NoAddress,
            (true, false) => Rank::UsedOnce,
            (true, true) => Rank::UsedAgain,
        }
    }

    /// None: queries are in flight.
    pub(super) fn worth(&self, now: Instant, config: &CacheConfig) -> Option<Worth> {
        let is_fresh =
            |state: &FamilyState| state.is_fresh(now) || state.failure().is_some_and(|f| now < f.until(config, None));
        let worth = Worth { is_fresh: self.both().any(is_fresh), last_used: self.last_used };
        (!self.is_in_flight()).then_some(worth)
    }

    /// For the operator's page.
    pub(super) fn view(&self, name: &Hostname, now: Instant, config: &CacheConfig) -> CachedName {
        let expires = self.both().filter_map(|state| state.addresses_until(Duration::ZERO)).min();
        CachedName {
            name: name.to_string(),
            addresses: self.both().flat_map(FamilyState::addresses).collect(),
            age: self
                .both()
                .filter_map(FamilyState::stored)
                .min()
                .map_or(Duration::ZERO, |stored| now.saturating_duration_since(stored)),
            left: expires.map_or(Duration::ZERO, |expires| expires.saturating_duration_since(now)),
            stale: expires.is_some_and(|expires| now >= expires),
            failed: self.error(now, config).map(|error| match error {
                LookupError::Unknown => "no such name",
                LookupError::Timeout => "no answer",
                LookupError::Limited | LookupError::Shortage => "not asked",
                LookupError::Failed => "failed",
            }),
        }
    }

    fn error(&self, now: Instant, config: &CacheConfig) -> Option<LookupError> {
        let failed = self.v4.failure().or(self.v6.failure()).map(|failed| failed.error);
        failed.or_else(|| self.result(now, config)?.err())
    }

    /// IPv4 first, as the addresses are.
    fn both(&self) -> impl Iterator<Item = &FamilyState> {
        [&self.v4, &self.v6].into_iter()
    }

    fn with_other(&self, family: Family) -> (&FamilyState, &FamilyState) {
        match family {
            Family::V4 => (&self.v4, &self.v6),
            Family::V6 => (&self.v6, &self.v4),
        }
    }

    fn state_mut(&mut self, family: Family) -> &mut FamilyState {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

impl FamilyState {
    /// With a TTL of 0 the waiters would get no answer.
    const MIN_TTL: Duration = Duration::from_millis(1);

    fn store(&mut self, set: AddressSet, now: Instant, config: &CacheConfig) {
        let most = if set.addresses.is_empty() { config.negative_ttl } else { config.max_ttl };
        let ttl = set.ttl.max(config.min_ttl).min(most).max(Self::MIN_TTL);
        let addresses = set.addresses.into_boxed_slice();
        // A negative answer is not renewed early.
        let renew_at = now + if addresses.is_empty() { ttl } else { ttl / 5 * 4 };
        self.cached = Some(CachedAnswer { addresses, expires: now + ttl, renew_at });
        self.failed = None;
    }

    /// RFC 9520 §3.2: held for a second at first, then longer while failures continue.
    fn fail(&mut self, error: LookupError, started: Instant, now: Instant, config: &CacheConfig) {
        let continues = |failed: &CachedFailure| now < failed.at + failed.hold + config.negative_ttl + config.timeout;
        let hold = match self.failure().filter(continues) {
            // Not the server's fault, and over as soon as a file is free.
            _ if error == LookupError::Shortage => Duration::ZERO,
            Some(failed) if !failed.hold.is_zero() => failed.hold.saturating_mul(2).min(config.negative_ttl),
            _ => config.first_hold(),
        };
        self.failed = Some(Box::new(CachedFailure { error, started, at: now, hold }));
    }

    fn failure(&self) -> Option<CachedFailure> {
        self.failed.as_deref().copied()
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.cached.as_ref().is_some_and(|answer| now < answer.expires)
    }

    fn has_fresh_addresses(&self, now: Instant) -> bool {
        self.is_fresh(now) && !self.is_known_empty()
    }

    fn is_known_empty(&self) -> bool {
        self.cached.as_ref().is_some_and(|answer| answer.addresses.is_empty())
    }

    fn is_renewal_due(&self, now: Instant) -> bool {
        self.cached.as_ref().is_none_or(|answer| now >= answer.renew_at)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.cached.iter().flat_map(|answer| answer.addresses.iter().copied())
    }

    /// When the addresses came: the last fifth of their time begins at `renew_at`.
    fn stored(&self) -> Option<Instant> {
        let answer = self.cached.as_ref().filter(|answer| !answer.addresses.is_empty())?;
        answer.expires.checked_sub((answer.expires - answer.renew_at) * 5)
    }

    /// Until when the addresses serve, plus `longer`.
    fn addresses_until(&self, longer: Duration) -> Option<Instant> {
        let answer = self.cached.as_ref().filter(|answer| !answer.addresses.is_empty())?;
        Some(answer.expires + longer)
    }
}
