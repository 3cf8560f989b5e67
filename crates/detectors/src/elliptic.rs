//! Elliptic envelope: Mahalanobis distances from a robust estimate of location and covariance.

mod mcd;
mod relative;
mod scatter;

use faer::Mat;
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::DetectorError;
use crate::threshold::{by_contamination, check_contamination};
use mcd::{Candidate, fast_mcd};
use scatter::{Estimate, Rows};

/// The name in error messages.
const NAME: &str = "elliptic envelope";
/// Rows beyond this upper-tail probability of the chi-squared distribution do not count in the final estimate.
const REWEIGHTING_TAIL: f64 = 0.025;

/// A robust Gaussian envelope, by the fast minimum covariance determinant (Rousseeuw and Van Driessen, 1999), with
/// the consistency correction and the reweighting step of scikit-learn 1.2.2. (Newer versions correct by another factor,
/// that of Croux and Haesbroeck, 1999.)
///
/// Among the sets of h rows, that of the smallest covariance determinant is sought from many random starts; rows
/// near enough to it give the final location and covariance.
///
/// Every random start depends on the seed and its own number only, and draws rows from an order of their own, so that
/// results depend neither on the number of threads nor on the order of the rows. With about as many columns as rows, or more, covariances are singular; see [`EllipticWarnings`] for what
/// happens then.
///
/// ```
/// use blemish_detectors::{EllipticEnvelope};
/// use ndarray::array;
///
/// # fn main() -> Result<(), blemish_detectors::DetectorError> {
/// let good = array![[0.0, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.05], [0.1, 0.04]];
/// let new = array![[0.05, 0.06], [3.0, -2.0]];
/// let scores = EllipticEnvelope::default().fit(good.view(), 0)?.score(new.view())?;
/// assert!(scores[1] > scores[0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EllipticEnvelope {
    /// The part of the training rows that [`EllipticEnvelopeModel::threshold`] declares anomalous, in (0, 0.5].
    pub contamination: f64,
    /// The part of the rows that h is, in (0, 1]; `None` is h = ceil((n + p + 1) / 2), at most n.
    pub support_fraction: Option<f64>,
}

impl Default for EllipticEnvelope {
    /// Contamination 0.1, and the smallest support.
    fn default() -> Self {
        EllipticEnvelope {
            contamination: 0.1,
            support_fraction: None,
        }
    }
}

/// What was not as it should be in a fit. All zero and `false` where the covariances were regular.
///
/// A covariance is singular if its Cholesky decomposition fails or has a pivot of at most p eps times its largest
/// variance, as it must be where a subset has no more rows than there are columns. Its log-determinant is then
/// -infinity, its inverse the pseudo-inverse without eigenvalues of at most p eps times the largest (scipy's
/// `pinvh`), and distances are those within the span of the rows. Concentration stops at such a subset, as in
/// scikit-learn, and of several the first is taken: the estimate is finite and reproducible, but no longer a minimum
/// of anything. scikit-learn decides it by the sign of a determinant that is rounding error, so that there it is
/// chance which of the singular subsets wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EllipticWarnings {
    /// Candidate supports, random or improved, that were examined.
    pub candidates: usize,
    /// Those of them that were singular.
    pub singular_candidates: usize,
    /// Those whose determinant rose in a concentration step, which it can by rounding only.
    pub increased_determinants: usize,
    /// The support that was chosen is singular.
    pub singular_support: bool,
    /// The final covariance is singular: [`EllipticEnvelopeModel::rank`] is below p.
    pub singular_covariance: bool,
}

impl EllipticWarnings {
    /// What was not as it should be, in words; `None` if all was.
    pub fn in_words(&self) -> Option<String> {
        let mut parts = vec![];
        if self.singular_candidates > 0 {
            let (n, of) = (self.singular_candidates, self.candidates);
            parts.push(format!("{n} of {of} candidate subsets are singular"));
        }
        if self.singular_support {
            parts.push("the chosen subset is singular".into());
        }
        if self.singular_covariance {
            parts.push("the covariance is singular: pseudo-inverse used".into());
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

impl EllipticEnvelope {
    /// Fits `rows`, n x p, n at least 2.
    ///
    /// # Errors
    /// If there are too few rows or no column, a value is not finite, a parameter is out of range, the support has
    /// no variance at all, or values are so large that their covariance overflows.
    pub fn fit(&self, rows: ArrayView2<'_, f64>, seed: u64) -> Result<EllipticEnvelopeModel, DetectorError> {
        let (n, p) = rows.dim();
        check_contamination(self.contamination)?;
        if n == 0 || p == 0 {
            return Err(DetectorError::Empty {
                what: "the training rows".into(),
                rows: n,
                columns: p,
            });
        }
        if n < 2 {
            return Err(DetectorError::TooFewRows {
                detector: NAME,
                needed: 2,
                found: n,
            });
        }
        check_finite(rows, "the training rows")?;
        let h = self.support_len(n, p)?;
        let (data, order) = Rows::in_order(rows);

        let mut warnings = EllipticWarnings::default();
        let raw = if p == 1 {
            shortest_half(&data, h)?
        } else {
            fast_mcd(&data, h, seed, &mut warnings)?.distances(&data)?
        };

        let mut sorted = raw.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let correction = median(&sorted) / chi_squared_above(p, 0.5)?;
        if correction <= 0.0 || !correction.is_finite() {
            return Err(DetectorError::Degenerate {
                detector: NAME,
                what: "half of the training rows or more are equal, so that the support has no variance",
                hint: "use more varied rows, or a greater support_fraction",
            });
        }
        let limit = chi_squared_above(p, REWEIGHTING_TAIL)?;
        let support: Vec<usize> = (0..n).filter(|i| raw[*i] / correction < limit).collect();
        let estimate = Estimate::of(&data, &support)?;
        let whitening = estimate.whitening(&data, &support)?;
        warnings.singular_covariance = estimate.is_singular();
        let distances = whitening.squared_distances(&data, &estimate.location);
        let rank = whitening.rank();
        let threshold = by_contamination(&distances, self.contamination)?;
        let covariance = estimate.symmetric_covariance();
        Ok(EllipticEnvelopeModel {
            location: estimate.location,
            covariance,
            whitening,
            rank,
            support: original_support(&support, &order),
            threshold,
            train_distances: original_values(&distances, &order),
            warnings,
        })
    }

    fn support_len(&self, n: usize, p: usize) -> Result<usize, DetectorError> {
        let Some(fraction) = self.support_fraction else {
            return Ok((n + p + 1).div_ceil(2).min(n));
        };
        let in_range = fraction > 0.0 && fraction <= 1.0;
        // Truncated, as scikit-learn does.
        let h = if in_range {
            (fraction * n as f64) as usize
        } else {
            0
        };
        if h == 0 {
            return Err(parameter(
                "support_fraction",
                fraction,
                "above 0, at most 1, and at least one row",
            ));
        }
        Ok(h.min(n))
    }
}

/// A fitted envelope of p columns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EllipticEnvelopeModel {
    location: Vec<f64>,
    covariance: Array2<f64>,
    whitening: scatter::Whitening,
    rank: usize,
    support: Vec<usize>,
    threshold: f64,
    train_distances: Vec<f64>,
    warnings: EllipticWarnings,
}

impl EllipticEnvelopeModel {
    /// Squared Mahalanobis distances of m `rows`, m x p, from the location: higher = more anomalous.
    ///
    /// # Errors
    /// If the number of columns is not p, a value is not finite, or a distance overflows.
    pub fn score(&self, rows: ArrayView2<'_, f64>) -> Result<Vec<f64>, DetectorError> {
        if rows.ncols() != self.location.len() {
            let what = "columns of the rows to score".to_owned();
            return Err(DetectorError::Shape {
                what,
                found: rows.ncols(),
                expected: self.location.len(),
            });
        }
        check_finite(rows, "the rows to score")?;
        let scores = self.whitening.independent_distances(rows, &self.location);
        if scores.iter().all(|s| s.is_finite()) {
            return Ok(scores);
        }
        Err(DetectorError::Overflow {
            detector: NAME,
            what: "a distance",
            hint: "scale the rows down",
        })
    }

    /// Whether it can be of so many columns.
    pub(crate) fn is_sound(&self, columns: usize) -> bool {
        self.location.len() == columns
            && self.covariance.dim() == (columns, columns)
            && self.whitening.columns() == columns
            && self.whitening.is_sound()
    }

    /// The robust location, p values.
    pub fn location(&self) -> &[f64] {
        &self.location
    }

    /// The robust covariance, p x p, of the rows of the [`support`](Self::support) (divided by their number).
    pub fn covariance(&self) -> ArrayView2<'_, f64> {
        self.covariance.view()
    }

    /// The inverse of the covariance, or its pseudo-inverse where it is singular, p x p.
    pub fn precision(&self) -> Array2<f64> {
        let precision: Mat<f64> = self.whitening.precision();
        Array2::from_shape_fn((precision.nrows(), precision.ncols()), |(i, j)| precision[(i, j)])
    }

    /// The number of directions that count in distances: p unless the covariance is singular.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The score above which a row is anomalous: the upper `contamination` percentile of the training scores.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The training rows, ascending, that the location and covariance are of.
    pub fn support(&self) -> &[usize] {
        &self.support
    }

    /// Scores of the training rows.
    pub fn train_scores(&self) -> &[f64] {
        &self.train_distances
    }

    /// What was not as it should be in the fit.
    pub fn warnings(&self) -> EllipticWarnings {
        self.warnings
    }

    /// Whether the chosen support or the final covariance was singular, so that the estimate is reproducible but
    /// not a minimum of the determinant.
    pub fn is_degenerate(&self) -> bool {
        self.warnings.singular_support || self.warnings.singular_covariance
    }
}

/// Names of rows, ascending, from their places in the order.
fn original_support(places: &[usize], order: &[usize]) -> Vec<usize> {
    let mut support: Vec<usize> = places.iter().map(|place| order[*place]).collect();
    support.sort_unstable();
    support
}

/// Values of rows by name, from those by place in the order.
fn original_values(by_place: &[f64], order: &[usize]) -> Vec<f64> {
    let mut values = vec![0.0; by_place.len()];
    for (value, row) in by_place.iter().zip(order) {
        values[*row] = *value;
    }
    values
}

/// Squared distances in one column, where the estimate is exact: the middle of the shortest intervals that hold
/// h + 1 rows, and the variance of the h rows nearest to it.
fn shortest_half(data: &Rows, h: usize) -> Result<Vec<f64>, DetectorError> {
    let n = data.len();
    if h >= n {
        return Candidate::simple((0..n).collect()).distances(data);
    }
    let column: Vec<f64> = (0..n).map(|i| data.row(i)[0]).collect();
    let mut sorted = column.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let widths: Vec<f64> = (0..n - h).map(|i| sorted[h + i] - sorted[i]).collect();
    let shortest = widths.iter().copied().fold(f64::INFINITY, f64::min);
    let middles: Vec<f64> = (0..n - h)
        .filter(|i| widths[*i] == shortest)
        .map(|i| 0.5 * (sorted[h + i] + sorted[i]))
        .collect();
    let location = middles.iter().sum::<f64>() / middles.len() as f64;
    let offsets: Vec<f64> = column.iter().map(|x| (x - location).abs()).collect();
    let variance = Estimate::of(data, &mcd::smallest(&offsets, h))?.variance(0);
    // The pseudo-inverse of no variance is 0.
    Ok(offsets
        .iter()
        .map(|o| if variance > 0.0 { o * o / variance } else { 0.0 })
        .collect())
}

/// The value that a chi-squared variable of p degrees of freedom exceeds with probability `tail`.
fn chi_squared_above(p: usize, tail: f64) -> Result<f64, DetectorError> {
    let distribution = ChiSquared::new(p as f64)
        .map_err(|_| parameter("columns", p as f64, "a number of degrees of freedom"))?;
    Ok(distribution.inverse_cdf(1.0 - tail))
}

fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    if n % 2 == 1 {
        sorted[n / 2]
    } else {
        0.5 * (sorted[n / 2 - 1] + sorted[n / 2])
    }
}

fn parameter(name: &'static str, value: f64, expected: &'static str) -> DetectorError {
    DetectorError::Parameter {
        name,
        value: value.to_string(),
        expected,
    }
}

fn check_finite(rows: ArrayView2<'_, f64>, what: &str) -> Result<(), DetectorError> {
    match rows.indexed_iter().find(|(_, v)| !v.is_finite()) {
        Some(((row, column), value)) => Err(DetectorError::NotFinite {
            what: what.to_owned(),
            row,
            column,
            value: *value,
        }),
        None => Ok(()),
    }
}
