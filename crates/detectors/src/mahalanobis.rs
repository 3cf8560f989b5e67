//! Mahalanobis distance by a shrunk covariance (Ledoit and Wolf, "A well-conditioned estimator for
//! large-dimensional covariance matrices", 2004), from inner products alone.

use serde::{Deserialize, Serialize};

use crate::{DetectorError, Pca, ProductsView};

/// The name in error messages.
const NAME: &str = "Mahalanobis";

/// How much of the covariance is replaced by a multiple of the identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shrinkage {
    /// As much as minimises the expected squared error (scikit-learn's `ledoit_wolf_shrinkage`).
    #[default]
    LedoitWolf,
    /// This part, above 0 and at most 1.
    Fixed(f64),
}

/// Parameters of a Mahalanobis distance: the score is the squared distance from the training mean, by the
/// covariance `(1 - s) S + s mu I`, where S is the empirical covariance of the rows (divided by n), mu the mean of
/// its d eigenvalues and s the shrinkage (scikit-learn's `LedoitWolf().mahalanobis`).
///
/// With more columns than rows, S has at most n - 1 eigenvalues that are not 0; what a new row has outside their
/// span is weighed by `1 / (s mu)`. Nothing of the size of d is computed.
///
/// ```
/// use blemish_detectors::{InnerProducts, Mahalanobis};
/// use ndarray::array;
///
/// # fn main() -> Result<(), blemish_detectors::DetectorError> {
/// let good = array![[0.0, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.05], [0.1, 0.04]];
/// let new = array![[0.05, 0.06], [3.0, -2.0]];
/// let products = InnerProducts::from_rows(&[good.view()], new.view())?;
/// let scores = Mahalanobis::default().fit(products.view())?.score(products.view())?;
/// assert!(scores[1] > scores[0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mahalanobis {
    /// The shrinkage s.
    pub shrinkage: Shrinkage,
}

impl Mahalanobis {
    /// Fits the training rows, at least two.
    ///
    /// # Errors
    /// If the shrinkage is out of range, there are too few rows, the rows do not vary, or (with Ledoit and Wolf's
    /// choice, where it is 0) the covariance is singular.
    pub fn fit(&self, products: ProductsView<'_>) -> Result<MahalanobisModel, DetectorError> {
        self.fit_components(products, Pca::fit(products)?)
    }

    /// The same, with components that were fitted on the same products already.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and if the components are of another number of training rows.
    pub fn fit_components(
        &self,
        products: ProductsView<'_>,
        components: Pca,
    ) -> Result<MahalanobisModel, DetectorError> {
        if let Shrinkage::Fixed(s) = self.shrinkage
            && !(s > 0.0 && s <= 1.0)
        {
            return Err(DetectorError::Parameter {
                name: "shrinkage",
                value: s.to_string(),
                expected: "above 0 and at most 1",
            });
        }
        let n = products.train_len();
        if n < 2 {
            return Err(DetectorError::TooFewRows {
                detector: NAME,
                needed: 2,
                found: n,
            });
        }
        let moments = Moments::of(products);
        let estimate = self.estimate(&moments.all())?;
        // Of the covariance that is divided by n.
        let eigenvalues = components
            .explained_variance()
            .iter()
            .map(|v| v * (n - 1) as f64 / n as f64)
            .collect();
        let model = MahalanobisModel {
            parameters: *self,
            n,
            dimensions: products.dimensions(),
            estimate,
            eigenvalues,
            components,
        };
        // Of as many components as columns, all must have some variance.
        if estimate.ridge() == 0.0 && model.eigenvalues.contains(&0.0) {
            return Err(singular());
        }
        Ok(model)
    }

    /// Shrinkage and scale, from what [`Sums`] holds.
    fn estimate(&self, sums: &Sums) -> Result<Estimate, DetectorError> {
        let scale = sums.trace / sums.dimensions;
        if scale <= 0.0 {
            return Err(DetectorError::Degenerate {
                detector: NAME,
                what: "the training rows are all equal",
                hint: "use rows that vary",
            });
        }
        let shrinkage = match self.shrinkage {
            Shrinkage::Fixed(s) => s,
            Shrinkage::LedoitWolf => sums.ledoit_wolf(),
        };
        if shrinkage == 0.0 && sums.dimensions >= sums.rows {
            return Err(singular());
        }
        Ok(Estimate { shrinkage, scale })
    }
}

fn singular() -> DetectorError {
    DetectorError::Degenerate {
        detector: NAME,
        what: "the covariance is singular and its Ledoit-Wolf shrinkage is 0",
        hint: "use more rows, or a fixed shrinkage",
    }
}

/// Shrinkage s and mean eigenvalue mu.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Estimate {
    shrinkage: f64,
    scale: f64,
}

impl Estimate {
    /// What the covariance has in every direction.
    fn ridge(&self) -> f64 {
        self.shrinkage * self.scale
    }

    /// The variance along an eigenvector of S.
    fn variance(&self, eigenvalue: f64) -> f64 {
        (1.0 - self.shrinkage) * eigenvalue + self.ridge()
    }
}

/// What Ledoit and Wolf's shrinkage depends on, of rows about their mean.
struct Sums {
    rows: f64,
    dimensions: f64,
    /// Trace of S.
    trace: f64,
    /// Sum of the squares of all entries of S.
    square: f64,
    /// Sum over the rows of the fourth power of their norms, divided by their number.
    fourth: f64,
}

impl Sums {
    /// scikit-learn's `ledoit_wolf_shrinkage`, written in norms.
    fn ledoit_wolf(&self) -> f64 {
        // One column: there is nothing to shrink to.
        if self.dimensions == 1.0 {
            return 0.0;
        }
        let error = (self.fourth - self.square) / (self.dimensions * self.rows);
        let distance = (self.square - self.trace * self.trace / self.dimensions) / self.dimensions;
        // Rows as many or as equal as can be leave nothing but rounding.
        if error <= 0.0 {
            0.0
        } else if error >= distance {
            1.0
        } else {
            error / distance
        }
    }
}

/// Inner products of the training rows about their own mean.
struct Moments<'a> {
    products: ProductsView<'a>,
    means: Vec<f64>,
    grand_mean: f64,
    sums: [f64; 3],
}

impl<'a> Moments<'a> {
    fn of(products: ProductsView<'a>) -> Moments<'a> {
        let n = products.train_len() as f64;
        let train = products.train();
        let means: Vec<f64> = train.outer_iter().map(|r| r.sum() / n).collect();
        let grand_mean = means.iter().sum::<f64>() / n;
        let mut moments = Moments {
            products,
            means,
            grand_mean,
            sums: [0.0; 3],
        };
        let (mut trace, mut square, mut fourth) = (0.0, 0.0, 0.0);
        for i in 0..products.train_len() {
            let norm = moments.product(i, i);
            trace += norm;
            fourth += norm * norm;
            square += (0..products.train_len())
                .map(|j| moments.product(i, j).powi(2))
                .sum::<f64>();
        }
        moments.sums = [trace / n, square / (n * n), fourth / n];
        moments
    }

    /// `<x_i - m, x_j - m>`
    fn product(&self, i: usize, j: usize) -> f64 {
        self.products.train()[[i, j]] - self.means[i] - self.means[j] + self.grand_mean
    }

    fn all(&self) -> Sums {
        let [trace, square, fourth] = self.sums;
        Sums {
            rows: self.products.train_len() as f64,
            dimensions: self.products.dimensions() as f64,
            trace,
            square,
            fourth,
        }
    }

    /// Of all rows but i, where `quadratic` is `z' S z` for `z = x_i - m`.
    ///
    /// With a = n / (n - 1) and b = a / (n - 1), the covariance of the others is `a S - b z z'`, and row k lies at
    /// `x_k - m + z / (n - 1)` from their mean.
    fn without(&self, i: usize, quadratic: f64) -> Sums {
        let n = self.products.train_len() as f64;
        let a = n / (n - 1.0);
        let b = a / (n - 1.0);
        let norm = self.product(i, i);
        let shift = 1.0 / (n - 1.0);
        let fourth: f64 = (0..self.products.train_len())
            .filter(|k| *k != i)
            .map(|k| {
                let square = self.product(k, k) + 2.0 * shift * self.product(k, i) + shift * shift * norm;
                square * square
            })
            .sum();
        let [trace, square, _] = self.sums;
        Sums {
            rows: n - 1.0,
            dimensions: self.products.dimensions() as f64,
            trace: a * trace - b * norm,
            square: a * a * square - 2.0 * a * b * quadratic + b * b * norm * norm,
            fourth: fourth / (n - 1.0),
        }
    }
}

/// A fitted Mahalanobis distance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MahalanobisModel {
    parameters: Mahalanobis,
    n: usize,
    dimensions: usize,
    estimate: Estimate,
    /// Of S, descending: min(n, d) of them.
    eigenvalues: Vec<f64>,
    components: Pca,
}

impl MahalanobisModel {
    /// Scores of the query rows: squared Mahalanobis distances from the training mean.
    ///
    /// # Errors
    /// If the products are of another number of training rows or columns.
    pub fn score(&self, products: ProductsView<'_>) -> Result<Vec<f64>, DetectorError> {
        self.check(products)?;
        // Null components are had from the norm, with all that lies outside the span of the training rows.
        let rank = self.eigenvalues.iter().filter(|l| **l > 0.0).count();
        let scores = self.components.query_scores(products, rank)?;
        let outside = rank < self.dimensions;
        let norms = self.components.query_squares(products);
        Ok(scores
            .outer_iter()
            .zip(norms)
            .map(|(row, norm)| {
                let (mut distance, mut within) = (0.0, 0.0);
                for (t, eigenvalue) in row.iter().zip(&self.eigenvalues) {
                    distance += t * t / self.estimate.variance(*eigenvalue);
                    within += t * t;
                }
                if outside {
                    // What rounding makes negative is nothing.
                    distance += (norm - within).max(0.0) / self.estimate.ridge();
                }
                distance
            })
            .collect())
    }

    /// Scores of the training rows, each by mean, covariance and shrinkage of the others: what
    /// [`score`](Self::score) would give had the row not been there. (By their own fit, rows of more columns than
    /// rows look nearer than any new row can be.)
    ///
    /// # Errors
    /// If the products are of another number of training rows or columns, there are fewer than three rows, or
    /// the others are degenerate without one of them.
    pub fn train_scores(&self, products: ProductsView<'_>) -> Result<Vec<f64>, DetectorError> {
        self.check(products)?;
        if self.n < 3 {
            return Err(DetectorError::TooFewRows {
                detector: "Mahalanobis without one of its rows",
                needed: 3,
                found: self.n,
            });
        }
        let n = self.n as f64;
        let a = n / (n - 1.0);
        let b = a / (n - 1.0);
        let moments = Moments::of(products);
        let scores = self.components.train_scores(self.eigenvalues.len());
        (0..self.n)
            .map(|i| {
                let row = scores.row(i);
                let pairs = || row.iter().zip(&self.eigenvalues).map(|(t, l)| (t * t, l));
                let quadratic: f64 = pairs().map(|(square, l)| square * l).sum();
                let others = self.parameters.estimate(&moments.without(i, quadratic))?;
                // By Sherman and Morrison, for the covariance A - (1 - s) b z z' with A of S's eigenvectors.
                let distance: f64 = pairs().map(|(square, l)| square / others.variance(a * l)).sum();
                let removed = 1.0 - (1.0 - others.shrinkage) * b * distance;
                if removed <= 0.0 || !distance.is_finite() {
                    return Err(singular());
                }
                Ok(a * a * distance / removed)
            })
            .collect()
    }

    fn check(&self, products: ProductsView<'_>) -> Result<(), DetectorError> {
        for (what, found, expected) in [
            ("training rows of the products", products.train_len(), self.n),
            ("columns", products.dimensions(), self.dimensions),
        ] {
            if found != expected {
                return Err(DetectorError::Shape {
                    what: what.into(),
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// Whether it can be of n training rows of d columns.
    pub(crate) fn is_sound(&self, n: usize, d: usize) -> bool {
        (self.n, self.dimensions, self.eigenvalues.len()) == (n, d, n.min(d))
            && self.components.is_sound(n, d)
    }

    /// The shrinkage in use, in [0, 1].
    pub fn shrinkage(&self) -> f64 {
        self.estimate.shrinkage
    }
}
