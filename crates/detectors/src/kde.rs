//! Kernel density estimation (Parzen, 1962), by exact log-sum-exp.

use std::f64::consts::PI;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::function::gamma::ln_gamma;

use crate::{DetectorError, ProductsView};

/// Kernel of a [`KernelDensity`], as a function of `u = |x - y| / bandwidth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DensityKernel {
    /// `exp(-u^2 / 2)`
    Gaussian,
    /// 1 for u < 1
    Tophat,
    /// `1 - u^2` for u < 1
    Epanechnikov,
    /// `exp(-u)`
    Exponential,
    /// `1 - u` for u < 1
    Linear,
    /// `cos(pi u / 2)` for u < 1
    Cosine,
}

impl DensityKernel {
    /// Every kernel.
    pub const ALL: [DensityKernel; 6] = [
        DensityKernel::Gaussian,
        DensityKernel::Tophat,
        DensityKernel::Epanechnikov,
        DensityKernel::Exponential,
        DensityKernel::Linear,
        DensityKernel::Cosine,
    ];

    /// The name in scikit-learn.
    pub fn name(self) -> &'static str {
        match self {
            DensityKernel::Gaussian => "gaussian",
            DensityKernel::Tophat => "tophat",
            DensityKernel::Epanechnikov => "epanechnikov",
            DensityKernel::Exponential => "exponential",
            DensityKernel::Linear => "linear",
            DensityKernel::Cosine => "cosine",
        }
    }

    /// Log of the kernel at `u >= 0`.
    fn log_value(self, u: f64) -> f64 {
        match self {
            DensityKernel::Gaussian => -0.5 * u * u,
            DensityKernel::Exponential => -u,
            _ if u >= 1.0 => f64::NEG_INFINITY,
            DensityKernel::Tophat => 0.0,
            DensityKernel::Epanechnikov => (1.0 - u * u).ln(),
            DensityKernel::Linear => (1.0 - u).ln(),
            DensityKernel::Cosine => (0.5 * PI * u).cos().ln(),
        }
    }

    /// Log of the kernel's integral over d dimensions at bandwidth 1.
    fn log_integral(self, d: f64) -> f64 {
        // Volume of the unit ball in n dimensions, and surface of the unit sphere around it in n + 1.
        let log_volume = |n: f64| 0.5 * n * PI.ln() - ln_gamma(0.5 * n + 1.0);
        let log_surface = |n: f64| (2.0 * PI).ln() + log_volume(n - 1.0);
        match self {
            DensityKernel::Gaussian => 0.5 * d * (2.0 * PI).ln(),
            DensityKernel::Tophat => log_volume(d),
            DensityKernel::Epanechnikov => log_volume(d) + (2.0 / (d + 2.0)).ln(),
            DensityKernel::Exponential => log_surface(d - 1.0) + ln_gamma(d),
            DensityKernel::Linear => log_volume(d) - (d + 1.0).ln(),
            DensityKernel::Cosine => log_surface(d - 1.0) + log_cosine_integral(d),
        }
    }
}

/// Log of the integral of `r^(d-1) cos(pi r / 2)` over `[0, 1]`.
///
/// With `r = 1 - s` it is the sum over k of `(-1)^k (pi/2)^(2k+1) (d-1)! / (d+2k+1)!`: terms that fall by more than
/// half each, where integration by parts (scikit-learn) sums terms that overflow for large d and, for even d, leaves out
/// the last.
fn log_cosine_integral(d: f64) -> f64 {
    let (mut term, mut sum, mut k) = (1.0, 1.0, 0.0);
    while f64::abs(term) > 1e-20 {
        k += 1.0;
        term *= -(0.25 * PI * PI) / ((d + 2.0 * k) * (d + 2.0 * k + 1.0));
        sum += term;
    }
    (0.5 * PI).ln() - d.ln() - (d + 1.0).ln() + f64::ln(sum)
}

/// Bandwidth of a [`KernelDensity`]. Rules know n rows and d columns, not the scale of the data, as in scikit-learn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bandwidth {
    /// A positive number.
    Value(f64),
    /// `n^(-1 / (d + 4))`
    Scott,
    /// `(n (d + 2) / 4)^(-1 / (d + 4))`
    Silverman,
}

/// Parameters of a kernel density estimate; the score is minus the log density.
///
/// ```
/// use blemish_detectors::{Bandwidth, DensityKernel, InnerProducts, KernelDensity};
/// use ndarray::array;
///
/// # fn main() -> Result<(), blemish_detectors::DetectorError> {
/// let good = array![[0.0, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.05], [0.1, 0.04]];
/// let new = array![[0.05, 0.06], [3.0, -2.0]];
/// let products = InnerProducts::from_rows(&[good.view()], new.view())?;
/// let density = KernelDensity { kernel: DensityKernel::Gaussian, bandwidth: Bandwidth::Value(0.1) };
/// let scores = density.fit(products.view())?.score(products.view())?;
/// assert!(scores[1] > scores[0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelDensity {
    /// The kernel.
    pub kernel: DensityKernel,
    /// Its width.
    pub bandwidth: Bandwidth,
}

impl KernelDensity {
    /// Takes the training rows in: the bandwidth, the normalisation.
    ///
    /// # Errors
    /// If the bandwidth is not a positive number.
    pub fn fit(&self, products: ProductsView<'_>) -> Result<KernelDensityModel, DetectorError> {
        self.estimate(products.train_len(), products.dimensions())
    }

    /// The estimate by n rows of d columns.
    fn estimate(&self, n: usize, dimensions: usize) -> Result<KernelDensityModel, DetectorError> {
        let (rows, d) = (n as f64, dimensions as f64);
        let bandwidth = match self.bandwidth {
            Bandwidth::Value(h) if h > 0.0 && h.is_finite() => h,
            Bandwidth::Value(h) => {
                let value = h.to_string();
                return Err(DetectorError::Parameter {
                    name: "bandwidth",
                    value,
                    expected: "a positive number",
                });
            }
            Bandwidth::Scott => rows.powf(-1.0 / (d + 4.0)),
            Bandwidth::Silverman => (rows * (d + 2.0) / 4.0).powf(-1.0 / (d + 4.0)),
        };
        let log_norm = -self.kernel.log_integral(d) - d * bandwidth.ln() - rows.ln();
        Ok(KernelDensityModel {
            parameters: *self,
            bandwidth,
            log_norm,
            n,
        })
    }
}

/// A kernel density estimate that is ready to score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelDensityModel {
    parameters: KernelDensity,
    bandwidth: f64,
    log_norm: f64,
    n: usize,
}

impl KernelDensityModel {
    /// Scores of the query rows: minus the log density, by exact log-sum-exp. Where a kernel of finite support
    /// reaches no training row, the density is 0 and the score `f64::INFINITY`.
    ///
    /// # Errors
    /// If the products are of another number of training rows.
    pub fn score(&self, products: ProductsView<'_>) -> Result<Vec<f64>, DetectorError> {
        self.check(products)?;
        let score = |q| {
            let mut squares = vec![0.0; self.n];
            products.query_sq_distance_row(q, &mut squares);
            self.minus_log_density(squares)
        };
        Ok((0..products.query_len()).into_par_iter().map(score).collect())
    }

    /// Scores of the training rows, each by the estimate of the others: what [`score`](Self::score) would give
    /// had the row not been there (bandwidths by rule are those of n - 1 rows).
    ///
    /// # Errors
    /// If the products are of another number of training rows, or there is only one.
    pub fn train_scores(&self, products: ProductsView<'_>) -> Result<Vec<f64>, DetectorError> {
        self.check(products)?;
        if self.n < 2 {
            return Err(DetectorError::TooFewRows {
                detector: "KernelDensity without one of its rows",
                needed: 2,
                found: self.n,
            });
        }
        let others = self.parameters.estimate(self.n - 1, products.dimensions())?;
        let score = |i| {
            let mut squares = vec![0.0; self.n];
            products.train_sq_distance_row(i, &mut squares);
            squares.remove(i);
            others.minus_log_density(squares)
        };
        Ok((0..self.n).into_par_iter().map(score).collect())
    }

    fn check(&self, products: ProductsView<'_>) -> Result<(), DetectorError> {
        if products.train_len() == self.n {
            return Ok(());
        }
        Err(DetectorError::Shape {
            what: "training rows of the products".into(),
            found: products.train_len(),
            expected: self.n,
        })
    }

    /// From the squared distances to the training rows.
    fn minus_log_density(&self, sq_distances: Vec<f64>) -> f64 {
        let mut terms = sq_distances;
        for term in &mut terms {
            *term = self.parameters.kernel.log_value(term.sqrt() / self.bandwidth);
        }
        let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return f64::INFINITY;
        }
        let sum: f64 = terms.iter().map(|t| (t - largest).exp()).sum();
        -(largest + sum.ln() + self.log_norm)
    }

    /// Whether it can be of n training rows.
    pub(crate) fn is_sound(&self, n: usize) -> bool {
        self.n == n
    }

    /// The bandwidth in use.
    pub fn bandwidth(&self) -> f64 {
        self.bandwidth
    }
}
