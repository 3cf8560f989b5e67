//! Rows of one layer, in memory or on disk, and their inner products.

use blemish_detectors::{COLUMN_BLOCK, DetectorError, InnerProducts, ProductsBuilder, RowStore};
use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;

use super::scratch::ScratchRows;
use crate::Error;

/// Columns that are multiplied between two looks at whether to stop, in memory and on disk.
const PART: usize = 16 * COLUMN_BLOCK;
const PART_ON_DISK: usize = 8 * COLUMN_BLOCK;

/// Training rows (n x d): those of the images as they are, and after them those of their other views, view by view.
#[derive(Debug)]
pub(crate) enum TrainRows {
    Memory {
        originals: Array2<f32>,
        augmented: Array2<f32>,
    },
    Disk {
        originals: usize,
        rows: ScratchRows,
    },
}

/// Rows of one layer.
#[derive(Debug)]
pub(crate) struct LayerRows {
    pub(crate) train: TrainRows,
    /// Rows of the test images.
    pub(crate) test: TestRows,
}

/// Test rows (m x d).
#[derive(Debug)]
pub(crate) enum TestRows {
    Memory(Array2<f32>),
    Disk(ScratchRows),
}

/// Memory of rows that are not needed any more, for the next ones of the same size: the networks of an object have the
/// same rows, and memory that is fresh from the system costs a fault for each page.
#[derive(Debug, Default)]
pub(crate) struct Spare(Vec<Vec<f32>>);

impl Spare {
    /// Room for so many rows. What is in them is not said.
    pub(crate) fn rows(&mut self, rows: usize, columns: usize) -> Array2<f32> {
        // Another size would have to be counted among the memory that a task takes.
        let fits = |spare: &Vec<f32>| spare.len() == rows * columns;
        let found = self.0.iter().position(fits).map(|i| self.0.swap_remove(i));
        let made = found.and_then(|spare| Array2::from_shape_vec((rows, columns), spare).ok());
        made.unwrap_or_else(|| Array2::zeros((rows, columns)))
    }

    /// Takes back memory.
    pub(crate) fn give(&mut self, rows: Array2<f32>) {
        let (values, _) = rows.into_raw_vec_and_offset();
        if !values.is_empty() {
            self.0.push(values);
        }
    }

    /// Gives all memory back to the system.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What a detector that needs rows is given.
#[derive(Clone, Copy)]
pub(crate) enum RowsOf<'a> {
    /// Training rows in consecutive groups.
    Memory(&'a [ArrayView2<'a, f32>]),
    /// The first rows of a store, so many.
    Disk(&'a dyn RowStore, usize),
}

impl TestRows {
    /// In memory.
    pub(crate) fn into_memory(self) -> Result<Array2<f32>, Error> {
        match self {
            TestRows::Memory(rows) => Ok(rows),
            TestRows::Disk(rows) => read_columns(&rows, 0..rows.rows(), 0..rows.columns()),
        }
    }
}

/// Some rows and columns of a store.
fn read_columns(
    store: &ScratchRows,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) -> Result<Array2<f32>, Error> {
    let mut out = Array2::zeros((rows.len(), columns.len()));
    if let Some(values) = out.as_slice_mut() {
        values
            .par_chunks_mut(columns.len().max(1))
            .zip(rows)
            .try_for_each(|(values, row)| store.read(row, columns.start, values))
            .map_err(read_error)?;
    }
    Ok(out)
}

fn read_error(error: std::io::Error) -> DetectorError {
    DetectorError::Read {
        what: error.to_string(),
    }
}

/// Inner products of training and test rows, to the end or, if `stop` says so, not at all.
pub(crate) fn inner_products(
    train: &TrainRows,
    test: ArrayView2<'_, f32>,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Option<InnerProducts>, Error> {
    match train {
        TrainRows::Memory { originals, augmented } => {
            let mut groups = vec![originals.view()];
            if augmented.nrows() > 0 {
                groups.push(augmented.view());
            }
            let sizes: Vec<usize> = groups.iter().map(|g| g.nrows()).collect();
            let centre = InnerProducts::centre_of(originals.view());
            let mut builder = ProductsBuilder::new(&sizes, test.nrows(), centre)?;
            for from in (0..test.ncols()).step_by(PART) {
                if stop() {
                    return Ok(None);
                }
                let columns = from..(from + PART).min(test.ncols());
                let part: Vec<_> = groups.iter().map(|g| g.slice(s![.., columns.clone()])).collect();
                builder.add(&part, test.slice(s![.., columns]))?;
            }
            let rows: Vec<_> = groups
                .iter()
                .chain([&test])
                .flat_map(|g| g.outer_iter())
                .collect();
            let distance = |i: usize, j: usize| match (rows[i].as_slice(), rows[j].as_slice()) {
                (Some(a), Some(b)) => Ok(ProductsBuilder::sq_distance(a, b)),
                _ => Ok(ProductsBuilder::sq_distance(&rows[i].to_vec(), &rows[j].to_vec())),
            };
            Ok(Some(builder.finish(distance)?))
        }
        TrainRows::Disk { originals, rows } => {
            let (n, d, first) = (rows.rows(), rows.columns(), *originals);
            let mut centre = Vec::with_capacity(d);
            for from in (0..d).step_by(PART_ON_DISK) {
                let part = read_columns(rows, 0..first, from..(from + PART_ON_DISK).min(d))?;
                centre.extend(InnerProducts::centre_of(part.view()));
            }
            let sizes = if n > first {
                vec![first, n - first]
            } else {
                vec![first]
            };
            let mut builder = ProductsBuilder::new(&sizes, test.nrows(), centre)?;
            for from in (0..d).step_by(PART_ON_DISK) {
                if stop() {
                    return Ok(None);
                }
                let columns = from..(from + PART_ON_DISK).min(d);
                let part = read_columns(rows, 0..n, columns.clone())?;
                let mut groups = vec![part.slice(s![..first, ..])];
                if n > first {
                    groups.push(part.slice(s![first.., ..]));
                }
                builder.add(&groups, test.slice(s![.., columns]))?;
            }
            let row = |i: usize| -> Result<Vec<f32>, DetectorError> {
                if i >= n {
                    return Ok(test.row(i - n).to_vec());
                }
                let mut values = vec![0.0; d];
                rows.read(i, 0, &mut values).map_err(read_error)?;
                Ok(values)
            };
            Ok(Some(builder.finish(|i, j| {
                Ok(ProductsBuilder::sq_distance(&row(i)?, &row(j)?))
            })?))
        }
    }
}
