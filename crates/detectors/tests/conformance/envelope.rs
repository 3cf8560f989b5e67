use blemish_detectors::{EllipticEnvelope, EllipticEnvelopeModel, InnerProducts, Pca};
use ndarray::{Array2, Axis, concatenate, s};
use serde::Deserialize;

use crate::inputs::{Sketch, Table, adbench, mix};

#[derive(Deserialize)]
struct Golden {
    components: Vec<Components>,
    envelopes: Vec<Envelope>,
}

#[derive(Deserialize)]
struct Components {
    name: String,
    rows: (usize, usize),
    rank: usize,
    variance: Sketch,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    k: usize,
    gap: f64,
    projection: Vec<f64>,
    train: Sketch,
    query: Sketch,
}

#[derive(Deserialize)]
struct Envelope {
    name: String,
    rows: (usize, usize),
    k: usize,
    all: Option<Fit>,
    spread: Option<Vec<Draw>>,
}

/// Statistics of a result, and how often it was found.
#[derive(Deserialize)]
struct Draw {
    count: usize,
    values: Vec<f64>,
}

#[derive(Deserialize)]
struct Fit {
    location: Sketch,
    covariance: Sketch,
    scores: Sketch,
    threshold: f64,
}

/// The rows of the objects that `names` lists, one after another.
fn products(names: &str) -> Option<InnerProducts> {
    let splits: Option<Vec<_>> = names.split(' ').map(adbench).collect();
    let splits = splits?;
    let train: Vec<_> = splits.iter().map(|s| s.train.view()).collect();
    let test: Vec<_> = splits.iter().map(|s| s.test.view()).collect();
    let (train, test) = (
        concatenate(Axis(0), &train).unwrap(),
        concatenate(Axis(0), &test).unwrap(),
    );
    Some(InnerProducts::from_rows(&[train.view()], test.view()).unwrap())
}

#[test]
fn components_of_real_features_are_numpys() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "envelope.json");
    let (mut table, mut last) = (Table::default(), Table::default());
    for case in &golden.components {
        let Some(products) = products(&case.name) else {
            return;
        };
        let (n, d) = case.rows;
        assert_eq!((products.train_len(), products.dimensions()), (n, d));
        let pca = Pca::fit(products.view()).unwrap();
        let name = &case.name;
        table.compare(
            &format!("{name}, variances"),
            Sketch::of(&pca.explained_variance()[..n - 1]).error(&case.variance),
            1e-9,
        );
        let varying = pca.explained_variance().iter().filter(|v| **v > 0.0).count();
        table.check(name, varying == case.rank, || {
            format!("rank {varying} for {}", case.rank)
        });
        for part in &case.parts {
            // Rounding errors in products, some epsilon of the largest, turn a component by that in parts of how far
            // its variance is from its neighbours'.
            let turned = 8.0 * f64::EPSILON / part.gap;
            let (table, tolerance) = if turned <= 1e-8 {
                (&mut table, 1e-8)
            } else {
                (&mut last, turned)
            };
            let (k, train) = (part.k, pca.train_scores(part.k));
            let query = pca.query_scores(products.view(), k).unwrap();
            for (what, scores, expected) in [("train", &train, &part.train), ("query", &query, &part.query)] {
                let last = scores.column(k - 1).to_vec();
                let error = Sketch::of(&last).error(expected);
                table.compare(
                    &format!("{name}, {what} scores of component {k}"),
                    error,
                    tolerance,
                );
            }
            // The projection onto the left vectors, which are the training scores, normed.
            let mut left = train;
            for mut column in left.columns_mut() {
                let norm = column.dot(&column).sqrt();
                column /= norm;
            }
            let sign = |k, i| if mix(8, k, i) & 1 == 1 { 1.0 } else { -1.0 };
            let signs = Array2::from_shape_fn((2, n), |(k, i)| sign(k, i));
            let projected = signs.dot(&left);
            let sums = projected.dot(&projected.t());
            for (found, expected) in sums.iter().zip(&part.projection) {
                table.compare(
                    &format!("{name}, span of {k}"),
                    (found - expected).abs(),
                    tolerance,
                );
            }
        }
    }
    table.finish("PCA of real features", 400);
    last.finish("PCA of real features, components of hardly any variance", 6);
}

fn inputs(case: &Envelope) -> Option<(Array2<f64>, Array2<f64>)> {
    let products = products(&case.name)?;
    assert_eq!((products.train_len(), products.dimensions()), case.rows);
    let pca = Pca::fit(products.view()).unwrap();
    Some((
        pca.train_scores(case.k),
        pca.query_scores(products.view(), case.k).unwrap(),
    ))
}

fn flat(model: &EllipticEnvelopeModel) -> Vec<f64> {
    model.covariance().iter().copied().collect()
}

/// Where sixty seeds of scikit-learn agree, so must all of ours.
#[test]
fn envelopes_that_are_determined_are_scikit_learns() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "envelope.json");
    let mut table = Table::default();
    for case in &golden.envelopes {
        let Some(expected) = &case.all else { continue };
        let Some((train, test)) = inputs(case) else { return };
        for seed in 0..5 {
            let model = EllipticEnvelope::default().fit(train.view(), seed).unwrap();
            let label = format!("{}, k = {}, seed {seed}", case.name, case.k);
            let scores = model.score(test.view()).unwrap();
            for (what, error) in [
                ("location", {
                    // In parts of the largest standard deviation: the mean of all rows is 0.
                    let mut location = expected.location.clone();
                    location.largest = location.largest.max(expected.covariance.largest.sqrt());
                    let mut found = Sketch::of(model.location());
                    found.largest = location.largest;
                    found.error(&location)
                }),
                (
                    "covariance",
                    Sketch::of(&flat(&model)).error(&expected.covariance),
                ),
                ("scores", Sketch::of(&scores).error(&expected.scores)),
                ("threshold", (model.threshold() / expected.threshold - 1.0).abs()),
            ] {
                table.compare(&format!("{label}, {what}"), error, 1e-8);
            }
            let singular = case.k >= case.rows.0;
            table.check(&label, model.is_degenerate() == singular, || {
                format!("{:?}", model.warnings())
            });
        }
    }
    table.finish("elliptic envelope where it is determined", 100);
}

/// Mann-Whitney statistic in its standard errors, with the correction for ties.
fn rank_sum(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len() as f64, b.len() as f64);
    let scale = b.iter().fold(f64::MIN_POSITIVE, |s, v| s.max(v.abs()));
    // Results of one support differ by rounding.
    let order = |x: f64, y: f64| {
        if (x - y).abs() <= 1e-7 * scale {
            0.5
        } else {
            f64::from(u8::from(x > y))
        }
    };
    let wins: f64 = a.iter().flat_map(|x| b.iter().map(move |y| order(*x, *y))).sum();
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    // Sum over groups of equal values of t^3 - t, found value by value.
    let ties: f64 = all
        .iter()
        .map(|x| (all.iter().filter(|y| order(*x, **y) == 0.5).count() as f64).powi(2) - 1.0)
        .sum();
    let variance = n * m / 12.0 * ((n + m + 1.0) - ties / ((n + m) * (n + m - 1.0)));
    if variance <= 0.0 {
        return if wins == n * m / 2.0 { 0.0 } else { f64::INFINITY };
    }
    (wins - n * m / 2.0) / variance.sqrt()
}

/// Where chance decides which support is found, twenty of ours are compared with twenty or sixty of scikit-learn's: each of ten
/// statistics has its median within scikit-learn's range and, by rank, the same distribution (within four standard
/// errors, which one in 16,000 exceeds by chance).
#[test]
fn envelopes_that_depend_on_chance_are_within_scikit_learns_spread() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "envelope.json");
    let (mut middles, mut ranks) = (Table::default(), Table::default());
    for case in &golden.envelopes {
        let Some(spread) = &case.spread else { continue };
        let theirs: Vec<Vec<f64>> = spread
            .iter()
            .flat_map(|draw| std::iter::repeat_n(draw.values.clone(), draw.count))
            .collect();
        let Some((train, test)) = inputs(case) else { return };
        let at: Vec<usize> = (0..5).map(|i| i * (test.nrows() - 1) / 4).collect();
        let test = test.select(Axis(0), &at);
        let (k, seeds) = (case.k, 20u64);
        let ours: Vec<Vec<f64>> = (0..seeds)
            .map(|seed| {
                let model = EllipticEnvelope::default().fit(train.view(), seed).unwrap();
                let (location, covariance) = (model.location(), model.covariance());
                let mut row = vec![
                    log_determinant(&covariance.to_owned()),
                    location[0],
                    location[k - 1],
                    covariance[[0, 0]],
                    covariance[[k - 1, k - 1]],
                ];
                row.extend(model.score(test.view()).unwrap());
                row
            })
            .collect();
        const NAMES: [&str; 10] = [
            "log-determinant",
            "first location",
            "last location",
            "first variance",
            "last variance",
            "score 0",
            "score 1",
            "score 2",
            "score 3",
            "score 4",
        ];
        for (i, what) in NAMES.iter().enumerate() {
            let column = |rows: &[Vec<f64>]| -> Vec<f64> { rows.iter().map(|r| r[i]).collect() };
            let (ours, theirs) = (column(&ours), column(&theirs));
            // Not the mean, which a single seed moves at will where a covariance is nearly singular.
            let mut sorted = ours.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let middle = sorted[sorted.len() / 2];
            let low = theirs.iter().copied().fold(f64::INFINITY, f64::min);
            let high = theirs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let rounding = 1e-7 * low.abs().max(high.abs());
            let label = format!("{}, k = {k}, {what}", case.name);
            middles.check(
                &label,
                low - rounding <= middle && middle <= high + rounding,
                || format!("median {middle}, not in {low} to {high}"),
            );
            ranks.compare(&label, rank_sum(&ours, &theirs).abs(), 4.0);
        }
    }
    middles.finish("elliptic envelope, medians within the spread", 150);
    ranks.finish("elliptic envelope, rank sums in standard errors", 150);
}

/// Of a positive definite matrix.
fn log_determinant(matrix: &Array2<f64>) -> f64 {
    let n = matrix.nrows();
    let mut l = matrix.clone();
    let mut sum = 0.0;
    for j in 0..n {
        let pivot = l[[j, j]];
        sum += pivot.ln();
        for i in j + 1..n {
            let factor = l[[i, j]] / pivot;
            let row = l.slice(s![j, j..]).to_owned();
            l.slice_mut(s![i, j..]).scaled_add(-factor, &row);
        }
    }
    sum
}
