//! Rows by the formula of tests/golden/detectors.py, bit by bit, and its values.

use blemish_detectors::InnerProducts;
use ndarray::{Array2, Axis, concatenate, s};
use serde::Deserialize;

const QUERIES: usize = 10;

#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) cases: Vec<Case>,
    pub(crate) aurocs: Vec<Auroc>,
    pub(crate) cosine: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    kind: String,
    seed: u64,
    pub(crate) n: usize,
    d: usize,
    scale: f64,
    first: f64,
    last_query: f64,
    pub(crate) svm: Vec<Svm>,
    pub(crate) lof: Vec<Lof>,
    pub(crate) density: Vec<Density>,
}

#[derive(Deserialize)]
pub(crate) struct Svm {
    pub(crate) kernel: String,
    pub(crate) degree: u32,
    pub(crate) max_iter: i64,
    pub(crate) nu: f64,
    #[serde(default)]
    pub(crate) error: bool,
    #[serde(default)]
    pub(crate) decision: Vec<f64>,
    /// A hash of the indices.
    #[serde(default)]
    pub(crate) support: String,
    #[serde(default)]
    pub(crate) iterations: u64,
    #[serde(default)]
    pub(crate) offset: f64,
    #[serde(default)]
    pub(crate) determined: bool,
    #[serde(default)]
    pub(crate) spread: f64,
}

#[derive(Deserialize)]
pub(crate) struct Lof {
    pub(crate) k: usize,
    pub(crate) query: Vec<f64>,
    pub(crate) train: Vec<f64>,
}

#[derive(Deserialize)]
pub(crate) struct Density {
    pub(crate) kernel: String,
    pub(crate) bandwidth: serde_json::Value,
    pub(crate) h: f64,
    pub(crate) log_density: Vec<Option<f64>>,
    pub(crate) sklearn: Option<Vec<Option<f64>>>,
}

#[derive(Deserialize)]
pub(crate) struct Auroc {
    pub(crate) seed: u64,
    pub(crate) n: usize,
    pub(crate) levels: u64,
    pub(crate) auroc: f64,
}

pub(crate) fn golden() -> Golden {
    blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "detectors.json")
}

pub(crate) fn uniform(seed: u64, i: usize, j: usize) -> u64 {
    let mut z = (seed << 48) ^ ((i as u64) << 24) ^ j as u64;
    for _ in 0..2 {
        z = (z ^ (z >> 30))
            .wrapping_add(0x9e37_79b9_7f4a_7c15)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (z ^ (z >> 31)) >> 11
}

/// Bell-shaped around 0.
pub(crate) fn bell(seed: u64, n: usize, d: usize) -> Array2<f64> {
    let entry = |(i, j)| {
        let sum: u64 = (0..4).map(|k| uniform(seed + k, i, j)).sum();
        sum as f64 * 2.0f64.powi(-53) - 2.0
    };
    Array2::from_shape_fn((n, d), entry)
}

pub(crate) fn rows(kind: &str, seed: u64, n: usize, d: usize) -> Array2<f64> {
    let mut x = bell(seed, n, d);
    match kind {
        "rectified" => x.mapv_inplace(|v| (v + 0.25).max(0.0)),
        "duplicates" => {
            let source = x.clone();
            for i in (0..n).step_by(3) {
                x.row_mut(i).assign(&source.row(i % 20));
            }
        }
        "constant" => x.slice_mut(s![.., ..;3]).fill(3.0),
        "offset" => x.mapv_inplace(|v| v * 0.5 + 100.0),
        _ => {}
    }
    x
}

/// Rows of which later ones lie farther out; the last one is the first training row.
pub(crate) fn queries(kind: &str, seed: u64, d: usize) -> Array2<f64> {
    let mut x = rows(kind, seed + 8, QUERIES - 1, d);
    for (i, mut row) in x.outer_iter_mut().enumerate() {
        row *= 1.0 + 0.25 * i as f64;
    }
    concatenate![Axis(0), x, rows(kind, seed, 1, d)]
}

impl Case {
    pub(crate) fn train(&self) -> Array2<f64> {
        rows(&self.kind, self.seed, self.n, self.d) * self.scale
    }

    pub(crate) fn query(&self) -> Array2<f64> {
        queries(&self.kind, self.seed, self.d) * self.scale
    }

    pub(crate) fn products(&self) -> InnerProducts {
        let (train, query) = (self.train(), self.query());
        // serde_json reads numbers to within one unit in the last place (without its `float_roundtrip`).
        let same = |a: f64, b: f64| (a - b).abs() <= f64::EPSILON * a.abs();
        assert!(
            same(train[[0, 0]], self.first),
            "{}: the formulas differ",
            self.name
        );
        assert!(
            same(query[[QUERIES - 2, self.d - 1]], self.last_query),
            "{}: the formulas differ",
            self.name
        );
        InnerProducts::from_rows(&[train.view()], query.view()).unwrap()
    }
}

/// Largest difference, relative to the largest expected magnitude (absolute, if all expected are 0).
pub(crate) fn error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = |values: &mut dyn Iterator<Item = f64>| {
        // Not `f64::max`, which would lose a NaN.
        values.fold(
            0.0,
            |m: f64, v| if m.is_nan() || v.abs() <= m { m } else { v.abs() },
        )
    };
    let scale = largest(&mut expected.iter().copied());
    let difference = largest(&mut found.iter().zip(expected).map(|(f, e)| f - e));
    difference / if scale == 0.0 { 1.0 } else { scale }
}

/// Runs with so many threads.
pub(crate) fn with_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(f)
}

/// FNV-1a over 32-bit indices, as in golden/inputs.py.
pub(crate) fn hash_indices(indices: &[usize]) -> String {
    let hash = indices.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, i| {
        (h ^ *i as u64).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
