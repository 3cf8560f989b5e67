//! How long the parts take on products as wide as a network's features: `cargo run --release --example timings`.
//!
//! Arguments: training rows, query rows, columns (default 1254 83 50176, the size of an augmented object).
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::time::Instant;

use blemish_detectors::{DetectorError, DetectorSpec, InnerProducts, NeighborTable, study_grid};
use ndarray::Array2;

/// Rectified rows of rank 24 with noise: about what a layer's activations are like.
fn features(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
    let uniform = |seed: u64, i: u64, j: u64| {
        let mut z = (seed << 48) ^ (i << 28) ^ j;
        for _ in 0..2 {
            z = (z ^ (z >> 30))
                .wrapping_add(0x9e37_79b9_7f4a_7c15)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9);
        }
        ((z >> 40) as f32) / (1u64 << 24) as f32 - 0.5
    };
    let rank = 24;
    let left = Array2::from_shape_fn((rows, rank), |(i, r)| uniform(seed, i as u64, r as u64));
    let right = Array2::from_shape_fn((rank, columns), |(r, j)| uniform(99, r as u64, j as u64));
    let mut x = left.dot(&right);
    for ((i, j), v) in x.indexed_iter_mut() {
        *v = (*v + 0.7 * uniform(seed + 1, i as u64, j as u64) + 0.2).max(0.0);
    }
    x
}

fn main() -> Result<(), DetectorError> {
    let mut sizes = std::env::args().skip(1).filter_map(|a| a.parse::<usize>().ok());
    let mut next = |default| sizes.next().unwrap_or(default);
    let (n, m, d) = (next(1254), next(83), next(50176));
    let originals = (n / 6).max(2);
    let train = features(n, d, 1);
    let query = features(m, d, 3);
    let (first, rest) = train.view().split_at(ndarray::Axis(0), originals);

    let mut products = InnerProducts::from_rows(&[first, rest], query.view())?;
    let mut seconds = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        products = InnerProducts::from_rows(&[first, rest], query.view())?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    let operations = d as f64 * n as f64 * (n + 2 * m) as f64;
    println!(
        "products {n}+{m} x {d}: {seconds:.3} s, {:.1} GFLOP/s",
        operations / seconds * 1e-9
    );

    let view = products.view();
    let start = Instant::now();
    let table = NeighborTable::new(view, 64)?;
    println!("neighbours: {:.4} s", start.elapsed().as_secs_f64());
    for spec in study_grid() {
        let start = Instant::now();
        let note = match spec {
            DetectorSpec::OneClassSvm(svm) => {
                let model = svm.fit(view)?;
                let scores = model.score(view)?;
                format!(
                    "{} support vectors, {} iterations, converged: {}, first score {:e}",
                    model.support().len(),
                    model.iterations(),
                    model.converged(),
                    scores.first().copied().unwrap_or(f64::NAN)
                )
            }
            DetectorSpec::KernelDensity(_) | DetectorSpec::LocalOutlierFactor(_) => {
                let scores = match spec {
                    DetectorSpec::KernelDensity(density) => density.fit(view)?.score(view)?,
                    DetectorSpec::LocalOutlierFactor(lof) => lof.fit(&table)?.score(&table)?,
                    _ => vec![],
                };
                format!("first score {:e}", scores.first().copied().unwrap_or(f64::NAN))
            }
            _ => continue,
        };
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{} {}: {seconds:.4} s, {note}",
            spec.model_name(),
            spec.hyperparameter_json()
        );
    }
    Ok(())
}
