//! Products of rows with many others: the kernel that networks spend their time in, for who searches
//! nearest neighbours among features.

use ndarray::ArrayView2;

use crate::buffer::Aligned;
use crate::product::{Activation, Finish, Left, Panels, Residual, pack, packed_len, product};
use crate::simd::{Available, InstructionSet};

/// Rows of f32, packed so that products of other rows with them are fast.
///
/// ```
/// use blemish_backbones::PackedRows;
/// use ndarray::array;
///
/// let packed = PackedRows::new(array![[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]].view(), &[0.0, 0.5, 0.0]);
/// let mut out = [0.0; 3];
/// packed.products(array![[3.0, 4.0]].view(), 0..3, &mut out);
/// assert_eq!(out, [3.0, 8.5, 7.0]);
/// ```
#[derive(Debug)]
pub struct PackedRows {
    set: Available,
    rows: usize,
    depth: usize,
    panels: Aligned,
    offsets: Aligned,
}

impl PackedRows {
    /// A range of rows begins at a multiple of this.
    pub const ALIGN: usize = 32;

    /// Packs `rows` (m x d); `offsets`, one for each row, are added to its products.
    ///
    /// # Panics
    /// If the number of offsets is not that of the rows.
    pub fn new(rows: ArrayView2<'_, f32>, offsets: &[f32]) -> PackedRows {
        assert_eq!(rows.nrows(), offsets.len(), "one offset for each row");
        let set = Available::best();
        let (m, d) = rows.dim();
        let mut panels = Aligned::zeros(packed_len(set, d, m));
        if d > 0 {
            pack(set, d, m, |k, n| rows[[n, k]], &mut panels);
        }
        let mut padded = Aligned::zeros(m.next_multiple_of(set.panel()));
        padded[..m].copy_from_slice(offsets);
        PackedRows {
            set,
            rows: m,
            depth: d,
            panels,
            offsets: padded,
        }
    }

    /// Number of rows m.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Number of columns d.
    pub fn columns(&self) -> usize {
        self.depth
    }

    /// The vector instructions in use.
    pub fn instruction_set(&self) -> InstructionSet {
        self.set.set()
    }

    /// `out[i * range.len() + j] = <left_i, row_(range.start + j)> + offset`, in this thread.
    ///
    /// Each number is one sum in f32 in the order of the columns: it does not depend on the other rows or on the
    /// range. Rows on the left that do not lie in standard layout are copied.
    ///
    /// # Panics
    /// If `left` is not of d columns, the range is not of these rows or does not begin at a multiple
    /// of [`ALIGN`](Self::ALIGN), or `out` is too short.
    pub fn products(&self, left: ArrayView2<'_, f32>, range: std::ops::Range<usize>, out: &mut [f32]) {
        assert!(
            range.start.is_multiple_of(Self::ALIGN) && range.start <= range.end && range.end <= self.rows,
            "rows {range:?} of {}",
            self.rows
        );
        assert_eq!(left.ncols(), self.depth, "columns");
        let (rows, columns) = (left.nrows(), range.len());
        if rows == 0 || columns == 0 {
            return;
        }
        let out = &mut out[..rows * columns];
        if self.depth == 0 {
            for row in out.chunks_exact_mut(columns) {
                row.copy_from_slice(&self.offsets[range.clone()]);
            }
            return;
        }
        let copied: Vec<f32>;
        let values = match left.to_slice() {
            Some(values) => values,
            None => {
                copied = left.iter().copied().collect();
                &copied
            }
        };
        product(
            self.set,
            Left::rows(values, rows, self.depth, self.depth),
            Panels {
                values: &self.panels[range.start * self.depth..],
                depth: self.depth,
                columns,
            },
            out,
            columns,
            Finish {
                bias: Some(&self.offsets[range.start..]),
                residual: Residual::None,
                activation: Activation::None,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn matrix(rows: usize, columns: usize, seed: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, columns), |(i, j)| {
            ((i * 31 + j * 17 + seed) % 23) as f32 - 11.0
        })
    }

    #[test]
    fn products_are_those_of_the_definition() {
        for (m, d, n) in [(1, 1, 1), (33, 7, 15), (100, 40, 29), (64, 0, 3)] {
            let (right, left) = (matrix(m, d, 1), matrix(n, d, 5));
            let offsets: Vec<f32> = (0..m).map(|j| j as f32 / 4.0).collect();
            let packed = PackedRows::new(right.view(), &offsets);
            for start in (0..m).step_by(PackedRows::ALIGN) {
                for end in [m, (start + 40).min(m), (start + 3).min(m)] {
                    let mut out = vec![f32::NAN; n * (end - start)];
                    packed.products(left.view(), start..end, &mut out);
                    for (i, row) in out.chunks(end - start).enumerate() {
                        for (j, value) in row.iter().enumerate() {
                            // Small whole numbers: f32 has them exactly.
                            let expected = left.row(i).dot(&right.row(start + j)) + offsets[start + j];
                            assert_eq!(*value, expected, "{m} {d} {n}: {start}..{end}, {i} {j}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "rows 1..3 of 3")]
    fn a_range_that_is_not_aligned_is_refused() {
        let packed = PackedRows::new(matrix(3, 2, 0).view(), &[0.0; 3]);
        packed.products(matrix(1, 2, 0).view(), 1..3, &mut [0.0; 2]);
    }
}
