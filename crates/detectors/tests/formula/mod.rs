//! Rows by the formula of `golden/forest.py`, bit by bit.

use ndarray::Array2;

/// In [0, 1), by hashing the indices.
pub(crate) fn uniform(seed: u64, i: usize, j: usize) -> f64 {
    let (a, b) = (0xBF58_476D_1CE4_E5B9u64, 0x94D0_49BB_1331_11EBu64);
    let mut z = seed
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add((i as u64).wrapping_mul(a))
        .wrapping_add((j as u64).wrapping_mul(b));
    z = (z ^ (z >> 30)).wrapping_mul(a);
    z = (z ^ (z >> 27)).wrapping_mul(b);
    z ^= z >> 31;
    (z >> 11) as f64 * 2.0f64.powi(-53)
}

/// Sums of twelve uniforms less 6: nearly normal.
pub(crate) fn bell(seed: u64, rows: usize, columns: usize) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        (0..12).fold(0.0, |sum, t| sum + uniform(16 * seed + t, i, j)) - 6.0
    })
}

/// Runs in a rayon pool of that many threads.
pub(crate) fn with_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a thread pool")
        .install(run)
}
