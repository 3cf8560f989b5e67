//! The memory bank of PatchCore (Roth et al., 2022): good patches, and the distance of a new patch to the nearest.

use blemish_backbones::PackedRows;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

/// Patches that are compared with the bank at a time: they and their products stay in the second-level cache.
const BLOCK: usize = 112;
/// Rows of the bank that they are compared with at a time.
const STRETCH: usize = 256;
/// How many rows around the nearest one the image's score is weighted by, itself included (b in the paper).
const SUPPORT: usize = 9;

/// Good patches.
#[derive(Debug)]
pub(crate) struct MemoryBank {
    pub(crate) rows: Array2<f32>,
    packed: PackedRows,
}

/// The nearest row of a bank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Nearest {
    pub(crate) distance: f64,
    pub(crate) row: usize,
}

impl MemoryBank {
    pub(crate) fn new(rows: Array2<f32>) -> MemoryBank {
        // |x - y|^2 = |x|^2 - 2 (x y - |y|^2 / 2): the nearest y is where the bracket is greatest.
        let offsets: Vec<f32> = rows
            .outer_iter()
            .map(|row| (-0.5 * row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()) as f32)
            .collect();
        let packed = PackedRows::new(rows.view(), &offsets);
        MemoryBank { rows, packed }
    }

    /// For each of the `patches` the nearest row. Found by products in f32 (of rows that are equally far within rounding, any
    /// may be taken), measured in f64.
    pub(crate) fn nearest(&self, patches: ArrayView2<'_, f32>) -> Vec<Nearest> {
        let blocks: Vec<Vec<Nearest>> = patches
            .axis_chunks_iter(Axis(0), BLOCK)
            .into_par_iter()
            .map_init(
                || vec![0.0; BLOCK * STRETCH],
                |products, block| self.nearest_of_block(block, products),
            )
            .collect();
        blocks.into_iter().flatten().collect()
    }

    fn nearest_of_block(&self, block: ArrayView2<'_, f32>, products: &mut [f32]) -> Vec<Nearest> {
        let mut best = vec![(f32::NEG_INFINITY, usize::MAX); block.nrows()];
        for start in (0..self.packed.len()).step_by(STRETCH) {
            let range = start..(start + STRETCH).min(self.packed.len());
            self.packed.products(block, range.clone(), products);
            for (best, products) in best.iter_mut().zip(products.chunks_exact(range.len())) {
                let greatest = greatest(products);
                if greatest > best.0
                    && let Some(at) = products.iter().position(|v| *v == greatest)
                {
                    *best = (greatest, start + at);
                }
            }
        }
        best.iter()
            .zip(block.outer_iter())
            .map(|((_, row), patch)| Nearest {
                distance: if *row == usize::MAX {
                    f64::INFINITY
                } else {
                    distance(patch, self.rows.row(*row))
                },
                row: *row,
            })
            .collect()
    }

    /// The image's score from its patches and their nearest rows: the distance of the patch that is farthest, weighted
    /// by how crowded the bank is around its nearest row (equation 7 of the paper).
    pub(crate) fn image_score(&self, patches: ArrayView2<'_, f32>, nearest: &[Nearest]) -> f64 {
        // Of equal ones the first.
        let farthest = (0..nearest.len()).reduce(|a, b| {
            if nearest[b].distance > nearest[a].distance {
                b
            } else {
                a
            }
        });
        let Some(at) = farthest else { return 0.0 };
        let Nearest { distance: far, row } = nearest[at];
        if !far.is_finite() {
            return far;
        }
        let centre = self.rows.row(row);
        let mut around: Vec<(f64, usize)> = (0..self.rows.nrows())
            .map(|i| (distance(centre, self.rows.row(i)), i))
            .collect();
        let count = SUPPORT.min(around.len());
        if count < 2 {
            return far;
        }
        let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        around.select_nth_unstable_by(count - 1, order);
        around.truncate(count);
        around.sort_by(order);
        let patch = patches.row(at);
        // exp(far) / sum of exp(distance), by differences, as distances may be large.
        let sum: f64 = around
            .iter()
            .map(|(_, i)| (distance(patch, self.rows.row(*i)) - far).exp())
            .sum();
        (1.0 - 1.0 / sum.max(1.0)) * far
    }
}

/// The greatest of finite values.
fn greatest(values: &[f32]) -> f32 {
    // Sixteen at a time, for vector instructions.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = if *v > *lane { *v } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

/// Euclidean distance, summed in f64 in a fixed order.
pub(crate) fn distance(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    let (Some(a), Some(b)) = (a.as_slice(), b.as_slice()) else {
        let squares = a
            .iter()
            .zip(b)
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        return squares.sum::<f64>().sqrt();
    };
    let mut lanes = [0.0_f64; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            let d = f64::from(*a) - f64::from(*b);
            *lane += d * d;
        }
    }
    let rest: f64 = a_rest
        .iter()
        .zip(b_rest)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum();
    (lanes.iter().sum::<f64>() + rest).sqrt()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn random(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Array2::from_shape_fn((rows, columns), |_| rng.random::<f32>())
    }

    /// Every distance, by definition.
    fn plainly(bank: &MemoryBank, patch: ArrayView1<'_, f32>) -> Nearest {
        let mut best = Nearest {
            distance: f64::INFINITY,
            row: usize::MAX,
        };
        for (row, values) in bank.rows.outer_iter().enumerate() {
            let squares = values
                .iter()
                .zip(patch)
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            let distance = squares.sum::<f64>().sqrt();
            if distance < best.distance {
                best = Nearest { distance, row };
            }
        }
        best
    }

    #[test]
    fn the_nearest_is_the_nearest() {
        for (m, n, d) in [(1, 5, 3), (700, 300, 40), (256, 112, 17), (33, 1, 384)] {
            let bank = MemoryBank::new(random(m, d, 1));
            let patches = random(n, d, 2);
            for (found, patch) in bank.nearest(patches.view()).iter().zip(patches.outer_iter()) {
                let expected = plainly(&bank, patch);
                assert_eq!(found.row, expected.row, "{m} {n} {d}");
                assert!((found.distance - expected.distance).abs() < 1e-12 * expected.distance);
            }
        }
    }

    #[test]
    fn a_patch_of_the_bank_is_at_no_distance() {
        let rows = random(500, 64, 3);
        let bank = MemoryBank::new(rows.clone());
        for (i, found) in bank.nearest(rows.view()).iter().enumerate() {
            assert_eq!((found.row, found.distance), (i, 0.0));
        }
    }

    #[test]
    fn the_image_score_is_that_of_the_paper() {
        let bank = MemoryBank::new(random(60, 6, 4));
        let patches = random(20, 6, 5) * 3.0;
        let nearest = bank.nearest(patches.view());
        let score = bank.image_score(patches.view(), &nearest);
        // By the formula as it stands.
        let (mut at, mut far) = (0, 0.0);
        for (i, n) in nearest.iter().enumerate() {
            if n.distance > far {
                (at, far) = (i, n.distance);
            }
        }
        let near = bank.rows.row(nearest[at].row);
        let mut around: Vec<usize> = (0..60).collect();
        around
            .sort_by(|a, b| distance(near, bank.rows.row(*a)).total_cmp(&distance(near, bank.rows.row(*b))));
        let sum: f64 = around[..9]
            .iter()
            .map(|i| distance(patches.row(at), bank.rows.row(*i)).exp())
            .sum();
        let expected = (1.0 - far.exp() / sum) * far;
        assert!((score - expected).abs() < 1e-12 * expected, "{score} {expected}");
    }
}
