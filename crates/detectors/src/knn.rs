//! Distance to the nearest training rows (Ramaswamy, Rastogi and Shim, 2000; Angiulli and Pizzuti, 2002).

use serde::{Deserialize, Serialize};

use crate::lof::Neighbor;
use crate::{DetectorError, NeighborTable};

/// What a [`KNearestNeighbors`] makes of the distances to the k nearest rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// The largest of them: the distance to the k-th nearest row.
    Largest,
    /// Their mean.
    Mean,
    /// Their median; of an even number, the mean of the middle two.
    Median,
}

impl Aggregate {
    /// Every aggregate.
    pub const ALL: [Aggregate; 3] = [Aggregate::Largest, Aggregate::Mean, Aggregate::Median];

    /// The name that PyOD's `KNN` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Aggregate::Largest => "largest",
            Aggregate::Mean => "mean",
            Aggregate::Median => "median",
        }
    }

    /// Of distances in ascending order, at least one.
    fn of(self, near: &[Neighbor]) -> f64 {
        let k = near.len();
        match self {
            Aggregate::Largest => near[k - 1].0,
            Aggregate::Mean => near.iter().map(|(distance, _)| distance).sum::<f64>() / k as f64,
            Aggregate::Median => 0.5 * (near[(k - 1) / 2].0 + near[k / 2].0),
        }
    }
}

/// Parameters of a nearest-neighbour distance: the score is an aggregate of the Euclidean distances to the
/// `n_neighbors` nearest training rows, in the units of the rows.
///
/// ```
/// use blemish_detectors::{Aggregate, InnerProducts, KNearestNeighbors, NeighborTable};
/// use ndarray::array;
///
/// # fn main() -> Result<(), blemish_detectors::DetectorError> {
/// let good = array![[0.0, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.05], [0.1, 0.04]];
/// let new = array![[0.05, 0.06], [3.0, -2.0]];
/// let products = InnerProducts::from_rows(&[good.view()], new.view())?;
/// let neighbors = NeighborTable::new(products.view(), 3)?;
/// let nearest = KNearestNeighbors { n_neighbors: 1, aggregate: Aggregate::Largest };
/// let scores = nearest.fit(&neighbors)?.score(&neighbors)?;
/// assert!(scores[1] > scores[0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KNearestNeighbors {
    /// Number of neighbours, at least 1; more than n - 1 means n - 1.
    pub n_neighbors: usize,
    /// What is made of their distances.
    pub aggregate: Aggregate,
}

impl Default for KNearestNeighbors {
    /// The mean distance to 5 neighbours.
    fn default() -> KNearestNeighbors {
        KNearestNeighbors {
            n_neighbors: 5,
            aggregate: Aggregate::Mean,
        }
    }
}

impl KNearestNeighbors {
    /// Checks the parameters against the training rows of a table; there is nothing else to fit.
    ///
    /// # Errors
    /// If `n_neighbors` is 0, or more than the table was made for.
    pub fn fit(&self, table: &NeighborTable) -> Result<KNearestNeighborsModel, DetectorError> {
        Ok(KNearestNeighborsModel {
            k: table.serve(self.n_neighbors)?,
            n: table.train_len(),
            aggregate: self.aggregate,
        })
    }
}

/// A nearest-neighbour distance that is ready to score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KNearestNeighborsModel {
    k: usize,
    n: usize,
    aggregate: Aggregate,
}

impl KNearestNeighborsModel {
    /// Scores of the query rows.
    ///
    /// # Errors
    /// If the table is of another number of training rows or holds too few neighbours.
    pub fn score(&self, table: &NeighborTable) -> Result<Vec<f64>, DetectorError> {
        Ok(self.distances(table.query(self.n, self.k)?))
    }

    /// Scores of the training rows, each without itself.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn train_scores(&self, table: &NeighborTable) -> Result<Vec<f64>, DetectorError> {
        Ok(self.distances(table.train(self.n, self.k)?))
    }

    fn distances(&self, rows: &[Vec<Neighbor>]) -> Vec<f64> {
        rows.iter()
            .map(|near| self.aggregate.of(&near[..self.k]))
            .collect()
    }

    /// Whether it can be of n training rows.
    pub(crate) fn is_sound(&self, n: usize) -> bool {
        self.n == n && (1..n).contains(&self.k)
    }

    /// The number of neighbours in use.
    pub fn n_neighbors(&self) -> usize {
        self.k
    }
}
