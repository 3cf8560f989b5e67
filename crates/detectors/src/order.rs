//! An order of rows that does not depend on the order they come in.
//!
//! What draws rows at random draws them by number. Numbered in this order, the same rows are drawn however they
//! were listed.

use std::cmp::Ordering;

/// Compares rows by their first value that differs; of finite values.
pub(crate) fn by_values<T: PartialOrd>(a: &[T], b: &[T]) -> Ordering {
    a.partial_cmp(b).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_by_their_first_difference() {
        assert_eq!(by_values(&[1.0, 2.0, 3.0], &[1.0, 3.0, 0.0]), Ordering::Less);
        assert_eq!(by_values(&[1.0, -0.0], &[1.0, 0.0]), Ordering::Equal);
    }
}
