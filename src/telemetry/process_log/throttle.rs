//! Limits other crates' lines. The resolver's library logs up to three for each name that fails, so clients decide how
//! many there are: of each crate a few a minute are logged, and the others counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::sys::mutex::lock;

/// Of one crate, in one window.
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

static STATE: Mutex<ThrottleState> = Mutex::new(ThrottleState { crates: BTreeMap::new(), left_out: 0 });

struct ThrottleState {
    /// As many as there are crates that log.
    crates: BTreeMap<&'static str, Window>,
    /// Since the start.
    left_out: u64,
}

struct Window {
    since: Instant,
    logged: u32,
    left_out: u64,
}

pub(super) struct Throttle;

impl<S: Subscriber> Layer<S> for Throttle {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let (target, level) = (event.metadata().target(), *event.metadata().level());
        let crate_name = target.split("::").next().unwrap_or(target);
        // A filter that admits more than INFO asks for all of it.
        crate_name == env!("CARGO_PKG_NAME") || level > Level::INFO || state().admit(crate_name, Instant::now())
    }
}

/// Lines of other crates that were not logged since the start.
pub fn left_out() -> u64 {
    state().left_out
}

/// One line for each crate of which lines were left out in a window that has ended; with `at_once`, in any window.
pub fn report_left_out(at_once: bool) {
    for (of, lines) in state().over(Instant::now(), at_once) {
        tracing::warn!(of, lines, "more lines of a library were left out, to keep the log readable");
    }
}

fn state() -> MutexGuard<'static, ThrottleState> {
    lock(&STATE)
}

impl ThrottleState {
    fn admit(&mut self, of: &'static str, now: Instant) -> bool {
        let window = self.crates.entry(of).or_insert(Window { since: now, logged: 0, left_out: 0 });
        // What was left out before remains to be reported.
        if now.saturating_duration_since(window.since) >= WINDOW {
            (window.since, window.logged) = (now, 0);
        }
        if window.logged < LINES {
            window.logged += 1;
            return true;
        }
        window.left_out = window.left_out.saturating_add(1);
        self.left_out = self.left_out.saturating_add(1);
        false
    }

    /// What is to be reported now.
    fn over(&mut self, now: Instant, at_once: bool) -> Vec<(&'static str, u64)> {
        let is_over = |window: &&mut Window| at_once || now.saturating_duration_since(window.since) >= WINDOW;
        let windows = self.crates.iter_mut();
        let reports = windows.filter_map(|(of, window)| {
            let window = Some(window).filter(is_over)?;
            let left_out = std::mem::take(&mut window.left_out);
            (left_out > 0).then_some((*of, left_out))
        });
        reports.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_some_lines_of_each_crate_a_minute_and_counts_the_others() {
        let mut state = ThrottleState { crates: BTreeMap::new(), left_out: 0 };
        let start = Instant::now();
        let admitted = |state: &mut ThrottleState, of, now| (0..25).filter(|_| state.admit(of, now)).count();
        assert_eq!(admitted(&mut state, "hickory_net", start), 10);
        assert_eq!(admitted(&mut state, "object_store", start), 10);
        assert_eq!(state.over(start + WINDOW / 2, false), []);
        assert_eq!(state.over(start + WINDOW, false), [("hickory_net", 15), ("object_store", 15)]);
        assert_eq!(state.over(start + WINDOW, false), []);
        assert_eq!(admitted(&mut state, "hickory_net", start + WINDOW), 10);
        assert_eq!(state.over(start + WINDOW, true), [("hickory_net", 15)]);
        assert_eq!(state.left_out, 45);
    }
}
