//! Rows that are nearly equal and far from the origin: scores from inner products against scores straight from
//! differences of the rows.

use blemish_detectors::{
    Bandwidth, DensityKernel, Element, InnerProducts, KernelDensity, LocalOutlierFactor, NeighborTable,
    OneClassSvm, SvmKernel,
};
use ndarray::{Array2, Axis, concatenate, s};

use crate::inputs::{Sketch, Table, bell};

struct Case {
    name: String,
    /// Training rows, then test rows.
    x: Array2<f64>,
    n: usize,
    scale: f64,
    /// What may be taken off all entries exactly.
    offset: Option<f64>,
    single: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = vec![];
    let mut add = |name: &str, d: usize, offset: f64, scale: f64, single: bool| {
        let (n, m) = (40, 12);
        // Test rows lie farther and farther out.
        let mut y = concatenate![Axis(0), bell(300, n, d), bell(308, m, d)];
        for (i, mut row) in y.axis_iter_mut(Axis(0)).skip(n).enumerate() {
            row *= 1.0 + 0.2 * i as f64;
        }
        y *= scale;
        let steps = Array2::from_shape_fn((1, d), |(_, j)| offset * (1.0 + (j % 5) as f64));
        let group = Array2::from_shape_fn((n + m, 1), |(i, _)| if i % 2 == 0 { offset } else { -offset });
        for (what, x, known) in [
            ("common offset", &y + offset, Some(offset)),
            ("an offset for each column", &y + &steps, None),
            ("two groups", &y + &group, None),
        ] {
            let x = if single {
                x.mapv(|v| f64::from(v as f32))
            } else {
                x
            };
            let name = format!("{name}, {what} {offset:.0e}, differences {scale:.0e}, {d} columns");
            cases.push(Case {
                name,
                x,
                n,
                scale,
                offset: known,
                single,
            });
        }
    };
    for offset in [1e3, 1e4, 1e5, 1e6] {
        for scale in [1e-3, 1e-4, 1e-5, 1e-6] {
            add("f64", 30, offset, scale, false);
        }
        // The same, as far as f32 holds differences at all: to about 6e-8 of the offset.
        for part in [1e-3, 1e-5, 1e-6] {
            add("f32", 30, offset, offset * part, true);
        }
    }
    add("f64", 5000, 1e6, 1e-3, false);
    add("f32", 5000, 1e3, 1e-2, true);
    // As wide as features of hidden layers.
    add("f32", 20_000, 1e3, 1e-2, true);
    add("f32", 20_000, 1.0, 0.5, true);
    cases
}

fn products<T: Element>(x: &Array2<T>, n: usize) -> InnerProducts {
    InnerProducts::from_rows(&[x.slice(s![..n, ..])], x.slice(s![n.., ..])).unwrap()
}

impl Case {
    fn products(&self) -> InnerProducts {
        if self.single {
            products(&self.x.mapv(|v| v as f32), self.n)
        } else {
            products(&self.x, self.n)
        }
    }

    /// Distances of all rows from the training rows, by differences, which are exact for rows so close.
    fn distances(&self) -> Array2<f64> {
        Array2::from_shape_fn((self.x.nrows(), self.n), |(i, j)| {
            let difference = &self.x.row(i) - &self.x.row(j);
            difference.dot(&difference).sqrt()
        })
    }
}

/// Local outlier factors of all rows, training rows without themselves, by the definition; of equally near rows, the
/// first.
pub(crate) fn factors(distances: &Array2<f64>, k: usize) -> Vec<f64> {
    let n = distances.ncols();
    let near = |i: usize| -> Vec<usize> {
        let mut others: Vec<usize> = (0..n).filter(|j| *j != i).collect();
        others.sort_by(|a, b| distances[[i, *a]].total_cmp(&distances[[i, *b]]));
        others.truncate(k);
        others
    };
    let neighbors: Vec<Vec<usize>> = (0..distances.nrows()).map(near).collect();
    let k_distance: Vec<f64> = (0..n).map(|i| distances[[i, neighbors[i][k - 1]]]).collect();
    let density = |i: usize| {
        let reach: f64 = neighbors[i]
            .iter()
            .map(|&j| distances[[i, j]].max(k_distance[j]))
            .sum();
        1.0 / (reach / k as f64 + 1e-10)
    };
    (0..distances.nrows())
        .map(|i| neighbors[i].iter().map(|&j| density(j)).sum::<f64>() / k as f64 / density(i))
        .collect()
}

fn error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let parts = found.iter().zip(expected).map(|(f, e)| {
        if f == e {
            0.0
        } else {
            (f - e).abs() / e.abs().max(1e-300)
        }
    });
    parts.fold(0.0, |m, e| if m >= e { m } else { e })
}

#[test]
fn factors_of_nearly_equal_rows_far_off_are_those_of_their_differences() {
    let mut table = Table::default();
    for case in cases() {
        let products = case.products();
        let distances = case.distances();
        let neighbors = NeighborTable::new(products.view(), 20).unwrap();
        for k in [1, 5, 20] {
            let model = LocalOutlierFactor { n_neighbors: k }.fit(&neighbors).unwrap();
            let mut found = model.train_scores(&neighbors).unwrap();
            found.extend(model.score(&neighbors).unwrap());
            let expected = factors(&distances, k);
            table.compare(&format!("{}, k = {k}", case.name), error(&found, &expected), 1e-9);
        }
    }
    table.finish("LOF far off", 200);
}

#[test]
fn densities_of_nearly_equal_rows_far_off_are_those_of_their_differences() {
    let mut table = Table::default();
    for case in cases() {
        let products = case.products();
        let distances = case.distances();
        let (n, d) = (case.n as f64, case.x.ncols() as f64);
        // About the distance of two rows of a group.
        let h = case.scale * d.sqrt();
        for (kernel, log_value) in [
            (DensityKernel::Gaussian, (|u| -0.5 * u * u) as fn(f64) -> f64),
            (DensityKernel::Exponential, |u| -u),
            (DensityKernel::Epanechnikov, |u| (1.0 - u * u).max(0.0).ln()),
        ] {
            let density = KernelDensity {
                kernel,
                bandwidth: Bandwidth::Value(h),
            };
            let model = density.fit(products.view()).unwrap();
            let found = model.score(products.view()).unwrap();
            // Without the normalisation, which knows no rows: relative to that of a row at distance 0.
            let alone = InnerProducts::from_rows(
                &[Array2::<f32>::zeros((1, case.x.ncols())).view()],
                Array2::<f32>::zeros((1, case.x.ncols())).view(),
            )
            .unwrap();
            let norm = density.fit(alone.view()).unwrap().score(alone.view()).unwrap()[0];
            for (i, found) in found.iter().enumerate() {
                let sum: f64 = (0..case.n)
                    .map(|j| log_value(distances[[case.n + i, j]] / h).exp())
                    .sum();
                let expected = norm - (sum / n).ln();
                let label = format!("{}, {kernel:?}, row {i}", case.name);
                if expected.is_infinite() {
                    table.check(&label, found == &expected, || found.to_string());
                } else {
                    // In log density, absolute; a sum of d logs of h has rounding errors of its own.
                    let rounding = (1e-16 * norm.abs()).max(1e-9);
                    table.compare(&label, (found - expected).abs() / rounding * 1e-9, 1e-9);
                }
            }
        }
    }
    table.finish("KDE far off", 1000);
}

/// Where one number may be taken off all entries without rounding, the same rows near the origin must give the same.
#[test]
fn svm_scores_of_nearly_equal_rows_far_off_are_those_near_the_origin() {
    let mut table = Table::default();
    for case in cases() {
        let Some(offset) = case.offset else { continue };
        let near = &case.x - offset;
        let (far, near_products) = (case.products(), products(&near, case.n));
        let train = near.slice(s![..case.n, ..]);
        let gamma = 1.0 / (train.ncols() as f64 * train.var(0.0));
        for (nu, max_iter) in [(0.5, None), (0.1, None), (0.5, Some(7))] {
            let svm = OneClassSvm {
                nu,
                max_iter,
                ..OneClassSvm::new(SvmKernel::Rbf)
            };
            let model = svm.fit(far.view()).unwrap();
            let found = model.score(far.view()).unwrap();
            let label = format!("{}, nu {nu}, at most {max_iter:?}", case.name);
            table.compare(
                &format!("{label}, gamma"),
                (model.gamma() / gamma - 1.0).abs(),
                1e-9,
            );
            // The solution as it is, by differences of the rows.
            let distances = case.distances();
            let by_hand: Vec<f64> = (case.n..case.x.nrows())
                .map(|i| {
                    let kernel = |j: usize| (-gamma * distances[[i, j]].powi(2)).exp();
                    let sum: f64 = model
                        .support()
                        .iter()
                        .zip(model.dual_coef())
                        .map(|(j, a)| a * kernel(*j))
                        .sum();
                    model.rho() - sum
                })
                .collect();
            let (found, by_hand) = (Sketch::of(&found), Sketch::of(&by_hand));
            table.compare(&format!("{label}, kernels"), found.error(&by_hand), 1e-9);
            let there = svm.fit(near_products.view()).unwrap();
            let expected = Sketch::of(&there.score(near_products.view()).unwrap());
            table.check(&label, model.support() == there.support(), || {
                "support vectors differ".into()
            });
            table.compare(&label, found.error(&expected), 1e-9);
        }
    }
    table.finish("SVM far off", 200);
}
