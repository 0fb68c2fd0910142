//! The buffer that all reads of one worker share: only one of its tasks runs at a time.

use std::cell::{RefCell, RefMut};

/// It is borrowed for one call and never while something is waited for.
pub struct Scratch(RefCell<Box<[u8]>>);

impl Scratch {
    /// One read moves at most this many bytes. 64 KiB holds what a socket usually has; more only helps bulk, and bulk
    /// goes through a pipe.
    const SIZE: usize = 64 * 1024;

    pub fn new() -> Self {
        Self::with_size(Self::SIZE)
    }

    /// In bytes.
    pub fn with_size(size: usize) -> Self {
        Self(RefCell::new(vec![0; size].into_boxed_slice()))
    }

    pub fn borrow(&self) -> RefMut<'_, [u8]> {
        RefMut::map(self.0.borrow_mut(), |buffer| &mut **buffer)
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}
