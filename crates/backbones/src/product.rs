//! The matrix product, behind one function so that another library or a kernel of our own can take
//! its place.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// `c = a b` for row-major `a` (`rows` x `depth`), `b` (`depth` x `columns`) and `c`, sequentially:
/// the order of the sums depends on the shapes alone.
///
/// faer takes half the time of ndarray's `dot` here, because it has kernels for AVX-512.
pub(crate) fn product(a: &[f32], b: &[f32], c: &mut [f32], [rows, depth, columns]: [usize; 3]) {
    matmul(
        MatMut::from_row_major_slice_mut(c, rows, columns),
        Accum::Replace,
        MatRef::from_row_major_slice(a, rows, depth),
        MatRef::from_row_major_slice(b, depth, columns),
        1.0,
        Par::Seq,
    );
}
