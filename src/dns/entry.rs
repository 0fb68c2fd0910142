//! What is known of one name: for each family the last answer and the last failure, and what follows from both for
//! whoever asks now. No clock, no socket: `cache.rs` says what time it is and asks the questions.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::sys::runtime::Instant;

use super::cache::{Limits, outcome_of};
use super::{Answer, Family, Found, LookupError, Waiter};

pub(super) struct Entry {
    v4: Half,
    v6: Half,
    pub(super) waiting: Vec<Waiter>,
    /// Since when somebody waits.
    waiting_since: Instant,
    /// What came of the questions under way so far.
    round: Option<Result<(), LookupError>>,
    /// With the addresses of one family there, the other is not waited for after this moment (RFC 8305 §3).
    patience: Instant,
    pub(super) last_used: Instant,
    /// It was used again after it had been asked for: not a name that somebody invented.
    pub(super) used_again: bool,
    /// A client came while a failure was remembered.
    pub(super) wanted: bool,
    /// It will be looked at again when the failure is no longer held against it.
    pub(super) retry_set: bool,
}

/// One family.
#[derive(Default)]
struct Half {
    known: Option<Known>,
    failed: Option<Failed>,
    /// Since when it is asked for.
    in_flight: Option<Instant>,
}

/// The last answer; without addresses: there are none.
struct Known {
    addresses: Box<[IpAddr]>,
    expires: Instant,
    renew_at: Instant,
}

/// The last question failed; it is held against the name for a while.
#[derive(Clone, Copy)]
struct Failed {
    error: LookupError,
    asked: Instant,
    at: Instant,
    hold: Duration,
}

impl Failed {
    /// `recovered`: since then the resolver answers again after an outage. What was asked before says nothing any more.
    fn until(&self, limits: &Limits, recovered: Option<Instant>) -> Instant {
        if recovered.is_some_and(|recovered| self.asked < recovered) {
            return self.asked + self.hold.min(limits.first_hold());
        }
        self.at + self.hold
    }
}

impl Entry {
    /// How long one family waits for the slower one (RFC 8305 §3).
    pub(super) const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

    pub(super) fn new(now: Instant) -> Self {
        Self {
            v4: Half::default(),
            v6: Half::default(),
            waiting: Vec::new(),
            waiting_since: now,
            round: None,
            patience: now,
            last_used: now,
            used_again: false,
            wanted: false,
            retry_set: false,
        }
    }

    pub(super) fn wait(&mut self, waiter: Waiter, now: Instant) {
        if self.waiting.is_empty() {
            self.waiting_since = now;
        }
        self.waiting.push(waiter);
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.v4.in_flight.is_some() || self.v6.in_flight.is_some()
    }

    /// Some addresses are known that serve now or could serve if the resolver failed.
    pub(super) fn is_in_use(&self, now: Instant, limits: &Limits) -> bool {
        let serves = |half: &Half| half.addresses_until(limits.max_stale).is_some_and(|until| now < until);
        serves(&self.v4) || serves(&self.v6)
    }

    /// The families to ask now: neither known nor asked already, and not refused a moment ago.
    pub(super) fn due(&self, now: Instant, limits: &Limits, recovered: Option<Instant>) -> Vec<Family> {
        let due = |family: &Family| {
            let (half, other) = self.halves(*family);
            let held = half.failed.is_some_and(|failed| now < failed.until(limits, recovered));
            // That one family has no address holds as long as the other has some.
            let spare = half.is_known_empty() && other.has_fresh_addresses(now) && !other.is_to_be_renewed(now);
            half.in_flight.is_none() && !held && half.is_to_be_renewed(now) && !spare
        };
        limits.families().iter().copied().filter(due).collect()
    }

    pub(super) fn start(&mut self, family: Family, now: Instant) {
        self.half(family).in_flight = Some(now);
    }

    /// Takes what came of a question. Says whether the other family has a moment more from now on.
    pub(super) fn finish(
        &mut self,
        family: Family,
        result: Result<Found, LookupError>,
        now: Instant,
        limits: &Limits,
    ) -> bool {
        let merged = match (self.round.take(), outcome_of(&result)) {
            (Some(Ok(())), _) | (_, Ok(())) => Ok(()),
            // A failure says less than "no such name", so it must not be taken for one.
            (Some(Err(LookupError::Unknown)) | None, error) | (Some(error), Err(_)) => error,
        };
        self.round = Some(merged);
        let half = self.half(family);
        let asked = half.in_flight.take().unwrap_or(now);
        let found = match result {
            Ok(found) => found,
            Err(error) => {
                half.fail(error, asked, now, limits);
                return false;
            }
        };
        let some = !found.addresses.is_empty();
        half.store(found, now, limits);
        if some {
            self.patience = now + Self::RESOLUTION_DELAY;
        }
        some && self.is_in_flight()
    }

    /// What the last questions about this name have brought, once all are answered.
    pub(super) fn take_round(&mut self) -> Option<Result<(), LookupError>> {
        if self.is_in_flight() { None } else { self.round.take() }
    }

    /// What somebody who asks now is answered; none: it is worth the wait for what is under way.
    pub(super) fn verdict(&self, now: Instant, limits: &Limits) -> Option<Result<Arc<Answer>, LookupError>> {
        self.judge(now, now, limits)
    }

    /// What those who wait are answered: what came while they waited serves them, however short its TTL is.
    pub(super) fn verdict_for_waiting(
        &self,
        now: Instant,
        limits: &Limits,
    ) -> Option<Result<Arc<Answer>, LookupError>> {
        self.judge(now, self.waiting_since, limits)
    }

    /// `as_of`: what was known then, or has come since, serves.
    fn judge(&self, now: Instant, as_of: Instant, limits: &Limits) -> Option<Result<Arc<Answer>, LookupError>> {
        let halves = limits.families().iter().map(|family| self.halves(*family));
        let is_complete = halves
            .clone()
            .all(|(half, other)| half.is_fresh(as_of) || half.is_known_empty() && other.has_fresh_addresses(as_of));
        let is_asked = halves.clone().any(|(half, _)| half.in_flight.is_some() && !half.is_fresh(as_of));
        if let Some(answer) = self.fresh(now, as_of, is_complete) {
            let is_early = is_asked && !is_complete && now < self.patience;
            return (!is_early).then(|| Ok(Arc::new(answer)));
        }
        if is_complete {
            return Some(Err(LookupError::Unknown));
        }
        let failed = halves.filter(|(half, _)| !half.is_fresh(as_of)).find_map(|(half, _)| half.failed);
        // The last try failed: nobody waits for the next one while the old answer may serve (RFC 8767 §5).
        if let (Some(_), Some(answer)) = (failed, self.stale(now, limits)) {
            return Some(Ok(Arc::new(answer)));
        }
        if is_asked {
            return None;
        }
        failed.map(|failed| Err(failed.error))
    }

    /// All addresses that are fresh. Where a family is missing, they are for now: soon it may be there.
    fn fresh(&self, now: Instant, as_of: Instant, is_complete: bool) -> Option<Answer> {
        let halves = [&self.v4, &self.v6].into_iter().filter(|half| half.has_fresh_addresses(as_of));
        let known: Vec<&Known> = halves.filter_map(|half| half.known.as_ref()).collect();
        let expires = known.iter().map(|known| known.expires).min()?.max(now);
        let renew_at = known.iter().map(|known| known.renew_at).min()?;
        let soon = now + Limits::FIRST_HOLD;
        Some(Answer {
            addresses: known.iter().flat_map(|known| known.addresses.iter().copied()).collect(),
            expires: if is_complete { expires } else { expires.min(soon) },
            renew_at: if is_complete { renew_at } else { renew_at.min(soon) },
            stale: false,
        })
    }

    /// The old addresses, if they may still serve; for the next ones, too, until it may be known better.
    fn stale(&self, now: Instant, limits: &Limits) -> Option<Answer> {
        let usable = |half: &&Half| half.addresses_until(limits.max_stale).is_some_and(|until| now < until);
        let known = [&self.v4, &self.v6].into_iter().filter(usable).filter_map(|half| half.known.as_ref());
        let addresses: Box<[IpAddr]> = known.flat_map(|known| known.addresses.iter().copied()).collect();
        let retry_at = self.retry_at(limits, None).filter(|_| !self.is_in_flight()).unwrap_or(now);
        let until = retry_at.clamp(now, now + Limits::FIRST_HOLD);
        (!addresses.is_empty()).then_some(Answer { addresses, expires: until, renew_at: until, stale: true })
    }

    /// When the first of the failures that are remembered is no longer held against the name.
    pub(super) fn retry_at(&self, limits: &Limits, recovered: Option<Instant>) -> Option<Instant> {
        let failed = [self.v4.failed, self.v6.failed].into_iter().flatten();
        failed.map(|failed| failed.until(limits, recovered)).min()
    }

    /// Something can be said about the name without asking.
    pub(super) fn is_of_use(&self, now: Instant, limits: &Limits) -> bool {
        let of_use = |half: &Half| half.is_fresh(now) || half.failed.is_some_and(|f| now < f.until(limits, None));
        self.is_in_use(now, limits) || of_use(&self.v4) || of_use(&self.v6)
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let known = [&self.v4, &self.v6].into_iter().filter_map(|half| half.known.as_ref());
        known.flat_map(|known| known.addresses.iter().copied()).collect()
    }

    /// When the first of the addresses expires.
    pub(super) fn expires(&self) -> Option<Instant> {
        [&self.v4, &self.v6].into_iter().filter_map(|half| half.addresses_until(Duration::ZERO)).min()
    }

    pub(super) fn error(&self, now: Instant, limits: &Limits) -> Option<LookupError> {
        let failed = self.v4.failed.or(self.v6.failed).map(|failed| failed.error);
        failed.or_else(|| self.verdict(now, limits)?.err())
    }

    fn halves(&self, family: Family) -> (&Half, &Half) {
        match family {
            Family::V4 => (&self.v4, &self.v6),
            Family::V6 => (&self.v6, &self.v4),
        }
    }

    fn half(&mut self, family: Family) -> &mut Half {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

impl Half {
    /// A TTL of nothing would leave those who wait without an answer.
    const LEAST: Duration = Duration::from_millis(1);

    fn store(&mut self, found: Found, now: Instant, limits: &Limits) {
        let most = if found.addresses.is_empty() { limits.negative_ttl } else { limits.max_ttl };
        let ttl = found.ttl.max(limits.min_ttl).min(most).max(Self::LEAST);
        let addresses = found.addresses.into_boxed_slice();
        // That there is nothing is not asked again before it has to be.
        let renew_at = now + if addresses.is_empty() { ttl } else { ttl.mul_f32(0.8) };
        self.known = Some(Known { addresses, expires: now + ttl, renew_at });
        self.failed = None;
    }

    /// RFC 9520 §3.2: for a second at first, then longer as long as it goes on.
    fn fail(&mut self, error: LookupError, asked: Instant, now: Instant, limits: &Limits) {
        let goes_on = |failed: &Failed| now < failed.at + failed.hold + limits.negative_ttl + limits.timeout;
        let hold = match self.failed.filter(goes_on) {
            // Not the resolver's fault, and over as soon as a file is free.
            _ if error == LookupError::Shortage => Duration::ZERO,
            Some(failed) if !failed.hold.is_zero() => failed.hold.saturating_mul(2).min(limits.negative_ttl),
            _ => limits.first_hold(),
        };
        self.failed = Some(Failed { error, asked, at: now, hold });
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.known.as_ref().is_some_and(|known| now < known.expires)
    }

    fn has_fresh_addresses(&self, now: Instant) -> bool {
        self.is_fresh(now) && !self.is_known_empty()
    }

    fn is_known_empty(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.addresses.is_empty())
    }

    fn is_to_be_renewed(&self, now: Instant) -> bool {
        self.known.as_ref().is_none_or(|known| now >= known.renew_at)
    }

    /// Until when the addresses serve, and so much longer.
    fn addresses_until(&self, longer: Duration) -> Option<Instant> {
        let known = self.known.as_ref().filter(|known| !known.addresses.is_empty())?;
        Some(known.expires + longer)
    }
}
