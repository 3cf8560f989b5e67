//! Local outlier factor (Breunig, Kriegel, Ng and Sander, 2000) for new rows ("novelty").

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{DetectorError, ProductsView};

/// Distance and index of a neighbour.
pub(crate) type Neighbor = (f64, u32);

/// The nearest training rows of every training and query row, sorted once for every number of neighbours.
#[derive(Clone, Debug)]
pub struct NeighborTable {
    n: usize,
    k_max: usize,
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
    /// densities, the same factors. Of other rows that are equally far away it keeps whichever its heap keeps, which
    /// depends on the order of rows.)
    ///
    /// # Errors
    /// If there are fewer than two training rows.
    pub fn new(products: ProductsView<'_>, k_max: usize) -> Result<NeighborTable, DetectorError> {
        let n = products.train_len();
        if n < 2 {
            return Err(DetectorError::TooFewRows {
                detector: "a table of nearest neighbours",
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
        Ok(NeighborTable {
            n,
            k_max: k,
            train,
            query: of_query(products, k),
        })
    }

    /// The same for query rows alone, to score: fitting and training scores need those of the training rows.
    pub(crate) fn of_query(products: ProductsView<'_>, k_max: usize) -> NeighborTable {
        let n = products.train_len();
        let k = k_max.clamp(1, n);
        NeighborTable {
            n,
            k_max: k,
            train: vec![],
            query: of_query(products, k),
        }
    }

    /// Largest number of neighbours that the table serves; it serves more if those are all other training rows.
    pub fn k_max(&self) -> usize {
        self.k_max
    }

    /// Number of training rows.
    pub fn train_len(&self) -> usize {
        self.n
    }

    /// How many neighbours `n_neighbors` stands for: at most all other training rows.
    pub(crate) fn serve(&self, n_neighbors: usize) -> Result<usize, DetectorError> {
        if n_neighbors == 0 {
            return Err(DetectorError::Parameter {
                name: "n_neighbors",
                value: "0".into(),
                expected: "at least 1",
            });
        }
        let k = n_neighbors.min(self.n - 1);
        self.check(self.n, k)?;
        Ok(k)
    }

    /// The neighbours of the training rows, k of them or more, for a model of n training rows.
    pub(crate) fn train(&self, n: usize, k: usize) -> Result<&[Vec<Neighbor>], DetectorError> {
        self.check(n, k)?;
        Ok(&self.train)
    }

    /// The neighbours of the query rows, k of them or more, for a model of n training rows.
    pub(crate) fn query(&self, n: usize, k: usize) -> Result<&[Vec<Neighbor>], DetectorError> {
        self.check(n, k)?;
        Ok(&self.query)
    }

    fn check(&self, n: usize, k: usize) -> Result<(), DetectorError> {
        let shape = |what: &str, found, expected| DetectorError::Shape {
            what: what.into(),
            found,
            expected,
        };
        if self.n != n {
            return Err(shape("training rows of the table", self.n, n));
        }
        if self.k_max < k {
            return Err(shape("neighbours in the table", self.k_max, k));
        }
        Ok(())
    }
}

/// The k nearest training rows of each query row.
fn of_query(products: ProductsView<'_>, k: usize) -> Vec<Vec<Neighbor>> {
    (0..products.query_len())
        .into_par_iter()
        .map_init(
            || vec![0.0; products.train_len()],
            |distances, q| {
                products.query_sq_distance_row(q, distances);
                nearest(k, distances, None)
            },
        )
        .collect()
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
///
/// ```
/// use blemish_detectors::{InnerProducts, LocalOutlierFactor, NeighborTable};
/// use ndarray::array;
///
/// # fn main() -> Result<(), blemish_detectors::DetectorError> {
/// let good = array![[0.0, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.05], [0.1, 0.04]];
/// let new = array![[0.05, 0.06], [3.0, -2.0]];
/// let products = InnerProducts::from_rows(&[good.view()], new.view())?;
/// let neighbors = NeighborTable::new(products.view(), 3)?;
/// let scores = LocalOutlierFactor { n_neighbors: 3 }.fit(&neighbors)?.score(&neighbors)?;
/// assert!(scores[1] > scores[0]);
/// # Ok(())
/// # }
/// ```
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
        let k = table.serve(self.n_neighbors)?;
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
        Ok(self.factors(table.query(self.density.len(), self.k)?))
    }

    /// Scores of the training rows, each without itself: minus scikit-learn's `negative_outlier_factor_`.
    ///
    /// # Errors
    /// As [`LocalOutlierFactorModel::score`].
    pub fn train_scores(&self, table: &NeighborTable) -> Result<Vec<f64>, DetectorError> {
        Ok(self.factors(table.train(self.density.len(), self.k)?))
    }

    /// Whether it can be of n training rows.
    pub(crate) fn is_sound(&self, n: usize) -> bool {
        self.k_distance.len() == n && self.density.len() == n && (1..n).contains(&self.k)
    }

    /// The number of neighbours in use.
    pub fn n_neighbors(&self) -> usize {
        self.k
    }

    fn factors(&self, rows: &[Vec<Neighbor>]) -> Vec<f64> {
        let factor = |near: &Vec<Neighbor>| {
            let near = &near[..self.k];
            let own = reachability_density(near, &self.k_distance);
            let sum: f64 = near.iter().map(|(_, j)| self.density[*j as usize] / own).sum();
            sum / self.k as f64
        };
        rows.iter().map(factor).collect()
    }
}
