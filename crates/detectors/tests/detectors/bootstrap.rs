use blemish_detectors::{BootstrapOptions, DetectorError, Interval, auroc, bootstrap_interval};
use serde::Deserialize;

use crate::common::{bell, with_threads};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

/// A case of golden/bootstrap.py: ends of intervals with their standard deviation over seeds.
#[derive(Deserialize)]
struct Case {
    name: String,
    statistic: String,
    resamples: usize,
    confidence: f64,
    rows: Vec<f64>,
    strata: Vec<usize>,
    value: f64,
    low: (f64, f64),
    high: (f64, f64),
}

impl Case {
    fn interval(&self, seed: u64) -> Interval {
        let options = BootstrapOptions {
            resamples: self.resamples,
            confidence: self.confidence,
            seed,
        };
        bootstrap_interval(&self.strata, &options, |rows| {
            let values: Vec<f64> = rows.iter().map(|i| self.rows[*i]).collect();
            let defective: Vec<bool> = rows.iter().map(|i| self.strata[*i] == 1).collect();
            match self.statistic.as_str() {
                "mean" => Some(mean(&values)),
                "auroc" => auroc(&values, &defective).ok(),
                other => panic!("{other}"),
            }
        })
        .unwrap()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn intervals_are_those_of_scipy() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "bootstrap.json");
    let mut failures = vec![];
    for case in &golden.cases {
        let found: Vec<Interval> = (0..4).map(|seed| case.interval(seed)).collect();
        // A mean of 4 beside one of 20: four standard errors of their difference.
        let tolerance = |deviation: f64| 4.0 * deviation * (1.0f64 / 4.0 + 1.0 / 20.0).sqrt();
        let low = mean(&found.iter().map(|i| i.low).collect::<Vec<_>>());
        let high = mean(&found.iter().map(|i| i.high).collect::<Vec<_>>());
        let near = |found: f64, (mean, deviation): (f64, f64)| (found - mean).abs() <= tolerance(deviation);
        if (found[0].value - case.value).abs() > 1e-12 || !near(low, case.low) || !near(high, case.high) {
            failures.push(format!(
                "{}: {low} {high} for {:?} {:?}",
                case.name, case.low, case.high
            ));
        }
    }
    assert!(golden.cases.len() >= 5);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn an_interval_depends_on_the_seed_and_not_on_threads() {
    let rows: Vec<f64> = bell(3, 50, 1).into_raw_vec_and_offset().0;
    let strata: Vec<bool> = (0..50).map(|i| i % 3 == 0).collect();
    let interval = |seed, threads| {
        let options = BootstrapOptions {
            seed,
            resamples: 501,
            ..BootstrapOptions::default()
        };
        with_threads(threads, || {
            bootstrap_interval(&strata, &options, |r| {
                Some(mean(&r.iter().map(|i| rows[*i]).collect::<Vec<_>>()))
            })
            .unwrap()
        })
    };
    let one = interval(7, 1);
    for threads in [2, 5] {
        assert_eq!(interval(7, threads), one);
    }
    assert_ne!(interval(8, 1), one);
    assert!(one.low < one.value && one.value < one.high);
}

#[test]
fn each_resample_has_all_of_each_stratum() {
    let strata = ["b", "a", "b", "a", "b", "b"];
    bootstrap_interval(&strata, &BootstrapOptions::default(), |rows| {
        assert_eq!(rows.len(), 6);
        assert_eq!(rows.iter().filter(|i| strata[**i] == "a").count(), 2);
        Some(0.0)
    })
    .unwrap();
}

#[test]
fn what_has_no_value_is_left_out_or_an_error() {
    let options = BootstrapOptions::default();
    // A third of the resamples of three rows has no row 0 (8 of 27).
    let interval = bootstrap_interval(&[(); 3], &options, |rows| rows.contains(&0).then_some(1.0)).unwrap();
    assert_eq!((interval.low, interval.high), (1.0, 1.0));
    let of = |strata: &[()], options: &BootstrapOptions, statistic: fn(&[usize]) -> Option<f64>| {
        bootstrap_interval(strata, options, statistic).unwrap_err()
    };
    let degenerate = |error| matches!(error, DetectorError::Degenerate { .. });
    assert!(degenerate(of(&[(); 3], &options, |_| Some(f64::NAN))));
    assert!(degenerate(of(&[], &options, |rows| rows.first().map(|_| 1.0))));
    // Only the rows in their order have one.
    assert!(degenerate(of(&[(); 9], &options, |rows| rows
        .is_sorted_by(|a, b| a < b)
        .then_some(1.0))));
    for (resamples, confidence) in [(0, 0.95), (10, 0.0), (10, 1.0), (10, f64::NAN)] {
        let wrong = BootstrapOptions {
            resamples,
            confidence,
            seed: 0,
        };
        assert!(matches!(
            of(&[(); 3], &wrong, |_| Some(1.0)),
            DetectorError::Parameter { .. }
        ));
    }
}

#[test]
fn infinite_statistics_keep_their_place() {
    let interval = bootstrap_interval(&[(); 2], &BootstrapOptions::default(), |rows| {
        Some(if rows == [0, 0] { f64::INFINITY } else { 1.0 })
    })
    .unwrap();
    assert_eq!((interval.low, interval.high), (1.0, f64::INFINITY));
}
