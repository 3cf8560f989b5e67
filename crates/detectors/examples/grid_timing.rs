//! How long the study's 71 settings take on both training sets of a feature set, as the lab shares work between them:
//!
//! ```sh
//! cargo run --release -p blemish --example features_npy -- mvtec_ad/bottle weights layer3 features
//! cargo run --release -p blemish-detectors --example grid_timing -- features
//! ```
//!
//! Arguments: a folder with `train.npy`, `test.npy`, `originals.npy` and `defective.npy`, and, optionally, a file to
//! write the times and the scores to as JSON, for `benches/peer_scikit_learn.py` to compare with, or `--errors`, to
//! compare all squared distances with sums over the rows (which takes about a minute). Detectors are timed one after
//! the other first, then everything together, as the lab computes it, where a part on one thread keeps no other core
//! waiting. Files are read before the clock starts; all else, from rows to AUROC, is inside.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use blemish_detectors::{
    Bandwidth, DetectorError, DetectorKind, DetectorSpec, InnerProducts, IsolationForest, NeighborTable, Pca,
    ProductsView, SvmKernel, auroc, study_grid,
};
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

type Failure = Box<dyn std::error::Error>;

/// Header and values of a `.npy` file of C order.
fn read(path: &Path) -> Result<(Vec<usize>, Vec<u8>), Failure> {
    let mut bytes = std::fs::read(path)?;
    let wrong = || format!("{}: not a .npy file of version 1 in C order", path.display());
    if bytes.len() < 10 || !bytes.starts_with(b"\x93NUMPY\x01") {
        return Err(wrong().into());
    }
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(bytes.get(10..end).ok_or_else(wrong)?).into_owned();
    let shape = header
        .split_once("'shape': (")
        .and_then(|(_, rest)| rest.split_once(')'));
    let (shape, _) = shape.ok_or_else(wrong)?;
    if !header.contains("'fortran_order': False") {
        return Err(wrong().into());
    }
    let shape = shape
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| s.parse().map_err(|_| wrong()))
        .collect::<Result<Vec<usize>, String>>()?;
    bytes.drain(..end);
    Ok((shape, bytes))
}

fn matrix(path: &Path) -> Result<Array2<f32>, Failure> {
    let (shape, bytes) = read(path)?;
    let [rows, columns] = shape[..] else {
        return Err(format!("{}: not a matrix", path.display()).into());
    };
    let values = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    Ok(Array2::from_shape_vec((rows, columns), values)?)
}

/// What one detector's settings took on one training set.
type Times = BTreeMap<DetectorKind, f64>;

struct Set<'a> {
    view: ProductsView<'a>,
    train: &'a [ArrayView2<'a, f32>],
    test: ArrayView2<'a, f32>,
    defective: &'a [bool],
}

impl<'a> Set<'a> {
    /// Of the training rows given, which are the first of `products`.
    fn new(
        products: &'a InnerProducts,
        train: &'a [ArrayView2<'a, f32>],
        test: ArrayView2<'a, f32>,
        defective: &'a [bool],
    ) -> Result<Set<'a>, DetectorError> {
        Ok(Set {
            view: products.leading(train.iter().map(ArrayView2::nrows).sum())?,
            train,
            test,
            defective,
        })
    }

    /// Scores by all settings of one detector, and the sum of their AUROCs, so that nothing is left out.
    fn detector(
        &self,
        kind: DetectorKind,
        specs: &[DetectorSpec],
    ) -> Result<(Vec<Vec<f64>>, f64), DetectorError> {
        let view = self.view;
        let scores: Result<Vec<Vec<f64>>, DetectorError> = match kind {
            DetectorKind::IsolationForest => {
                let sizes: Vec<usize> = specs
                    .iter()
                    .filter_map(|s| match s {
                        DetectorSpec::IsolationForest(forest) => Some(forest.n_estimators),
                        _ => None,
                    })
                    .collect();
                let forest = IsolationForest {
                    n_estimators: sizes.iter().copied().max().unwrap_or(1),
                    ..IsolationForest::default()
                };
                forest.fit_groups(self.train, 0)?.score_sizes(self.test, &sizes)
            }
            DetectorKind::EllipticEnvelope => {
                let pca = Pca::fit(view)?;
                let one = |spec: &DetectorSpec| match spec {
                    DetectorSpec::EllipticEnvelope {
                        envelope,
                        components: Some(components),
                    } => envelope
                        .fit(pca.train_scores(*components).view(), 0)?
                        .score(pca.query_scores(view, *components)?.view()),
                    _ => Ok(vec![]),
                };
                specs.par_iter().with_max_len(1).map(one).collect()
            }
            _ => {
                let table = match kind {
                    DetectorKind::LocalOutlierFactor => Some(NeighborTable::new(view, 64)?),
                    _ => None,
                };
                let one = |spec: &DetectorSpec| match (spec, &table) {
                    (DetectorSpec::OneClassSvm(svm), _) => svm.fit(view)?.score(view),
                    (DetectorSpec::KernelDensity(density), _) => density.fit(view)?.score(view),
                    (DetectorSpec::LocalOutlierFactor(lof), Some(table)) => lof.fit(table)?.score(table),
                    _ => Ok(vec![]),
                };
                specs.par_iter().with_max_len(1).map(one).collect()
            }
        };
        let (mut all, mut sum) = (vec![], 0.0);
        for scores in scores? {
            // As the study did.
            let finite: Vec<f64> = scores.iter().map(|s| s.clamp(f64::MIN, f64::MAX)).collect();
            sum += auroc(&finite, self.defective)?;
            all.push(finite);
        }
        Ok((all, sum))
    }
}

/// A setting as the peer's script calls it: the values alone.
fn peer_name(spec: &DetectorSpec) -> String {
    match spec {
        DetectorSpec::OneClassSvm(svm) => match svm.kernel {
            SvmKernel::Poly { degree } => format!("poly {degree}"),
            kernel => kernel.name().to_owned(),
        },
        DetectorSpec::IsolationForest(forest) => forest.n_estimators.to_string(),
        DetectorSpec::KernelDensity(density) => {
            let bandwidth = match density.bandwidth {
                Bandwidth::Value(h) => format!("{h:?}"),
                Bandwidth::Scott => "scott".to_owned(),
                Bandwidth::Silverman => "silverman".to_owned(),
            };
            format!("{} {bandwidth}", density.kernel.name())
        }
        DetectorSpec::LocalOutlierFactor(lof) => lof.n_neighbors.to_string(),
        DetectorSpec::EllipticEnvelope { components, .. } => components.unwrap_or_default().to_string(),
        other => other.hyperparameter_json(),
    }
}

/// `|a - b|^2` entry by entry.
fn sq_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0; 16];
    for (a, b) in a.chunks(16).zip(b.chunks(16)) {
        for (sum, (x, y)) in sums.iter_mut().zip(a.iter().zip(b)) {
            let difference = f64::from(*x) - f64::from(*y);
            *sum += difference * difference;
        }
    }
    sums.iter().sum()
}

/// Compares squared distances with sums over the rows.
fn errors(
    products: &InnerProducts,
    train: &[ArrayView2<'_, f32>],
    test: ArrayView2<'_, f32>,
) -> Result<(), Failure> {
    let view = products.view();
    let rows: Option<Vec<&[f32]>> = train
        .iter()
        .chain([&test])
        .flat_map(|g| g.outer_iter().map(|r| r.to_slice()))
        .collect();
    let rows = rows.ok_or("rows do not lie in one piece")?;
    let (rows, queries) = rows.split_at(view.train_len());
    let error = |found: f64, exact: f64| (exact > 0.0).then(|| (found / exact - 1.0).abs());
    let mut found: Vec<f64> = (0..rows.len())
        .into_par_iter()
        .flat_map_iter(|j| {
            let earlier =
                (0..j).map(move |i| error(view.train_sq_distance(i, j), sq_distance(rows[i], rows[j])));
            let later = (0..queries.len())
                .map(move |q| error(view.query_sq_distance(q, j), sq_distance(queries[q], rows[j])));
            earlier.chain(later).flatten().collect::<Vec<f64>>()
        })
        .collect();
    found.sort_unstable_by(f64::total_cmp);
    let squares: f64 = found.iter().map(|e| e * e).sum();
    let at = |part: f64| found[(part * (found.len() - 1) as f64) as usize];
    println!(
        "errors of {} squared distances, relative: root mean square {:.1e}, median {:.1e}, 99 % {:.1e}, 99.9 % {:.1e}, \
         largest {:.1e}",
        found.len(),
        (squares / found.len() as f64).sqrt(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        return Err("arguments: FOLDER [TIMES.json | --errors]".into());
    }
    let folder = arguments.remove(0);
    let folder = Path::new(&folder);
    let (train, test) = (
        matrix(&folder.join("train.npy"))?,
        matrix(&folder.join("test.npy"))?,
    );
    let (_, defective) = read(&folder.join("defective.npy"))?;
    let defective: Vec<bool> = defective.iter().map(|b| *b != 0).collect();
    let (_, originals) = read(&folder.join("originals.npy"))?;
    let originals = originals.first_chunk().map(|b| u64::from_le_bytes(*b));
    let originals = usize::try_from(originals.ok_or("originals.npy: no number")?)?;
    let (first, rest) = train.view().split_at(Axis(0), originals);
    let groups = [first, rest];
    println!(
        "{} training rows ({originals} originals), {} test rows, {} columns, {} threads",
        train.nrows(),
        test.nrows(),
        train.ncols(),
        rayon::current_num_threads()
    );

    let start = Instant::now();
    let products = InnerProducts::from_rows(&groups, test.view())?;
    let products_time = start.elapsed().as_secs_f64();
    println!("inner products {products_time:.3} s");
    if arguments.as_slice() == ["--errors"] {
        return errors(&products, &groups, test.view());
    }
    let sets = [("originals", &groups[..1]), ("augmented", &groups[..])];
    let of = |kind| {
        study_grid()
            .into_iter()
            .filter(move |s| s.kind() == kind)
            .collect::<Vec<_>>()
    };
    let mut report = vec![];
    let mut scores_of: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, train) in sets {
        let set = Set::new(&products, train, test.view(), &defective)?;
        let mut times = Times::new();
        for kind in DetectorKind::STUDY {
            let specs = of(kind);
            let start = Instant::now();
            let (found, sum) = set.detector(kind, &specs)?;
            let seconds = start.elapsed().as_secs_f64();
            println!("{name} {kind}: {seconds:.4} s, sum of AUROCs {sum:.4}");
            times.insert(kind, seconds);
            for (spec, scores) in specs.iter().zip(found) {
                scores_of.insert(format!("{name} {kind} {}", peer_name(spec)), scores);
            }
        }
        report.push((name, times));
    }
    drop(products);

    let start = Instant::now();
    let products = InnerProducts::from_rows(&groups, test.view())?;
    // Longest first, so that no core waits for the last one alone.
    let mut units = vec![];
    for (_, train) in sets.into_iter().rev() {
        units.extend(DetectorKind::STUDY.into_iter().rev().map(|kind| (train, kind)));
    }
    let experiments = units
        .into_par_iter()
        .with_max_len(1)
        .map(|(train, kind)| {
            let set = Set::new(&products, train, test.view(), &defective)?;
            Ok(set.detector(kind, &of(kind))?.0.len())
        })
        .sum::<Result<usize, DetectorError>>()?;
    let total = start.elapsed().as_secs_f64();
    println!("all {experiments} experiments together: {total:.3} s");
    if let Some(path) = arguments.first() {
        let sets: BTreeMap<&str, BTreeMap<&str, f64>> = report
            .iter()
            .map(|(name, times)| (*name, times.iter().map(|(k, t)| (k.name(), *t)).collect()))
            .collect();
        let json =
            serde_json::json!({"products": products_time, "total": total, "sets": sets, "scores": scores_of});
        std::fs::write(path, serde_json::to_string_pretty(&json)?)?;
    }
    Ok(())
}
