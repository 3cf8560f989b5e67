//! Principal components from inner products against numpy's from the rows.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod formula;

use blemish_detectors::{DetectorError, EllipticEnvelope, InnerProducts, Pca};
use formula::{bell, with_threads};
use ndarray::{Array2, ArrayView2, Axis, s};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    n: usize,
    d: usize,
    m: usize,
    variance: Vec<f64>,
    train: Vec<f64>,
    query: Vec<f64>,
}

/// As in golden/pca.py.
fn rows(seed: u64, n: usize, d: usize, shift: f64) -> Array2<f64> {
    let mut x = bell(seed, n, d);
    for ((_, j), v) in x.indexed_iter_mut() {
        *v = *v * (1.0 / (1.0 + (j % 17) as f64)) + shift;
    }
    x
}

fn largest(values: ArrayView2<'_, f64>) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// Queries are told from training rows by the same signs; a subspace is the span of the first components.
#[test]
fn components_are_numpys() {
    let cases: Vec<Case> = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "pca.json");
    for case in cases {
        let (x, q) = (rows(31, case.n, case.d, 3.0), rows(32, case.m, case.d, 2.5));
        let products = InnerProducts::from_rows(&[x.view()], q.view()).unwrap();
        let pca = Pca::fit(products.view()).unwrap();
        assert_eq!(pca.max_components(), case.n.min(case.d), "{}", case.name);
        let kept = case.variance.len();
        for (ours, theirs) in pca.explained_variance().iter().zip(&case.variance) {
            assert!(
                (ours - theirs).abs() <= 1e-10 * case.variance[0],
                "{}: {ours} {theirs}",
                case.name
            );
        }
        let train = Array2::from_shape_vec((case.n, kept), case.train).unwrap();
        let query = Array2::from_shape_vec((case.m, kept), case.query).unwrap();
        let (ours, ours_query) = (
            pca.train_scores(kept),
            pca.query_scores(products.view(), kept).unwrap(),
        );
        for c in 0..kept {
            let sign = train.column(c).dot(&ours.column(c)).signum();
            for (what, a, b) in [("train", &ours, &train), ("query", &ours_query, &query)] {
                let difference = &a.column(c) - &(&b.column(c) * sign);
                let off = difference.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                assert!(off < 1e-8, "{}: {what} component {c} off by {off:e}", case.name);
            }
        }
        for k in [1, 3, kept] {
            // Projections onto the span of the first k normed score vectors.
            let project = |scores: &Array2<f64>| {
                let mut u = scores.slice(s![.., ..k]).to_owned();
                u.columns_mut()
                    .into_iter()
                    .for_each(|mut c| c /= c.dot(&c).sqrt());
                u.dot(&u.t())
            };
            let difference = project(&ours) - project(&train);
            assert!(
                largest(difference.view()) < 1e-8,
                "{}: the first {k} span another space",
                case.name
            );
        }
    }
}

#[test]
fn training_rows_as_queries_score_as_in_training_and_distances_are_kept() {
    let x = rows(33, 40, 300, -7.0);
    let products = InnerProducts::from_rows(&[x.view()], x.view()).unwrap();
    let pca = Pca::fit(products.view()).unwrap();
    let (train, query) = (
        pca.train_scores(40),
        pca.query_scores(products.view(), 40).unwrap(),
    );
    assert!(largest((&train - &query).view()) < 1e-9);
    for (i, j) in [(0, 1), (3, 39), (20, 21)] {
        let d = |m: &Array2<f64>| (&m.row(i) - &m.row(j)).mapv(|v| v * v).sum();
        assert!((d(&train) - d(&x)).abs() < 1e-9 * d(&x));
    }
    // Scores of a component have its variance, none has a mean, and the largest of each is positive.
    for (c, variance) in pca.explained_variance().iter().enumerate() {
        let column = train.column(c);
        assert!(column.sum().abs() < 1e-9);
        assert!((column.dot(&column) / 39.0 - variance).abs() < 1e-9);
        let extreme = column
            .iter()
            .fold(0.0f64, |m, v| if v.abs() > m.abs() { *v } else { m });
        assert!(extreme >= 0.0);
    }
}

/// As many components as rows: the last is null, and nothing amplifies its rounding errors.
#[test]
fn null_components_are_exactly_zero() {
    let mut x = rows(34, 30, 200, 1.0);
    // Two equal rows make one more null component.
    let copy = x.row(4).to_owned();
    x.row_mut(9).assign(&copy);
    let q = rows(35, 5, 200, 30.0);
    let products = InnerProducts::from_rows(&[x.view()], q.view()).unwrap();
    let pca = Pca::fit(products.view()).unwrap();
    assert_eq!(pca.max_components(), 30);
    assert!(pca.explained_variance()[27] > 0.0);
    assert_eq!(pca.explained_variance()[28..], [0.0, 0.0]);
    // More than there are means all there are.
    let (train, query) = (
        pca.train_scores(256),
        pca.query_scores(products.view(), 256).unwrap(),
    );
    assert_eq!((train.dim(), query.dim()), ((30, 30), (5, 30)));
    assert!(
        train
            .slice(s![.., 28..])
            .iter()
            .chain(query.slice(s![.., 28..]))
            .all(|v| *v == 0.0)
    );
    assert_eq!(pca.train_scores(0).dim(), (30, 0));

    let model = EllipticEnvelope::default().fit(train.view(), 0).unwrap();
    assert!(model.is_degenerate());
    assert_eq!(model.rank(), 28);
    assert!(model.score(query.view()).unwrap().iter().all(|s| s.is_finite()));

    let same = Array2::from_elem((4, 9), 2.0);
    let products = InnerProducts::from_rows(&[same.view()], same.view()).unwrap();
    let pca = Pca::fit(products.view()).unwrap();
    assert_eq!(pca.explained_variance(), [0.0; 4]);
    assert_eq!(
        pca.query_scores(products.view(), 4).unwrap(),
        Array2::<f64>::zeros((4, 4))
    );
    let one = InnerProducts::from_rows(&[same.slice(s![..1, ..])], same.view()).unwrap();
    assert_eq!(Pca::fit(one.view()).unwrap().max_components(), 1);
}

#[test]
fn a_leading_part_is_its_own_training_set() {
    let (x, q) = (rows(36, 50, 120, 0.0), rows(37, 6, 120, 0.0));
    let (first, second) = x.view().split_at(Axis(0), 20);
    let both = InnerProducts::from_rows(&[first, second], q.view()).unwrap();
    let alone = InnerProducts::from_rows(&[first], q.view()).unwrap();
    let leading = both.leading(20).unwrap();
    let (a, b) = (Pca::fit(leading).unwrap(), Pca::fit(alone.view()).unwrap());
    assert_eq!(a.train_scores(8), b.train_scores(8));
    assert_eq!(
        a.query_scores(leading, 8).unwrap(),
        b.query_scores(alone.view(), 8).unwrap()
    );
    let error = a.query_scores(both.view(), 8).unwrap_err();
    assert!(matches!(
        error,
        DetectorError::Shape {
            found: 50,
            expected: 20,
            ..
        }
    ));
}

#[test]
fn threads_change_nothing() {
    let x = rows(38, 90, 500, 0.0);
    let products = InnerProducts::from_rows(&[x.view()], x.view()).unwrap();
    let run = || Pca::fit(products.view()).unwrap().train_scores(90);
    assert_eq!(with_threads(1, run), with_threads(5, run));
}
