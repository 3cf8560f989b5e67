//! Supports that differ by a few rows from one whose covariance is known.
//!
//! Concentration exchanges few rows a step: of 756 rows in 256 dimensions, twenty at first and then a handful. In
//! coordinates in which a reference support has mean 0 and covariance 1, the covariance of another support is
//! `1 + U D U'`, where the columns of U are the k rows that came, the k that went (both over the root of h) and the new
//! mean, and D is 1 for those that came and -1 for the rest. By the identities of Sylvester and of Woodbury, its
//! determinant is that of `-(D + U'U)` up to a sign, and its inverse is `1 - U (D + U'U)^-1 U'`: 2k + 1 numbers a row
//! instead of p. All of them are inner products with exchanged rows, most of which were exchanged a step before, and are
//! kept.

use std::collections::BTreeMap;

use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::solve_unit_lower_triangular_in_place;
use faer::{Accum, Mat, Par};

use super::scatter::{Estimate, Rows, square};
use crate::DetectorError;

/// Pivots are 1 where nothing changed. Where one is this small, a support is nearly singular as seen from the reference,
/// and is computed afresh.
const SMALLEST_PIVOT: f64 = 0.01;

/// Rows in coordinates in which a support has mean 0 and covariance 1.
#[derive(Debug)]
pub(super) struct Reference {
    support: Vec<usize>,
    log_determinant: f64,
    white: Rows,
    squares: Vec<f64>,
    /// Inner products of all rows with those that were exchanged.
    products: BTreeMap<usize, Vec<f64>>,
}

impl Reference {
    /// Whitens `data` by the regular estimate of `support`; `None` if it is singular.
    pub(super) fn new(data: &Rows, support: &[usize], estimate: &Estimate) -> Option<Reference> {
        let white = estimate.whitened(data)?;
        let squares = (0..white.len()).map(|i| square(white.row(i))).collect();
        Some(Reference {
            support: support.to_vec(),
            log_determinant: estimate.log_determinant,
            white,
            squares,
            products: BTreeMap::new(),
        })
    }

    /// Squared Mahalanobis distances by the reference support's own estimate.
    pub(super) fn squares(&self) -> &[f64] {
        &self.squares
    }

    /// The estimate of another support of as many rows; `None` where that differs too much.
    pub(super) fn change(&mut self, support: &[usize]) -> Option<Change> {
        let h = support.len() as f64;
        let (came, went) = differences(&self.support, support);
        let k = came.len();
        if k != went.len() || 2 * (2 * k + 1) > self.white.columns() {
            return None;
        }
        let exchanged: Vec<usize> = came.into_iter().chain(went).collect();
        self.multiply(&exchanged);
        let columns: Vec<&[f64]> = exchanged
            .iter()
            .filter_map(|i| self.products.get(i).map(Vec::as_slice))
            .collect();
        // Inner products of all rows with U, which is the exchanged rows and the new mean.
        let (n, r) = (self.white.len(), columns.len() + 1);
        let mut products = Mat::<f64>::zeros(n, r);
        let mut mean = vec![0.0; n];
        for (c, column) in columns.iter().enumerate() {
            let sign = if c < k { 1.0 } else { -1.0 };
            let out = products.col_as_slice_mut(c);
            for ((out, mean), product) in out.iter_mut().zip(&mut mean).zip(*column) {
                *out = product / h.sqrt();
                *mean += sign * product;
            }
        }
        mean.iter_mut().for_each(|m| *m /= h);
        products.col_as_slice_mut(r - 1).copy_from_slice(&mean);
        // Their rows that were exchanged, and the new mean of them, are U'U.
        let mut factor = Mat::<f64>::zeros(r, r);
        for c in 0..r {
            let column = products.col_as_slice(c);
            let mut of_mean = 0.0;
            for (row, i) in exchanged.iter().enumerate() {
                factor[(row, c)] = column[*i] / h.sqrt();
                of_mean += if row < k { column[*i] } else { -column[*i] };
            }
            factor[(r - 1, c)] = of_mean / h;
        }
        let with_mean: Vec<f64> = (0..r).map(|c| factor[(r - 1, c)]).collect();
        let pivots = quasidefinite(&mut factor, k)?;
        let relative: f64 = pivots.iter().map(|d| d.abs().ln()).sum();
        Some(Change {
            products,
            with_mean,
            factor,
            pivots,
            log_determinant: self.log_determinant + relative,
        })
    }

    /// Inner products of all rows with those named, as far as they are not there.
    fn multiply(&mut self, names: &[usize]) {
        let missing: Vec<usize> = names
            .iter()
            .copied()
            .filter(|i| !self.products.contains_key(i))
            .collect();
        let rows = self.white.select(&missing);
        let mut products = Mat::<f64>::zeros(self.white.len(), missing.len());
        matmul(
            products.as_mut(),
            Accum::Replace,
            self.white.matrix().transpose(),
            rows.matrix(),
            1.0,
            Par::Seq,
        );
        for (c, i) in missing.into_iter().enumerate() {
            self.products.insert(i, products.col_as_slice(c).to_vec());
        }
    }

    /// Squared Mahalanobis distances by a change's estimate.
    pub(super) fn distances(&self, change: &Change) -> Vec<f64> {
        let last = change.pivots.len() - 1;
        // A row of it for each column of U, so that what follows runs along rows of data.
        let mut products = change.products.clone();
        let mean_square = change.with_mean[last];
        let mut distances: Vec<f64> = self
            .squares
            .iter()
            .zip(products.col_as_slice(last))
            .map(|(square, mean)| square - 2.0 * mean + mean_square)
            .collect();
        for (c, with_mean) in change.with_mean.iter().enumerate() {
            products
                .col_as_slice_mut(c)
                .iter_mut()
                .for_each(|v| *v -= with_mean);
        }
        solve_unit_lower_triangular_in_place(
            change.factor.as_ref(),
            products.as_mut().transpose_mut(),
            Par::Seq,
        );
        for (c, pivot) in change.pivots.iter().enumerate() {
            for (distance, y) in distances.iter_mut().zip(products.col_as_slice(c)) {
                *distance -= y * y / pivot;
            }
        }
        distances
    }
}

/// The estimate of a support, as seen from a [`Reference`].
#[derive(Debug)]
pub(super) struct Change {
    /// Inner products of all rows with the columns of U, n x (2k + 1).
    products: Mat<f64>,
    /// U' times the new mean.
    with_mean: Vec<f64>,
    /// L of `L diag(pivots) L' = D + U'U`.
    factor: Mat<f64>,
    pivots: Vec<f64>,
    pub(super) log_determinant: f64,
}

/// What the second of two ascending lists has and the first has not, and the reverse.
fn differences(before: &[usize], after: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let (mut came, mut went) = (vec![], vec![]);
    let (mut i, mut j) = (0, 0);
    while i < before.len() || j < after.len() {
        match (before.get(i), after.get(j)) {
            (Some(b), Some(a)) if a == b => (i, j) = (i + 1, j + 1),
            (Some(b), Some(a)) if b < a => {
                went.push(*b);
                i += 1;
            }
            (Some(b), None) => {
                went.push(*b);
                i += 1;
            }
            (_, Some(a)) => {
                came.push(*a);
                j += 1;
            }
            (None, None) => {}
        }
    }
    (came, went)
}

/// Adds D to U'U and factors the sum in place; gives the pivots.
///
/// The block of what came is positive definite and, the whole covariance being positive definite, what is left after it
/// is negative definite: so no pivoting is needed, and a pivot of the wrong sign, or a small one, tells that the
/// covariance is not regular.
fn quasidefinite(matrix: &mut Mat<f64>, came: usize) -> Option<Vec<f64>> {
    let r = matrix.nrows();
    let mut pivots = Vec::with_capacity(r);
    for c in 0..r {
        let sign = if c < came { 1.0 } else { -1.0 };
        let pivot = matrix[(c, c)] + sign;
        let size = sign * pivot;
        if size.is_nan() || size < SMALLEST_PIVOT {
            return None;
        }
        pivots.push(pivot);
        let column: Vec<f64> = matrix.col_as_slice(c)[c + 1..].to_vec();
        for (j, at_j) in column.iter().enumerate() {
            let factor = at_j / pivot;
            let below = &mut matrix.col_as_slice_mut(c + 1 + j)[c + 1 + j..];
            for (value, at_i) in below.iter_mut().zip(&column[j..]) {
                *value -= at_i * factor;
            }
        }
        for value in &mut matrix.col_as_slice_mut(c)[c + 1..] {
            *value /= pivot;
        }
    }
    Some(pivots)
}

/// Location, covariance and distances of a support, by the shortest way.
#[derive(Debug)]
pub(super) enum Measure {
    Full(Estimate),
    Near(Change),
}

impl Measure {
    pub(super) fn of(
        data: &Rows,
        reference: Option<&mut Reference>,
        support: &[usize],
    ) -> Result<Measure, DetectorError> {
        match reference.and_then(|r| r.change(support)) {
            Some(change) => Ok(Measure::Near(change)),
            None => Ok(Measure::Full(Estimate::of(data, support)?)),
        }
    }

    pub(super) fn log_determinant(&self) -> f64 {
        match self {
            Measure::Full(estimate) => estimate.log_determinant,
            Measure::Near(change) => change.log_determinant,
        }
    }

    /// Squared distances of all rows by this measure of `support`, unless it is singular. A measure that was computed
    /// afresh becomes the reference.
    pub(super) fn distances(
        &self,
        data: &Rows,
        reference: &mut Option<Reference>,
        support: &[usize],
    ) -> Option<Vec<f64>> {
        match self {
            Measure::Near(change) => reference.as_ref().map(|r| r.distances(change)),
            Measure::Full(estimate) => {
                *reference = Reference::new(data, support, estimate);
                reference.as_ref().map(|r| r.squares().to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn a_change_is_the_estimate_computed_afresh() {
        let (n, p, h) = (90, 24, 60);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let x = Array2::from_shape_fn((n, p), |(_, j)| {
            (rng.random::<f64>() - 0.3) * (1.0 + j as f64) + 5.0
        });
        let data = Rows::new(x.view());
        let before: Vec<usize> = (0..h).collect();
        let estimate = Estimate::of(&data, &before).unwrap();
        let mut reference = Reference::new(&data, &before, &estimate).unwrap();
        for exchanged in [0, 1, 3, 5] {
            let after: Vec<usize> = (exchanged..h).chain(h + 7..h + 7 + exchanged).collect();
            let change = reference.change(&after).unwrap();
            let fresh = Estimate::of(&data, &after).unwrap();
            assert!((change.log_determinant - fresh.log_determinant).abs() < 1e-10);
            let distances = reference.distances(&change);
            let expected = fresh
                .whitening(&data, &after)
                .unwrap()
                .squared_distances(&data, &fresh.location);
            for (a, b) in distances.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-10 * b, "{exchanged} rows: {a} {b}");
            }
        }
        // Half as many columns of U as there are dimensions is too many.
        let after: Vec<usize> = (6..h + 6).collect();
        assert!(reference.change(&after).is_none());
    }
}
