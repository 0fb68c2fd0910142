//! When requests are planned, and for which user: each user asks at random moments (a Poisson process) from when he has come.

use std::time::Duration;

/// The load that is wanted, of all users together.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub users: usize,
    /// Requests per second when all users are there.
    pub rate: f64,
    /// Users come one after the other over this time,
    pub ramp: Duration,
    /// and all of them stay for this time.
    pub steady: Duration,
}

impl Load {
    pub fn length(&self) -> Duration {
        self.ramp + self.steady
    }
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned {
    /// Since the start.
    pub at: Duration,
    pub user: usize,
}

/// The requests in their order. The same seed gives the same plan.
pub struct Plan {
    load: Load,
    random: fastrand::Rng,
    at: Duration,
}

impl Plan {
    pub fn new(load: Load, seed: u64) -> Self {
        Self { load, random: fastrand::Rng::with_seed(seed), at: Duration::ZERO }
    }

    /// When this user comes.
    fn arrival(&self, user: usize) -> Duration {
        self.load.ramp.mul_f64(user as f64 / self.load.users as f64)
    }
}

impl Iterator for Plan {
    type Item = Planned;

    /// Drawn for all users, and left out for those that have not come yet: each user's moments are a Poisson process of his
    /// own, and there is no list of users to search.
    fn next(&mut self) -> Option<Planned> {
        loop {
            self.at += Duration::from_secs_f64(-(1.0 - self.random.f64()).ln() / self.load.rate);
            if self.at >= self.load.length() {
                return None;
            }
            let user = self.random.usize(..self.load.users);
            if self.at >= self.arrival(user) {
                return Some(Planned { at: self.at, user });
            }
        }
    }
}
