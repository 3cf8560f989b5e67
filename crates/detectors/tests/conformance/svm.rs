use blemish_detectors::{DetectorError, InnerProducts, OneClassSvm, SvmKernel};
use ndarray::{Array2, Axis, s};
use serde::Deserialize;

use crate::inputs::{Sketch, Table, adbench, bell, hash_indices};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    real: bool,
    rows: (usize, usize),
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    kernel: String,
    degree: u32,
    max_iter: u64,
    nu: f64,
    error: bool,
    steady: bool,
    #[serde(flatten)]
    found: Option<Found>,
}

#[derive(Deserialize)]
struct Found {
    iterations: u64,
    converged: bool,
    support: usize,
    support_hash: String,
    rho: f64,
    decision: Sketch,
    spread: f64,
    rho_spread: f64,
}

/// `awkward` of golden/svm.py.
fn awkward(name: &str) -> (Array2<f64>, Array2<f64>) {
    let pair = |seed, n, d| (bell(seed, n, d), bell(seed + 8, 12, d));
    let moved = |offset: f64, scale: f64| {
        let (x, q) = pair(180, 64, 12);
        ((x + offset) * scale, (q + offset) * scale)
    };
    match name {
        "many rows" => pair(20, 300, 3),
        "many columns" => pair(40, 15, 600),
        "each row three times" => {
            let (x, q) = pair(60, 60, 6);
            let thirds: Vec<usize> = (0..60).map(|i| i / 3).collect();
            (x.select(Axis(0), &thirds), q)
        }
        "constant columns" => {
            let (mut x, q) = pair(80, 50, 9);
            x.slice_mut(s![.., ..;2]).fill(2.0);
            (x, q)
        }
        "equal rows" => (Array2::from_elem((20, 4), 1.5), bell(100, 12, 4)),
        "one row" => pair(120, 1, 5),
        "two rows" => pair(140, 2, 5),
        "one column" => pair(160, 40, 1),
        "offset 1" => moved(1.0, 1.0),
        "offset 2" => moved(2.0, 1.0),
        "offset 7" => moved(7.0, 1.0),
        "offset 32" => moved(32.0, 1.0),
        "tiny" => moved(0.0, 2.0f64.powi(-40)),
        "huge" => moved(0.0, 2.0f64.powi(40)),
        other => panic!("no rows for the golden case {other}"),
    }
}

fn kernel(run: &Run) -> SvmKernel {
    match run.kernel.as_str() {
        "linear" => SvmKernel::Linear,
        "rbf" => SvmKernel::Rbf,
        "sigmoid" => SvmKernel::Sigmoid,
        "poly" => SvmKernel::Poly { degree: run.degree },
        other => panic!("no kernel {other}"),
    }
}

fn compare(table: &mut Table, undetermined: &mut Table, case: &Case, products: &InnerProducts) {
    for run in &case.runs {
        let svm = OneClassSvm {
            nu: run.nu,
            max_iter: Some(run.max_iter),
            ..OneClassSvm::new(kernel(run))
        };
        let label = format!(
            "{}, {:?}, nu {}, at most {}",
            case.name, svm.kernel, svm.nu, run.max_iter
        );
        let result = svm
            .fit(products.view())
            .and_then(|model| Ok((model.score(products.view())?, model)));
        let (scores, model) = match result {
            Ok(result) => result,
            Err(error) => {
                let overflow = matches!(error, DetectorError::Overflow { .. });
                table.check(&label, run.error && overflow, || error.to_string());
                continue;
            }
        };
        let Some(found) = &run.found else {
            table.check(&label, false, || "scikit-learn's is not finite".into());
            continue;
        };
        let decision: Vec<f64> = scores.iter().map(|s| -s).collect();
        let error = Sketch::of(&decision).error(&found.decision);
        let scale = found.decision.largest.max(found.rho.abs()).max(f64::MIN_POSITIVE);
        let rho = (model.rho() - found.rho).abs() / scale;
        // Where a last bit of gamma or of an inner product changes scikit-learn's result, ours may be as far from it
        // as it is from itself.
        let target = if run.steady {
            &mut *table
        } else {
            &mut *undetermined
        };
        target.compare(&label, error, found.spread.max(1e-6));
        target.compare(&format!("{label}, rho"), rho, found.rho_spread.max(1e-6));
        if run.steady {
            let (ours, theirs) = (
                (
                    model.iterations(),
                    model.converged(),
                    model.support().len(),
                    hash_indices(model.support()),
                ),
                (
                    found.iterations,
                    found.converged,
                    found.support,
                    found.support_hash.clone(),
                ),
            );
            table.check(&label, ours == theirs, || format!("{ours:?} for {theirs:?}"));
        }
    }
}

#[test]
fn solutions_on_real_features_are_scikit_learns() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "svm.json");
    let (mut table, mut undetermined) = (Table::default(), Table::default());
    for case in golden.cases.iter().filter(|c| c.real) {
        let Some(split) = adbench(&case.name) else { return };
        assert_eq!(split.train.dim(), case.rows, "{}", case.name);
        let products = InnerProducts::from_rows(&[split.train.view()], split.test.view()).unwrap();
        compare(&mut table, &mut undetermined, case, &products);
    }
    table.finish("SVM on real features", 600);
    undetermined.finish("SVM on real features, not determined", 0);
}

#[test]
fn solutions_on_awkward_rows_are_scikit_learns() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "svm.json");
    let (mut table, mut undetermined) = (Table::default(), Table::default());
    for case in golden.cases.iter().filter(|c| !c.real) {
        let (train, query) = awkward(&case.name);
        assert_eq!(train.dim(), case.rows, "{}", case.name);
        let products = InnerProducts::from_rows(&[train.view()], query.view()).unwrap();
        compare(&mut table, &mut undetermined, case, &products);
    }
    table.finish("SVM on awkward rows", 800);
    undetermined.finish("SVM on awkward rows, not determined", 4);
}
