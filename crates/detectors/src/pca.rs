//! Exact principal components from inner products: for rows with far more columns than there are rows.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::{DetectorError, ProductsView};

/// Query rows whose scores are computed together.
const SCORED: usize = 32;

/// Principal components of n training rows of d columns, fitted on their inner products.
///
/// The scores of all components come from the eigenvectors of the n x n matrix of products about the training mean
/// (the "dual" of the d x d covariance), and are exact: no component is dropped, no random projection used.
///
/// There are min(n, d) components. As the training mean is taken out, at most n - 1 of them vary; a component whose
/// eigenvalue is at most n eps times the largest, as much as rounding errors of products make, is *null*: it is kept, so that counts are as expected, but its
/// variance and all its scores, of training and query rows, are exactly 0. To divide by the square root of such an
/// eigenvalue would blow rounding errors up to the size of real scores.
///
/// Signs are fixed: the entry of largest magnitude of each eigenvector (the training row that scores highest in
/// magnitude on that component) is positive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pca {
    /// Means of the rows of the n x n products.
    row_means: Vec<f64>,
    grand_mean: f64,
    /// Descending, min(n, d) of them; null ones are exactly 0.
    eigenvalues: Vec<f64>,
    /// n x min(n, d), in the order of the eigenvalues.
    #[serde(with = "crate::serial")]
    eigenvectors: Mat<f64>,
    explained_variance: Vec<f64>,
}

impl Pca {
    /// Fits all components.
    ///
    /// # Errors
    /// If there are no training rows, a product is not finite, or the eigendecomposition does not converge.
    pub fn fit(products: ProductsView<'_>) -> Result<Pca, DetectorError> {
        Pca::from_products(products.train(), products.dimensions())
    }

    /// Fits all components of rows of `dimensions` columns whose n x n inner products, about whatever centre, are
    /// `train`.
    fn from_products(train: ArrayView2<'_, f64>, dimensions: usize) -> Result<Pca, DetectorError> {
        let n = train.nrows();
        if n == 0 || dimensions == 0 {
            let what = "the training rows".to_owned();
            return Err(DetectorError::Empty {
                what,
                rows: n,
                columns: dimensions,
            });
        }
        check_finite(train, "the inner products of training rows")?;
        let row_means: Vec<f64> = train.outer_iter().map(|r| r.sum() / n as f64).collect();
        let grand_mean = row_means.iter().sum::<f64>() / n as f64;
        let centred = Mat::from_fn(n, n, |i, j| {
            train[[i, j]] - row_means[i] - row_means[j] + grand_mean
        });
        let (ascending, vectors) = self_adjoint_eigen(centred.as_ref())?;

        let components = n.min(dimensions);
        let largest = ascending.last().copied().unwrap_or(0.0).max(0.0);
        let null = n as f64 * f64::EPSILON * largest;
        let eigenvalues: Vec<f64> = ascending
            .iter()
            .rev()
            .take(components)
            .map(|l| if *l > null { *l } else { 0.0 })
            .collect();
        let signs: Vec<f64> = (0..n).map(|c| sign(vectors.col(c).iter())).collect();
        let eigenvectors = Mat::from_fn(n, components, |i, c| signs[n - 1 - c] * vectors[(i, n - 1 - c)]);
        let freedom = (n.max(2) - 1) as f64;
        let explained_variance = eigenvalues.iter().map(|l| l / freedom).collect();
        Ok(Pca {
            row_means,
            grand_mean,
            eigenvalues,
            eigenvectors,
            explained_variance,
        })
    }

    /// Number of components: min(n, d).
    pub fn max_components(&self) -> usize {
        self.eigenvalues.len()
    }

    /// Sample variance (divided by n - 1) of each component, descending; exactly 0 for null components.
    pub fn explained_variance(&self) -> &[f64] {
        &self.explained_variance
    }

    /// Scores of the training rows on the first `k` components, n x min(k, [`max_components`](Self::max_components)).
    pub fn train_scores(&self, k: usize) -> Array2<f64> {
        let k = k.min(self.max_components());
        Array2::from_shape_fn((self.row_means.len(), k), |(i, c)| {
            self.eigenvectors[(i, c)] * self.eigenvalues[c].sqrt()
        })
    }

    /// Scores of the query rows on the first `k` components, m x min(k, [`max_components`](Self::max_components)).
    ///
    /// `products` must be of the training rows that were fitted.
    ///
    /// # Errors
    /// If the products have another number of training rows, or a product is not finite.
    pub fn query_scores(&self, products: ProductsView<'_>, k: usize) -> Result<Array2<f64>, DetectorError> {
        self.scores_of(products.cross(), k)
    }

    /// Scores of rows with m x n inner products `cross`, about the centre of the training products.
    fn scores_of(&self, cross: ArrayView2<'_, f64>, k: usize) -> Result<Array2<f64>, DetectorError> {
        let n = self.row_means.len();
        if cross.ncols() != n {
            let what = "training rows of the query products".to_owned();
            return Err(DetectorError::Shape {
                what,
                found: cross.ncols(),
                expected: n,
            });
        }
        check_finite(cross, "the inner products of query rows")?;
        let k = k.min(self.max_components());
        let m = cross.nrows();
        let means: Vec<f64> = cross.outer_iter().map(|r| r.sum() / n as f64).collect();
        let vectors = self.eigenvectors.subcols(0, k);
        let mut scores = Array2::zeros((m, k));
        let mut product = Mat::<f64>::zeros(SCORED, k);
        // Always as many rows at a time: a product of another shape may round differently, and the scores of a row
        // must not depend on the others.
        for from in (0..m).step_by(SCORED) {
            let rows = SCORED.min(m - from);
            let centred = Mat::from_fn(SCORED, n, |i, j| {
                if i < rows {
                    cross[[from + i, j]] - means[from + i] - self.row_means[j] + self.grand_mean
                } else {
                    0.0
                }
            });
            matmul(
                product.as_mut(),
                Accum::Replace,
                centred.as_ref(),
                vectors,
                1.0,
                Par::Seq,
            );
            for (c, eigenvalue) in self.eigenvalues[..k].iter().enumerate() {
                // Null components score exactly 0.
                if *eigenvalue > 0.0 {
                    for i in 0..rows {
                        scores[[from + i, c]] = product[(i, c)] / eigenvalue.sqrt();
                    }
                }
            }
        }
        Ok(scores)
    }
}

impl Pca {
    /// Whether it can be of n rows of d columns.
    pub(crate) fn is_sound(&self, n: usize, d: usize) -> bool {
        let components = n.min(d);
        self.row_means.len() == n
            && self.eigenvalues.len() == components
            && self.explained_variance.len() == components
            && (self.eigenvectors.nrows(), self.eigenvectors.ncols()) == (n, components)
    }

    /// Squared norms of the query rows about the training mean.
    pub(crate) fn query_squares(&self, products: ProductsView<'_>) -> Vec<f64> {
        let n = self.row_means.len() as f64;
        (0..products.query_len())
            .map(|q| {
                let mean = products.cross().row(q).sum() / n;
                (products.query_square(q) - 2.0 * mean + self.grand_mean).max(0.0)
            })
            .collect()
    }
}

/// The sign of the entry of largest magnitude, the first of equals.
fn sign<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    let largest = values.fold(0.0f64, |best, v| if v.abs() > best.abs() { *v } else { best });
    if largest < 0.0 { -1.0 } else { 1.0 }
}

fn check_finite(matrix: ArrayView2<'_, f64>, what: &str) -> Result<(), DetectorError> {
    match matrix.indexed_iter().find(|(_, v)| !v.is_finite()) {
        Some(((row, column), value)) => Err(DetectorError::NotFinite {
            what: what.to_owned(),
            row,
            column,
            value: *value,
        }),
        None => Ok(()),
    }
}

/// Eigenvalues, ascending, and eigenvectors, in columns, of a symmetric matrix of which the lower triangle is read.
///
/// On one thread, so that the bytes do not depend on how many there are.
pub(crate) fn self_adjoint_eigen(matrix: MatRef<'_, f64>) -> Result<(Vec<f64>, Mat<f64>), DetectorError> {
    let n = matrix.nrows();
    let mut values = Diag::<f64>::zeros(n);
    let mut vectors = Mat::<f64>::zeros(n, n);
    let scratch = self_adjoint_evd_scratch::<f64>(n, ComputeEigenvectors::Yes, Par::Seq, Default::default());
    self_adjoint_evd(
        matrix,
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| DetectorError::Decomposition {
        what: "the eigendecomposition",
    })?;
    Ok((values.column_vector().iter().copied().collect(), vectors))
}
