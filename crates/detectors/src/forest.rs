//! Isolation forest (Liu, Ting and Zhou, 2008) over rows of `f32`, for very many columns.

mod outside;

pub use outside::RowStore;

use std::collections::BTreeMap;

use ndarray::{ArrayView2, CowArray, Ix2};
use rand::{RngExt, SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::DetectorError;
use crate::order::by_values;

/// A column whose range in a node is not larger than this is constant there, as in scikit-learn.
const CONSTANT: f32 = 1e-7;
/// The feature of a leaf.
const LEAF: u32 = u32::MAX;
/// Columns looked at by a row's fingerprint.
const FINGERPRINT: usize = 64;
/// Columns that an exact search for non-constant columns takes at a time.
const PANEL: usize = 4096;

/// An isolation forest: how many trees, each grown on how many rows.
///
/// Trees split at a uniformly drawn threshold of a uniformly drawn column, among those that are not constant in
/// the node (range above 1e-7), down to single rows, equal rows, or depth ceil(log2(max_samples)). Rows that are
/// isolated early are anomalous.
///
/// A tree depends on the rows (not on their order), the seed and its own index only, so that a forest of 10 is the first 10 trees of a
/// forest of 1000 with the same seed: see [`IsolationForestModel::score_sizes`].
///
/// ```
/// use blemish_detectors::{IsolationForest};
/// use ndarray::array;
///
/// # fn main() -> Result<(), blemish_detectors::DetectorError> {
/// let good = array![[0.0f32, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.05], [0.1, 0.04]];
/// let new = array![[0.05f32, 0.06], [3.0, -2.0]];
/// let scores = IsolationForest::default().fit(good.view(), 0)?.score(new.view())?;
/// assert!(scores[1] > scores[0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationForest {
    /// Number of trees, at least 1.
    pub n_estimators: usize,
    /// Rows drawn for each tree, without replacement, at least 1; all rows if there are fewer.
    pub max_samples: usize,
}

impl Default for IsolationForest {
    /// 100 trees of 256 rows.
    fn default() -> Self {
        IsolationForest {
            n_estimators: 100,
            max_samples: 256,
        }
    }
}

impl IsolationForest {
    /// Grows the trees on `rows`, n x d.
    ///
    /// # Errors
    /// If there is no row or no column, a value is not finite, or a parameter is 0.
    pub fn fit(&self, rows: ArrayView2<'_, f32>, seed: u64) -> Result<IsolationForestModel, DetectorError> {
        self.fit_groups(&[rows], seed)
    }

    /// Grows the trees on the rows of consecutive `groups`, each n_i x d, as if they were one matrix, but without
    /// copying them together. (A group whose rows are not contiguous in memory is copied.)
    ///
    /// # Errors
    /// If there is no row or no column, column counts differ, a value is not finite, or a parameter is 0.
    pub fn fit_groups(
        &self,
        groups: &[ArrayView2<'_, f32>],
        seed: u64,
    ) -> Result<IsolationForestModel, DetectorError> {
        let total: usize = groups.iter().map(ArrayView2::nrows).sum();
        let columns = groups.first().map_or(0, ArrayView2::ncols);
        self.check(total, columns)?;
        let groups: Vec<CowArray<'_, f32, Ix2>> = groups.iter().map(|g| g.as_standard_layout()).collect();
        let mut rows: Vec<&[f32]> = Vec::with_capacity(total);
        for (i, group) in groups.iter().enumerate() {
            rows.extend(checked_rows(group, columns, || {
                format!("group {i} of the training rows")
            })?);
        }
        rows.sort_unstable_by(|a, b| by_values(a, b));
        Ok(self.grow(twins(&rows), rows, columns, seed))
    }

    fn check(&self, total: usize, columns: usize) -> Result<(), DetectorError> {
        for (name, value) in [
            ("n_estimators", self.n_estimators),
            ("max_samples", self.max_samples),
        ] {
            if value == 0 {
                return Err(DetectorError::Parameter {
                    name,
                    value: "0".into(),
                    expected: "at least 1",
                });
            }
        }
        if total == 0 || columns == 0 {
            let what = "the training rows".to_owned();
            return Err(DetectorError::Empty {
                what,
                rows: total,
                columns,
            });
        }
        if columns >= LEAF as usize || total >= LEAF as usize {
            let value = format!("{total} x {columns}");
            return Err(DetectorError::Parameter {
                name: "training rows",
                value,
                expected: "below 2^32",
            });
        }
        Ok(())
    }

    /// Grows the trees on sorted rows.
    fn grow<M: Matrix>(&self, twins: Vec<u32>, rows: M, columns: usize, seed: u64) -> IsolationForestModel {
        let max_samples = self.max_samples.min(twins.len());
        let grower = Grower {
            twins,
            rows,
            columns,
            max_samples,
            depth_limit: depth_limit(max_samples),
            // An exact search reads columns in sequence, which is some hundred times faster than drawing them.
            draws: 32.max(columns / 256),
        };
        let trees = (0..self.n_estimators)
            .into_par_iter()
            .map(|tree| grower.tree(seed, tree as u64))
            .collect();
        IsolationForestModel {
            trees,
            columns,
            normalizer: average_path_length(max_samples),
        }
    }
}

/// A grown isolation forest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IsolationForestModel {
    trees: Vec<Tree>,
    columns: usize,
    /// c(max_samples)
    normalizer: f64,
}

impl IsolationForestModel {
    /// Number of trees.
    pub fn n_estimators(&self) -> usize {
        self.trees.len()
    }

    /// Whether it can be of so many columns: every walk down a tree ends in a leaf.
    pub(crate) fn is_sound(&self, columns: usize) -> bool {
        let is_node = |(i, node): (usize, &Node), tree: &Tree| {
            let child = node.child as usize;
            if node.feature == LEAF {
                child < tree.path_lengths.len()
            } else {
                (node.feature as usize) < columns && child > i && child + 1 < tree.nodes.len()
            }
        };
        let is_tree = |tree: &Tree| {
            !tree.nodes.is_empty() && tree.nodes.iter().enumerate().all(|node| is_node(node, tree))
        };
        self.columns == columns && !self.trees.is_empty() && self.trees.iter().all(is_tree)
    }

    /// Rows with a score above 0.5 are anomalous by the paper's convention (scikit-learn's offset -0.5).
    pub fn threshold(&self) -> f64 {
        0.5
    }

    /// Scores of m `rows`, m x d: `2^(-mean path length / c(max_samples))`, in (0, 1], higher = more anomalous.
    ///
    /// # Errors
    /// If the number of columns is not the training rows', or a value is not finite.
    pub fn score(&self, rows: ArrayView2<'_, f32>) -> Result<Vec<f64>, DetectorError> {
        let mut scores = self.score_sizes(rows, &[self.trees.len()])?;
        Ok(scores.pop().unwrap_or_default())
    }

    /// Scores of m `rows` by forests of several `sizes`: one list of m scores for each size. The forest of size s
    /// is the first s trees, so that one pass over the trees serves all.
    ///
    /// # Errors
    /// As [`score`](Self::score), or if a size is 0 or more than the number of trees.
    pub fn score_sizes(
        &self,
        rows: ArrayView2<'_, f32>,
        sizes: &[usize],
    ) -> Result<Vec<Vec<f64>>, DetectorError> {
        if let Some(size) = sizes.iter().find(|s| **s == 0 || **s > self.trees.len()) {
            return Err(DetectorError::Parameter {
                name: "forest size",
                value: size.to_string(),
                expected: "at least 1 and at most the number of trees grown",
            });
        }
        let rows = rows.as_standard_layout();
        let rows = checked_rows(&rows, self.columns, || "the rows to score".to_owned())?;
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|i| sizes[*i]);
        let by_row: Vec<Vec<f64>> = rows
            .par_iter()
            .map(|row| {
                let mut scores = vec![0.0; sizes.len()];
                let (mut sum, mut grown) = (0.0, 0);
                for &i in &order {
                    for tree in &self.trees[grown..sizes[i]] {
                        sum += tree.path_length(row);
                    }
                    grown = sizes[i];
                    let denominator = grown as f64 * self.normalizer;
                    // Trees of one row have c = 0: scikit-learn takes the ratio as 1.
                    let ratio = if denominator == 0.0 {
                        1.0
                    } else {
                        sum / denominator
                    };
                    scores[i] = (-ratio).exp2();
                }
                scores
            })
            .collect();
        Ok((0..sizes.len())
            .map(|i| by_row.iter().map(|scores| scores[i]).collect())
            .collect())
    }
}

/// c(n): the mean path length of an unsuccessful search in a binary search tree of n keys (Liu et al., eq. 1).
pub(crate) fn average_path_length(n: usize) -> f64 {
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;
            let m = n as f64 - 1.0;
            2.0 * (m.ln() + EULER_GAMMA) - 2.0 * m / n as f64
        }
    }
}

/// ceil(log2(max(n, 2)))
fn depth_limit(n: usize) -> u32 {
    usize::BITS - (n.max(2) - 1).leading_zeros()
}

/// The rows of a matrix in standard layout, if they have the right width and are finite.
fn checked_rows<'a>(
    matrix: &'a CowArray<'_, f32, Ix2>,
    columns: usize,
    what: impl Fn() -> String,
) -> Result<Vec<&'a [f32]>, DetectorError> {
    if matrix.ncols() != columns {
        let what = format!("columns of {}", what());
        return Err(DetectorError::Shape {
            what,
            found: matrix.ncols(),
            expected: columns,
        });
    }
    let values = matrix.as_slice().unwrap_or_default();
    let rows: Vec<&[f32]> = values.chunks_exact(columns).collect();
    let bad = rows.par_iter().position_first(|row| !all_finite(row));
    if let Some(row) = bad {
        let column = rows[row].iter().position(|v| !v.is_finite()).unwrap_or_default();
        let value = f64::from(rows[row][column]);
        return Err(DetectorError::NotFinite {
            what: what(),
            row,
            column,
            value,
        });
    }
    Ok(rows)
}

/// Whether all values are finite, in a form that the compiler vectorises.
fn all_finite(row: &[f32]) -> bool {
    let largest = row
        .iter()
        .fold(0, |largest: u32, v| largest.max(v.to_bits() & 0x7fff_ffff));
    largest < f32::INFINITY.to_bits()
}

/// For each row, the index of the first equal row.
///
/// Nodes of equal rows are leaves; to know that without reading all their columns matters where there are many
/// duplicates and many columns. A pair that is overlooked costs time only.
fn twins(rows: &[&[f32]]) -> Vec<u32> {
    let fingerprints = rows.iter().map(|row| {
        let step = row.len().div_ceil(FINGERPRINT).max(1);
        row.iter().step_by(step).map(|v| v.to_bits()).collect()
    });
    twins_by(fingerprints, |a, b| rows[a as usize] == rows[b as usize])
}

fn twins_by(fingerprints: impl Iterator<Item = Vec<u32>>, equal: impl Fn(u32, u32) -> bool) -> Vec<u32> {
    let mut seen: BTreeMap<Vec<u32>, Vec<u32>> = BTreeMap::new();
    let mut twins = vec![];
    for (i, fingerprint) in fingerprints.enumerate() {
        let i = i as u32;
        let others = seen.entry(fingerprint).or_default();
        let twin = others.iter().take(8).find(|o| equal(**o, i)).copied();
        if twin.is_none() {
            others.push(i);
        }
        twins.push(twin.unwrap_or(i));
    }
    twins
}

/// A node: all that a step down the tree reads is in 12 consecutive bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    /// Column to compare, or `LEAF`.
    feature: u32,
    /// Rows not above it go left.
    threshold: f32,
    /// The left child, which the right one follows; in a leaf, the index of its path length.
    child: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree {
    nodes: Vec<Node>,
    /// Depth + c(rows) of each leaf.
    path_lengths: Vec<f64>,
}

impl Tree {
    fn path_length(&self, row: &[f32]) -> f64 {
        let mut node = self.nodes[0];
        while node.feature != LEAF {
            let right = row[node.feature as usize] > node.threshold;
            node = self.nodes[node.child as usize + usize::from(right)];
        }
        self.path_lengths[node.child as usize]
    }
}

/// Sorted training rows, wherever they are.
trait Matrix: Sync {
    fn value(&self, row: u32, column: u32) -> f32;

    /// Some columns of a row; `space` has room for them.
    fn part<'a>(&'a self, row: u32, from: usize, space: &'a mut [f32]) -> &'a [f32];
}

impl Matrix for Vec<&[f32]> {
    fn value(&self, row: u32, column: u32) -> f32 {
        self[row as usize][column as usize]
    }

    fn part<'a>(&'a self, row: u32, from: usize, space: &'a mut [f32]) -> &'a [f32] {
        &self[row as usize][from..from + space.len()]
    }
}

struct Grower<M> {
    rows: M,
    /// For each row, the index of the first equal row.
    twins: Vec<u32>,
    columns: usize,
    max_samples: usize,
    depth_limit: u32,
    /// Columns drawn in vain before the exact search.
    draws: usize,
}

/// A node to be grown: the members `start..end` of the tree's rows.
struct Task {
    node: usize,
    start: usize,
    end: usize,
    depth: u32,
}

impl<M: Matrix> Grower<M> {
    fn tree(&self, seed: u64, tree: u64) -> Tree {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(tree);
        let mut members: Vec<u32> = index::sample(&mut rng, self.twins.len(), self.max_samples)
            .iter()
            .map(|i| i as u32)
            .collect();
        let mut values = vec![0.0f32; members.len()];
        let leaf = Node {
            feature: LEAF,
            threshold: 0.0,
            child: 0,
        };
        let mut tree = Tree {
            nodes: vec![leaf],
            path_lengths: vec![],
        };
        let mut tasks = vec![Task {
            node: 0,
            start: 0,
            end: members.len(),
            depth: 0,
        }];
        while let Some(Task {
            node,
            start,
            end,
            depth,
        }) = tasks.pop()
        {
            let (members, values) = (&mut members[start..end], &mut values[start..end]);
            let split = if depth >= self.depth_limit {
                None
            } else {
                self.split(members, values, &mut rng)
            };
            let Some((feature, threshold)) = split else {
                tree.nodes[node].child = tree.path_lengths.len() as u32;
                tree.path_lengths
                    .push(f64::from(depth) + average_path_length(end - start));
                continue;
            };
            let middle = start + partition(members, values, threshold);
            let left = tree.nodes.len();
            tree.nodes[node] = Node {
                feature,
                threshold,
                child: left as u32,
            };
            tree.nodes.extend([leaf, leaf]);
            let depth = depth + 1;
            tasks.push(Task {
                node: left + 1,
                start: middle,
                end,
                depth,
            });
            tasks.push(Task {
                node: left,
                start,
                end: middle,
                depth,
            });
        }
        tree
    }

    /// Draws a column that is not constant among `members`, and a threshold; `None` if all are constant. Leaves the
    /// column's values in `values`.
    fn split(&self, members: &[u32], values: &mut [f32], rng: &mut ChaCha8Rng) -> Option<(u32, f32)> {
        let twin = |member: &u32| self.twins[*member as usize];
        let first = members.first().map(twin)?;
        if members.iter().all(|m| twin(m) == first) {
            return None;
        }
        for _ in 0..self.draws {
            let feature = rng.random_range(0..self.columns as u32);
            if let Some((min, max)) = self.range(feature, members, values) {
                return Some((feature, threshold(min, max, rng)));
            }
        }
        // Each draw above was uniform among the non-constant columns, given that it was one; so is this one.
        let candidates = self.varying(members);
        if candidates.is_empty() {
            return None;
        }
        let feature = candidates[rng.random_range(0..candidates.len() as u32) as usize];
        let (min, max) = self.range(feature, members, values)?;
        Some((feature, threshold(min, max, rng)))
    }

    /// Gathers a column, and gives its range unless it is constant.
    fn range(&self, feature: u32, members: &[u32], values: &mut [f32]) -> Option<(f32, f32)> {
        for (value, member) in values.iter_mut().zip(members) {
            *value = self.rows.value(*member, feature);
        }
        let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
        for value in values.iter() {
            min = min.min(*value);
            max = max.max(*value);
        }
        varies(min, max).then_some((min, max))
    }

    /// All columns that are not constant among `members`.
    fn varying(&self, members: &[u32]) -> Vec<u32> {
        let mut found = vec![];
        let (mut min, mut max, mut space) = ([0.0f32; PANEL], [0.0f32; PANEL], [0.0f32; PANEL]);
        for from in (0..self.columns).step_by(PANEL) {
            let width = PANEL.min(self.columns - from);
            let (min, max) = (&mut min[..width], &mut max[..width]);
            min.fill(f32::INFINITY);
            max.fill(f32::NEG_INFINITY);
            for member in members {
                let row = self.rows.part(*member, from, &mut space[..width]);
                for ((min, max), value) in min.iter_mut().zip(max.iter_mut()).zip(row) {
                    *min = min.min(*value);
                    *max = max.max(*value);
                }
            }
            let columns = min.iter().zip(max.iter()).enumerate();
            found.extend(
                columns
                    .filter(|(_, (a, b))| varies(**a, **b))
                    .map(|(c, _)| (from + c) as u32),
            );
        }
        found
    }
}

fn varies(min: f32, max: f32) -> bool {
    max > min + CONSTANT
}

/// Uniform in [min, max], but never max, so that both children have rows.
fn threshold(min: f32, max: f32, rng: &mut ChaCha8Rng) -> f32 {
    let (low, high) = (f64::from(min), f64::from(max));
    let exact = low + (high - low) * rng.random::<f64>();
    // The largest f32 not above `exact` parts f32 values exactly as `exact` does.
    let mut rounded = exact as f32;
    if f64::from(rounded) > exact {
        rounded = rounded.next_down();
    }
    if rounded >= max { min } else { rounded }
}

/// Moves members whose value is not above the threshold to the front, and returns how many they are.
fn partition(members: &mut [u32], values: &mut [f32], threshold: f32) -> usize {
    let (mut from, mut to) = (0, members.len());
    while from < to {
        if values[from] <= threshold {
            from += 1;
        } else {
            to -= 1;
            members.swap(from, to);
            values.swap(from, to);
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn average_path_length_follows_the_paper() {
        assert_eq!([0, 1, 2].map(average_path_length), [0.0, 0.0, 1.0]);
        // By scikit-learn 1.2.2
        for (n, expected) in [
            (5, 2.327_020_052_042_847),
            (256, 10.244_770_920_119_917),
            (999, 12.967_939_884_427_995),
        ] {
            assert!((average_path_length(n) - expected).abs() < 1e-14 * expected);
        }
    }

    #[test]
    fn depth_limit_is_the_rounded_up_logarithm() {
        let limits: Vec<u32> = [1, 2, 3, 4, 5, 8, 9, 255, 256, 257].map(depth_limit).to_vec();
        assert_eq!(limits, [1, 1, 2, 2, 3, 3, 4, 8, 8, 9]);
    }

    #[test]
    fn a_given_forest_scores_by_the_closed_form() {
        let inner = |feature, threshold, child| Node {
            feature,
            threshold,
            child,
        };
        let leaf = |child| inner(LEAF, 0.0, child);
        // x0 <= 1 ? leaf of 5 : (x1 <= -2 ? leaf of 1 : leaf of 2), and a stump
        let (c5, c8) = (average_path_length(5), average_path_length(8));
        let first = Tree {
            nodes: vec![inner(0, 1.0, 1), leaf(0), inner(1, -2.0, 3), leaf(1), leaf(2)],
            path_lengths: vec![1.0 + c5, 2.0, 3.0],
        };
        let second = Tree {
            nodes: vec![inner(1, 0.0, 1), leaf(0), leaf(1)],
            path_lengths: vec![1.0, 1.0 + c5],
        };
        let model = IsolationForestModel {
            trees: vec![first, second],
            columns: 2,
            normalizer: c8,
        };
        let rows = array![[1.0f32, 5.0], [1.5, -2.0], [1.5, -1.9]];
        let scores = model.score_sizes(rows.view(), &[2, 1]).unwrap();
        let expected = |lengths: [f64; 3], trees: f64| lengths.map(|l| (-l / (trees * c8)).exp2());
        assert_eq!(scores[0], expected([2.0 + 2.0 * c5, 3.0, 4.0], 2.0));
        assert_eq!(scores[1], expected([1.0 + c5, 2.0, 3.0], 1.0));
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        forests: Vec<Forest>,
    }

    #[derive(serde::Deserialize)]
    struct Forest {
        name: String,
        max_samples: usize,
        columns: usize,
        trees: Vec<Structure>,
        rows: Vec<Vec<f64>>,
        scores: Vec<f64>,
    }

    /// A tree of scikit-learn: a list for each property of its nodes.
    #[derive(serde::Deserialize)]
    struct Structure {
        left: Vec<i64>,
        right: Vec<i64>,
        feature: Vec<i64>,
        threshold: Vec<f64>,
        samples: Vec<usize>,
    }

    impl Structure {
        fn tree(&self) -> Tree {
            let leaf = Node {
                feature: LEAF,
                threshold: 0.0,
                child: 0,
            };
            let mut tree = Tree {
                nodes: vec![leaf],
                path_lengths: vec![],
            };
            let mut tasks = vec![(0, 0, 0)];
            while let Some((theirs, ours, depth)) = tasks.pop() {
                if self.left[theirs] < 0 {
                    tree.nodes[ours].child = tree.path_lengths.len() as u32;
                    let length = f64::from(depth) + average_path_length(self.samples[theirs]);
                    tree.path_lengths.push(length);
                    continue;
                }
                let child = tree.nodes.len();
                tree.nodes.extend([leaf, leaf]);
                let mut threshold = self.threshold[theirs] as f32;
                if f64::from(threshold) > self.threshold[theirs] {
                    threshold = threshold.next_down();
                }
                tree.nodes[ours] = Node {
                    feature: self.feature[theirs] as u32,
                    threshold,
                    child: child as u32,
                };
                tasks.push((self.left[theirs] as usize, child, depth + 1));
                tasks.push((self.right[theirs] as usize, child + 1, depth + 1));
            }
            tree
        }
    }

    /// Forests that scikit-learn grew, on rows that lie next to the thresholds.
    #[test]
    fn a_forest_of_scikit_learn_scores_as_there() {
        let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "forest_real.json");
        let mut failures = vec![];
        for forest in &golden.forests {
            let model = IsolationForestModel {
                trees: forest.trees.iter().map(Structure::tree).collect(),
                columns: forest.columns,
                normalizer: average_path_length(forest.max_samples),
            };
            let rows = ndarray::Array2::from_shape_fn((forest.rows.len(), forest.columns), |(i, j)| {
                forest.rows[i][j] as f32
            });
            let scores = model.score(rows.view()).unwrap();
            for (i, (found, expected)) in scores.iter().zip(&forest.scores).enumerate() {
                if (found - expected).abs() > 1e-15 {
                    failures.push(format!("{}, row {i}: {found} for {expected}", forest.name));
                }
            }
        }
        assert!(golden.forests.len() >= 5);
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn thresholds_part_the_range() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (min, max) in [
            (1.0f32, 1.0 + 2.0 * f32::EPSILON),
            (-3.0, 4.0),
            (f32::MIN, f32::MAX),
            (0.0, 1e-6),
        ] {
            for _ in 0..1000 {
                let t = threshold(min, max, &mut rng);
                assert!(min <= t && t < max, "{min} <= {t} < {max}");
            }
        }
    }

    #[test]
    fn the_exact_search_finds_what_draws_would() {
        let columns = 3 * PANEL + 7;
        let varying = [0, PANEL - 1, PANEL, columns - 1];
        let mut other = vec![1.0f32; columns];
        for c in varying {
            other[c] = 2.0;
        }
        // Constant: in f32, 1 + 1e-7 is rounded up to this.
        other[5] = 1.0 + f32::EPSILON;
        let base = vec![1.0f32; columns];
        let rows: Vec<&[f32]> = vec![&base, &other];
        let grower = Grower {
            twins: twins(&rows),
            rows,
            columns,
            max_samples: 2,
            depth_limit: 1,
            draws: 0,
        };
        assert_eq!(grower.varying(&[0, 1]), varying.map(|c| c as u32));
        let mut counts = BTreeMap::new();
        for tree in 0..4000 {
            *counts.entry(grower.tree(3, tree).nodes[0].feature).or_insert(0) += 1;
        }
        assert_eq!(
            counts.keys().copied().collect::<Vec<_>>(),
            varying.map(|c| c as u32)
        );
        // Binomial(4000, 1/4) has standard deviation 27.
        assert!(
            counts.values().all(|n| (*n - 1000i32).abs() < 5 * 27),
            "{counts:?}"
        );
    }
}
