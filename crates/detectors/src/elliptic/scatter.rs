//! Location and covariance of a set of rows, and distances measured by them.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatRef, Par};
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use crate::DetectorError;
use crate::order::by_values;
use crate::pca::self_adjoint_eigen;

/// Rows that are scored together.
const SCORED: usize = 32;

/// Rows, kept one after another: as a matrix, p x n, a column for each.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    values: Vec<f64>,
    columns: usize,
}

impl Rows {
    /// The rows in an order that depends on their values alone, and the original place of each.
    pub(super) fn in_order(rows: ArrayView2<'_, f64>) -> (Rows, Vec<usize>) {
        let rows = Rows::new(rows);
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|a, b| by_values(rows.row(*a), rows.row(*b)));
        (rows.select(&order), order)
    }

    pub(super) fn new(rows: ArrayView2<'_, f64>) -> Rows {
        Rows {
            values: rows.iter().copied().collect(),
            columns: rows.ncols(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() / self.columns
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.columns..(i + 1) * self.columns]
    }

    /// All of them, p x n.
    pub(super) fn matrix(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.values, self.columns, self.len())
    }

    /// The rows named, in the order named.
    pub(super) fn select(&self, indices: &[usize]) -> Rows {
        let values = indices.iter().flat_map(|i| self.row(*i)).copied().collect();
        Rows {
            values,
            columns: self.columns,
        }
    }

    /// The rows named, less `location`.
    fn centred(&self, indices: impl ExactSizeIterator<Item = usize>, location: &[f64]) -> Vec<f64> {
        let mut values = Vec::with_capacity(indices.len() * self.columns);
        for i in indices {
            values.extend(self.row(i).iter().zip(location).map(|(x, l)| x - l));
        }
        values
    }
}

/// Location and covariance of some rows.
#[derive(Clone, Debug)]
pub(super) struct Estimate {
    pub(super) location: Vec<f64>,
    /// p x p; the lower triangle. Absent where it must be singular and is not needed.
    covariance: Mat<f64>,
    /// The lower triangular Cholesky factor, unless the covariance is singular.
    factor: Option<Mat<f64>>,
    /// Of the covariance; -infinity if it is singular.
    pub(super) log_determinant: f64,
}

impl Estimate {
    /// The mean of the rows named by `support`, and their covariance divided by their number.
    pub(super) fn of(data: &Rows, support: &[usize]) -> Result<Estimate, DetectorError> {
        let (p, h) = (data.columns(), support.len());
        let location = mean(data, support);
        let covariance = covariance(data, support, &location);
        if !(0..p).all(|i| covariance[(i, i)].is_finite()) {
            return Err(DetectorError::Overflow {
                detector: super::NAME,
                what: "a variance",
                hint: "scale the rows down",
            });
        }
        let factor = if h <= p { None } else { cholesky(&covariance) };
        let log_determinant = factor.as_ref().map_or(f64::NEG_INFINITY, |l| {
            2.0 * (0..p).map(|i| l[(i, i)].ln()).sum::<f64>()
        });
        Ok(Estimate {
            location,
            covariance,
            factor,
            log_determinant,
        })
    }

    pub(super) fn is_singular(&self) -> bool {
        self.factor.is_none()
    }

    pub(super) fn variance(&self, column: usize) -> f64 {
        self.covariance[(column, column)]
    }

    pub(super) fn symmetric_covariance(&self) -> Array2<f64> {
        let p = self.covariance.nrows();
        Array2::from_shape_fn((p, p), |(i, j)| self.covariance[(i.max(j), i.min(j))])
    }

    /// All rows, in coordinates in which this estimate has location 0 and covariance 1; `None` if it is singular.
    pub(super) fn whitened(&self, data: &Rows) -> Option<Rows> {
        let factor = self.factor.as_ref()?;
        Some(Rows {
            values: solved(factor, data, &self.location),
            columns: data.columns,
        })
    }

    /// What makes distances of this estimate, which is that of the rows named by `support`.
    pub(super) fn whitening(
        self: &Estimate,
        data: &Rows,
        support: &[usize],
    ) -> Result<Whitening, DetectorError> {
        match &self.factor {
            Some(factor) => Ok(Whitening::Triangular(factor.clone())),
            None if support.len() < data.columns() => spectral_by_rows(data, support, &self.location),
            None => spectral(&self.covariance),
        }
    }
}

/// A matrix W such that W'W is the inverse, or pseudo-inverse, of a covariance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Whitening {
    /// The inverse of this lower triangular matrix.
    Triangular(#[serde(with = "crate::serial")] Mat<f64>),
    /// This matrix, rank x p.
    Spectral(#[serde(with = "crate::serial")] Mat<f64>),
}

impl Whitening {
    /// Number of columns p of the rows.
    pub(super) fn columns(&self) -> usize {
        match self {
            Whitening::Triangular(matrix) | Whitening::Spectral(matrix) => matrix.ncols(),
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        match self {
            Whitening::Triangular(factor) => factor.nrows() == factor.ncols(),
            Whitening::Spectral(_) => true,
        }
    }

    pub(super) fn rank(&self) -> usize {
        match self {
            Whitening::Triangular(factor) => factor.nrows(),
            Whitening::Spectral(whitening) => whitening.nrows(),
        }
    }

    /// Squared Mahalanobis distances of all rows from `location`.
    pub(super) fn squared_distances(&self, data: &Rows, location: &[f64]) -> Vec<f64> {
        let (n, p) = (data.len(), data.columns());
        match self {
            Whitening::Triangular(factor) => solved(factor, data, location)
                .chunks_exact(p)
                .map(square)
                .collect(),
            Whitening::Spectral(whitening) => {
                let centred = data.centred(0..n, location);
                let columns = MatRef::from_column_major_slice(&centred, p, n);
                let mut white = Mat::<f64>::zeros(whitening.nrows(), n);
                matmul(
                    white.as_mut(),
                    Accum::Replace,
                    whitening.as_ref(),
                    columns,
                    1.0,
                    Par::Seq,
                );
                (0..n).map(|j| white.col(j).iter().map(|x| x * x).sum()).collect()
            }
        }
    }

    /// The same of rows that were not there in the fit: that of a row does not depend on the others, as it may above,
    /// where the number of columns decides how a triangular system is solved.
    pub(super) fn independent_distances(&self, rows: ArrayView2<'_, f64>, location: &[f64]) -> Vec<f64> {
        let mut distances = Vec::with_capacity(rows.nrows());
        let mut block = Rows {
            values: vec![],
            columns: location.len(),
        };
        for part in rows.axis_chunks_iter(Axis(0), SCORED) {
            block.values.clear();
            block.values.extend(part.iter());
            // Filled up to the same number of rows always.
            while block.len() < SCORED {
                block.values.extend(location);
            }
            let found = self.squared_distances(&block, location);
            distances.extend(&found[..part.nrows()]);
        }
        distances
    }

    /// W'W, p x p.
    pub(super) fn precision(&self) -> Mat<f64> {
        let (w, p) = match self {
            Whitening::Triangular(factor) => {
                let p = factor.nrows();
                let mut inverse = Mat::<f64>::identity(p, p);
                solve_lower_triangular_in_place(factor.as_ref(), inverse.as_mut(), Par::Seq);
                (inverse, p)
            }
            Whitening::Spectral(whitening) => (whitening.clone(), whitening.ncols()),
        };
        let mut precision = Mat::<f64>::zeros(p, p);
        matmul(
            precision.as_mut(),
            Accum::Replace,
            w.transpose(),
            w.as_ref(),
            1.0,
            Par::Seq,
        );
        precision
    }
}

/// `L^-1 (x - location)` of all rows, one after another.
fn solved(factor: &Mat<f64>, data: &Rows, location: &[f64]) -> Vec<f64> {
    let (n, p) = (data.len(), data.columns());
    let mut centred = data.centred(0..n, location);
    let columns = faer::MatMut::from_column_major_slice_mut(&mut centred, p, n);
    solve_lower_triangular_in_place(factor.as_ref(), columns, Par::Seq);
    centred
}

pub(super) fn square(values: &[f64]) -> f64 {
    // Four sums, so that additions need not wait for each other.
    let mut sums = [0.0; 4];
    let chunks = values.chunks_exact(4);
    let rest: f64 = chunks.remainder().iter().map(|x| x * x).sum();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x * x;
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

fn mean(data: &Rows, support: &[usize]) -> Vec<f64> {
    let mut mean = vec![0.0; data.columns()];
    for i in support {
        for (sum, x) in mean.iter_mut().zip(data.row(*i)) {
            *sum += x;
        }
    }
    mean.iter_mut().for_each(|sum| *sum /= support.len() as f64);
    mean
}

/// The lower triangle of the covariance.
fn covariance(data: &Rows, support: &[usize], location: &[f64]) -> Mat<f64> {
    let (p, h) = (data.columns(), support.len());
    let centred = data.centred(support.iter().copied(), location);
    let columns = MatRef::from_column_major_slice(&centred, p, h);
    let mut covariance = Mat::<f64>::zeros(p, p);
    triangular::matmul(
        covariance.as_mut(),
        BlockStructure::TriangularLower,
        Accum::Replace,
        columns,
        BlockStructure::Rectangular,
        columns.transpose(),
        BlockStructure::Rectangular,
        1.0 / h as f64,
        Par::Seq,
    );
    covariance
}

/// The Cholesky factor, or `None` if the matrix is singular to working precision.
fn cholesky(covariance: &Mat<f64>) -> Option<Mat<f64>> {
    let p = covariance.nrows();
    let mut factor = covariance.clone();
    let scratch = cholesky_in_place_scratch::<f64>(p, Par::Seq, Default::default());
    cholesky_in_place(
        factor.as_mut(),
        Default::default(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .ok()?;
    let largest = (0..p).map(|i| covariance[(i, i)]).fold(0.0, f64::max);
    // A pivot is not below the smallest eigenvalue, and the largest variance not above the largest one: what fails
    // here, `pinvh` would cut as well.
    let cutoff = p as f64 * f64::EPSILON * largest;
    // Written so that NaN is singular.
    (0..p).all(|i| factor[(i, i)].powi(2) > cutoff).then_some(factor)
}

/// The whitening of a singular covariance, from its p x p eigenvectors.
fn spectral(covariance: &Mat<f64>) -> Result<Whitening, DetectorError> {
    let p = covariance.nrows();
    let (values, vectors) = self_adjoint_eigen(covariance.as_ref())?;
    let kept = kept(&values, p);
    Ok(Whitening::Spectral(Mat::from_fn(kept.len(), p, |r, j| {
        vectors[(j, kept[r])] / values[kept[r]].sqrt()
    })))
}

/// The same from the h x h products of the rows, where they are fewer than columns.
///
/// With Z the centred rows, p x h, and Z'Z / h = U L U', the covariance ZZ'/h has the eigenvectors
/// Z U L^(-1/2) h^(-1/2), so W = L^(-1) U' Z' h^(-1/2).
fn spectral_by_rows(data: &Rows, support: &[usize], location: &[f64]) -> Result<Whitening, DetectorError> {
    let (p, h) = (data.columns(), support.len());
    let centred = data.centred(support.iter().copied(), location);
    let columns = MatRef::from_column_major_slice(&centred, p, h);
    let mut products = Mat::<f64>::zeros(h, h);
    matmul(
        products.as_mut(),
        Accum::Replace,
        columns.transpose(),
        columns,
        1.0 / h as f64,
        Par::Seq,
    );
    let (values, vectors) = self_adjoint_eigen(products.as_ref())?;
    let kept = kept(&values, p);
    let scale = 1.0 / (h as f64).sqrt();
    let scaled = Mat::from_fn(kept.len(), h, |r, i| {
        vectors[(i, kept[r])] * scale / values[kept[r]]
    });
    let mut whitening = Mat::<f64>::zeros(kept.len(), p);
    matmul(
        whitening.as_mut(),
        Accum::Replace,
        scaled.as_ref(),
        columns.transpose(),
        1.0,
        Par::Seq,
    );
    Ok(Whitening::Spectral(whitening))
}

/// Eigenvalues that a pseudo-inverse of a p x p matrix keeps: those above p eps times the largest.
fn kept(values: &[f64], p: usize) -> Vec<usize> {
    let largest = values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let cutoff = p as f64 * f64::EPSILON * largest;
    (0..values.len()).filter(|i| values[*i] > cutoff).collect()
}
