//! A small bank that covers a large one: greedy k-centre selection (Gonzalez, 1985; as a coreset in Sener and Savarese,
//! 2018) on random projections, as in PatchCore.

use blemish_backbones::PackedRows;
use ndarray::{Array2, ArrayView2};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Columns after projection: distances among some ten thousands of rows are kept to about a fifth (Johnson and
/// Lindenstrauss), and what is chosen does not depend on more.
pub(crate) const PROJECTED: usize = 64;
/// Rows that one thread takes at a time.
const PIECE: usize = 1024;
/// Number of the stream of random numbers.
const STREAM: u64 = 1;

/// Which `count` of the rows to keep, in the order of their choice: each next one is the row that is farthest from all
/// before. Fewer where the rest are copies. `rows` are [`project`]ed. `advance` is told how many there are, and
/// whether to go on.
///
/// A row whose distance to its nearest chosen row is at most half of the distance between that one and a new one cannot be
/// nearer to the new one (triangle inequality), and is passed over.
pub(crate) fn k_centre(
    rows: ArrayView2<'_, f32>,
    count: usize,
    advance: &dyn Fn(usize) -> bool,
) -> Vec<usize> {
    let (n, width) = rows.dim();
    let rows = rows.as_standard_layout();
    let Some(values) = rows.as_slice().filter(|v| !v.is_empty()) else {
        return vec![];
    };
    let row = |i: usize| &values[i * width..(i + 1) * width];
    // The first is the one that is nearest to the mean: no outlier.
    let Some(mean) = rows.mean_axis(ndarray::Axis(0)) else {
        return vec![];
    };
    let mean = mean.to_vec();
    let distances: Vec<f32> = (0..n).map(|i| squared_distance(row(i), &mean)).collect();
    let mut next = (0..n).reduce(|a, b| if distances[b] < distances[a] { b } else { a });
    let mut chosen: Vec<usize> = vec![];
    let mut nearest = vec![Nearest::NONE; n];
    let mut between: Vec<f32> = vec![];
    while let Some(at) = next.filter(|_| chosen.len() < count.min(n)) {
        let centre = row(at);
        between.clear();
        between.extend(chosen.iter().map(|c| squared_distance(row(*c), centre)));
        let own = chosen.len() as u32;
        chosen.push(at);
        if chosen.len().is_multiple_of(256) && !advance(chosen.len()) {
            return chosen;
        }
        let (distance, farthest) = update(values, width, centre, own, &between, &mut nearest);
        next = (distance > 0.0).then_some(farthest);
    }
    advance(chosen.len());
    chosen
}

/// The nearest chosen row.
#[derive(Clone, Copy)]
struct Nearest {
    /// Squared distance.
    distance: f32,
    /// Which of the chosen.
    of: u32,
}

impl Nearest {
    const NONE: Nearest = Nearest {
        distance: f32::INFINITY,
        of: u32::MAX,
    };
}

/// Where a quarter of the squared distance between two chosen rows is above this part of a row's, rounding cannot make the
/// row nearer to the new one.
const SAFE: f32 = 1.001;

/// Lowers each row's squared distance to what is chosen by that to `centre`, the chosen row number `own` at squared
/// distances `between` from those before; gives the greatest and its row, of equal ones the first.
fn update(
    values: &[f32],
    width: usize,
    centre: &[f32],
    own: u32,
    between: &[f32],
    nearest: &mut [Nearest],
) -> (f32, usize) {
    nearest
        .par_chunks_mut(PIECE)
        .zip(values.par_chunks(PIECE * width))
        .enumerate()
        .map(|(p, (nearest, values))| {
            let mut best = (f32::NEG_INFINITY, 0);
            for (i, (nearest, row)) in nearest.iter_mut().zip(values.chunks_exact(width)).enumerate() {
                let far = between.get(nearest.of as usize).copied();
                if far.is_none_or(|far| 0.25 * far <= SAFE * nearest.distance) {
                    let distance = squared_distance(row, centre);
                    if distance < nearest.distance {
                        *nearest = Nearest { distance, of: own };
                    }
                }
                if nearest.distance > best.0 {
                    best = (nearest.distance, p * PIECE + i);
                }
            }
            best
        })
        .reduce(
            || (f32::NEG_INFINITY, usize::MAX),
            |a, b| {
                if b.0 > a.0 || (b.0 == a.0 && b.1 < a.1) {
                    b
                } else {
                    a
                }
            },
        )
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += (a - b) * (a - b);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    lanes.iter().sum::<f32>() + rest
}

/// The rows times a matrix of normal random numbers; the rows themselves where they have no more columns.
pub(crate) fn project(rows: ArrayView2<'_, f32>, seed: u64) -> Array2<f32> {
    let (n, d) = rows.dim();
    if d <= PROJECTED {
        return rows.as_standard_layout().into_owned();
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let scale = 1.0 / (PROJECTED as f64).sqrt();
    let matrix = Array2::from_shape_simple_fn((PROJECTED, d), || (scale * normal(&mut rng)) as f32);
    let packed = PackedRows::new(matrix.view(), &[0.0; PROJECTED]);
    let rows = rows.as_standard_layout();
    let mut out = Array2::zeros((n, PROJECTED));
    if let Some(out) = out.as_slice_mut() {
        out.par_chunks_mut(PIECE * PROJECTED)
            .enumerate()
            .for_each(|(p, out)| {
                let part = rows.slice(ndarray::s![p * PIECE..(p * PIECE + out.len() / PROJECTED), ..]);
                packed.products(part, 0..PROJECTED, out);
            });
    }
    out
}

/// By Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_next_row_is_the_farthest_from_all_before() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        // In clusters, so that most rows are passed over.
        let rows = Array2::from_shape_fn((3000, 5), |(i, _)| (i % 7) as f32 * 3.0 + rng.random::<f32>());
        let chosen = k_centre(rows.view(), 40, &|_| true);
        assert_eq!(chosen.len(), 40);
        let d = |a: usize, b: usize| -> f32 {
            rows.row(a)
                .iter()
                .zip(rows.row(b))
                .map(|(a, b)| (a - b).powi(2))
                .sum()
        };
        for k in 1..40 {
            let to_chosen = |i: usize| chosen[..k].iter().map(|c| d(i, *c)).fold(f32::INFINITY, f32::min);
            let greatest = (0..3000).map(to_chosen).fold(0.0, f32::max);
            assert!(to_chosen(chosen[k]) >= greatest * (1.0 - 1e-5), "choice {k}");
        }
    }

    #[test]
    fn copies_are_not_chosen() {
        let rows = Array2::from_shape_fn((90, 3), |(i, j)| ((i % 3) * 10 + j) as f32);
        let chosen = k_centre(rows.view(), 20, &|_| true);
        assert_eq!(chosen.len(), 3);
        assert!(k_centre(Array2::zeros((0, 3)).view(), 5, &|_| true).is_empty());
    }

    #[test]
    fn projections_keep_distances_roughly_and_follow_the_seed() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let rows = Array2::from_shape_simple_fn((50, 300), || rng.random::<f32>());
        let projected = project(rows.view(), 1);
        assert_eq!(projected.ncols(), PROJECTED);
        let mut ratio = 0.0;
        for i in 1..50 {
            let d = |m: &Array2<f32>| squared_distance(&m.row(0).to_vec(), &m.row(i).to_vec());
            ratio += d(&projected) / d(&rows) / 49.0;
        }
        assert!((0.8..1.25).contains(&ratio), "{ratio}");
        assert_eq!(projected, project(rows.view(), 1));
        assert_ne!(projected, project(rows.view(), 2));
    }
}
