//! Training rows that a model keeps, to score new rows against.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::pack::{PANEL, centre_part_of_row};
use super::tiles::TILE;
use super::{
    BTreeMap, Centre, Element, InnerProducts, RowSums, check_columns, check_finite, column_means,
    exact_sq_distance,
};
use crate::DetectorError;

/// Query rows that are multiplied together. Fewer are filled up with zeros: a matrix product may round differently
/// in another shape, and a score must not depend on the other rows that were asked for.
const QUERIES: usize = 16;

/// Rows in their own precision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum OwnedRows {
    F32(Array2<f32>),
    F64(Array2<f64>),
}

/// Training rows, n x d, with what the products of new rows with them need: derived from the rows alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "OwnedRows", into = "OwnedRows")]
pub(crate) struct StoredRows {
    rows: OwnedRows,
    centre_row: Vec<f64>,
    centre: Centre,
    sums: Vec<RowSums>,
}

impl From<StoredRows> for OwnedRows {
    fn from(stored: StoredRows) -> OwnedRows {
        stored.rows
    }
}

impl TryFrom<OwnedRows> for StoredRows {
    type Error = DetectorError;

    fn try_from(rows: OwnedRows) -> Result<StoredRows, DetectorError> {
        let (centre_row, sums) = match &rows {
            OwnedRows::F32(rows) => describe(rows.view())?,
            OwnedRows::F64(rows) => describe(rows.view())?,
        };
        let centre = Centre::of(&centre_row);
        Ok(StoredRows {
            rows,
            centre_row,
            centre,
            sums,
        })
    }
}

/// The mean of the rows, and the sums of each row about it.
fn describe<T: Element>(rows: ArrayView2<'_, T>) -> Result<(Vec<f64>, Vec<RowSums>), DetectorError> {
    check_rows("the training rows", rows, None)?;
    let centre = column_means(rows);
    let sums = sums(rows, &centre);
    Ok((centre, sums))
}

/// Whether there are columns, `columns` of them where that is said, rows at all where it is not, and finite values.
fn check_rows<T: Element>(
    what: &str,
    rows: ArrayView2<'_, T>,
    columns: Option<usize>,
) -> Result<(), DetectorError> {
    if rows.ncols() == 0 || (columns.is_none() && rows.nrows() == 0) {
        return Err(DetectorError::Empty {
            what: what.to_owned(),
            rows: rows.nrows(),
            columns: rows.ncols(),
        });
    }
    check_columns(what, rows, columns.unwrap_or(rows.ncols()))?;
    check_finite(what, rows)
}

fn sums<T: Element>(rows: ArrayView2<'_, T>, centre_row: &[f64]) -> Vec<RowSums> {
    let mean = Centre::of(centre_row).mean;
    (0..rows.nrows())
        .into_par_iter()
        .map(|i| {
            let row = rows.row(i);
            let mut sums = RowSums::default();
            let mut part = vec![0.0; PANEL.min(row.len())];
            for (from, centre) in (0..row.len()).step_by(PANEL).zip(centre_row.chunks(PANEL)) {
                let part = &mut part[..centre.len()];
                centre_part_of_row(row.slice(s![from..from + centre.len()]), centre, part);
                sums.add(part, centre, mean);
            }
            sums
        })
        .collect()
}

impl StoredRows {
    /// Copies rows.
    pub(crate) fn new<T: Element>(rows: ArrayView2<'_, T>) -> Result<StoredRows, DetectorError> {
        // Before they are copied.
        check_rows("the training rows", rows, None)?;
        StoredRows::try_from(if T::SINGLE {
            OwnedRows::F32(rows.as_standard_layout().mapv(T::to_f32))
        } else {
            OwnedRows::F64(rows.as_standard_layout().mapv(Into::into))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.sums.len()
    }

    pub(crate) fn columns(&self) -> usize {
        self.centre_row.len()
    }

    /// Products of the training rows with each other, to fit on.
    pub(crate) fn products(&self) -> Result<InnerProducts, DetectorError> {
        match &self.rows {
            OwnedRows::F32(rows) => InnerProducts::from_rows(&[rows.view()], rows.slice(s![..0, ..])),
            OwnedRows::F64(rows) => InnerProducts::from_rows(&[rows.view()], rows.slice(s![..0, ..])),
        }
    }

    /// Products of new rows with the training rows; those of training rows with each other are left out, so that
    /// the result serves to score, not to fit. A row's products do not depend on the other new rows.
    pub(crate) fn with_query<T: Element>(
        &self,
        query: ArrayView2<'_, T>,
    ) -> Result<InnerProducts, DetectorError> {
        check_rows("the rows to score", query, Some(self.columns()))?;
        match &self.rows {
            OwnedRows::F32(rows) => self.multiply(rows.view(), query),
            OwnedRows::F64(rows) => self.multiply(rows.view(), query),
        }
    }

    fn multiply<R: Element, T: Element>(
        &self,
        rows: ArrayView2<'_, R>,
        query: ArrayView2<'_, T>,
    ) -> Result<InnerProducts, DetectorError> {
        let (n, d) = rows.dim();
        let m = query.nrows();
        let filled = m.next_multiple_of(QUERIES);
        let mut tiles: Vec<(usize, usize, Mat<f64>)> = vec![];
        for q in (0..m).step_by(QUERIES) {
            for t in (0..n).step_by(TILE) {
                tiles.push((q, t, Mat::zeros(QUERIES, TILE.min(n - t))));
            }
        }
        let mut train_panel = vec![0.0; n * PANEL.min(d)];
        let mut query_panel = vec![0.0; filled * PANEL.min(d)];
        for from in (0..d).step_by(PANEL) {
            let width = PANEL.min(d - from);
            let centre = &self.centre_row[from..from + width];
            centre_panel(rows, from, centre, &mut train_panel[..n * width]);
            centre_panel(query, from, centre, &mut query_panel[..m * width]);
            query_panel[m * width..filled * width].fill(0.0);
            let train = MatRef::from_row_major_slice(&train_panel[..n * width], n, width);
            let query = MatRef::from_row_major_slice(&query_panel[..filled * width], filled, width);
            tiles.par_iter_mut().with_max_len(1).for_each(|(q, t, tile)| {
                let left = query.subrows(*q, QUERIES);
                let right = train.subrows(*t, tile.ncols());
                matmul(tile.as_mut(), Accum::Add, left, right.transpose(), 1.0, Par::Seq);
            });
        }
        let mut cross = Array2::zeros((m, n));
        for (q, t, tile) in tiles {
            for i in 0..QUERIES.min(m - q) {
                for j in 0..tile.ncols() {
                    cross[[q + i, t + j]] = tile[(i, j)];
                }
            }
        }
        let mut products = InnerProducts {
            dimensions: d,
            train: Array2::zeros((0, 0)),
            cross,
            train_rows: self.sums.clone(),
            query_rows: sums(query, &self.centre_row),
            centre: self.centre,
            near: BTreeMap::new(),
        };
        products.check_range()?;
        let near: Vec<Vec<((usize, usize), f64)>> = (0..m)
            .into_par_iter()
            .map(|q| {
                (0..n)
                    .filter(|&j| products.is_near(n + q, j))
                    .map(|j| ((n + q, j), exact_sq_distance(query.row(q), rows.row(j))))
                    .collect()
            })
            .collect();
        products.near = near.into_iter().flatten().collect();
        Ok(products)
    }
}

/// Writes some columns of all rows, less their centre.
fn centre_panel<T: Element>(rows: ArrayView2<'_, T>, from: usize, centre: &[f64], panel: &mut [f64]) {
    let width = centre.len();
    let part = rows.slice(s![.., from..from + width]);
    panel
        .par_chunks_mut(width)
        .enumerate()
        .for_each(|(i, out)| centre_part_of_row(part.row(i), centre, out));
}
