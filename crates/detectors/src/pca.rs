//! Exact principal components from inner products: for many columns, n x n numbers say as much as n x d.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};
use ndarray::{Array2, ArrayView2, Axis};

use crate::{DetectorError, ProductsView};

/// Principal components of training rows. Components are in order of falling variance; their signs make the largest
/// training score of each positive.
///
/// A component whose variance is nothing but rounding (below n epsilon times the largest) has all scores 0: dividing by
/// its variance would make noise the loudest of all. scikit-learn keeps such noise; one arises whenever there are as
/// many components as rows, since centred rows span one dimension less.
#[derive(Clone, Debug)]
pub struct Pca {
    /// Mean over the training rows of each row of their centred products.
    row_means: Vec<f64>,
    mean: f64,
    /// Eigenvectors of the doubly centred products, n x k, falling eigenvalues.
    vectors: Mat<f64>,
    /// Their eigenvalues; 0 for null components.
    values: Vec<f64>,
}

impl Pca {
    /// Finds all min(n, d) components.
    ///
    /// # Errors
    /// If the eigendecomposition does not converge.
    pub fn fit(products: ProductsView<'_>) -> Result<Pca, DetectorError> {
        let train = products.train();
        let n = products.train_len();
        let row_means: Vec<f64> = train.outer_iter().map(|r| r.sum() / n as f64).collect();
        let mean = row_means.iter().sum::<f64>() / n as f64;
        let centred = Mat::from_fn(n, n, |i, j| train[[i, j]] - row_means[i] - row_means[j] + mean);
        let (s, u) = self_adjoint_eigen(centred.as_ref())?;
        let k = n.min(products.dimensions());
        let largest = s[n - 1].max(0.0);
        let cutoff = largest * n as f64 * f64::EPSILON;
        let values = (0..k).map(|c| s[n - 1 - c]).map(|v| if v > cutoff { v } else { 0.0 }).collect();
        let mut vectors = Mat::from_fn(n, k, |i, c| u[(i, n - 1 - c)]);
        for c in 0..k {
            let column = vectors.col(c).iter();
            let largest = column.fold(0.0, |m: f64, v| if v.abs() > m.abs() { *v } else { m });
            if largest < 0.0 {
                vectors.col_mut(c).iter_mut().for_each(|v| *v = -*v);
            }
        }
        Ok(Pca { row_means, mean, vectors, values })
    }

    /// Number of components: min(n, d).
    pub fn max_components(&self) -> usize {
        self.values.len()
    }

    /// Variance of each component, with n - 1 in the denominator, as scikit-learn has it.
    pub fn explained_variance(&self) -> Vec<f64> {
        let freedom = (self.row_means.len() - 1).max(1) as f64;
        self.values.iter().map(|v| v / freedom).collect()
    }

    /// Scores of the training rows on the first `k` components (all there are, if fewer): n x k.
    pub fn train_scores(&self, k: usize) -> Array2<f64> {
        let k = k.min(self.max_components());
        Array2::from_shape_fn((self.row_means.len(), k), |(i, c)| self.vectors[(i, c)] * self.values[c].sqrt())
    }

    /// Scores of the query rows on the first `k` components (all there are, if fewer): m x k.
    ///
    /// # Errors
    /// If the products are of another number of training rows.
    pub fn query_scores(&self, products: ProductsView<'_>, k: usize) -> Result<Array2<f64>, DetectorError> {
        let n = self.row_means.len();
        if products.train_len() != n {
            return Err(DetectorError::Shape {
                what: "training rows of the products".into(),
                found: products.train_len(),
                expected: n,
            });
        }
        let k = k.min(self.max_components());
        let cross: ArrayView2<'_, f64> = products.cross();
        let means: Vec<f64> = cross.axis_iter(Axis(0)).map(|r| r.sum() / n as f64).collect();
        let centred = Mat::from_fn(products.query_len(), n, |q, j| {
            cross[[q, j]] - means[q] - self.row_means[j] + self.mean
        });
        let mut scores = Mat::zeros(products.query_len(), k);
        let vectors: MatRef<'_, f64> = self.vectors.subcols(0, k);
        matmul(scores.as_mut(), Accum::Replace, centred.as_ref(), vectors, 1.0, Par::Seq);
        Ok(Array2::from_shape_fn((products.query_len(), k), |(q, c)| match self.values[c] {
            0.0 => 0.0,
            value => scores[(q, c)] / value.sqrt(),
        }))
    }
}

/// Eigenvalues, ascending, and eigenvectors, in the columns of a matrix, of a symmetric matrix.
pub(crate) fn self_adjoint_eigen(matrix: MatRef<'_, f64>) -> Result<(Vec<f64>, Mat<f64>), DetectorError> {
    let evd = matrix
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| DetectorError::Decomposition { what: "an eigendecomposition" })?;
    let values = evd.S().column_vector().iter().copied().collect();
    Ok((values, evd.U().to_owned()))
}
