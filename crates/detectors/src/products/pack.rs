//! Centred rows, side by side: what the kernels multiply.

use ndarray::{ArrayView1, s};

use super::kernel::STRIP;
use super::{Element, RowSums};

/// Columns that are packed and multiplied at a time: every part that is given to
/// [`ProductsBuilder::add`](super::ProductsBuilder::add), but the last, is a multiple of them wide.
pub const PANEL: usize = 512;
/// Room for a panel of a row: eight rows a power of two apart would compete for the same lines of the cache.
const ROW: usize = PANEL + 8;

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
    out: &mut [f64],
    sums: &mut [RowSums],
) {
    let width = centre.len();
    let mut centred = [[0.0; ROW]; STRIP];
    for ((row, centred), sums) in rows.iter().zip(&mut centred).zip(sums) {
        pulp::Arch::new().dispatch(Centring {
            row: row.slice(s![from..from + width]),
            centre,
            mean,
            out: &mut centred[..width],
            sums,
        });
    }
    // Not inside of the dispatched code, where it would become scatters, which are slow.
    for (c, out) in out.as_chunks_mut::<STRIP>().0.iter_mut().enumerate() {
        for (out, row) in out.iter_mut().zip(&centred) {
            *out = row[c];
        }
    }
}

/// A type, as its code must be inlined where vectors are wide, which closures need not be.
struct Centring<'a, 'b, T> {
    row: ArrayView1<'b, T>,
    centre: &'a [f64],
    mean: f64,
    out: &'a mut [f64],
    sums: &'a mut RowSums,
}

impl<T: Element> pulp::NullaryFnOnce for Centring<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        centre_part_of_row(self.row, self.centre, self.out);
        self.sums.add(self.out, self.centre, self.mean);
    }
}

/// Bytes that come from memory at a time.
const LINE: usize = 64;

/// Columns of some rows that will be packed soon: they are asked for while processors multiply, which leaves memory idle.
/// Nothing depends on it but time.
pub(super) struct Ahead<'a, 'b, T> {
    rows: &'a [ArrayView1<'b, T>],
    /// Columns of a row, one for each line.
    columns: std::iter::StepBy<std::ops::Range<usize>>,
    next: std::iter::StepBy<std::ops::Range<usize>>,
}

impl<'a, 'b, T> Ahead<'a, 'b, T> {
    pub(super) fn new(rows: &'a [ArrayView1<'b, T>], columns: std::ops::Range<usize>) -> Self {
        let columns = columns.step_by((LINE / size_of::<T>()).max(1));
        Ahead {
            rows,
            next: columns.clone(),
            columns,
        }
    }

    /// Lines that were not asked for yet.
    pub(super) fn len(&self) -> usize {
        let later = self.rows.len().saturating_sub(1) * self.columns.len();
        if self.rows.is_empty() {
            0
        } else {
            later + self.next.len()
        }
    }

    /// Asks for the next lines.
    pub(super) fn ask(&mut self, lines: usize) {
        for _ in 0..lines {
            let Some((row, later)) = self.rows.split_first() else {
                return;
            };
            match self.next.next() {
                Some(column) => {
                    if let Some(entry) = row.get(column) {
                        prefetch(entry);
                    }
                }
                None => {
                    self.rows = later;
                    self.next = self.columns.clone();
                }
            }
        }
    }
}

/// Brings what lies there to the second-level cache.
#[cfg(target_arch = "x86_64")]
fn prefetch<T>(entry: &T) {
    #![expect(unsafe_code, reason = "prefetching is an intrinsic")]
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: it is a hint, which reads nothing; the reference is valid besides.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(entry).cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch<T>(_: &T) {}

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
            pack_strip(&rows, from, centre, mean, &mut out, &mut sums);
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
