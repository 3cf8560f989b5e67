use blemish_detectors::{DetectorError, auroc, average_precision, f1_max, precision_recall_curve, roc_curve};
use proptest::prelude::*;
use serde::Deserialize;

use crate::common::{golden, uniform};

#[derive(Deserialize)]
struct Metrics {
    cases: Vec<Ranking>,
}

/// A case of golden/metrics.py.
#[derive(Deserialize)]
struct Ranking {
    name: String,
    scores: Vec<f64>,
    defective: Vec<bool>,
    auroc: f64,
    average_precision: f64,
    f1_max: f64,
    f1_threshold: f64,
    pr: Precision,
    roc: Rates,
}

#[derive(Deserialize)]
struct Precision {
    precision: Vec<f64>,
    recall: Vec<f64>,
    thresholds: Vec<f64>,
}

/// Without the first point, which no row reaches.
#[derive(Deserialize)]
struct Rates {
    fpr: Vec<f64>,
    tpr: Vec<f64>,
    thresholds: Vec<f64>,
}

/// Whether lengths are the same and no value differs by more than 1e-12, or is NaN.
fn same(found: &[f64], expected: &[f64]) -> bool {
    let near = |(f, e): (&f64, &f64)| f == e || (f - e).abs() <= 1e-12;
    found.len() == expected.len() && found.iter().zip(expected).all(near)
}

#[test]
fn metrics_with_ties_are_those_of_scikit_learn() {
    let golden: Metrics = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "metrics.json");
    let mut failures = vec![];
    for case in &golden.cases {
        let (scores, defective) = (&case.scores, &case.defective);
        let f1 = f1_max(scores, defective).unwrap();
        let pr = precision_recall_curve(scores, defective).unwrap();
        let roc = roc_curve(scores, defective).unwrap();
        for (what, found, expected) in [
            (
                "AUROC",
                &[auroc(scores, defective).unwrap()][..],
                &[case.auroc][..],
            ),
            (
                "average precision",
                &[average_precision(scores, defective).unwrap()],
                &[case.average_precision],
            ),
            ("F1", &[f1.f1], &[case.f1_max]),
            ("threshold of F1", &[f1.threshold], &[case.f1_threshold]),
            ("precision", &pr.precision, &case.pr.precision),
            ("recall", &pr.recall, &case.pr.recall),
            ("thresholds of precision", &pr.thresholds, &case.pr.thresholds),
            (
                "false positive rate",
                &roc.false_positive_rate[1..],
                &case.roc.fpr,
            ),
            ("true positive rate", &roc.true_positive_rate[1..], &case.roc.tpr),
            ("thresholds of rates", &roc.thresholds[1..], &case.roc.thresholds),
        ] {
            if !same(found, expected) {
                failures.push(format!("{}: {what}: {found:?} for {expected:?}", case.name));
            }
        }
    }
    assert!(golden.cases.len() >= 18);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn areas_are_those_of_scikit_learn() {
    for expected in golden().aurocs {
        let scores: Vec<f64> = (0..expected.n)
            .map(|i| (uniform(expected.seed, i, 0) % expected.levels) as f64)
            .collect();
        let defective: Vec<bool> = (0..expected.n)
            .map(|i| uniform(expected.seed, i, 1).is_multiple_of(3))
            .collect();
        let found = auroc(&scores, &defective).unwrap();
        assert!(
            (found - expected.auroc).abs() < 1e-12,
            "{found} {}",
            expected.auroc
        );
    }
}

#[test]
fn lengths_must_agree() {
    assert!(matches!(
        auroc(&[1.0], &[true, false]),
        Err(DetectorError::Shape { .. })
    ));
    assert!(matches!(auroc(&[], &[]), Err(DetectorError::OneClass { .. })));
}

proptest! {
    #[test]
    fn an_area_is_the_share_of_ordered_pairs(
        rows in prop::collection::vec((prop::sample::select(vec![
            f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -1.0, -0.0, 0.0, 1.0, 2.5,
        ]), any::<bool>()), 2..40),
    ) {
        let (scores, defective): (Vec<f64>, Vec<bool>) = rows.into_iter().unzip();
        prop_assume!(defective.contains(&true) && defective.contains(&false));
        let number = |s: f64| if s.is_nan() { 0.0 } else { s.clamp(f64::MIN, f64::MAX) };
        let (mut wins, mut pairs) = (0.0, 0.0);
        for (a, _) in scores.iter().zip(&defective).filter(|(_, d)| **d) {
            for (b, _) in scores.iter().zip(&defective).filter(|(_, d)| !**d) {
                let (a, b) = (number(*a), number(*b));
                pairs += 1.0;
                wins += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
            }
        }
        let found = auroc(&scores, &defective).unwrap();
        prop_assert!((found - wins / pairs).abs() < 1e-12);
        let negated: Vec<f64> = scores.iter().map(|s| -s).collect();
        prop_assert!((auroc(&negated, &defective).unwrap() - (1.0 - found)).abs() < 1e-12);
    }
}
