//! Inner products of f32 rows beside the peak of the machine: `cargo bench -p blemish-detectors`.
//!
//! Multiply-adds count as two operations; of the products of training rows with each other, half are counted. The peak
//! is a loop of multiply-adds in registers, on as many threads.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls of loops that need detected features")
)]

use std::hint::black_box;
use std::time::Instant;

use blemish_detectors::InnerProducts;
use divan::counter::ItemsCount;
use ndarray::{Array2, Axis};

/// Rows of an augmented object of 209 images, its test images, and `layer3` of ResNet-18.
const SHAPE: (usize, usize, usize) = (1254, 83, 50176);

fn rows(n: usize, d: usize, seed: u32) -> Array2<f32> {
    let mut state = seed;
    Array2::from_shape_simple_fn((n, d), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 0.8).max(0.0)
    })
}

fn operations((n, m, d): (usize, usize, usize)) -> usize {
    2 * d * (n * (n + 1) / 2 + m * n)
}

/// Independent sums, enough to hide the latency of a multiply-add, few enough for registers.
const SUMS: usize = 16;
const LANES: usize = 16;
const ROUNDS: usize = 20_000_000;

/// Multiply-adds of `SUMS` vectors of `LANES` numbers, `ROUNDS` times, or `None` where there is no such loop.
fn registers() -> Option<f32> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: avx512f was detected just now.
            return Some(unsafe { avx512() });
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: avx2 and fma were detected just now.
            return Some(unsafe { avx2() });
        }
    }
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512() -> f32 {
    use std::arch::x86_64::*;
    let (x, y) = (_mm512_set1_ps(black_box(1.0)), _mm512_set1_ps(black_box(1e-9)));
    let mut sums = [_mm512_setzero_ps(); SUMS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(x, y, *sum);
        }
    }
    // No closure: it would take the sums' addresses, and they would live in memory.
    let mut total = _mm512_setzero_ps();
    for sum in sums {
        total = _mm512_add_ps(total, sum);
    }
    _mm512_reduce_add_ps(total)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2() -> f32 {
    use std::arch::x86_64::*;
    let (x, y) = (_mm256_set1_ps(black_box(1.0)), _mm256_set1_ps(black_box(1e-9)));
    let mut sums = [_mm256_setzero_ps(); SUMS / 2];
    // Vectors of half the length, half as many: four times the rounds.
    for _ in 0..4 * ROUNDS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(x, y, *sum);
        }
    }
    let mut total = _mm256_setzero_ps();
    for sum in sums {
        total = _mm256_add_ps(total, sum);
    }
    _mm256_cvtss_f32(total)
}

/// Operations a second of all threads together; infinite where there is no loop for this machine.
fn peak(threads: usize) -> f64 {
    if registers().is_none() {
        return f64::INFINITY;
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| black_box(registers()));
        }
    });
    (2 * threads * SUMS * LANES * ROUNDS) as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let threads = rayon::current_num_threads();
    let (n, m, d) = SHAPE;
    let (train, query) = (rows(n, d, 1), rows(m, d, 2));
    let (first, rest) = train.view().split_at(Axis(0), n / 6);
    // In turns, as the machine's clock may vary.
    for _ in 0..3 {
        let peak = peak(threads);
        let start = Instant::now();
        black_box(InnerProducts::from_rows(&[first, rest], query.view()).unwrap());
        let seconds = start.elapsed().as_secs_f64();
        let rate = operations(SHAPE) as f64 / seconds;
        println!(
            "products {n}+{m} x {d}, {threads} threads: {seconds:.3} s, {:.1} GFLOP/s; peak {:.1}; ratio {:.3}",
            rate * 1e-9,
            peak * 1e-9,
            rate / peak
        );
    }
    divan::main();
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn products_f32(bencher: divan::Bencher<'_, '_>) {
    let (n, m, d) = SHAPE;
    let (train, query) = (rows(n, d, 1), rows(m, d, 2));
    bencher
        .counter(ItemsCount::new(operations(SHAPE)))
        .bench_local(|| InnerProducts::from_rows(&[train.view()], query.view()).unwrap());
}

/// The same in f64, of a quarter of the columns.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn products_f64(bencher: divan::Bencher<'_, '_>) {
    let (n, m, d) = (SHAPE.0, SHAPE.1, SHAPE.2 / 4);
    let (train, query) = (rows(n, d, 1).mapv(f64::from), rows(m, d, 2).mapv(f64::from));
    bencher
        .counter(ItemsCount::new(operations((n, m, d))))
        .bench_local(|| InnerProducts::from_rows(&[train.view()], query.view()).unwrap());
}
