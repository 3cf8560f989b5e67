//! Isolation forest (Liu, Ting and Zhou, 2008), on the rows themselves.

use ndarray::{ArrayView1, ArrayView2};
use rand::seq::index;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::DetectorError;

/// A column whose values in a node differ by no more than this is constant there, as in scikit-learn.
const CONSTANT: f32 = 1e-7;
/// Columns drawn for a node before all are looked through.
const DRAWS: usize = 32;

/// Parameters of an isolation forest; the score is minus scikit-learn's `score_samples`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationForest {
    /// Number of trees, at least 1.
    pub n_estimators: usize,
    /// Rows drawn for each tree, without replacement; all, if there are fewer. At least 1.
    pub max_samples: usize,
}

impl Default for IsolationForest {
    /// scikit-learn's: 100 trees of 256 rows.
    fn default() -> IsolationForest {
        IsolationForest { n_estimators: 100, max_samples: 256 }
    }
}

impl IsolationForest {
    /// Grows the forest on `rows` (n x d). A tree depends on the rows, `seed` and its own number alone, so a smaller
    /// forest of the same seed is the first trees of a larger one.
    ///
    /// # Errors
    /// If there are no rows or columns, if a value is not finite, or if a parameter is 0.
    pub fn fit(&self, rows: ArrayView2<'_, f32>, seed: u64) -> Result<IsolationForestModel, DetectorError> {
        self.fit_groups(&[rows], seed)
    }

    /// As [`IsolationForest::fit`], on rows that lie in consecutive groups.
    ///
    /// # Errors
    /// As [`IsolationForest::fit`], and if column counts differ.
    pub fn fit_groups(
        &self,
        groups: &[ArrayView2<'_, f32>],
        seed: u64,
    ) -> Result<IsolationForestModel, DetectorError> {
        for (name, value) in [("n_estimators", self.n_estimators), ("max_samples", self.max_samples)] {
            if value == 0 {
                return Err(DetectorError::Parameter { name, value: "0".into(), expected: "at least 1" });
            }
        }
        let d = groups.first().map_or(0, |g| g.ncols());
        let rows: Vec<ArrayView1<'_, f32>> = groups.iter().flat_map(|g| g.outer_iter()).collect();
        if rows.is_empty() || d == 0 {
            let what = "the training rows".to_owned();
            return Err(DetectorError::Empty { what, rows: rows.len(), columns: d });
        }
        check("the training rows", &rows, d)?;
        let max_samples = self.max_samples.min(rows.len());
        let trees = (0..self.n_estimators)
            .into_par_iter()
            .map(|tree| {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                random.set_stream(tree as u64);
                grow(&rows, d, max_samples, &mut random)
            })
            .collect();
        Ok(IsolationForestModel { trees, max_samples, d })
    }
}

fn check(what: &str, rows: &[ArrayView1<'_, f32>], d: usize) -> Result<(), DetectorError> {
    if let Some(row) = rows.iter().find(|r| r.len() != d) {
        return Err(DetectorError::Shape { what: format!("columns of {what}"), found: row.len(), expected: d });
    }
    let bad = rows
        .par_iter()
        .enumerate()
        .find_map_first(|(r, row)| row.iter().position(|v| !v.is_finite()).map(|c| (r, c)));
    match bad {
        Some((row, column)) => Err(DetectorError::NotFinite {
            what: what.to_owned(),
            row,
            column,
            value: f64::from(rows[row][column]),
        }),
        None => Ok(()),
    }
}

/// A node: a split, or, with `left` 0, a leaf. The right child follows the left one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    feature: u32,
    left: u32,
    /// Threshold of a split (left if `<=`); path length of a leaf.
    value: f64,
}

/// Mean path length of an unsuccessful search in a binary tree of n rows.
fn mean_path_length(n: usize) -> f64 {
    const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        n => {
            let n = n as f64;
            2.0 * ((n - 1.0).ln() + EULER_GAMMA) - 2.0 * (n - 1.0) / n
        }
    }
}

fn grow(rows: &[ArrayView1<'_, f32>], d: usize, max_samples: usize, random: &mut ChaCha8Rng) -> Vec<Node> {
    let mut sample: Vec<usize> = index::sample(random, rows.len(), max_samples).into_vec();
    let max_depth = (max_samples.max(2) as f64).log2().ceil() as usize;
    let leaf = |depth: usize, n: usize| Node { feature: 0, left: 0, value: depth as f64 + mean_path_length(n) };
    let mut nodes = vec![leaf(0, max_samples)];
    // (node, its part of the sample, depth)
    let mut todo = vec![(0, 0..max_samples, 0)];
    while let Some((node, part, depth)) = todo.pop() {
        let members = &mut sample[part.clone()];
        nodes[node] = leaf(depth, members.len());
        if depth >= max_depth || members.len() < 2 {
            continue;
        }
        let Some((feature, low, high)) = draw_feature(rows, members, d, random) else { continue };
        let (low, high) = (f64::from(low), f64::from(high));
        let mut threshold = low + (high - low) * random.random::<f64>();
        if threshold >= high {
            threshold = low;
        }
        let mut split = 0;
        for i in 0..members.len() {
            if f64::from(rows[members[i]][feature]) <= threshold {
                members.swap(i, split);
                split += 1;
            }
        }
        let left = nodes.len();
        nodes[node] = Node { feature: feature as u32, left: left as u32, value: threshold };
        nodes.extend([leaf(0, 0); 2]);
        todo.push((left + 1, part.start + split..part.end, depth + 1));
        todo.push((left, part.start..part.start + split, depth + 1));
    }
    nodes
}

/// A column drawn uniformly among those that are not constant in the node, with its range; `None` if all are.
fn draw_feature(
    rows: &[ArrayView1<'_, f32>],
    members: &[usize],
    d: usize,
    random: &mut ChaCha8Rng,
) -> Option<(usize, f32, f32)> {
    let range = |feature: usize| {
        let values = members.iter().map(|m| rows[*m][feature]);
        let (low, high) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        (high > low + CONSTANT).then_some((feature, low, high))
    };
    for _ in 0..DRAWS {
        if let Some(found) = range(random.random_range(0..d)) {
            return Some(found);
        }
    }
    // Drawing again until one fits is uniform too, but might never end.
    let fit: Vec<_> = (0..d).filter_map(range).collect();
    (!fit.is_empty()).then(|| fit[random.random_range(0..fit.len())])
}

/// A grown isolation forest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IsolationForestModel {
    trees: Vec<Vec<Node>>,
    max_samples: usize,
    d: usize,
}

impl IsolationForestModel {
    /// The score that scikit-learn's offset of -0.5 stands for: rows above it are outliers.
    pub const THRESHOLD: f64 = 0.5;

    /// Scores of `rows` (m x d): `2^(-mean path length / c(max_samples))`, in (0, 1].
    ///
    /// # Errors
    /// If the column count is another one, or a value is not finite.
    pub fn score(&self, rows: ArrayView2<'_, f32>) -> Result<Vec<f64>, DetectorError> {
        Ok(self.score_sizes(rows, &[self.trees.len()])?.remove(0))
    }

    /// Scores of `rows` by the first `size` trees, for each size.
    ///
    /// # Errors
    /// As [`IsolationForestModel::score`], and if a size is 0 or more than there are trees.
    pub fn score_sizes(
        &self,
        rows: ArrayView2<'_, f32>,
        sizes: &[usize],
    ) -> Result<Vec<Vec<f64>>, DetectorError> {
        if let Some(&size) = sizes.iter().find(|s| **s == 0 || **s > self.trees.len()) {
            return Err(DetectorError::Shape {
                what: "trees to score with".into(),
                found: size,
                expected: self.trees.len(),
            });
        }
        let rows: Vec<_> = rows.outer_iter().collect();
        check("the query", &rows, self.d)?;
        let normal = mean_path_length(self.max_samples);
        let by_row: Vec<Vec<f64>> = rows
            .par_iter()
            .map(|row| {
                let mut sum = 0.0;
                let sums: Vec<f64> = self
                    .trees
                    .iter()
                    .map(|tree| {
                        sum += path_length(tree, row);
                        sum
                    })
                    .collect();
                let score = |size: usize| match normal {
                    // A tree of one row tells nothing.
                    0.0 => 0.5,
                    normal => (-sums[size - 1] / (size as f64 * normal)).exp2(),
                };
                sizes.iter().map(|s| score(*s)).collect()
            })
            .collect();
        Ok((0..sizes.len()).map(|s| by_row.iter().map(|row| row[s]).collect()).collect())
    }
}

fn path_length(tree: &[Node], row: &ArrayView1<'_, f32>) -> f64 {
    let mut node = tree[0];
    while node.left != 0 {
        let right = u32::from(f64::from(row[node.feature as usize]) > node.value);
        node = tree[(node.left + right) as usize];
    }
    node.value
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn mean_path_lengths_are_the_closed_form() {
        assert_eq!([0, 1, 2].map(mean_path_length), [0.0, 0.0, 1.0]);
        // 2 H(n-1) - 2 (n-1)/n, with the harmonic number approximated as in the paper.
        assert!((mean_path_length(256) - 10.244770920119917).abs() < 1e-12);
    }

    #[test]
    fn paths_of_a_given_tree() {
        // x0 <= 1 -> leaf of 3 rows at depth 1; else x1 <= 2 -> leaf of 1 row at depth 2; else of 2 rows.
        let split = |feature, left, value| Node { feature, left, value };
        let leaf = |depth: f64, n| Node { feature: 0, left: 0, value: depth + mean_path_length(n) };
        let tree = vec![split(0, 1, 1.0), leaf(1.0, 3), split(1, 3, 2.0), leaf(2.0, 1), leaf(2.0, 2)];
        let model = IsolationForestModel { trees: vec![tree], max_samples: 6, d: 2 };
        let rows = array![[1.0f32, 9.0], [1.5, 2.0], [1.5, 2.5]];
        let expected = [1.0 + mean_path_length(3), 2.0, 3.0].map(|p: f64| (-p / mean_path_length(6)).exp2());
        assert_eq!(model.score(rows.view()).unwrap(), expected);
    }

    #[test]
    fn every_row_of_a_sample_reaches_a_leaf_of_its_size() {
        let rows = ndarray::Array2::from_shape_fn((40, 3), |(i, j)| ((i * 37 + j * 11) % 41) as f32);
        let views: Vec<_> = rows.outer_iter().collect();
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let tree = grow(&views, 3, 40, &mut random);
        let depth_limit = 6.0;
        for row in &views {
            let length = path_length(&tree, row);
            assert!((1.0..=depth_limit + mean_path_length(40)).contains(&length));
        }
    }
}
