//! Forests of rows that are not in memory.

use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::{FINGERPRINT, IsolationForest, IsolationForestModel, Matrix, twins_by};
use crate::DetectorError;
use crate::order::by_values;

/// Columns of each row that are held in memory to sort rows by: nearly all differ there.
const HEAD: usize = 128;
/// Columns that are read at a time where whole rows are compared.
const PART: usize = 16384;

/// Rows of finite `f32` that need not be in memory, such as those in a file.
pub trait RowStore: Sync {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// Number of columns.
    fn columns(&self) -> usize;

    /// Reads the columns `from..from + out.len()` of `row`.
    ///
    /// # Errors
    /// Those of the file.
    fn read(&self, row: usize, from: usize, out: &mut [f32]) -> std::io::Result<()>;
}

impl IsolationForest {
    /// Grows the trees on the first `rows` rows of a store: the same forest, byte for byte, as
    /// [`fit`](Self::fit) grows on these rows in memory, by reading only the entries that are looked at.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`DetectorError::Read`] if rows cannot be read. That values are finite is not checked.
    pub fn fit_store(
        &self,
        store: &dyn RowStore,
        rows: usize,
        seed: u64,
    ) -> Result<IsolationForestModel, DetectorError> {
        let rows = rows.min(store.rows());
        let columns = store.columns();
        self.check(rows, columns)?;
        let outside = Outside {
            store,
            columns,
            order: vec![],
            failure: Mutex::new(None),
        };
        let head = HEAD.min(columns);
        let heads: Vec<Vec<f32>> = (0..rows)
            .into_par_iter()
            .map(|row| {
                let mut values = vec![0.0; head];
                outside.read(row, 0, &mut values);
                values
            })
            .collect();
        let mut order: Vec<u32> = (0..rows as u32).collect();
        order.sort_unstable_by(|a, b| {
            let (a, b) = (*a as usize, *b as usize);
            by_values(&heads[a], &heads[b]).then_with(|| outside.compare(a, b, head))
        });
        let step = columns.div_ceil(FINGERPRINT).max(1);
        let fingerprints: Vec<Vec<u32>> = order
            .par_iter()
            .map(|row| {
                let at = (0..columns).step_by(step);
                at.map(|column| outside.one(*row as usize, column).to_bits())
                    .collect()
            })
            .collect();
        let equal = |a: u32, b: u32| {
            let (a, b) = (order[a as usize] as usize, order[b as usize] as usize);
            outside.compare(a, b, 0) == Ordering::Equal
        };
        let twins = twins_by(fingerprints.into_iter(), equal);
        let outside = Outside { order, ..outside };
        let model = self.grow(twins, &outside, columns, seed);
        let failure = outside
            .failure
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match failure {
            None => Ok(model),
            Some(what) => Err(DetectorError::Read { what }),
        }
    }
}

struct Outside<'a> {
    store: &'a dyn RowStore,
    columns: usize,
    /// Rows of the store, sorted.
    order: Vec<u32>,
    /// The first error; what is grown after it is thrown away.
    failure: Mutex<Option<String>>,
}

impl Outside<'_> {
    fn read(&self, row: usize, from: usize, out: &mut [f32]) {
        if let Err(error) = self.store.read(row, from, out) {
            out.fill(0.0);
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| error.to_string());
        }
    }

    fn one(&self, row: usize, column: usize) -> f32 {
        let mut value = [0.0];
        self.read(row, column, &mut value);
        value[0]
    }

    /// Rows by their first difference from column `from` on.
    fn compare(&self, a: usize, b: usize, from: usize) -> Ordering {
        let (mut of_a, mut of_b) = (vec![0.0; PART], vec![0.0; PART]);
        for from in (from..self.columns).step_by(PART) {
            let width = PART.min(self.columns - from);
            self.read(a, from, &mut of_a[..width]);
            self.read(b, from, &mut of_b[..width]);
            let order = by_values(&of_a[..width], &of_b[..width]);
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }
}

impl Matrix for &Outside<'_> {
    fn value(&self, row: u32, column: u32) -> f32 {
        self.one(self.order[row as usize] as usize, column as usize)
    }

    fn part<'a>(&'a self, row: u32, from: usize, space: &'a mut [f32]) -> &'a [f32] {
        self.read(self.order[row as usize] as usize, from, space);
        space
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, s};

    struct Rows(Array2<f32>, bool);

    impl RowStore for Rows {
        fn rows(&self) -> usize {
            self.0.nrows()
        }

        fn columns(&self) -> usize {
            self.0.ncols()
        }

        fn read(&self, row: usize, from: usize, out: &mut [f32]) -> std::io::Result<()> {
            if self.1 && row == 17 {
                return Err(std::io::Error::other("bad sector"));
            }
            let part = self.0.slice(s![row, from..from + out.len()]);
            out.copy_from_slice(part.as_slice().unwrap());
            Ok(())
        }
    }

    /// Rows with twins, constant columns and heads that do not tell rows apart.
    fn rows() -> Array2<f32> {
        let mut rows = Array2::from_shape_fn((60, 700), |(i, j)| {
            if j < HEAD + 20 || j % 3 == 0 {
                1.0
            } else {
                ((i * 37 + j * 101) % 97) as f32 / 97.0
            }
        });
        for (a, b) in [(3, 40), (40, 41), (7, 59)] {
            let row = rows.row(a).to_owned();
            rows.row_mut(b).assign(&row);
        }
        rows
    }

    #[test]
    fn a_forest_from_outside_is_that_of_rows_in_memory() {
        let rows = rows();
        for (n, max_samples) in [(60, 256), (60, 16), (25, 20), (1, 4)] {
            let forest = IsolationForest {
                n_estimators: 40,
                max_samples,
            };
            let expected = forest.fit(rows.slice(s![..n, ..]), 5).unwrap();
            let found = forest.fit_store(&Rows(rows.clone(), false), n, 5).unwrap();
            assert!(expected == found, "{n} rows, {max_samples} of them");
        }
    }

    #[test]
    fn rows_that_cannot_be_read_are_an_error() {
        let forest = IsolationForest::default();
        let error = forest.fit_store(&Rows(rows(), true), 60, 0).unwrap_err();
        assert_eq!(
            error,
            DetectorError::Read {
                what: "bad sector".into()
            }
        );
        assert!(
            forest
                .fit_store(&Rows(Array2::zeros((0, 3)), false), 5, 0)
                .is_err()
        );
    }
}
