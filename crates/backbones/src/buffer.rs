//! Memory for activations, kept between calls: the system takes large blocks back as soon as they are
//! free, and handing them out anew costs a page fault for every 4 KiB.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// A cache line, in bytes: vectors that begin on one do not straddle two.
const LINE: usize = 64;

/// Numbers that begin on a cache line.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let values = vec![0.0_f32; len + LINE / size_of::<f32>()];
        let offset = values.as_ptr().align_offset(LINE);
        // An allocator may in theory be unable to say; unaligned is slower, not wrong.
        let start = if offset <= LINE / size_of::<f32>() {
            offset
        } else {
            0
        };
        Aligned { values, start, len }
    }

    fn capacity(&self) -> usize {
        self.values.len() - self.start
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.len]
    }
}

/// How much larger than asked for a buffer may be, besides twice, in numbers.
const SLACK: usize = 16 * 1024;

/// Buffers that are free at the moment. Of each size, up to a factor of two, as many are made as are
/// ever used at once: the memory does not grow with the number of images.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Vec<Aligned>>,
}

impl Pool {
    /// A buffer of `len` numbers, which are whatever was left in it.
    pub(crate) fn take(&self, len: usize) -> Pooled<'_> {
        let found = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            (0..free.len())
                .filter(|i| (len..=2 * len + SLACK).contains(&free[*i].capacity()))
                .min_by_key(|i| free[*i].capacity())
                .map(|i| free.swap_remove(i))
        };
        let values = match found {
            Some(mut values) => {
                values.len = len;
                values
            }
            None => Aligned::zeros(len),
        };
        Pooled { pool: self, values }
    }

    /// All memory of the buffers that are free, in bytes.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.iter().map(|b| b.values.len() * size_of::<f32>()).sum()
    }
}

/// A buffer that goes back to its pool.
#[derive(Debug)]
pub(crate) struct Pooled<'a> {
    pool: &'a Pool,
    values: Aligned,
}

impl Deref for Pooled<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Pooled<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Drop for Pooled<'_> {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        // A panic elsewhere leaves nothing half done in a list of buffers.
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_used_again() {
        let pool = Pool::default();
        for _ in 0..5 {
            let large = pool.take(1000);
            let small = pool.take(10);
            assert_eq!((large.len(), small.len()), (1000, 10));
            assert_eq!(large.as_ptr().align_offset(LINE), 0);
        }
        let bytes = pool.free_bytes();
        for len in [1, 999, 1000, 500] {
            let buffer = pool.take(len);
            assert_eq!(buffer.len(), len);
        }
        assert_eq!(pool.free_bytes(), bytes);
    }
}
