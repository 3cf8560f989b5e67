//! Fits every detector to the good rows of a table and prints how well each tells the others apart.
//!
//! ```sh
//! cargo run --release -p blemish-detectors --example table -- FILE.npz     # arrays X (n x d) and y (0 good, 1 not)
//! cargo run --release -p blemish-detectors --example table -- FILE.csv     # a header, columns, the label last
//! ```
//!
//! Seven of ten good rows train, all others are scored.
#![allow(clippy::print_stdout, reason = "a program prints; not the library")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use blemish_detectors::{
    Aggregate, Bandwidth, DensityKernel, DetectorSpec, EllipticEnvelope, FitOptions, IsolationForest,
    KNearestNeighbors, KernelDensity, LocalOutlierFactor, Mahalanobis, OneClassSvm, SvmKernel, auroc,
    average_precision,
};
use ndarray::{Array1, Array2, Axis};

/// Rows, n x d, and which are defective.
type Table = (Array2<f64>, Vec<bool>);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file] = &arguments[..] else {
        return Err("one argument is needed: FILE.npz or FILE.csv".into());
    };
    let path = Path::new(file);
    let read = match path.extension().and_then(|e| e.to_str()) {
        Some("npz") => npz,
        Some("csv") => csv,
        _ => return Err(format!("{file}: neither .npz nor .csv").into()),
    };
    let (rows, defective) = read(path).map_err(|error| format!("{file}: {error}"))?;

    let good = |i: &usize| !defective[*i];
    let mut train: Vec<usize> = (0..rows.nrows()).filter(good).collect();
    let held_out = train.len() - train.len() * 7 / 10;
    train.truncate(train.len() - held_out);
    let test: Vec<usize> = (0..rows.nrows())
        .filter(|i| train.binary_search(i).is_err())
        .collect();
    let labels: Vec<bool> = test.iter().map(|i| defective[*i]).collect();
    let (train, test) = (rows.select(Axis(0), &train), rows.select(Axis(0), &test));
    println!(
        "{} rows of {} columns train, {} are scored",
        train.nrows(),
        train.ncols(),
        test.nrows()
    );
    println!(
        "{:<20} {:<48} {:>6} {:>6} {:>9}  time",
        "detector", "setting", "AUROC", "AP", "rejected"
    );
    for spec in detectors() {
        let start = Instant::now();
        let result = spec
            .fit(train.view(), &FitOptions::default())
            .and_then(|model| Ok((model.score(test.view())?, model.threshold())));
        let seconds = start.elapsed().as_secs_f64();
        let (name, setting) = (spec.model_name(), spec.hyperparameter_json());
        match result {
            Ok((scores, threshold)) => {
                let good = || scores.iter().zip(&labels).filter(|(_, defective)| !**defective);
                let rejected = good().filter(|(score, _)| **score > threshold).count();
                println!(
                    "{name:<20} {setting:<48} {:>6.3} {:>6.3} {:>8.1}%  {:.1} ms",
                    auroc(&scores, &labels)?,
                    average_precision(&scores, &labels)?,
                    100.0 * rejected as f64 / good().count() as f64,
                    1e3 * seconds
                );
            }
            Err(error) => println!("{name:<20} {setting:<48} {error}"),
        }
    }
    println!("rejected: good rows that score above the threshold, of those that did not train");
    Ok(())
}

fn detectors() -> Vec<DetectorSpec> {
    let density = KernelDensity {
        kernel: DensityKernel::Gaussian,
        bandwidth: Bandwidth::Value(1.0),
    };
    let nearest = KNearestNeighbors {
        n_neighbors: 1,
        aggregate: Aggregate::Largest,
    };
    vec![
        OneClassSvm::new(SvmKernel::Rbf).into(),
        OneClassSvm::new(SvmKernel::Linear).into(),
        IsolationForest::default().into(),
        density.into(),
        LocalOutlierFactor { n_neighbors: 20 }.into(),
        DetectorSpec::EllipticEnvelope {
            envelope: EllipticEnvelope::default(),
            components: Some(32),
        },
        nearest.into(),
        KNearestNeighbors::default().into(),
        Mahalanobis::default().into(),
    ]
}

fn npz(path: &Path) -> Result<Table, Box<dyn Error>> {
    let mut file = ndarray_npy::NpzReader::new(std::fs::File::open(path)?)?;
    let rows = match file.by_name::<ndarray::OwnedRepr<f32>, ndarray::Ix2>("X") {
        Ok(rows) => rows.mapv(f64::from),
        Err(_) => file.by_name("X")?,
    };
    let labels: Array1<i64> = file.by_name("y")?;
    Ok((rows, labels.iter().map(|label| *label != 0).collect()))
}

fn csv(path: &Path) -> Result<Table, Box<dyn Error>> {
    let (mut values, mut labels) = (vec![], vec![]);
    for (i, record) in ::csv::Reader::from_path(path)?.records().enumerate() {
        let mut numbers = record?
            .iter()
            .map(|text| {
                text.trim()
                    .parse()
                    .map_err(|_| format!("row {}: `{text}` is no number", i + 1))
            })
            .collect::<Result<Vec<f64>, String>>()?;
        labels.push(numbers.pop().ok_or("an empty row")? != 0.0);
        values.extend(numbers);
    }
    let columns = values.len() / labels.len().max(1);
    Ok((Array2::from_shape_vec((labels.len(), columns), values)?, labels))
}
