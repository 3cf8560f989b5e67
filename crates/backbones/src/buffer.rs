//! Memory for activations: planned before a pass from the network's description, and kept between calls, as the
//! system takes large blocks back as soon as they are free, and handing them out anew costs a page fault for every 4 KiB.

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

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The output of a layer that is no tap.
    Layer,
    /// Activations between the convolutions of a block.
    Between,
    /// An image with its padding, and rows of the first convolution.
    Padded,
    Kept,
    /// Rows that were gathered for a product.
    Patches,
    /// The inputs of a fast convolution, and its products.
    Transformed,
    Products,
    /// Normalised tokens.
    Normal,
    /// Rows that are several times as wide as tokens.
    Wide,
    /// The sums and the products of Strassen's method.
    Sums,
    Seven,
    /// Of attention: packed keys, packed values, scores.
    Keys,
    Values,
    Scores,
}

const ROLES: usize = Role::Scores as usize + 1;

/// How many buffers of each role are needed at the same time, and how long the longest is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Demand([Buffers; ROLES]);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Buffers {
    count: usize,
    len: usize,
}

impl Demand {
    /// One buffer of `len` numbers.
    pub(crate) fn of(role: Role, len: usize) -> Self {
        let mut demand = Demand::default();
        demand.0[role as usize] = Buffers {
            count: usize::from(len > 0),
            len,
        };
        demand
    }

    fn with(mut self, other: Demand, counts: fn(usize, usize) -> usize) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a = Buffers {
                count: counts(a.count, b.count),
                len: a.len.max(b.len),
            };
        }
        self
    }

    /// Both at the same time.
    pub(crate) fn and(self, other: Demand) -> Self {
        self.with(other, |a, b| a + b)
    }

    /// What serves either, at different times.
    pub(crate) fn or(self, other: Demand) -> Self {
        self.with(other, usize::max)
    }

    /// This one, so many times at the same time.
    pub(crate) fn times(mut self, count: usize) -> Self {
        for buffers in &mut self.0 {
            buffers.count *= count;
        }
        self
    }
}

/// Buffers that are free at the moment, by role, and what was planned.
#[derive(Debug, Default)]
struct Free {
    buffers: [Vec<Aligned>; ROLES],
    planned: Demand,
}

/// Buffers: as many, and as long, as was [planned](Self::reserve). The memory does not grow with the number of images.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Free>,
}

impl Pool {
    /// Makes the buffers of a pass that are not there from those before it. Passes at the same time share them, and make
    /// more when they need it.
    pub(crate) fn reserve(&self, demand: Demand) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.planned = free.planned.or(demand);
        let Free { buffers, planned } = &mut *free;
        for (buffers, Buffers { count, len }) in buffers.iter_mut().zip(planned.0) {
            buffers.retain(|buffer| buffer.capacity() >= len);
            let missing = count.saturating_sub(buffers.len());
            buffers.extend((0..missing).map(|_| Aligned::zeros(len)));
        }
    }

    /// A buffer of `len` numbers, which are whatever was left in it.
    pub(crate) fn take(&self, role: Role, len: usize) -> Pooled<'_> {
        let found = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let buffers = &mut free.buffers[role as usize];
            let fitting = buffers.iter().position(|buffer| buffer.capacity() >= len);
            fitting.map(|i| buffers.swap_remove(i))
        };
        let values = match found {
            Some(mut values) => {
                values.len = len;
                values
            }
            None => Aligned::zeros(len),
        };
        Pooled {
            pool: self,
            role,
            values,
        }
    }

    /// All memory of the buffers that are free, in bytes.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |buffer: &Aligned| buffer.values.len() * size_of::<f32>();
        free.buffers.iter().flatten().map(bytes).sum()
    }
}

/// A buffer that goes back to its pool.
#[derive(Debug)]
pub(crate) struct Pooled<'a> {
    pool: &'a Pool,
    role: Role,
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
        free.buffers[self.role as usize].push(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_add_up_or_take_turns() {
        let (a, b) = (
            Demand::of(Role::Kept, 10).and(Demand::of(Role::Wide, 30)),
            Demand::of(Role::Kept, 20),
        );
        let buffers = |demand: Demand, role: Role| {
            let Buffers { count, len } = demand.0[role as usize];
            (count, len)
        };
        assert_eq!(buffers(a.and(b), Role::Kept), (2, 20));
        assert_eq!(buffers(a.or(b), Role::Kept), (1, 20));
        assert_eq!(buffers(a.or(b).times(3), Role::Wide), (3, 30));
        assert_eq!(buffers(Demand::of(Role::Layer, 0), Role::Layer), (0, 0));
    }

    #[test]
    fn what_is_planned_is_made_once() {
        let pool = Pool::default();
        pool.reserve(Demand::of(Role::Wide, 1000).times(2));
        let bytes = pool.free_bytes();
        pool.reserve(Demand::of(Role::Wide, 900));
        assert_eq!(pool.free_bytes(), bytes);
        for len in [1000, 10] {
            let (a, b) = (pool.take(Role::Wide, len), pool.take(Role::Wide, 900));
            assert_eq!((a.len(), b.len()), (len, 900));
            assert_eq!(a.as_ptr().align_offset(LINE), 0);
            assert_eq!(pool.free_bytes(), 0);
        }
        assert_eq!(pool.free_bytes(), bytes);
        // More than was planned is made, and kept.
        drop([(); 3].map(|()| pool.take(Role::Wide, 1000)));
        assert!(pool.free_bytes() > bytes);
    }
}
