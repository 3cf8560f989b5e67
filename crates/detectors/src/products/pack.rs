//! Centred rows, side by side: what the kernels multiply.

use ndarray::{ArrayView1, s};

use super::kernel::{Kernel, STRIP, prefetch};
use super::{Element, RowSums};

/// Columns that are packed and multiplied at a time: every part that is given to
/// [`ProductsBuilder::add`](super::ProductsBuilder::add), but the last, is a multiple of them wide.
pub const PANEL: usize = 512;
/// Room for a panel of a row: eight rows a power of two apart would compete for the same lines of the cache.
const ROW: usize = PANEL + 8;

const NOTHING: [f64; STRIP] = [0.0; STRIP];

/// Writes `row - centre` to `out`.
#[inline(always)]
pub(super) fn centre_part_of_row<T: Element>(row: ArrayView1<'_, T>, centre: &[f64], out: &mut [f64]) {
    // A row that lies in one piece, as nearly all do, goes several entries at a time.
    if let Some(row) = row.as_slice() {
        for ((out, x), c) in out.iter_mut().zip(row).zip(centre) {
            *out = (*x).into() - c;
        }
    } else {
        for ((out, x), c) in out.iter_mut().zip(row).zip(centre) {
            *out = (*x).into() - c;
        }
    }
}

/// Packs a panel of at most [`STRIP`] rows, the columns of `centre` from column `from` on, into `out`, of [`STRIP`]
/// entries a column, and adds to the rows' sums. `mean` is that of the whole centre.
pub(super) fn pack_strip<T: Element>(
    rows: &[ArrayView1<'_, T>],
    from: usize,
    centre: &[f64],
    mean: f64,
    kernel: Kernel,
    out: &mut [f64],
    sums: &mut [RowSums],
) {
    pulp::Arch::new().dispatch(Pack {
        rows,
        from,
        centre,
        mean,
        kernel,
        out,
        sums,
    });
}

/// A type, as its code must be inlined where vectors are wide, which closures need not be.
struct Pack<'a, 'b, T> {
    rows: &'a [ArrayView1<'b, T>],
    from: usize,
    centre: &'a [f64],
    mean: f64,
    kernel: Kernel,
    out: &'a mut [f64],
    sums: &'a mut [RowSums],
}

impl<T: Element> pulp::NullaryFnOnce for Pack<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let width = self.centre.len();
        let part = self.from..self.from + width;
        let mut centred = [[0.0; ROW]; STRIP];
        for (r, (row, sums)) in self.rows.iter().zip(self.sums).enumerate() {
            if let Some(next) = self.rows.get(r + 1).and_then(|row| row.to_slice()) {
                prefetch(&next[part.clone()]);
            }
            let centred = &mut centred[r][..width];
            centre_part_of_row(row.slice(s![part.clone()]), self.centre, centred);
            sums.add(centred, self.centre, self.mean);
        }
        let (squares, rest) = self.out.as_chunks_mut::<{ STRIP * STRIP }>();
        for (s, out) in squares.iter_mut().enumerate() {
            // A row has room for a whole panel and more: there is always a chunk.
            let rows = centred
                .each_ref()
                .map(|row| row[s * STRIP..].first_chunk().unwrap_or(&NOTHING));
            self.kernel.transpose(rows, out);
        }
        let done = squares.len() * STRIP;
        for (c, out) in rest.chunks_exact_mut(STRIP).enumerate() {
            for (out, row) in out.iter_mut().zip(&centred) {
                *out = row[done + c];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn packed_rows_are_centred_rows() {
        let d = PANEL + 37;
        let x = Array2::from_shape_fn((3, d), |(i, j)| ((i * 31 + j * 17) % 23) as f32 * 0.25 - 1.0);
        let centre: Vec<f64> = (0..d).map(|j| (j % 7) as f64 * 0.5).collect();
        let mean = centre.iter().sum::<f64>() / d as f64;
        let rows: Vec<_> = x.outer_iter().collect();
        let mut sums = [RowSums::default(); 3];
        for (from, centre) in (0..d).step_by(PANEL).zip(centre.chunks(PANEL)) {
            let mut out = vec![f64::NAN; STRIP * centre.len()];
            pack_strip(&rows, from, centre, mean, Kernel::detect(), &mut out, &mut sums);
            for (c, column) in out.chunks_exact(STRIP).enumerate() {
                for r in 0..3 {
                    assert_eq!(column[r], f64::from(x[[r, from + c]]) - centre[c]);
                }
                // Rows that are not there are zero.
                assert_eq!(column[3..], [0.0; STRIP - 3]);
            }
        }
        for (row, sums) in x.outer_iter().zip(&sums) {
            let z: Vec<f64> = row.iter().zip(&centre).map(|(x, c)| f64::from(*x) - c).collect();
            let square: f64 = z.iter().map(|z| z * z).sum();
            let about: f64 = z.iter().zip(&centre).map(|(z, c)| z * (c - mean)).sum();
            assert!((sums.square / square - 1.0).abs() < 1e-13);
            assert!((sums.about - about).abs() < 1e-11 && (sums.sum - z.iter().sum::<f64>()).abs() < 1e-11);
        }
    }
}
