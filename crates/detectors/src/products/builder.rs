//! Products of rows that come some columns at a time.

use std::collections::BTreeMap;

use ndarray::{ArrayView2, Axis};

use super::kernel::Kernel;
use super::pack::PANEL;
use super::tiles::{Blocks, Multiplier};
use super::{Centre, Element, InnerProducts, check_columns, check_finite};
use crate::DetectorError;

/// Computes [`InnerProducts`] of rows that need not be in memory all at once: some columns of all rows at a time, from
/// the first to the last. The result is the same, byte for byte, as [`InnerProducts::from_rows`] gives for whole rows.
///
/// ```
/// use blemish_detectors::{COLUMN_BLOCK, InnerProducts, ProductsBuilder};
/// use ndarray::{Array2, Axis, s};
///
/// # fn main() -> Result<(), blemish_detectors::DetectorError> {
/// let train = Array2::from_shape_fn((5, 1000), |(i, j)| ((i * 7 + j) % 13) as f32);
/// let query = Array2::from_shape_fn((2, 1000), |(i, j)| ((i + j) % 5) as f32);
/// let mut builder = ProductsBuilder::new(&[5], 2, InnerProducts::centre_of(train.view()))?;
/// for (t, q) in train
///     .axis_chunks_iter(Axis(1), COLUMN_BLOCK)
///     .zip(query.axis_chunks_iter(Axis(1), COLUMN_BLOCK))
/// {
///     builder.add(&[t], q)?;
/// }
/// // Of rows that are nearly equal, a distance is asked for: query rows are numbered after training rows.
/// let products = builder.finish(|i, j| {
///     let row = |i: usize| if i < 5 { train.row(i) } else { query.row(i - 5) };
///     Ok(row(i).iter().zip(row(j)).map(|(a, b)| f64::from(a - b).powi(2)).sum())
/// })?;
/// assert_eq!(products.dimensions(), 1000);
/// # Ok(())
/// # }
/// ```
pub struct ProductsBuilder {
    groups: Vec<usize>,
    query: usize,
    centre_row: Vec<f64>,
    centre: Centre,
    multiplier: Multiplier,
    /// Columns that were added.
    done: usize,
}

impl std::fmt::Debug for ProductsBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProductsBuilder")
            .field("groups", &self.groups)
            .field("query", &self.query)
            .field("columns", &self.centre_row.len())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl ProductsBuilder {
    /// For training rows in consecutive groups, `train_groups` of them each, and `query` rows; `centre` is the
    /// [centre](InnerProducts::centre_of) of the first group.
    ///
    /// # Errors
    /// [`DetectorError::Empty`] without a row in the first group or without a column.
    pub fn new(
        train_groups: &[usize],
        query: usize,
        centre: Vec<f64>,
    ) -> Result<ProductsBuilder, DetectorError> {
        let first = train_groups.first().copied().unwrap_or_default();
        if first == 0 || centre.is_empty() {
            return Err(DetectorError::Empty {
                what: "the first group of training rows".into(),
                rows: first,
                columns: centre.len(),
            });
        }
        let of_centre = Centre::of(&centre);
        let blocks = Blocks::new(train_groups, query);
        Ok(ProductsBuilder {
            groups: train_groups.to_vec(),
            query,
            multiplier: Multiplier::new(blocks, false, of_centre.mean, Kernel::detect()),
            centre: of_centre,
            centre_row: centre,
            done: 0,
        })
    }

    /// Adds the next columns: all matrices are (rows of the group) x (columns). Every call but the last takes a multiple
    /// of [`COLUMN_BLOCK`](crate::COLUMN_BLOCK) columns.
    ///
    /// # Errors
    /// [`DetectorError::Shape`] where the shapes do not fit, [`DetectorError::NotFinite`] (with the column counted from
    /// the first of all).
    pub fn add<T: Element>(
        &mut self,
        train_groups: &[ArrayView2<'_, T>],
        query: ArrayView2<'_, T>,
    ) -> Result<(), DetectorError> {
        let width = query.ncols();
        let end = self.done + width;
        let shape = |what: &str, found: usize, expected: usize| DetectorError::Shape {
            what: what.to_owned(),
            found,
            expected,
        };
        if end > self.centre_row.len() || !(width.is_multiple_of(PANEL) || end == self.centre_row.len()) {
            let expected = PANEL.min(self.centre_row.len().saturating_sub(self.done));
            return Err(shape("columns that are added", width, expected));
        }
        if train_groups.len() != self.groups.len() {
            let (found, expected) = (train_groups.len(), self.groups.len());
            return Err(shape("groups of training rows", found, expected));
        }
        let named: Vec<(String, ArrayView2<'_, T>, usize)> = train_groups
            .iter()
            .zip(&self.groups)
            .enumerate()
            .map(|(i, (g, rows))| (format!("group {i} of the training rows"), *g, *rows))
            .chain([("the query".to_owned(), query, self.query)])
            .collect();
        for (what, group, rows) in &named {
            check_columns(what, *group, width)?;
            if group.nrows() != *rows {
                return Err(shape(&format!("rows of {what}"), group.nrows(), *rows));
            }
        }
        let train: Vec<_> = train_groups.iter().flat_map(|g| g.axis_iter(Axis(0))).collect();
        let query: Vec<_> = query.axis_iter(Axis(0)).collect();
        self.multiplier
            .add(&train, &query, &self.centre_row[self.done..end]);
        if !self.multiplier.sums().all(|r| r.square.is_finite()) {
            // Looked for only now, so that good rows are read once less.
            for (what, group, _) in &named {
                check_finite(what, *group).map_err(|error| shifted(error, self.done))?;
            }
        }
        self.done = end;
        Ok(())
    }

    /// Columns that were added.
    pub fn columns_done(&self) -> usize {
        self.done
    }

    /// The products. `sq_distance` computes `|x_i - x_j|^2` from the rows themselves, for pairs so close that products
    /// do not tell it; query rows are numbered after training rows, and `j` is that of a training row.
    ///
    /// # Errors
    /// [`DetectorError::Shape`] if columns are missing, [`DetectorError::Overflow`] if values are so large that squared
    /// norms leave the range of f64, and those of `sq_distance`.
    pub fn finish(
        self,
        sq_distance: impl Fn(usize, usize) -> Result<f64, DetectorError> + Sync,
    ) -> Result<InnerProducts, DetectorError> {
        let dimensions = self.centre_row.len();
        if self.done < dimensions {
            return Err(DetectorError::Shape {
                what: "columns that were added".into(),
                found: self.done,
                expected: dimensions,
            });
        }
        let n: usize = self.groups.iter().sum();
        let (train, cross, mut rows) = self.multiplier.finish();
        let query_rows = rows.split_off(n);
        let mut products = InnerProducts {
            dimensions,
            train,
            cross,
            train_rows: rows,
            query_rows,
            centre: self.centre,
            near: BTreeMap::new(),
        };
        products.check_range()?;
        products.refine(sq_distance)?;
        Ok(products)
    }

    /// `|a - b|^2` of two rows, summed as [`InnerProducts::from_rows`] sums it.
    pub fn sq_distance<T: Element>(a: &[T], b: &[T]) -> f64 {
        super::exact_sq_distance(a.into(), b.into())
    }
}

/// The error with its column counted from the first of all.
fn shifted(error: DetectorError, by: usize) -> DetectorError {
    match error {
        DetectorError::NotFinite {
            what,
            row,
            column,
            value,
        } => DetectorError::NotFinite {
            what,
            row,
            column: column + by,
            value,
        },
        other => other,
    }
}
