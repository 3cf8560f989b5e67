//! Inner products of f32 rows beside the peak of the machine: `cargo bench -p blemish-detectors`.
//!
//! Multiply-adds count as two operations; of the products of training rows with each other, half are counted. The peak
//! is a loop of multiply-adds in registers, on as many threads.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

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
const ROUNDS: usize = 10_000_000;

fn registers() -> f32 {
    pulp::Arch::new().dispatch(|| {
        let (x, y) = (black_box(1.0f32), black_box(1e-9f32));
        let mut sums = [[0.0f32; LANES]; SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                for lane in sum {
                    *lane = x.mul_add(y, *lane);
                }
            }
        }
        sums.as_flattened().iter().sum()
    })
}

/// Operations a second of all threads together.
fn peak(threads: usize) -> f64 {
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
