//! The matrix product, behind one function so that another library or a kernel of our own can take
//! its place.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

/// `c = a b`, sequentially. The order of the sums of one entry of `c` depends on the shapes alone.
pub(crate) fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, c: &mut ArrayViewMut2<'_, f32>) {
    general_mat_mul(1.0, &a, &b, 0.0, c);
}
