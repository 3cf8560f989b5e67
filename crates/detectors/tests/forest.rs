//! The isolation forest against scikit-learn's, and its own promises.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod formula;

use blemish_detectors::{DetectorError, IsolationForest};
use formula::{bell, uniform, with_threads};
use ndarray::{Array2, ArrayView2, array, concatenate, s};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    trees: usize,
    max_samples: usize,
    seeds: u64,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

/// Every third row wider.
fn widened(rows: Array2<f64>) -> Array2<f64> {
    let mut rows = rows;
    for mut row in rows.outer_iter_mut().skip(2).step_by(3) {
        row *= 2.5;
    }
    rows
}

fn sparse(seed: u64, rows: usize) -> Array2<f64> {
    let scale = array![1.0, 0.1, 10.0, 1.0, 100.0, 1.0, 1.0, 0.0];
    (bell(seed, rows, 8) - 0.5).mapv(|x| x.max(0.0)) * &scale
}

fn floored(seed: u64, rows: usize, factor: f64) -> Array2<f64> {
    Array2::from_shape_fn((rows, 2), |(i, j)| (uniform(seed, i, j) * factor).floor())
}

fn rows_of(name: &str) -> (Array2<f32>, Array2<f32>) {
    let (train, query) = match name {
        "bell" => (bell(1, 700, 5), widened(bell(2, 30, 5))),
        "sparse" => (sparse(3, 400), widened(sparse(4, 30))),
        "repeated" => (floored(5, 90, 3.0), floored(6, 30, 4.0)),
        "few" => (bell(7, 20, 3), widened(bell(8, 30, 3))),
        "shallow" => (bell(9, 100, 2), widened(bell(10, 30, 2))),
        other => panic!("no rows for the golden case {other}"),
    };
    (train.mapv(|x| x as f32), query.mapv(|x| x as f32))
}

/// The largest of some hundred deviations is farther off than this many standard errors once in a thousand cases.
const FARTHEST: f64 = 4.5;

/// Different generators cannot give equal scores, but equal expectations: means over 50 seeds must not differ by more
/// than chance lets any row differ, and, all rows together, about as much as their standard errors say. (How many rows
/// may be three standard errors off is the business of `conformance/forest.rs`.)
#[test]
fn mean_scores_are_scikit_learns() {
    let cases: Vec<Case> = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "forest.json");
    let mut failures = vec![];
    for case in cases {
        let (train, query) = rows_of(&case.name);
        let forest = IsolationForest {
            n_estimators: case.trees,
            max_samples: case.max_samples,
        };
        let runs: Vec<Vec<f64>> = (0..case.seeds)
            .map(|seed| {
                forest
                    .fit(train.view(), seed)
                    .unwrap()
                    .score(query.view())
                    .unwrap()
            })
            .collect();
        let seeds = case.seeds as f64;
        let mut squares = 0.0;
        for row in 0..query.nrows() {
            let mean = runs.iter().map(|r| r[row]).sum::<f64>() / seeds;
            let variance = runs.iter().map(|r| (r[row] - mean).powi(2)).sum::<f64>() / (seeds - 1.0);
            let error = ((variance + case.variance[row]) / seeds).sqrt();
            let z = (mean - case.mean[row]) / error;
            squares += z * z;
            if z.abs() > FARTHEST {
                failures.push(format!(
                    "{}: row {row}: {mean} for {}, {z:.2} errors off",
                    case.name, case.mean[row]
                ));
            }
        }
        let typical = (squares / query.nrows() as f64).sqrt();
        if !(0.5..1.6).contains(&typical) {
            failures.push(format!(
                "{}: rows are typically {typical:.2} standard errors off",
                case.name
            ));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn two_rows_score_by_the_closed_form() {
    let forest = IsolationForest {
        n_estimators: 30,
        max_samples: 256,
    };
    let model = forest.fit(array![[0.0f32], [1.0]].view(), 3).unwrap();
    // Both leaves hold one row at depth 1, and c(2) = 1.
    assert_eq!(
        model
            .score(array![[0.0f32], [1.0], [-7.0], [0.3]].view())
            .unwrap(),
        [0.5; 4]
    );
    assert_eq!(model.threshold(), 0.5);
    assert_eq!(model.n_estimators(), 30);
}

#[test]
fn a_far_row_scores_highest() {
    let mut train = bell(20, 300, 4).mapv(|x| x as f32);
    train.row_mut(17).fill(30.0);
    let scores = IsolationForest::default()
        .fit(train.view(), 0)
        .unwrap()
        .score(train.view())
        .unwrap();
    let highest = (0..300).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
    assert_eq!(highest, 17);
    assert!(scores[17] > 0.7 && scores.iter().all(|s| *s > 0.0 && *s <= 1.0));
}

#[test]
fn a_smaller_forest_is_the_first_trees_of_a_larger() {
    let (train, query) = rows_of("bell");
    let grow = |n_estimators| {
        IsolationForest {
            n_estimators,
            max_samples: 64,
        }
        .fit(train.view(), 9)
        .unwrap()
    };
    let sizes = [7, 60, 1, 25, 7];
    let all = grow(60).score_sizes(query.view(), &sizes).unwrap();
    for (size, scores) in sizes.iter().zip(&all) {
        assert_eq!(*scores, grow(*size).score(query.view()).unwrap(), "size {size}");
    }
    assert!(grow(60).score_sizes(query.view(), &[]).unwrap().is_empty());
}

#[test]
fn groups_are_one_matrix_and_layout_is_nothing() {
    let (train, query) = rows_of("bell");
    let whole = IsolationForest::default().fit(train.view(), 5).unwrap();
    let transposed = train.t().as_standard_layout().to_owned();
    let parts = [
        train.slice(s![..100, ..]),
        transposed.t().slice_move(s![100..350, ..]),
        train.slice(s![350.., ..]),
    ];
    assert_eq!(IsolationForest::default().fit_groups(&parts, 5).unwrap(), whole);
    let empty_last = [train.view(), train.slice(s![..0, ..])];
    assert_eq!(
        IsolationForest::default().fit_groups(&empty_last, 5).unwrap(),
        whole
    );
    let other = IsolationForest::default().fit(train.view(), 6).unwrap();
    assert_ne!(
        other.score(query.view()).unwrap(),
        whole.score(query.view()).unwrap()
    );
}

#[test]
fn threads_change_nothing() {
    let (train, query) = rows_of("sparse");
    let run = || {
        IsolationForest::default()
            .fit(train.view(), 5)
            .unwrap()
            .score(query.view())
            .unwrap()
    };
    assert_eq!(with_threads(1, run), with_threads(5, run));
}

#[test]
fn rows_without_difference_are_all_alike() {
    let forest = IsolationForest {
        n_estimators: 10,
        max_samples: 16,
    };
    for train in [
        Array2::from_elem((40, 3), 2.0f32),
        Array2::from_elem((1, 5), -1.0),
        Array2::zeros((2, 1)),
    ] {
        let model = forest.fit(train.view(), 1).unwrap();
        let query = Array2::from_elem((2, train.ncols()), 9.0);
        // A root that is a leaf of all rows: the ratio of c(n) to itself, or scikit-learn's 1 for a single row.
        for score in model.score(query.view()).unwrap() {
            assert!((score - 0.5).abs() < 1e-15);
        }
    }
    // Differences of up to 1e-7 do not count.
    let nearly = array![[0.0f32, 1.0], [1e-7, 1.0]];
    let model = forest.fit(nearly.view(), 1).unwrap();
    assert_eq!(model.score(nearly.view()).unwrap(), [0.5; 2]);
}

/// Only one column in 100,000 varies, and rows come in equal pairs: neither draws nor searches may take forever.
#[test]
fn many_constant_columns_are_quick() {
    let (columns, telling) = (100_000, 77_777);
    let mut train = Array2::from_elem((64, columns), 0.25f32);
    for i in 0..64 {
        train[[i, telling]] = (i / 2) as f32;
    }
    let forest = IsolationForest {
        n_estimators: 8,
        max_samples: 64,
    };
    let model = forest.fit(train.view(), 2).unwrap();
    let mut query = train.slice(s![..1, ..]).to_owned();
    query[[0, telling]] = 1000.0;
    let far = model.score(query.view()).unwrap()[0];
    let middle = model.score(train.slice(s![32..33, ..])).unwrap()[0];
    assert!(far > middle, "{far} > {middle}");
}

#[test]
fn hostile_input_is_refused() {
    let good = bell(1, 20, 3).mapv(|x| x as f32);
    let forest = IsolationForest {
        n_estimators: 4,
        max_samples: 8,
    };
    let model = forest.fit(good.view(), 0).unwrap();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bad = good.clone();
        bad[[13, 2]] = value;
        let at = |error| {
            matches!(
                error,
                DetectorError::NotFinite {
                    row: 13,
                    column: 2,
                    ..
                }
            )
        };
        assert!(at(forest.fit(bad.view(), 0).unwrap_err()));
        assert!(at(model.score(bad.view()).unwrap_err()));
        assert!(at(forest.fit_groups(&[good.view(), bad.view()], 0).unwrap_err()));
    }
    let none: ArrayView2<'_, f32> = good.slice(s![..0, ..]);
    let flat: ArrayView2<'_, f32> = good.slice(s![.., ..0]);
    let narrow = good.slice(s![.., ..2]);
    assert!(matches!(forest.fit(none, 0), Err(DetectorError::Empty { .. })));
    assert!(matches!(forest.fit(flat, 0), Err(DetectorError::Empty { .. })));
    assert!(matches!(
        forest.fit_groups(&[], 0),
        Err(DetectorError::Empty { .. })
    ));
    assert!(matches!(
        forest.fit_groups(&[good.view(), narrow], 0),
        Err(DetectorError::Shape { .. })
    ));
    assert!(matches!(
        model.score(narrow),
        Err(DetectorError::Shape {
            found: 2,
            expected: 3,
            ..
        })
    ));
    assert_eq!(model.score(none).unwrap(), [0.0; 0]);
    for size in [0, 5] {
        assert!(matches!(
            model.score_sizes(good.view(), &[1, size]),
            Err(DetectorError::Parameter { .. })
        ));
    }
    for forest in [
        IsolationForest {
            n_estimators: 0,
            ..forest
        },
        IsolationForest {
            max_samples: 0,
            ..forest
        },
    ] {
        assert!(matches!(
            forest.fit(good.view(), 0),
            Err(DetectorError::Parameter { .. })
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Finite rows of whatever size give scores in (0, 1], and a row's score does not depend on its company.
    #[test]
    fn scores_are_in_range_and_rows_independent(
        n in 1usize..40, d in 1usize..6, max_samples in 1usize..50, seed: u64, exponent in -40i32..39,
    ) {
        let scale = 10.0f64.powi(exponent);
        let train = bell(seed % 1000, n, d).mapv(|x| (x * scale / 6.0) as f32);
        let model = IsolationForest { n_estimators: 5, max_samples }.fit(train.view(), seed).unwrap();
        let query = concatenate![ndarray::Axis(0), train, Array2::from_elem((1, d), f32::MAX)];
        let scores = model.score(query.view()).unwrap();
        prop_assert!(scores.iter().all(|s| *s > 0.0 && *s <= 1.0));
        let last = model.score(query.slice(s![n.., ..])).unwrap();
        prop_assert_eq!(&scores[n..], &last[..]);
    }
}
