//! One Gaussian for each position of the grid (Defard et al., "PaDiM: a patch distribution modeling framework for
//! anomaly detection and localization", 2021).

use ndarray::{Array2, ArrayView2, Axis};
use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// How many of a patch's features are used (the paper's number for ResNet-18).
const COLUMNS: usize = 100;
/// The covariance's ridge, in parts of the mean variance of a feature.
const SHRINKAGE: f64 = 0.05;
/// Number of the stream of random numbers.
const STREAM: u64 = 2;

/// Mean and covariance of some features at each position.
#[derive(Debug, PartialEq)]
pub(crate) struct Gaussian {
    /// Which features, ascending.
    pub(crate) columns: Vec<u32>,
    /// positions x columns.
    pub(crate) mean: Array2<f32>,
    /// positions x columns (columns + 1) / 2: the inverse of the Cholesky factor L of the scatter with its ridge, row by
    /// row of the lower triangle.
    pub(crate) factors: Array2<f32>,
    /// Number of training images.
    pub(crate) images: usize,
}

/// Sums over training images.
pub(crate) struct Sums {
    columns: Vec<u32>,
    /// The first image's features, about which is summed: positions x columns.
    centre: Array2<f64>,
    sum: Array2<f64>,
    products: Array2<f64>,
    images: usize,
}

/// Numbers in the lower triangle.
pub(crate) fn triangle(d: usize) -> usize {
    d * (d + 1) / 2
}

/// How many of `available` features are used.
pub(crate) fn used_columns(available: usize) -> usize {
    available.min(COLUMNS)
}

impl Sums {
    pub(crate) fn new(positions: usize, available: usize, seed: u64) -> Sums {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        let d = used_columns(available);
        let mut columns: Vec<u32> = index::sample(&mut rng, available, d)
            .into_iter()
            .map(|i| i as u32)
            .collect();
        columns.sort_unstable();
        Sums {
            columns,
            centre: Array2::zeros((positions, d)),
            sum: Array2::zeros((positions, d)),
            products: Array2::zeros((positions, triangle(d))),
            images: 0,
        }
    }

    /// Adds images, each with its patches (positions x available features).
    pub(crate) fn add(&mut self, images: &[Array2<f32>]) {
        if self.images == 0
            && let Some(first) = images.first()
        {
            for (mut centre, patch) in self.centre.outer_iter_mut().zip(first.outer_iter()) {
                for (c, column) in centre.iter_mut().zip(&self.columns) {
                    *c = f64::from(patch[*column as usize]);
                }
            }
        }
        let (columns, centre) = (&self.columns, &self.centre);
        self.sum
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .zip(self.products.axis_iter_mut(Axis(0)))
            .enumerate()
            .for_each(|(p, (mut sum, mut products))| {
                let (Some(sum), Some(products)) = (sum.as_slice_mut(), products.as_slice_mut()) else {
                    return;
                };
                let mut v = vec![0.0; columns.len()];
                for image in images {
                    let patch = image.row(p);
                    for ((v, column), c) in v.iter_mut().zip(columns).zip(centre.row(p)) {
                        *v = f64::from(patch[*column as usize]) - c;
                    }
                    let mut rest = &mut *products;
                    for (i, x) in v.iter().enumerate() {
                        sum[i] += x;
                        let (row, after) = rest.split_at_mut(i + 1);
                        for (product, y) in row.iter_mut().zip(&v) {
                            *product += x * y;
                        }
                        rest = after;
                    }
                }
            });
        self.images += images.len();
    }

    /// The Gaussians of all images so far.
    pub(crate) fn finish(mut self) -> Gaussian {
        let n = self.images.max(1) as f64;
        let d = self.columns.len();
        let (sums, products) = (&self.sum, &mut self.products);
        // The scatter about the mean, and its trace.
        let traces: Vec<f64> = products
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .zip(sums.axis_iter(Axis(0)))
            .map(|(mut products, sum)| {
                let (mut at, mut trace) = (0, 0.0);
                for i in 0..d {
                    for j in 0..=i {
                        products[at] -= sum[i] * sum[j] / n;
                        at += 1;
                    }
                    trace += products[at - 1].max(0.0);
                }
                trace
            })
            .collect();
        let mean_trace = traces.iter().sum::<f64>() / (traces.len() * d).max(1) as f64;
        // Images that are all the same have no variance; any ridge then gives distances that order patches.
        let ridge = if mean_trace > 0.0 {
            SHRINKAGE * mean_trace
        } else {
            1.0
        };
        let mut factors = Array2::<f32>::zeros((self.products.nrows(), triangle(d)));
        factors
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .zip(self.products.axis_iter(Axis(0)))
            .for_each(|(mut out, scatter)| {
                let inverse = inverse_factor(scatter.as_slice().unwrap_or_default(), d, ridge);
                for (out, v) in out.iter_mut().zip(inverse) {
                    *out = v as f32;
                }
            });
        let mean = (&self.centre + &(&self.sum / n)).mapv(|v| v as f32);
        Gaussian {
            columns: self.columns,
            mean,
            factors,
            images: self.images,
        }
    }
}

/// The inverse of the Cholesky factor of a symmetric matrix plus a ridge, all as rows of the lower triangle.
fn inverse_factor(matrix: &[f64], d: usize, ridge: f64) -> Vec<f64> {
    let row = |i: usize| triangle(i)..triangle(i) + i + 1;
    let mut l = matrix.to_vec();
    for i in 0..d {
        let (before, rest) = l.split_at_mut(triangle(i));
        let current = &mut rest[..=i];
        current[i] += ridge;
        for j in 0..i {
            let other = &before[row(j)];
            let dot: f64 = other[..j].iter().zip(&current[..j]).map(|(a, b)| a * b).sum();
            current[j] = (current[j] - dot) / other[j];
        }
        let square: f64 = current[..i].iter().map(|v| v * v).sum();
        // Positive by the ridge, but for rounding.
        current[i] = (current[i] - square).max(1e-3 * ridge).sqrt();
    }
    // Column by column of the inverse: L x = e_j.
    let mut inverse = vec![0.0; l.len()];
    for i in 0..d {
        let factors = &l[row(i)];
        let mut out = vec![0.0; i + 1];
        for (k, factor) in factors[..i].iter().enumerate() {
            for (out, v) in out.iter_mut().zip(&inverse[row(k)]) {
                *out -= factor * v;
            }
        }
        out[i] = 1.0;
        for (to, v) in inverse[row(i)].iter_mut().zip(&out) {
            *to = v / factors[i];
        }
    }
    inverse
}

impl Gaussian {
    /// The Mahalanobis distance of each patch from its position's Gaussian. With `leaving_out`, the image is one of the
    /// training images, and each distance is from the Gaussian of the others.
    ///
    /// The covariance is (S + r I) / n with the scatter S of n images and a ridge r, which does not change where one
    /// image is left out: S loses n / (n - 1) v v' (v the patch's deviation from the mean), so that the distance follows
    /// from h = v' (S + r I)^-1 v by Sherman and Morrison.
    pub(crate) fn distances(&self, patches: ArrayView2<'_, f32>, leaving_out: bool) -> Vec<f64> {
        let n = self.images as f64;
        self.mean
            .axis_iter(Axis(0))
            .into_par_iter()
            .zip(self.factors.axis_iter(Axis(0)))
            .enumerate()
            .map(|(p, (mean, factors))| {
                let patch = patches.row(p);
                let v: Vec<f32> = mean
                    .iter()
                    .zip(&self.columns)
                    .map(|(m, column)| patch[*column as usize] - m)
                    .collect();
                let mut rest = factors.as_slice().unwrap_or_default();
                let mut h = 0.0_f64;
                for i in 0..v.len() {
                    let (row, after) = rest.split_at((i + 1).min(rest.len()));
                    let z = f64::from(dot(row, &v));
                    h += z * z;
                    rest = after;
                }
                let square = if leaving_out && self.images > 1 {
                    let c = n / (n - 1.0);
                    (n - 1.0) * c * c * h / (1.0 - c * h).max(1e-6)
                } else {
                    n * h
                };
                square.sqrt()
            })
            .collect()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let b = &b[..a.len()];
    let mut lanes = [0.0_f32; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    fn images(count: usize, positions: usize, columns: usize) -> Vec<Array2<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        (0..count)
            .map(|_| {
                Array2::from_shape_fn((positions, columns), |(p, c)| {
                    (p + c) as f32 + (1 + c) as f32 * rng.random::<f32>()
                })
            })
            .collect()
    }

    fn fit(images: &[Array2<f32>]) -> Gaussian {
        let mut sums = Sums::new(images[0].nrows(), images[0].ncols(), 3);
        images.chunks(3).for_each(|chunk| sums.add(chunk));
        sums.finish()
    }

    /// (S + r I) / n and the mean, by definition, for features `columns` at position 0.
    fn plainly(images: &[&Array2<f32>], columns: &[u32], ridge: f64, patch: &[f64]) -> f64 {
        let (n, d) = (images.len() as f64, columns.len());
        let value = |image: &Array2<f32>, c: usize| f64::from(image[[0, columns[c] as usize]]);
        let mean: Vec<f64> = (0..d)
            .map(|c| images.iter().map(|i| value(i, c)).sum::<f64>() / n)
            .collect();
        let mut a = vec![vec![0.0; d + 1]; d];
        for (i, row) in a.iter_mut().enumerate() {
            for (j, entry) in row[..d].iter_mut().enumerate() {
                *entry = images
                    .iter()
                    .map(|m| (value(m, i) - mean[i]) * (value(m, j) - mean[j]))
                    .sum::<f64>()
                    / n;
            }
            row[i] += ridge / n;
            row[d] = patch[i] - mean[i];
        }
        // Gauss.
        for k in 0..d {
            for i in k + 1..d {
                let (above, below) = a.split_at_mut(i);
                let (pivot, row) = (&above[k], &mut below[0]);
                let f = row[k] / pivot[k];
                for (entry, pivot) in row[k..].iter_mut().zip(&pivot[k..]) {
                    *entry -= f * pivot;
                }
            }
        }
        let mut x = vec![0.0; d];
        for i in (0..d).rev() {
            x[i] = (a[i][d] - (i + 1..d).map(|j| a[i][j] * x[j]).sum::<f64>()) / a[i][i];
        }
        (0..d).map(|i| x[i] * (patch[i] - mean[i])).sum::<f64>().sqrt()
    }

    #[test]
    fn distances_are_those_of_the_definition_with_and_without_the_image() {
        let images = images(12, 2, 6);
        let model = fit(&images);
        let d = model.columns.len();
        // The ridge, from all positions.
        let mut trace = 0.0;
        for p in 0..2 {
            for c in 0..d {
                let values: Vec<f64> = images.iter().map(|i| f64::from(i[[p, c]])).collect();
                let mean = values.iter().sum::<f64>() / 12.0;
                trace += values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            }
        }
        let ridge = SHRINKAGE * trace / (2 * d) as f64;
        for (i, image) in images.iter().enumerate() {
            let patch: Vec<f64> = model
                .columns
                .iter()
                .map(|c| f64::from(image[[0, *c as usize]]))
                .collect();
            let all: Vec<&Array2<f32>> = images.iter().collect();
            let expected = plainly(&all, &model.columns, ridge, &patch);
            let found = model.distances(image.view(), false)[0];
            assert!((found - expected).abs() < 1e-4 * expected, "{found} {expected}");
            let others: Vec<&Array2<f32>> = images
                .iter()
                .enumerate()
                .filter(|(j, _)| *j != i)
                .map(|(_, m)| m)
                .collect();
            let expected = plainly(&others, &model.columns, ridge, &patch);
            let found = model.distances(image.view(), true)[0];
            assert!((found - expected).abs() < 1e-3 * expected, "{found} {expected}");
        }
    }

    #[test]
    fn images_without_variance_have_finite_distances() {
        let same = vec![Array2::from_elem((3, 4), 1.5); 4];
        let model = fit(&same);
        assert!(model.distances(same[0].view(), true).iter().all(|d| *d == 0.0));
        let other = Array2::from_elem((3, 4), 2.5);
        assert!(
            model
                .distances(other.view(), false)
                .iter()
                .all(|d| d.is_finite() && *d > 0.0)
        );
    }

    #[test]
    fn at_most_a_hundred_features_are_used() {
        let sums = Sums::new(1, 384, 0);
        assert_eq!(sums.columns.len(), 100);
        assert!(sums.columns.is_sorted() && sums.columns[99] < 384);
        assert_eq!(Sums::new(1, 5, 0).columns, [0, 1, 2, 3, 4]);
    }
}
