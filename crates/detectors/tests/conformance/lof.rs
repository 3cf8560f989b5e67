use blemish_detectors::{InnerProducts, LocalOutlierFactor, NeighborTable};
use ndarray::{Array2, Axis, concatenate, s};
use serde::Deserialize;

use crate::inputs::{Sketch, Table, adbench, bell, mix};
use crate::offset::factors;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    ties: Vec<Ties>,
}

#[derive(Deserialize)]
struct Ties {
    name: String,
    rows: (usize, usize),
    runs: Vec<Range>,
}

/// Lowest and highest factors that scikit-learn finds: of the test rows, then of the first training rows.
#[derive(Deserialize)]
struct Range {
    k: usize,
    low: Vec<f64>,
    high: Vec<f64>,
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
    k: usize,
    query: Sketch,
    train: Sketch,
}

/// Whole numbers below `levels`.
fn grid(seed: u64, n: usize, d: usize, levels: u64) -> Array2<f64> {
    Array2::from_shape_fn((n, d), |(i, j)| (mix(seed, i, j) % levels) as f64)
}

/// The rows of `main` in golden/lof.py.
fn awkward(name: &str) -> (Array2<f64>, Array2<f64>) {
    let duplicates = |d: usize| {
        let rows: Vec<usize> = (0..90).map(|i| if i % 4 == 0 { i % 12 } else { i }).collect();
        let x = bell(40 + d as u64, 90, d).select(Axis(0), &rows);
        let q = concatenate![Axis(0), x.slice(s![..6, ..]), bell(50 + d as u64, 10, d)];
        (x, q)
    };
    let (x, q) = (bell(60, 50, 6), bell(68, 12, 6));
    match name {
        "duplicates, few columns" => duplicates(4),
        "duplicates, many columns" => duplicates(40),
        "one column varies" => {
            let mut constant = x;
            constant.slice_mut(s![.., 1..]).fill(-3.0);
            (constant, q)
        }
        "equal rows" => (Array2::from_elem((30, 5), 0.5), q.slice(s![.., ..5]).to_owned()),
        "two rows" => (x.slice(s![..2, ..]).to_owned(), q),
        "one column" => (x.slice(s![.., ..1]).to_owned(), q.slice(s![.., ..1]).to_owned()),
        "many columns" => (bell(70, 12, 3000), bell(78, 12, 3000)),
        "far off" => (x * 1e-3 + 1e5, q * 1e-3 + 1e5),
        other => panic!("no rows for the golden case {other}"),
    }
}

fn compare(table: &mut Table, case: &Case, products: &InnerProducts) {
    let neighbors = NeighborTable::new(products.view(), 64).unwrap();
    for run in &case.runs {
        let model = LocalOutlierFactor { n_neighbors: run.k }.fit(&neighbors).unwrap();
        for (what, found, expected) in [
            ("test rows", model.score(&neighbors).unwrap(), &run.query),
            (
                "training rows",
                model.train_scores(&neighbors).unwrap(),
                &run.train,
            ),
        ] {
            let label = format!("{}, k = {}, {what}", case.name, run.k);
            table.compare(&label, Sketch::of(&found).error(expected), 1e-9);
        }
    }
}

#[test]
fn factors_of_real_features_are_scikit_learns() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "lof.json");
    let mut table = Table::default();
    for case in golden.cases.iter().filter(|c| c.real) {
        let Some(split) = adbench(&case.name) else { return };
        assert_eq!(split.train.dim(), case.rows, "{}", case.name);
        let products = InnerProducts::from_rows(&[split.train.view()], split.test.view()).unwrap();
        compare(&mut table, case, &products);
    }
    table.finish("LOF on real features", 15 * 5 * 2);
}

#[test]
fn factors_of_duplicates_are_scikit_learns() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "lof.json");
    let mut table = Table::default();
    for case in golden.cases.iter().filter(|c| !c.real) {
        let (train, query) = awkward(&case.name);
        assert_eq!(train.dim(), case.rows, "{}", case.name);
        let products = InnerProducts::from_rows(&[train.view()], query.view()).unwrap();
        compare(&mut table, case, &products);
    }
    table.finish("LOF on duplicates and awkward rows", 90);
}

/// Whole numbers, nearly all of whose distances are tied. Where scikit-learn's factors depend on the order of training
/// rows, ours must lie where they do; where they do not, they must be the same.
#[test]
fn factors_of_ties_are_among_scikit_learns() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "lof.json");
    let (mut same, mut among, mut outside) = (Table::default(), Table::default(), 0);
    for case in &golden.ties {
        let (train, query) = match case.name.as_str() {
            "few columns" => (grid(1, 64, 3, 4), grid(2, 15, 3, 4)),
            "more rows" => (grid(3, 256, 3, 4), grid(4, 15, 3, 5)),
            "many columns" => (grid(5, 128, 20, 2), grid(6, 15, 20, 2)),
            other => panic!("no rows for the golden case {other}"),
        };
        assert_eq!(train.dim(), case.rows, "{}", case.name);
        let products = InnerProducts::from_rows(&[train.view()], query.view()).unwrap();
        let neighbors = NeighborTable::new(products.view(), 64).unwrap();
        let all = concatenate![Axis(0), train, query];
        let distances = Array2::from_shape_fn((all.nrows(), train.nrows()), |(i, j)| {
            let difference = &all.row(i) - &all.row(j);
            difference.dot(&difference).sqrt()
        });
        for run in &case.runs {
            let model = LocalOutlierFactor { n_neighbors: run.k }.fit(&neighbors).unwrap();
            let mut found = model.score(&neighbors).unwrap();
            found.extend(&model.train_scores(&neighbors).unwrap()[..10]);
            assert_eq!(found.len(), run.low.len());
            // Of equally near rows, the first.
            let n = train.nrows();
            let by_index = factors(&distances, run.k);
            for (i, found) in found.iter().enumerate() {
                let at = if i < query.nrows() {
                    n + i
                } else {
                    i - query.nrows()
                };
                let label = format!("{}, k = {}, row {i} by index", case.name, run.k);
                same.compare(&label, (found / by_index[at] - 1.0).abs(), 1e-9);
            }
            for (i, ((found, low), high)) in found.iter().zip(&run.low).zip(&run.high).enumerate() {
                let label = format!(
                    "{}, k = {}, row {i}: {found} for {low} to {high}",
                    case.name, run.k
                );
                if high - low <= 1e-9 * high {
                    same.compare(&label, (found - low).abs() / low, 1e-9);
                } else {
                    // The range is that of 200 draws: another may lie a little outside.
                    let beyond = (low - found).max(found - high).max(0.0) / (high - low);
                    outside += usize::from(beyond > 1e-9);
                    among.compare(&label, beyond, 0.1);
                }
            }
        }
    }
    println!("LOF on ties: {outside} outside the range of 200 draws");
    same.finish("LOF on ties that do not matter", 20);
    among.finish("LOF on ties that matter (parts of the range beyond it)", 100);
}
