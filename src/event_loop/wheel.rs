//! Deadlines, one for each task at most: a wheel of milliseconds for the next second, and one of seconds beyond.
//!
//! Moments are ticks of a millisecond since the loop was made. A deadline that moves away stays where it is and is looked at
//! in vain once; one that comes nearer is moved. So most connections are entered once and taken out once.

/// Slots of both wheels.
const FINE: u64 = 1024;
const COARSE: u64 = 256;
const SLOTS: usize = 1024 + 256;
const NONE: u32 = u32::MAX;
const WORD: usize = 64;

/// One task's place: a list through the entries themselves, so that taking one out needs no search.
#[derive(Debug, Clone, Copy)]
struct Entry {
    tick: u64,
    before: u32,
    after: u32,
    /// None of them: it has no deadline.
    slot: u32,
}

const VACANT: Entry = Entry { tick: 0, before: NONE, after: NONE, slot: NONE };

#[derive(Debug)]
pub(super) struct Wheel {
    now: u64,
    entries: Vec<Entry>,
    first: Box<[u32]>,
    /// One bit for each slot that is not empty.
    used: [u64; SLOTS / WORD],
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { now: 0, entries: Vec::new(), first: vec![NONE; SLOTS].into(), used: [0; SLOTS / WORD] }
    }

    /// `task` is due at `tick`, or is looked at earlier.
    pub(super) fn set(&mut self, task: u32, tick: u64) {
        let index = to_usize(task);
        if self.entries.len() <= index {
            self.entries.resize(index.saturating_add(1), VACANT);
        }
        let entry = self.entry(task);
        if entry.slot != NONE {
            if entry.tick <= tick {
                return;
            }
            self.remove(task);
        }
        self.insert(task, tick.max(self.now.saturating_add(1)));
    }

    pub(super) fn remove(&mut self, task: u32) {
        let Entry { before, after, slot, .. } = self.entry(task);
        if slot == NONE {
            return;
        }
        self.put(task, VACANT);
        if after != NONE {
            let entry = self.entry(after);
            self.put(after, Entry { before, ..entry });
        }
        if before != NONE {
            let entry = self.entry(before);
            return self.put(before, Entry { after, ..entry });
        }
        let slot = to_usize(slot);
        if let Some(first) = self.first.get_mut(slot) {
            *first = after;
        }
        if after == NONE {
            self.mark(slot, false);
        }
    }

    /// When the loop has to look next: not later than the first deadline.
    pub(super) fn next(&self) -> Option<u64> {
        let fine = self.first_used(self.now.wrapping_add(1), FINE, 0).map(|ahead| self.now + 1 + ahead);
        let second = self.now / FINE;
        let coarse =
            self.first_used(second.wrapping_add(1), COARSE, to_usize32(FINE)).map(|ahead| (second + 1 + ahead) * FINE);
        fine.into_iter().chain(coarse).min()
    }

    /// Time goes on to `now`; takes out those that were to be looked at by then.
    pub(super) fn advance(&mut self, now: u64, due: &mut Vec<u32>) {
        while let Some(tick) = self.next().filter(|tick| *tick <= now) {
            self.now = tick;
            if tick % FINE == 0 {
                self.empty(coarse_slot(tick / FINE), due);
            }
            self.empty(fine_slot(tick), due);
        }
        self.now = self.now.max(now);
    }

    /// Those of `slot` that are not due yet come into a nearer one.
    fn empty(&mut self, slot: usize, due: &mut Vec<u32>) {
        let mut task = self.first.get_mut(slot).map_or(NONE, |first| std::mem::replace(first, NONE));
        self.mark(slot, false);
        while task != NONE {
            let entry = self.entry(task);
            self.put(task, VACANT);
            if entry.tick <= self.now {
                due.push(task);
            } else {
                self.insert(task, entry.tick);
            }
            task = entry.after;
        }
    }

    fn insert(&mut self, task: u32, tick: u64) {
        let seconds = (tick / FINE).saturating_sub(self.now / FINE);
        let slot = if tick.saturating_sub(self.now) < FINE {
            fine_slot(tick)
        } else {
            coarse_slot(self.now / FINE + seconds.clamp(1, COARSE - 1))
        };
        let after = self.first.get_mut(slot).map_or(NONE, |first| std::mem::replace(first, task));
        if after != NONE {
            let entry = self.entry(after);
            self.put(after, Entry { before: task, ..entry });
        }
        self.put(task, Entry { tick, before: NONE, after, slot: u32::try_from(slot).unwrap_or(NONE) });
        self.mark(slot, true);
    }

    fn entry(&self, task: u32) -> Entry {
        self.entries.get(to_usize(task)).copied().unwrap_or(VACANT)
    }

    fn put(&mut self, task: u32, entry: Entry) {
        if let Some(place) = self.entries.get_mut(to_usize(task)) {
            *place = entry;
        }
    }

    fn mark(&mut self, slot: usize, is_used: bool) {
        if let Some(word) = self.used.get_mut(slot / WORD) {
            let bit = 1 << (slot % WORD);
            *word = if is_used { *word | bit } else { *word & !bit };
        }
    }

    /// How far it is from slot `from` of a wheel with `len` slots to the first one that is used.
    fn first_used(&self, from: u64, len: u64, offset: usize) -> Option<u64> {
        let words = self.used.get(offset / WORD..(offset + to_usize32(len)) / WORD)?;
        let from = to_usize32(from % len);
        // The word in which it begins comes last once more, for what stands before `from` in it.
        for step in 0..=words.len() {
            let index = (from / WORD + step) % words.len();
            let mask = match step {
                0 => u64::MAX << (from % WORD),
                _ if step == words.len() => !(u64::MAX << (from % WORD)),
                _ => u64::MAX,
            };
            let word = words.get(index)? & mask;
            if word != 0 {
                let slot = index * WORD + word.trailing_zeros() as usize;
                let ahead = (slot + to_usize32(len) - from) % to_usize32(len);
                return u64::try_from(ahead).ok();
            }
        }
        None
    }
}

fn fine_slot(tick: u64) -> usize {
    to_usize32(tick % FINE)
}

fn coarse_slot(second: u64) -> usize {
    to_usize32(FINE + second % COARSE)
}

fn to_usize(task: u32) -> usize {
    usize::try_from(task).unwrap_or(usize::MAX)
}

/// Of numbers that are small.
fn to_usize32(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
