//! How time grows with training rows and columns, as a table: `cargo run --release -p blemish-detectors --example growth`.
//!
//! Rows are random, rectified, and of no more than 2 GB; 80 query rows. The detectors that work on inner products do
//! not see the number of columns.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::time::Instant;

use blemish_detectors::{
    DetectorError, DetectorSpec, EllipticEnvelope, InnerProducts, IsolationForest, NeighborTable, Pca,
    study_grid,
};
use ndarray::Array2;

fn rows(n: usize, d: usize, seed: u32) -> Array2<f32> {
    let mut state = seed;
    Array2::from_shape_simple_fn((n, d), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 0.8).max(0.0)
    })
}

fn seconds<T>(work: impl FnOnce() -> Result<T, DetectorError>) -> Result<(T, f64), DetectorError> {
    let start = Instant::now();
    let value = work()?;
    Ok((value, start.elapsed().as_secs_f64()))
}

fn main() -> Result<(), DetectorError> {
    println!("| n | d | products | forest of 1000 |");
    println!("|---|---|---|---|");
    let sizes = [200, 400, 800, 1600, 2400];
    let mut kept = vec![];
    for n in sizes {
        for d in [12_544, 25_088, 50_176, 100_352, 200_704] {
            if n * d * 4 > 2_000_000_000 {
                continue;
            }
            let (train, query) = (rows(n, d, 1), rows(80, d, 2));
            let (products, time) = seconds(|| InnerProducts::from_rows(&[train.view()], query.view()))?;
            let forest = IsolationForest {
                n_estimators: 1000,
                ..IsolationForest::default()
            };
            let (_, grown) = seconds(|| forest.fit(train.view(), 0)?.score(query.view()))?;
            println!("| {n} | {d} | {time:.3} s | {grown:.3} s |");
            if d == 50_176 {
                kept.push(products);
            }
        }
    }
    println!("\n| n | 10 SVMs | 24 densities | 14 LOFs | eigenvectors | envelopes of 32, 64, 128, 256 |");
    println!("|---|---|---|---|---|---|");
    for products in &kept {
        let view = products.view();
        let run = |wanted: fn(&DetectorSpec) -> bool| {
            let specs: Vec<_> = study_grid().into_iter().filter(wanted).collect();
            seconds(|| {
                let table = specs
                    .iter()
                    .any(|s| matches!(s, DetectorSpec::LocalOutlierFactor(_)))
                    .then(|| NeighborTable::new(view, 64))
                    .transpose()?;
                for spec in specs {
                    match (spec, &table) {
                        (DetectorSpec::OneClassSvm(svm), _) => svm.fit(view)?.score(view)?,
                        (DetectorSpec::KernelDensity(density), _) => density.fit(view)?.score(view)?,
                        (DetectorSpec::LocalOutlierFactor(lof), Some(table)) => {
                            lof.fit(table)?.score(table)?
                        }
                        _ => vec![],
                    };
                }
                Ok(())
            })
        };
        let ((), svm) = run(|s| matches!(s, DetectorSpec::OneClassSvm(_)))?;
        let ((), density) = run(|s| matches!(s, DetectorSpec::KernelDensity(_)))?;
        let ((), lof) = run(|s| matches!(s, DetectorSpec::LocalOutlierFactor(_)))?;
        let (pca, eigen) = seconds(|| Pca::fit(view))?;
        let mut envelopes = vec![];
        for components in [32, 64, 128, 256] {
            let ((), time) = seconds(|| {
                let rows = pca.train_scores(components);
                EllipticEnvelope::default().fit(rows.view(), 0).map(|_| ())
            })?;
            envelopes.push(format!("{time:.3}"));
        }
        println!(
            "| {} | {svm:.3} s | {density:.3} s | {lof:.3} s | {eigen:.3} s | {} s |",
            products.train_len(),
            envelopes.join(", ")
        );
    }
    Ok(())
}
