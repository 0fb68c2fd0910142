//! Buffers for batches go back and forth: a worker fills one, the writer's thread empties it, and the next batch of any
//! worker is gathered in it. While the thread keeps up nothing is allocated on one thread and freed on another.

use std::sync::Mutex;

use crate::sys::mutex::lock;

/// The empty ones.
#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// A batch of this size is sent at once.
    pub(super) const BATCH: usize = 32 * 1024;
    /// Few lines are longer than this, in bytes.
    const LONG_LINE: usize = 1024;
    /// Enough for two workers, each of which fills one while another is written. More exist only while the thread is
    /// behind, and are freed when it has caught up.
    const MAX_KEPT: usize = 4;

    /// One with room for a whole batch: growing line by line would copy it several times.
    pub(super) fn take(&self) -> Vec<u8> {
        let kept = lock(&self.0).pop();
        kept.unwrap_or_else(|| Vec::with_capacity(Self::BATCH + Self::LONG_LINE))
    }

    /// Keeps a buffer of ours. One that has grown is freed, and so is what lines that come one by one are sent in.
    pub(super) fn keep(&self, mut buffer: Vec<u8>) {
        if !(Self::BATCH..=2 * Self::BATCH).contains(&buffer.capacity()) {
            return;
        }
        buffer.clear();
        let mut kept = lock(&self.0);
        if kept.len() < Self::MAX_KEPT {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_kept_and_none_of_another_size() {
        let buffers = Buffers::default();
        let taken: Vec<_> = (0..64).map(|_| buffers.take()).collect();
        for mut buffer in taken {
            buffer.extend_from_slice(b"line\n");
            buffers.keep(buffer);
        }
        for other in [Vec::new(), b"one line\n".to_vec(), Vec::with_capacity(4 << 20)] {
            buffers.keep(other);
        }
        let kept = lock(&buffers.0);
        assert_eq!(kept.len(), Buffers::MAX_KEPT);
        assert!(kept.iter().all(|buffer| buffer.is_empty() && buffer.capacity() <= 2 * Buffers::BATCH));
    }
}
