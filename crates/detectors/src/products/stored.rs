//! Training rows that a model keeps, to score new rows against.

use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::kernel::Kernel;
use super::pack::{PANEL, centre_part_of_row};
use super::tiles::{Blocks, Multiplier};
use super::{
    BTreeMap, Centre, Element, InnerProducts, RowSums, centre_of, check_columns, check_finite,
    exact_sq_distance,
};
use crate::DetectorError;

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

/// The centre of the rows, and the sums of each row about it.
fn describe<T: Element>(rows: ArrayView2<'_, T>) -> Result<(Vec<f64>, Vec<RowSums>), DetectorError> {
    check_rows("the training rows", rows, None)?;
    let centre = centre_of(rows);
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
        let blocks = Blocks::new(&[n], m);
        let mut multiplier = Multiplier::new(blocks, true, self.centre.mean, Kernel::detect());
        let (train, new): (Vec<_>, Vec<_>) = (rows.outer_iter().collect(), query.outer_iter().collect());
        multiplier.add(&train, &new, &self.centre_row);
        let (train, cross, mut sums) = multiplier.finish();
        let mut products = InnerProducts {
            dimensions: d,
            train,
            cross,
            train_rows: self.sums.clone(),
            query_rows: sums.split_off(n),
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

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Axis, concatenate};

    fn rows(n: usize, d: usize, from: usize) -> Array2<f32> {
        Array2::from_shape_fn((n, d), |(i, j)| {
            (((from + i) * 7919 + j * 104_729) % 1009) as f32 * 0.37 - 100.0
        })
    }

    #[test]
    fn stored_rows_give_the_bytes_of_products_of_all_rows() {
        for (n, m, d) in [(1, 1, 1), (9, 3, 40), (150, 131, 700)] {
            let (train, query) = (rows(n, d, 0), rows(m, d, n));
            let whole = InnerProducts::from_rows(&[train.view()], query.view()).unwrap();
            let stored = StoredRows::new(train.view()).unwrap();
            let mixed = stored.with_query(query.mapv(f64::from).view()).unwrap();
            for q in 0..m {
                let alone = stored.with_query(query.slice(s![q..=q, ..])).unwrap();
                let row = |products: &InnerProducts, q: usize| {
                    let view = products.view();
                    let (mut inner, mut distance) = (vec![0.0; n], vec![0.0; n]);
                    view.query_inner_row(q, &mut inner);
                    view.query_sq_distance_row(q, &mut distance);
                    inner.push(view.query_square(q));
                    let all = inner.iter().chain(&distance).map(|v| v.to_bits());
                    all.collect::<Vec<_>>()
                };
                let expected = row(&whole, q);
                assert_eq!(row(&mixed, q), expected, "row {q} of {m}, as f64");
                assert_eq!(row(&alone, 0), expected, "row {q} of {m}, alone");
            }
        }
    }

    #[test]
    fn whole_numbers_have_exact_distances() {
        // Rows that are one entry apart, at the same distance from each other, 3 so that the mean is no whole number.
        let zero = Array1::from_elem(50, 117.0_f32);
        let mut train = concatenate![
            Axis(0),
            zero.view().insert_axis(Axis(0)),
            rows(2, 50, 3).mapv(f32::round)
        ];
        train[[1, 7]] = 255.0;
        let query = Array2::from_shape_fn((50, 50), |(i, j)| if i == j { 120.0 } else { 117.0 });
        let whole = InnerProducts::from_rows(&[train.view()], query.view()).unwrap();
        let view = whole.view();
        for q in 0..50 {
            assert_eq!(view.query_sq_distance(q, 0), 9.0);
            for j in 1..3 {
                let exact: f64 = (0..50)
                    .map(|c| f64::from(query[[q, c]] - train[[j, c]]).powi(2))
                    .sum();
                assert_eq!(view.query_sq_distance(q, j), exact);
            }
        }
    }
}
