//! Mahalanobis distances against scikit-learn (tests/golden/mahalanobis.py).

use std::collections::BTreeMap;

use blemish_detectors::{DetectorError, InnerProducts, Mahalanobis, Shrinkage};
use ndarray::{Array1, Array2, array};
use serde::Deserialize;

use crate::common::{error, queries, rows};

#[derive(Deserialize)]
struct Case {
    kind: String,
    seed: u64,
    n: usize,
    d: usize,
    shrinkage: f64,
    distances: BTreeMap<String, Vec<f64>>,
}

#[test]
fn distances_are_those_of_scikit_learn() {
    let cases: Vec<Case> = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "mahalanobis.json");
    let mut partly = 0;
    for case in &cases {
        let spread = Array1::from_shape_fn(case.d, |j| 1.0 + (j % 5) as f64);
        let x = rows(&case.kind, case.seed, case.n, case.d) * &spread;
        let q = queries(&case.kind, case.seed, case.d) * &spread;
        let products = InnerProducts::from_rows(&[x.view()], q.view()).unwrap();
        for (name, expected) in &case.distances {
            let shrinkage = match name.as_str() {
                "ledoit_wolf" => Shrinkage::LedoitWolf,
                number => Shrinkage::Fixed(number.parse().unwrap()),
            };
            let model = Mahalanobis { shrinkage }.fit(products.view()).unwrap();
            let what = format!("{} {} x {}, {name}", case.kind, case.n, case.d);
            if shrinkage == Shrinkage::LedoitWolf {
                let found = model.shrinkage();
                assert!(
                    (found - case.shrinkage).abs() < 1e-9,
                    "{what}: {found} {}",
                    case.shrinkage
                );
                partly += usize::from(found > 0.0 && found < 1.0);
            }
            let error = error(&model.score(products.view()).unwrap(), expected);
            assert!(error < 1e-9, "{what}: {error}");
        }
    }
    assert!(
        partly > cases.len() / 2,
        "most shrinkages are of the interesting kind"
    );
}

#[test]
fn degenerate_rows_and_parameters_are_errors() {
    let none = Array2::<f64>::zeros((0, 2));
    let fit = |x: Array2<f64>, shrinkage| {
        let products = InnerProducts::from_rows(&[x.view()], none.view()).unwrap();
        Mahalanobis { shrinkage }.fit(products.view()).map(|_| ())
    };
    let varied = || array![[0.0, 1.0], [1.0, 0.0], [3.0, 1.0]];
    for s in [0.0, -1.0, 1.5, f64::NAN] {
        let found = fit(varied(), Shrinkage::Fixed(s));
        assert!(
            matches!(found, Err(DetectorError::Parameter { .. })),
            "{s}: {found:?}"
        );
    }
    let found = fit(array![[0.0, 1.0]], Shrinkage::LedoitWolf);
    assert!(
        matches!(found, Err(DetectorError::TooFewRows { .. })),
        "{found:?}"
    );
    for s in [Shrinkage::LedoitWolf, Shrinkage::Fixed(0.5)] {
        let found = fit(Array2::ones((4, 2)), s);
        assert!(
            matches!(found, Err(DetectorError::Degenerate { .. })),
            "{found:?}"
        );
    }
    // Two rows leave nothing to shrink by, and one direction without variance.
    let found = fit(array![[0.0, 1.0], [1.0, 0.0]], Shrinkage::LedoitWolf);
    assert!(
        matches!(found, Err(DetectorError::Degenerate { .. })),
        "{found:?}"
    );
    assert!(fit(varied(), Shrinkage::Fixed(0.5)).is_ok());
}

#[test]
fn what_lies_outside_the_span_of_the_training_rows_counts() {
    let x = array![[0.0, 5.0, 5.0], [2.0, 5.0, 5.0], [1.0, 5.0, 5.0], [4.0, 5.0, 5.0]];
    let q = array![[1.0, 5.0, 5.0], [1.0, 6.0, 5.0]];
    let products = InnerProducts::from_rows(&[x.view()], q.view()).unwrap();
    let shrinkage = Shrinkage::Fixed(0.2);
    let model = Mahalanobis { shrinkage }.fit(products.view()).unwrap();
    let scores = model.score(products.view()).unwrap();
    // Variance of the first column 2.1875, of the others 0: the mean over three columns is 0.7291..
    let ridge = 0.2 * 2.1875 / 3.0;
    assert!((scores[1] - scores[0] - 1.0 / ridge).abs() < 1e-9, "{scores:?}");
}
