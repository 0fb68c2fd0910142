//! One run, drawn from its seed: the gate's settings, what happens to it, and its connections.

use std::sync::OnceLock;

use super::plan::Plan;
use crate::sys::random::Random;

pub(super) const CONNECTIONS: usize = 12;

#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) settings: Settings,
    pub(super) plans: Vec<Plan>,
}

/// All times in milliseconds, from the beginning of the run where they are moments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) handshake: u64,
    pub(super) connect: u64,
    pub(super) idle: u64,
    pub(super) limit: Option<Limit>,
    /// Whatever comes through a tunnel is passed on.
    pub(super) tunnel_any: bool,
    pub(super) reload: Option<Reload>,
    pub(super) drain: Option<Drain>,
    pub(super) shortage: Option<Shortage>,
}

/// The limit that is low enough to be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Open(usize),
    HalfOpen(usize),
    HalfOpenPerClient(usize),
    PerClient(usize),
}

/// A list comes into force that forbids the first name of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reload {
    pub(super) at: u64,
    pub(super) forbids: usize,
}

/// SIGTERM.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    pub(super) at: u64,
    pub(super) delay: u64,
    pub(super) timeout: u64,
}

/// The table of open files is full but for so many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shortage {
    pub(super) at: u64,
    pub(super) lasts: u64,
    pub(super) files: u64,
}

impl Drain {
    pub(super) fn closing(self) -> u64 {
        self.at + self.delay
    }

    pub(super) fn ending(self) -> u64 {
        self.closing() + self.timeout
    }
}

impl Scenario {
    pub(super) fn draw(seed: u64) -> (Self, Random) {
        let mut random = Random(seed);
        let settings = Settings::draw(&mut random);
        let plans = (0..CONNECTIONS).map(|_| Plan::draw(&settings, &mut random)).collect();
        (Self { settings, plans }, random)
    }
}

impl Settings {
    fn draw(random: &mut Random) -> Self {
        let limit = match random.below(12) {
            0 => Some(Limit::Open(2 + random.index(6))),
            1 => Some(Limit::HalfOpen(1 + random.index(3))),
            2 => Some(Limit::HalfOpenPerClient(1 + random.index(2))),
            3 => Some(Limit::PerClient(1 + random.index(3))),
            _ => None,
        };
        // Who waits for room when the process ends is served all the same.
        let event = match limit {
            Some(Limit::Open(_)) if random.below(2) == 0 => 2,
            _ => random.below(8),
        };
        let delay = if random.below(2) == 0 { 200 } else { 3000 };
        Self {
            handshake: between(random, 400, 15_000),
            connect: between(random, 300, 6000),
            idle: between(random, 5000, 120_000),
            limit,
            tunnel_any: random.below(2) == 0,
            reload: (event < 2).then(|| Reload { at: random.below(5000), forbids: random.index(CONNECTIONS) }),
            drain: (event == 2 || event == 3).then(|| Drain {
                at: random.below(3000),
                delay: random.below(delay),
                timeout: between(random, 1, 20_000),
            }),
            shortage: (event == 4).then(|| Shortage {
                at: random.below(2500),
                lasts: random.below(6000),
                files: random.below(6),
            }),
        }
    }

    /// What happens to all connections may end any of them.
    pub(super) fn disturbs(&self, connection: usize) -> bool {
        self.limit.is_some()
            || self.drain.is_some()
            || self.shortage.is_some()
            || self.reload.is_some_and(|reload| reload.forbids == connection)
    }
}

/// At least `least`, below `end`.
pub(super) fn between(random: &mut Random, least: u64, end: u64) -> u64 {
    least + random.below(end - least)
}

/// Bytes that look nowhere like elsewhere.
pub(super) fn payload(random: &mut Random, len: usize) -> Vec<u8> {
    const SIZE: usize = 1 << 20;
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let mut random = Random(0);
        (0..SIZE).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
    });
    let from = random.index(SIZE - len);
    bytes[from..from + len].to_vec()
}

/// Mostly small, now and then enough for a pipe.
pub(super) fn length(random: &mut Random) -> usize {
    match random.below(16) {
        0..4 => 0,
        4..8 => random.index(200),
        8..14 => random.index(20_000),
        _ => random.index(400_000),
    }
}
