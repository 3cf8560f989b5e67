//! Local outlier factor (Breunig, Kriegel, Ng and Sander, 2000) for new rows ("novelty").

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{DetectorError, ProductsView};

/// Distance and index of a neighbour.
type Neighbor = (f64, u32);

/// The nearest training rows of every training and query row, sorted once for every number of neighbours.
#[derive(Clone, Debug)]
pub struct NeighborTable {
    n: usize,
    /// Nearest other training rows of each training row, ascending by (distance, index).
    train: Vec<Vec<Neighbor>>,
    /// Nearest training rows of each query row.
    query: Vec<Vec<Neighbor>>,
}

impl NeighborTable {
    /// Finds the `k_max` nearest neighbours (all there are, if fewer); equal distances by index.
    ///
    /// A training row is not its own neighbour. (scikit-learn looks for one more and drops the row itself, or, where
    /// more duplicates come first, the first of them: the same distances and, since duplicates have equal
    /// densities, the same factors.)
    ///
    /// # Errors
    /// If there are fewer than two training rows.
    pub fn new(products: ProductsView<'_>, k_max: usize) -> Result<NeighborTable, DetectorError> {
        let n = products.train_len();
        if n < 2 {
            return Err(DetectorError::TooFewRows {
                detector: "LocalOutlierFactor",
                needed: 2,
                found: n,
            });
        }
        let k = k_max.clamp(1, n - 1);
        let train = (0..n)
            .into_par_iter()
            .map_init(
                || vec![0.0; n],
                |distances, i| {
                    products.train_sq_distance_row(i, distances);
                    nearest(k, distances, Some(i))
                },
            )
            .collect();
        let query = (0..products.query_len())
            .into_par_iter()
            .map_init(
                || vec![0.0; n],
                |distances, q| {
                    products.query_sq_distance_row(q, distances);
                    nearest(k, distances, None)
                },
            )
            .collect();
        Ok(NeighborTable { n, train, query })
    }

    /// Largest number of neighbours that the table serves; it serves more if those are all other training rows.
    pub fn k_max(&self) -> usize {
        self.train.first().map_or(0, Vec::len)
    }
}

/// The k nearest, but for row `own`, by squared distances of all; equal distances by index.
fn nearest(k: usize, sq_distances: &[f64], own: Option<usize>) -> Vec<Neighbor> {
    let mut all: Vec<Neighbor> = sq_distances
        .iter()
        .enumerate()
        .filter(|(j, _)| Some(*j) != own)
        .map(|(j, square)| (square.sqrt(), j as u32))
        .collect();
    let order = |a: &Neighbor, b: &Neighbor| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    if all.len() > k {
        all.select_nth_unstable_by(k - 1, order);
        all.truncate(k);
    }
    all.sort_unstable_by(order);
    all
}

/// Parameters of a local outlier factor; the score is minus scikit-learn's `score_samples`, about 1 for rows like
/// the training rows and larger for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalOutlierFactor {
    /// Number of neighbours, at least 1; more than n - 1 means n - 1.
    pub n_neighbors: usize,
}

impl LocalOutlierFactor {
    /// Computes the local reachability densities of the training rows.
    ///
    /// # Errors
    /// If `n_neighbors` is 0, or more than the table was made for.
    pub fn fit(&self, table: &NeighborTable) -> Result<LocalOutlierFactorModel, DetectorError> {
        if self.n_neighbors == 0 {
            return Err(DetectorError::Parameter {
                name: "n_neighbors",
                value: "0".into(),
                expected: "at least 1",
            });
        }
        let k = self.n_neighbors.min(table.n - 1);
        if k > table.k_max() {
            return Err(DetectorError::Shape {
                what: "neighbours in the table".into(),
                found: table.k_max(),
                expected: k,
            });
        }
        let k_distance: Vec<f64> = table.train.iter().map(|near| near[k - 1].0).collect();
        let density = table
            .train
            .iter()
            .map(|near| reachability_density(&near[..k], &k_distance))
            .collect();
        Ok(LocalOutlierFactorModel {
            k,
            k_distance,
            density,
        })
    }
}

/// One over the mean of `max(distance, k-distance of the neighbour)`.
fn reachability_density(near: &[Neighbor], k_distance: &[f64]) -> f64 {
    let sum: f64 = near
        .iter()
        .map(|(distance, j)| distance.max(k_distance[*j as usize]))
        .sum();
    // The summand keeps duplicates finite, as in scikit-learn.
    1.0 / (sum / near.len() as f64 + 1e-10)
}

/// A fitted local outlier factor.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalOutlierFactorModel {
    k: usize,
    k_distance: Vec<f64>,
    density: Vec<f64>,
}

impl LocalOutlierFactorModel {
    /// Scores of the query rows: mean over the neighbours of their density over the row's own.
    ///
    /// # Errors
    /// If the table is of another number of training rows or holds too few neighbours.
    pub fn score(&self, table: &NeighborTable) -> Result<Vec<f64>, DetectorError> {
        self.factors(table, &table.query)
    }

    /// Scores of the training rows, each without itself: minus scikit-learn's `negative_outlier_factor_`.
    ///
    /// # Errors
    /// As [`LocalOutlierFactorModel::score`].
    pub fn train_scores(&self, table: &NeighborTable) -> Result<Vec<f64>, DetectorError> {
        self.factors(table, &table.train)
    }

    fn factors(&self, table: &NeighborTable, rows: &[Vec<Neighbor>]) -> Result<Vec<f64>, DetectorError> {
        let shape = |what: &str, found, expected| DetectorError::Shape {
            what: what.into(),
            found,
            expected,
        };
        if table.n != self.density.len() {
            return Err(shape("training rows of the table", table.n, self.density.len()));
        }
        if table.k_max() < self.k {
            return Err(shape("neighbours in the table", table.k_max(), self.k));
        }
        let factor = |near: &Vec<Neighbor>| {
            let near = &near[..self.k];
            let own = reachability_density(near, &self.k_distance);
            let sum: f64 = near.iter().map(|(_, j)| self.density[*j as usize] / own).sum();
            sum / self.k as f64
        };
        Ok(rows.iter().map(factor).collect())
    }
}
