//! Centred rows in f32, turned so that f32 is enough: what the kernels multiply.
//!
//! Rounding errors of a sum of products add up at random, so that they matter the less, the more products of about the
//! same size there are. Activations are not like that: a few large ones make most of a sum. An orthogonal turn leaves
//! inner products as they are and spreads every entry over many: here a Walsh-Hadamard transform of [`SPREAD`] entries
//! from all over the row, in f64, before rounding to f32. On real features it makes the largest errors five times
//! smaller.

use ndarray::ArrayView1;

use super::kernel::STRIP;

/// Entries that are mixed with each other.
pub(super) const SPREAD: usize = 64;
/// Neighbouring columns that are transformed side by side.
pub(super) const LANES: usize = 16;
/// Columns of a chunk.
pub(super) const CHUNK: usize = SPREAD * LANES;
/// Relative error of rounding to f32, root mean square over mantissas: 2^-24 * sqrt(1/3) * sqrt(3/(8 ln 2)).
const ROUNDING: f64 = 0.424_660_900 / 16_777_216.0;
/// Roundings, in squares, that a product of two unrelated entries suffers: its two factors, and 5.5 in the sums of
/// [`super::kernel`].
const ROUNDINGS: f64 = 7.5;
/// The same, for each square of the cosine of two rows: partial sums grow steadily then.
const DRIFT: f64 = 41.0;
/// Outside this range of squared norms, f32 products could overflow or lose digits.
const RANGE: std::ops::Range<f64> = 1e-20..1e25;

/// What packing finds out about a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    /// `|x - c|^2`
    pub(super) square: f64,
    /// `<x - c, c - g>`
    pub(super) about: f64,
    /// `sum_j (x_j - c_j)`
    pub(super) sum: f64,
    /// Sum over the sets of entries that are mixed of the squares of their squared norms.
    pub(super) fourth: f64,
}

/// What the rounding errors of a row's products are estimated from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// One over the squared norm; infinite where f32 does not do.
    inverse: f64,
    /// Root mean square of the products of entries with themselves, times the root of their number.
    size: f64,
}

impl Spread {
    pub(super) fn of(moments: &Moments) -> Spread {
        let inverse = match moments.square {
            0.0 => 0.0,
            square if RANGE.contains(&square) => 1.0 / square,
            _ => f64::INFINITY,
        };
        Spread {
            inverse,
            size: (moments.fourth / SPREAD as f64).sqrt(),
        }
    }

    /// Variance of the error of the product of two rows. Infinite or NaN where f32 does not do.
    pub(super) fn variance(&self, other: &Spread, product: f64) -> f64 {
        let cosine = product * product * self.inverse * other.inverse;
        ROUNDING * ROUNDING * self.size * other.size * (ROUNDINGS + DRIFT * cosine)
    }

    /// Standard error of the product with an unrelated row of the same kind.
    pub(super) fn standard_error(&self) -> f64 {
        ROUNDING * self.size * ROUNDINGS.sqrt()
    }
}

/// How columns are dealt out to chunks: the segments of [`LANES`] columns of a chunk lie as far apart as can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deal {
    columns: usize,
    /// How many chunks there are.
    pub(super) chunks: usize,
}

impl Deal {
    pub(super) fn new(columns: usize) -> Deal {
        Deal {
            columns,
            chunks: columns.div_ceil(CHUNK),
        }
    }

    /// First column of a segment; it may lie beyond the last column.
    fn start(self, chunk: usize, segment: usize) -> usize {
        (segment * self.chunks + chunk) * LANES
    }

    /// Values in the order of chunks, 0 where there is no column.
    pub(super) fn dealt(self, values: &[f64]) -> Vec<[f64; LANES]> {
        let mut out = vec![[0.0; LANES]; self.chunks * SPREAD];
        for (i, segment) in out.iter_mut().enumerate() {
            let start = self.start(i / SPREAD, i % SPREAD);
            if let Some(values) = values.get(start..) {
                for (out, value) in segment.iter_mut().zip(values) {
                    *out = *value;
                }
            }
        }
        out
    }
}

/// The centre, dealt out, and the same less its mean.
pub(super) struct DealtCentre {
    pub(super) deal: Deal,
    values: Vec<[f64; LANES]>,
    about: Vec<[f64; LANES]>,
}

impl DealtCentre {
    pub(super) fn new(centre: &[f64], mean: f64) -> DealtCentre {
        let deal = Deal::new(centre.len());
        let less: Vec<f64> = centre.iter().map(|c| c - mean).collect();
        DealtCentre {
            deal,
            values: deal.dealt(centre),
            about: deal.dealt(&less),
        }
    }
}

/// Packs `chunks` of at most [`STRIP`] rows as the kernels want them into `out`, of [`STRIP`] x [`CHUNK`] entries a
/// chunk, and adds to the rows' moments.
pub(super) fn pack_strip(
    rows: &[ArrayView1<'_, f32>],
    centre: &DealtCentre,
    chunks: std::ops::Range<usize>,
    out: &mut [f32],
    moments: &mut [Moments],
) {
    let mut turned = vec![[[0.0f32; LANES]; SPREAD]; STRIP];
    for (chunk, out) in chunks.zip(out.chunks_exact_mut(STRIP * CHUNK)) {
        for ((row, turned), moments) in rows.iter().zip(&mut turned).zip(moments.iter_mut()) {
            pulp::Arch::new().dispatch(Turn {
                row: *row,
                centre,
                chunk,
                turned,
                moments,
            });
        }
        // Rows side by side.
        for (segment, out) in out.chunks_exact_mut(STRIP * LANES).enumerate() {
            for (r, row) in turned.iter().enumerate() {
                for (lane, value) in row[segment].iter().enumerate() {
                    out[lane * STRIP + r] = *value;
                }
            }
        }
    }
}

/// The work on one chunk of one row. A type, as its code must be inlined where vectors are wide, which closures
/// need not be.
struct Turn<'a> {
    row: ArrayView1<'a, f32>,
    centre: &'a DealtCentre,
    chunk: usize,
    turned: &'a mut [[f32; LANES]; SPREAD],
    moments: &'a mut Moments,
}

impl pulp::NullaryFnOnce for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Turn {
            row,
            centre,
            chunk,
            turned,
            moments,
        } = self;
        let mut z = [[0.0f64; LANES]; SPREAD];
        let deal = centre.deal;
        let contiguous = row.as_slice();
        let (mut squares, mut about, mut sum) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for (segment, z) in z.iter_mut().enumerate() {
            let at = chunk * SPREAD + segment;
            let (c, less) = (&centre.values[at], &centre.about[at]);
            let start = deal.start(chunk, segment);
            if start >= deal.columns {
                continue;
            }
            match contiguous.and_then(|row| row.get(start..start + LANES)) {
                Some(values) => {
                    for ((z, value), c) in z.iter_mut().zip(values).zip(c) {
                        *z = f64::from(*value) - c;
                    }
                }
                None => {
                    for lane in 0..LANES.min(deal.columns - start) {
                        z[lane] = f64::from(row[start + lane]) - c[lane];
                    }
                }
            }
            for lane in 0..LANES {
                squares[lane] += z[lane] * z[lane];
                about[lane] += z[lane] * less[lane];
                sum[lane] += z[lane];
            }
        }
        moments.square += squares.iter().sum::<f64>();
        moments.about += about.iter().sum::<f64>();
        moments.sum += sum.iter().sum::<f64>();
        moments.fourth += squares.iter().map(|s| s * s).sum::<f64>();
        hadamard(&mut z);
        // 1/8 = SPREAD^(-1/2) makes it orthogonal, exactly.
        for (turned, z) in turned.iter_mut().zip(&z) {
            for (turned, z) in turned.iter_mut().zip(z) {
                *turned = (0.125 * z) as f32;
            }
        }
    }
}

/// The Walsh-Hadamard transform across segments, two steps at a time.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "four segments of one array at a time")]
fn hadamard(z: &mut [[f64; LANES]; SPREAD]) {
    for step in [1, 4, 16] {
        for block in (0..SPREAD).step_by(4 * step) {
            for i in block..block + step {
                for lane in 0..LANES {
                    let (a, b, c, d) = (
                        z[i][lane],
                        z[i + step][lane],
                        z[i + 2 * step][lane],
                        z[i + 3 * step][lane],
                    );
                    let (ab, a_b, cd, c_d) = (a + b, a - b, c + d, c - d);
                    z[i][lane] = ab + cd;
                    z[i + step][lane] = a_b + c_d;
                    z[i + 2 * step][lane] = ab - cd;
                    z[i + 3 * step][lane] = a_b - c_d;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn packed_rows_have_the_products_of_centred_rows() {
        // Not a whole number of segments, nor of chunks.
        let d = 2 * CHUNK + 5 * LANES + 3;
        let x = Array2::from_shape_fn((3, d), |(i, j)| ((i * 31 + j * 17) % 23) as f32 * 0.25 - 1.0);
        let centre: Vec<f64> = (0..d).map(|j| (j % 7) as f64 * 0.5).collect();
        let mean = centre.iter().sum::<f64>() / d as f64;
        let dealt = DealtCentre::new(&centre, mean);
        let chunks = dealt.deal.chunks;
        let mut out = vec![f32::NAN; STRIP * CHUNK * chunks];
        let mut moments = [Moments::default(); 3];
        let rows: Vec<_> = x.outer_iter().collect();
        pack_strip(&rows, &dealt, 0..chunks, &mut out, &mut moments);
        let z = Array2::from_shape_fn((3, d), |(i, j)| f64::from(x[[i, j]]) - centre[j]);
        for i in 0..3 {
            for j in 0..3 {
                let product: f64 = out
                    .chunks_exact(STRIP)
                    .map(|column| f64::from(column[i]) * f64::from(column[j]))
                    .sum();
                let exact = z.row(i).dot(&z.row(j));
                assert!(
                    (product - exact).abs() < 1e-6 * z.row(i).dot(&z.row(i)),
                    "{product} {exact}"
                );
            }
            assert!((moments[i].square - z.row(i).dot(&z.row(i))).abs() < 1e-9 * moments[i].square);
            assert!((moments[i].sum - z.row(i).sum()).abs() < 1e-8);
            let about: f64 = z.row(i).iter().zip(&centre).map(|(z, c)| z * (c - mean)).sum();
            assert!((moments[i].about - about).abs() < 1e-8);
        }
        // Rows that are not there are zero.
        assert!(
            out.chunks_exact(STRIP)
                .all(|column| column[3..].iter().all(|v| *v == 0.0))
        );
    }

    #[test]
    fn rows_out_of_the_range_of_f32_products_are_told() {
        let spread = |square: f64, fourth: f64| {
            Spread::of(&Moments {
                square,
                fourth,
                ..Moments::default()
            })
        };
        let unit = spread(1.0, 1e-3);
        assert!(unit.variance(&unit, 0.5) < 1e-14);
        assert_eq!(unit.variance(&spread(0.0, 0.0), 0.0), 0.0);
        for square in [1e30, 1e-30, f64::NAN, f64::INFINITY] {
            let variance = unit.variance(&spread(square, square), 0.5);
            assert!(!variance.is_finite(), "{square}: {variance}");
        }
        assert!(unit.variance(&unit, f64::NAN).is_nan());
    }
}
