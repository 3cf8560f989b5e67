//! The rows and the sketches of golden/inputs.py.

use ndarray::{Array1, Array2, Axis};
use ndarray_npy::NpzReader;
use serde::Deserialize;

/// 53 bits by hashing whole numbers.
pub(crate) fn mix(seed: u64, i: usize, j: usize) -> u64 {
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
    let entry = |(i, j)| (0..4).fold(0.0, |sum, k| sum + mix(seed + k, i, j) as f64 * 2.0f64.powi(-53)) - 2.0;
    Array2::from_shape_fn((n, d), entry)
}

/// Rows for training and for testing.
pub(crate) struct Split {
    pub(crate) train: Array2<f32>,
    pub(crate) test: Array2<f32>,
}

/// The features of an object, split as in golden/inputs.py; `None` where the data are absent.
pub(crate) fn adbench(name: &str) -> Option<Split> {
    let path = blemish_testkit::data(&format!("adbench/MVTec-AD_{name}.npz"))?;
    let mut file = NpzReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let x: Array2<f32> = file.by_name("X").unwrap();
    let y: Array1<i64> = file.by_name("y").unwrap();
    let (mut train, mut test, mut normal) = (vec![], vec![], 0);
    for (i, label) in y.iter().enumerate() {
        let is_train = *label == 0 && normal % 10 < 7;
        normal += usize::from(*label == 0);
        if is_train { &mut train } else { &mut test }.push(i);
    }
    Some(Split {
        train: x.select(Axis(0), &train),

        test: x.select(Axis(0), &test),
    })
}

/// Five of a list of results, its largest magnitude, and sums with pseudo-random signs.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Sketch {
    pub(crate) infinite: usize,
    pub(crate) largest: f64,
    pub(crate) samples: Vec<f64>,
    pub(crate) sums: Vec<f64>,
}

impl Sketch {
    pub(crate) fn of(values: &[f64]) -> Sketch {
        let finite: Vec<f64> = values
            .iter()
            .map(|v| if v.is_infinite() { 0.0 } else { *v })
            .collect();
        let signed = |k: usize| {
            let sign = |i| if mix(7, k, i) & 1 == 1 { 1.0 } else { -1.0 };
            finite.iter().enumerate().map(|(i, v)| sign(i) * v).sum()
        };
        Sketch {
            infinite: values.iter().filter(|v| v.is_infinite()).count(),
            largest: finite
                .iter()
                .fold(0.0, |m: f64, v| if v.abs() > m { v.abs() } else { m }),
            samples: (0..5).map(|k| finite[k * (values.len() - 1) / 4]).collect(),
            sums: (0..3).map(signed).collect(),
        }
    }

    /// The largest difference in parts of the largest value: of samples and of sums alike, since a sum moves as much
    /// as any value does. Infinite where another number of values is infinite; NaN where one is NaN.
    pub(crate) fn error(&self, expected: &Sketch) -> f64 {
        if self.infinite != expected.infinite {
            return f64::INFINITY;
        }
        let pairs = |s: &Sketch| -> Vec<f64> { s.samples.iter().chain(&s.sums).copied().collect() };
        let scale = if expected.largest == 0.0 {
            1.0
        } else {
            expected.largest
        };
        pairs(self)
            .iter()
            .zip(pairs(expected))
            .map(|(a, b)| (a - b).abs() / scale)
            .chain([(self.largest - expected.largest).abs() / scale])
            .fold(0.0, |m, e| if m >= e || m.is_nan() { m } else { e })
    }
}

/// FNV-1a over 32-bit indices, as in golden/inputs.py.
pub(crate) fn hash_indices(indices: &[usize]) -> String {
    let hash = indices.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, i| {
        (h ^ *i as u64).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Collects every case that fails, and the worst error of those that do not.
#[derive(Default)]
pub(crate) struct Table {
    compared: usize,
    worst: f64,
    worst_case: String,
    failures: Vec<String>,
}

impl Table {
    /// A comparison of one case; NaN fails.
    pub(crate) fn compare(&mut self, case: &str, error: f64, tolerance: f64) {
        self.compared += 1;
        if error <= tolerance {
            if error > self.worst {
                (self.worst, self.worst_case) = (error, case.to_owned());
            }
        } else {
            self.failures
                .push(format!("{case}: {error:.2e}, at most {tolerance:.0e} allowed"));
        }
    }

    pub(crate) fn check(&mut self, case: &str, holds: bool, what: impl FnOnce() -> String) {
        self.compared += 1;
        if !holds {
            self.failures.push(format!("{case}: {}", what()));
        }
    }

    /// Fails with all failures, or if fewer than `least` comparisons were made; else tells the worst error.
    pub(crate) fn finish(self, what: &str, least: usize) {
        assert!(
            self.failures.is_empty(),
            "{what}: {} of {} comparisons fail:\n{}",
            self.failures.len(),
            self.compared,
            self.failures.join("\n")
        );
        assert!(
            self.compared >= least,
            "{what}: only {} comparisons",
            self.compared
        );
        println!(
            "{what}: {} comparisons, worst {:.1e} ({})",
            self.compared, self.worst, self.worst_case
        );
    }
}
