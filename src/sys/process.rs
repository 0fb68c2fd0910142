//! What the kernel says of this process and its threads (proc(5)): CPU time, memory, age.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// One thread of this process.
#[derive(Debug, Clone)]
pub struct Thread(PathBuf);

/// What a thread has used since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadTime {
    /// On a CPU.
    pub cpu: Duration,
    /// Ready to run, but without a CPU. None: this kernel does not count it.
    pub starved: Option<Duration>,
}

impl Thread {
    /// The one that asks. Where /proc is not mounted it has no times.
    pub fn current() -> Self {
        let own = std::fs::read_link("/proc/thread-self").unwrap_or_default();
        Self(PathBuf::from("/proc").join(own))
    }

    /// None: it has ended, or cannot be asked.
    pub fn time(&self) -> Option<ThreadTime> {
        let schedule = std::fs::read_to_string(self.0.join("schedstat")).ok();
        if let Some(time) = schedule.as_deref().and_then(schedule_times) {
            return Some(time);
        }
        let stat = Stat::parse(&std::fs::read_to_string(self.0.join("stat")).ok()?)?;
        Some(ThreadTime { cpu: stat.cpu, starved: None })
    }
}

/// Nanoseconds on a CPU, and those in a run queue. A kernel that does not count them has zeros.
fn schedule_times(text: &str) -> Option<ThreadTime> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
    let (cpu, starved) = (fields.next()??, fields.next()??);
    (cpu > Duration::ZERO).then_some(ThreadTime { cpu, starved: Some(starved) })
}

/// What the whole process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu: Duration,
    /// Bytes.
    pub resident_memory: u64,
    pub virtual_memory: u64,
}

/// Of this process, as far as /proc says it.
pub fn usage() -> Usage {
    let Some(stat) = own_stat() else { return Usage::default() };
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(u64::MAX);
    Usage {
        cpu: stat.cpu,
        resident_memory: stat.resident_pages.saturating_mul(page),
        virtual_memory: stat.virtual_memory,
    }
}

/// When this process started, on the clock as it is now.
pub fn started() -> SystemTime {
    let now = SystemTime::now();
    let age = || {
        let up = std::fs::read_to_string("/proc/uptime").ok()?;
        let up: f64 = up.split(' ').next()?.parse().ok()?;
        Duration::try_from_secs_f64(up).ok()?.checked_sub(own_stat()?.started)
    };
    now.checked_sub(age().unwrap_or_default()).unwrap_or(now)
}

fn own_stat() -> Option<Stat> {
    Stat::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// A line of /proc/…/stat.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// In user and in kernel mode.
    cpu: Duration,
    /// After the machine's start.
    started: Duration,
    virtual_memory: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The name is in parentheses, and may have any character in it.
        let (_, fields) = line.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Numbered from 1 in the manual; the third is the first behind the name.
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        let ticks = |number| Some(in_ticks(field(number)?));
        Some(Self {
            cpu: ticks(14)?.saturating_add(ticks(15)?),
            started: ticks(22)?,
            virtual_memory: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn in_ticks(ticks: u64) -> Duration {
    let each = rustix::param::clock_ticks_per_second().max(1);
    let nanos = u128::from(ticks).saturating_mul(1_000_000_000) / u128::from(each);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "4242 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 17 18 1234 8192 7 20 21\n";

    #[test]
    fn a_line_is_read_whatever_the_name_is() {
        let tick = in_ticks(1);
        let expected = Stat { cpu: tick * 200, started: tick * 1234, virtual_memory: 8192, resident_pages: 7 };
        assert_eq!(Stat::parse(LINE), Some(expected));
        for cut in 0..LINE.len() {
            let _ = Stat::parse(&LINE[..cut]);
        }
        assert_eq!(Stat::parse(&LINE.replace("8192", "-1")), None);
    }

    #[test]
    fn times_of_the_scheduler_are_read_where_it_counts() {
        let time = |cpu, starved| {
            Some(ThreadTime { cpu: Duration::from_nanos(cpu), starved: Some(Duration::from_nanos(starved)) })
        };
        assert_eq!(schedule_times("12 3 4\n"), time(12, 3));
        for text in ["0 0 0\n", "", "1", "x 1 2"] {
            assert_eq!(schedule_times(text), None, "{text}");
        }
    }

    #[test]
    fn this_process_is_known() {
        let usage = usage();
        assert!(usage.resident_memory > 100_000 && usage.virtual_memory >= usage.resident_memory, "{usage:?}");
        // A process that has just begun may be as old as one that begins now.
        let started = started();
        let age = SystemTime::now().duration_since(started).unwrap();
        assert!(age < Duration::from_secs(24 * 3600), "{age:?}");
        assert!(Thread::current().time().is_some());
        let ended = std::thread::spawn(Thread::current).join().unwrap();
        // The kernel takes a moment to forget it.
        while ended.time().is_some() {
            std::thread::yield_now();
        }
    }
}
