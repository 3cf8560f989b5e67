//! Inner products of f32 rows beside the peaks of the machine: `cargo bench -p blemish-detectors`.
//!
//! Multiply-adds count as two operations; of the products of training rows with each other, half are counted. A peak
//! is a loop of multiply-adds in registers, on as many threads: in f64, as products are computed, and in f32, for
//! comparison.
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
/// f64 of 512 bits.
const LANES: usize = 8;
const ROUNDS: usize = 20_000_000;

/// Multiply-adds of `SUMS` vectors of `LANES` f64 (of twice as many f32 where `single`), `ROUNDS` times, or `None` where
/// there is no such loop.
fn registers(single: bool) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: avx512f was detected just now.
            return Some(unsafe { if single { avx512_f32() } else { avx512_f64() } });
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: avx2 and fma were detected just now.
            return Some(unsafe { if single { avx2_f32() } else { avx2_f64() } });
        }
    }
    None
}

/// A loop of `$sums` independent sums. No closure: it would take the sums' addresses, and they would live in memory.
#[cfg(target_arch = "x86_64")]
macro_rules! peak_loop {
    ($name:ident, $features:literal, $sums:expr, $rounds:expr, $set:ident, $zero:ident, $fma:ident, $add:ident, $first:ident) => {
        #[target_feature(enable = $features)]
        pub(super) fn $name() -> f64 {
            use std::arch::x86_64::*;
            let (x, y) = ($set(black_box(1.0)), $set(black_box(1e-9)));
            let mut sums = [$zero(); $sums];
            for _ in 0..$rounds {
                for sum in &mut sums {
                    *sum = $fma(x, y, *sum);
                }
            }
            let mut total = $zero();
            for sum in sums {
                total = $add(total, sum);
            }
            f64::from($first(total))
        }
    };
}

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
mod loops {
    use super::{ROUNDS, SUMS, black_box};
    peak_loop!(avx512_f64, "avx512f", SUMS, ROUNDS, _mm512_set1_pd, _mm512_setzero_pd, _mm512_fmadd_pd, _mm512_add_pd, _mm512_cvtsd_f64);
    peak_loop!(avx512_f32, "avx512f", SUMS, ROUNDS, _mm512_set1_ps, _mm512_setzero_ps, _mm512_fmadd_ps, _mm512_add_ps, _mm512_cvtss_f32);
    // Vectors of half the length, half as many: four times the rounds.
    peak_loop!(avx2_f64, "avx2,fma", SUMS / 2, 4 * ROUNDS, _mm256_set1_pd, _mm256_setzero_pd, _mm256_fmadd_pd, _mm256_add_pd, _mm256_cvtsd_f64);
    peak_loop!(avx2_f32, "avx2,fma", SUMS / 2, 4 * ROUNDS, _mm256_set1_ps, _mm256_setzero_ps, _mm256_fmadd_ps, _mm256_add_ps, _mm256_cvtss_f32);
}
#[cfg(target_arch = "x86_64")]
use loops::{avx2_f32, avx2_f64, avx512_f32, avx512_f64};

/// Operations a second of all threads together; infinite where there is no loop for this machine.
fn peak(threads: usize, single: bool) -> f64 {
    if registers(single).is_none() {
        return f64::INFINITY;
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| black_box(registers(single)));
        }
    });
    let lanes = if single { 2 * LANES } else { LANES };
    (2 * threads * SUMS * lanes * ROUNDS) as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let threads = rayon::current_num_threads();
    let (n, m, d) = SHAPE;
    let (train, query) = (rows(n, d, 1), rows(m, d, 2));
    let (first, rest) = train.view().split_at(Axis(0), n / 6);
    // In turns, as the machine's clock may vary.
    for _ in 0..3 {
        let (double, single) = (peak(threads, false), peak(threads, true));
        let start = Instant::now();
        black_box(InnerProducts::from_rows(&[first, rest], query.view()).unwrap());
        let seconds = start.elapsed().as_secs_f64();
        let rate = operations(SHAPE) as f64 / seconds;
        println!(
            "products {n}+{m} x {d}, {threads} threads: {seconds:.3} s, {:.1} GFLOP/s; \
             peak in f64 {:.1}, ratio {:.3}; in f32 {:.1}, ratio {:.3}",
            rate * 1e-9,
            double * 1e-9,
            rate / double,
            single * 1e-9,
            rate / single
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
