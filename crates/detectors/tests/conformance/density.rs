use blemish_detectors::{Bandwidth, DensityKernel, InnerProducts, KernelDensity, ProductsView};
use ndarray::{Array2, Axis, concatenate, s};
use serde::Deserialize;

use crate::inputs::{Sketch, Table, adbench, bell};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    integrals: Vec<Integral>,
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
    bandwidth: Setting,
    h: f64,
    score: Sketch,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Setting {
    Rule(Bandwidth),
    Number(f64),
}

#[derive(Deserialize)]
struct Integral {
    kernel: String,
    dimensions: usize,
    log_integral: f64,
}

fn kernel(name: &str) -> DensityKernel {
    DensityKernel::ALL.into_iter().find(|k| k.name() == name).unwrap()
}

/// The rows of `main` in golden/density.py.
fn awkward(name: &str) -> (Array2<f64>, Array2<f64>) {
    let pair = |seed, n, d, scale: f64| (bell(seed, n, d) * scale, bell(seed + 8, 15, d) * scale);
    let (x, q) = pair(120, 50, 3, 1.0);
    match name {
        "one leaf" => pair(20, 40, 3, 0.5),
        "few columns" => pair(40, 300, 2, 0.5),
        "one row" => pair(60, 1, 4, 0.5),
        "one column" => pair(80, 60, 1, 1.0),
        "one leaf, many columns" => pair(100, 30, 2000, 0.015),
        "duplicates" => {
            let sevenths: Vec<usize> = (0..50).map(|i| i % 7).collect();
            let duplicates = x.select(Axis(0), &sevenths);
            (duplicates, concatenate![Axis(0), x.slice(s![..5, ..]), q])
        }
        "constant column" => {
            let mut constant = x;
            constant.column_mut(1).fill(4.0);
            let q = concatenate![Axis(0), constant.slice(s![..5, ..]), q];
            (constant, q)
        }
        "far off" => {
            let (scale, offset) = (2.0f64.powi(-10), 2.0f64.powi(17));
            (x * scale + offset, q * scale + offset)
        }
        other => panic!("no rows for the golden case {other}"),
    }
}

fn compare(table: &mut Table, case: &Case, products: ProductsView<'_>) {
    for run in &case.runs {
        let bandwidth = match run.bandwidth {
            Setting::Rule(rule) => rule,
            Setting::Number(h) => Bandwidth::Value(h),
        };
        let density = KernelDensity {
            kernel: kernel(&run.kernel),
            bandwidth,
        };
        let model = density.fit(products).unwrap();
        let scores = model.score(products).unwrap();
        let label = format!("{}, {density:?}", case.name);
        table.compare(&label, Sketch::of(&scores).error(&run.score), 1e-9);
        table.compare(
            &format!("{label}, bandwidth"),
            (model.bandwidth() / run.h - 1.0).abs(),
            1e-14,
        );
        table.check(
            &label,
            scores.iter().all(|s| s.is_finite() || *s == f64::INFINITY),
            || format!("{scores:?}"),
        );
    }
}

#[test]
fn densities_of_real_features_are_exact() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "density.json");
    let mut table = Table::default();
    for case in golden.cases.iter().filter(|c| c.real) {
        let Some(split) = adbench(&case.name) else { return };
        assert_eq!(split.train.dim(), case.rows, "{}", case.name);
        let products = InnerProducts::from_rows(&[split.train.view()], split.test.view()).unwrap();
        compare(&mut table, case, products.view());
    }
    table.finish("KDE on real features", 5 * 24 * 3);
}

#[test]
fn densities_of_awkward_rows_are_exact() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "density.json");
    let mut table = Table::default();
    for case in golden.cases.iter().filter(|c| !c.real) {
        let (train, query) = awkward(&case.name);
        assert_eq!(train.dim(), case.rows, "{}", case.name);
        let products = InnerProducts::from_rows(&[train.view()], query.view()).unwrap();
        compare(&mut table, case, products.view());
    }
    table.finish("KDE on awkward rows", 8 * 24 * 3);
}

/// At the place of its only training row, the score of a density of bandwidth 1 is the log of the kernel's integral.
#[test]
fn kernels_are_normalised_in_any_dimension() {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "density.json");
    let mut table = Table::default();
    for expected in &golden.integrals {
        let x = Array2::<f32>::zeros((1, expected.dimensions));
        let products = InnerProducts::from_rows(&[x.view()], x.view()).unwrap();
        let density = KernelDensity {
            kernel: kernel(&expected.kernel),
            bandwidth: Bandwidth::Value(1.0),
        };
        let score = density
            .fit(products.view())
            .unwrap()
            .score(products.view())
            .unwrap()[0];
        // Parts of what rounding may do to numbers of that size and to the terms that cancel in small dimensions.
        let rounding = 2e-15 * expected.log_integral.abs() + 1e-14;
        let error = (score - expected.log_integral).abs() / rounding;
        let label = format!("{} in {} dimensions", expected.kernel, expected.dimensions);
        table.compare(&label, error, 1.0);
    }
    table.finish("KDE normalisation, in parts of rounding", 66);
}
