//! Where the time of a forward pass goes.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::buffer::Pool;
use crate::simd::Available;

/// What time is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Stem,
    Linear,
    Winograd,
    Transforms,
    Gathering,
    Attention,
    Normalisation,
}

impl Part {
    const ALL: [Part; 7] = [
        Part::Stem,
        Part::Linear,
        Part::Winograd,
        Part::Transforms,
        Part::Gathering,
        Part::Attention,
        Part::Normalisation,
    ];

    fn name(self) -> &'static str {
        match self {
            Part::Stem => "stem and pooling",
            Part::Linear => "linear and 1x1 products",
            Part::Winograd => "products of 3x3",
            Part::Transforms => "transforms of 3x3",
            Part::Gathering => "gathering",
            Part::Attention => "attention",
            Part::Normalisation => "layer normalisation",
        }
    }
}

/// Counts of one pass, added to by all threads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    nanoseconds: [AtomicU64; Part::ALL.len()],
    operations: [AtomicU64; Part::ALL.len()],
}

/// What computing needs besides its numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) set: Available,
    pub(crate) pool: &'a Pool,
    /// How many threads may share a step; 1 where images are computed side by side.
    pub(crate) threads: usize,
    pub(crate) counters: Option<&'a Counters>,
}

/// So many parts, or as many more as give each thread the same number of them: a last one would keep the others waiting.
/// There can be `most`.
pub(crate) fn even(parts: usize, threads: usize, most: usize) -> usize {
    if threads > 1 {
        parts.next_multiple_of(threads).min(most)
    } else {
        parts
    }
}

/// How many of `parts` are computed at a time, and by how many threads each: where threads take parts of their own
/// (`apart`), or else all of them one part after the other.
pub(crate) fn at_a_time(threads: usize, parts: usize, apart: bool) -> (usize, usize) {
    if apart {
        (threads.min(parts), 1)
    } else {
        (1, threads)
    }
}

impl Context<'_> {
    /// Does `work`, which is `operations` multiplications and additions of `part`.
    #[inline]
    pub(crate) fn timed<R>(&self, part: Part, operations: usize, work: impl FnOnce() -> R) -> R {
        let Some(counters) = self.counters else {
            return work();
        };
        let start = Instant::now();
        let result = work();
        counters.nanoseconds[part as usize].fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        counters.operations[part as usize].fetch_add(operations as u64, Ordering::Relaxed);
        result
    }
}

/// What one part of a forward pass took, summed over threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProfileEntry {
    /// What was done.
    pub part: &'static str,
    /// Time of all threads together.
    pub time: Duration,
    /// Multiplications and additions that were done, where they are counted, else 0. Fast convolutions
    /// count as what they do, not as what they replace.
    pub operations: u64,
}

/// Where the time of one forward pass went.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The parts.
    pub entries: Vec<ProfileEntry>,
    /// From start to end, times the threads: what is in no entry is waiting and copying.
    pub total: Duration,
}

impl Profile {
    pub(crate) fn new(counters: &Counters, elapsed: Duration, threads: usize) -> Self {
        let entries = Part::ALL.map(|part| ProfileEntry {
            part: part.name(),
            time: Duration::from_nanos(counters.nanoseconds[part as usize].load(Ordering::Relaxed)),
            operations: counters.operations[part as usize].load(Ordering::Relaxed),
        });
        Profile {
            entries: entries.into_iter().filter(|e| !e.time.is_zero()).collect(),
            total: elapsed * threads as u32,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total.as_secs_f64();
        let mut line = |part: &str, seconds: f64, operations: u64| {
            write!(
                f,
                "{part:<24} {:8.2} ms {:5.1} %",
                seconds * 1e3,
                100.0 * seconds / total
            )?;
            if operations > 0 {
                write!(f, " {:6.1} GFLOP/s a thread", operations as f64 / seconds / 1e9)?;
            }
            writeln!(f)
        };
        let mut counted = 0.0;
        for entry in &self.entries {
            let seconds = entry.time.as_secs_f64();
            counted += seconds;
            line(entry.part, seconds, entry.operations)?;
        }
        line("waiting and copying", (total - counted).max(0.0), 0)
    }
}
