//! Inner products of rows about a fixed centre: all that four of the five detectors need to know.

mod builder;
mod bytes;
mod kernel;
mod pack;
mod stored;
mod tiles;

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView1, ArrayView2, s};
use rayon::prelude::*;

use crate::DetectorError;
pub use builder::ProductsBuilder;
pub use pack::PANEL as COLUMN_BLOCK;
pub(crate) use stored::StoredRows;

/// Pairs whose squared distance is a smaller part than this of their squared norms are computed again
/// from their rows, because the difference of products has lost too many digits: products err by about 1e-14 of
/// the squared norms, so that what remains errs by at most about 1e-10 of itself.
const NEAR: f64 = 1e-4;
/// Squared norms and their likes must stay below this, so that sums of a few of them stay finite.
const LARGEST: f64 = 1e300;
/// Columns whose means are computed at a time.
const COLUMNS: usize = 1024;
/// Partial sums of a row: a fixed number, so that the order of additions is fixed, and enough for the compiler to
/// add several at once.
const LANES: usize = 16;

/// An element of a row matrix: `f32` or `f64`.
pub trait Element: Copy + Send + Sync + Into<f64> + sealed::Sealed {}
impl Element for f32 {}
impl Element for f64 {}

mod sealed {
    pub trait Sealed: Copy {
        /// Whether it is of single precision.
        const SINGLE: bool;

        /// The value in single precision.
        fn to_f32(self) -> f32;
    }
    impl Sealed for f32 {
        const SINGLE: bool = true;

        fn to_f32(self) -> f32 {
            self
        }
    }
    impl Sealed for f64 {
        const SINGLE: bool = false;

        fn to_f32(self) -> f32 {
            self as f32
        }
    }
}

/// Inner products of training rows with each other and of query rows with training rows.
///
/// Rows are centred at a point `c` near the column means of the first group of training rows, multiplied and summed in
/// f64. Uncentred products, distances and the variance of all entries are recovered from what is stored, without
/// cancellation for rows that lie far from the origin.
///
/// # Accuracy
/// Products err by about 1e-14 of the norms of their rows, squared distances by about as much. They are the same bytes
/// on every machine that has fused multiply-adds; on others the last digits may differ.
///
/// # Order and groups
/// A prefix of training groups is a leading block, and its numbers do not depend on the groups that follow: the
/// training set without augmentation is had from the one with: tiles do not cross groups and the centre is that of
/// the first group. For the same reason results are the same bytes for any number of threads.
///
/// Squared distances are `K_xx + K_yy - 2 K_xy`, or, for pairs so close that this would cancel, summed from the
/// rows themselves; equal rows have distance 0.
#[derive(Clone, Debug)]
pub struct InnerProducts {
    dimensions: usize,
    /// `<x_i - c, x_j - c>`, n x n.
    train: Array2<f64>,
    /// `<q - c, x_j - c>`, m x n.
    cross: Array2<f64>,
    train_rows: Vec<RowSums>,
    query_rows: Vec<RowSums>,
    centre: Centre,
    /// Squared distances of nearly equal rows, by (row, training row); query rows are numbered after all
    /// training rows.
    near: BTreeMap<(usize, usize), f64>,
}

/// Sums over the entries of one row.
#[derive(Clone, Copy, Debug, Default)]
struct RowSums {
    /// `|x - c|^2`
    square: f64,
    /// `<x - c, c - g>`, where g is the mean of c
    about: f64,
    /// `sum_j (x_j - c_j)`
    sum: f64,
}

impl RowSums {
    /// Adds a panel's part of a centred row.
    #[inline(always)]
    fn add(&mut self, centred: &[f64], centre: &[f64], mean: f64) {
        let (mut square, mut about, mut sum) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        let mut add = |lane: usize, z: f64, c: f64| {
            square[lane] += z * z;
            about[lane] += z * (c - mean);
            sum[lane] += z;
        };
        // Whole chunks apart, so that they are added in registers.
        let (centred, last) = centred.as_chunks::<LANES>();
        let (centre, last_centre) = centre.as_chunks::<LANES>();
        for (z, c) in centred.iter().zip(centre) {
            for lane in 0..LANES {
                add(lane, z[lane], c[lane]);
            }
        }
        for (lane, (z, c)) in last.iter().zip(last_centre).enumerate() {
            add(lane, *z, *c);
        }
        self.square += square.iter().sum::<f64>();
        self.about += about.iter().sum::<f64>();
        self.sum += sum.iter().sum::<f64>();
    }
}

#[derive(Clone, Copy, Debug)]
struct Centre {
    /// Mean g of all entries of c.
    mean: f64,
    /// `|c - g|^2`
    square: f64,
    /// `sum_j (c_j - g)`: zero but for rounding.
    sum: f64,
}

impl Centre {
    fn of(row: &[f64]) -> Centre {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        Centre {
            mean,
            square: row.iter().map(|c| (c - mean).powi(2)).sum(),
            sum: row.iter().map(|c| c - mean).sum(),
        }
    }
}

impl InnerProducts {
    /// Computes the products of training rows, given in consecutive groups, and of `query` rows with them.
    ///
    /// All matrices are rows x d. The time is about n (n + 2 m) d multiplications and additions, spread over the
    /// current rayon pool. Rows are not copied: besides the result, which is n x n and m x n numbers of f64, about half
    /// as much is needed for a while, and room for 512 columns of all rows.
    ///
    /// # Errors
    /// If there is no training row or no column, if column counts differ, if a value is not finite (the error names
    /// group, row and column), or if values are so large that squared norms leave the range of f64.
    pub fn from_rows<T: Element>(
        train_groups: &[ArrayView2<'_, T>],
        query: ArrayView2<'_, T>,
    ) -> Result<InnerProducts, DetectorError> {
        let first = train_groups.first().map_or((0, 0), |g| g.dim());
        if first.0 == 0 || first.1 == 0 {
            let what = "the first group of training rows".to_owned();
            return Err(DetectorError::Empty {
                what,
                rows: first.0,
                columns: first.1,
            });
        }
        let d = first.1;
        let named: Vec<(String, ArrayView2<'_, T>)> = train_groups
            .iter()
            .enumerate()
            .map(|(i, g)| (format!("group {i} of the training rows"), *g))
            .chain([("the query".to_owned(), query)])
            .collect();
        for (what, group) in &named {
            check_columns(what, *group, d)?;
        }
        let centre = centre_of(train_groups[0]);
        let sizes: Vec<usize> = train_groups.iter().map(|g| g.nrows()).collect();
        let mut builder = ProductsBuilder::new(&sizes, query.nrows(), centre)?;
        builder.add(train_groups, query)?;
        let rows: Vec<_> = named.iter().flat_map(|(_, g)| g.outer_iter()).collect();
        builder.finish(|i, j| Ok(exact_sq_distance(rows[i], rows[j])))
    }

    /// A row near the column means of `rows`: what a [`ProductsBuilder`] takes as its centre, where they are those of the
    /// first group of training rows. What it is in some columns does not depend on the others.
    pub fn centre_of<T: Element>(rows: ArrayView2<'_, T>) -> Vec<f64> {
        centre_of(rows)
    }

    /// Whether everything that is recovered from the sums is finite.
    fn check_range(&self) -> Result<(), DetectorError> {
        let whole = self.view();
        let fits = |r: &RowSums| r.square < LARGEST && whole.offset(r).abs() < LARGEST;
        let rows = self.train_rows.iter().chain(&self.query_rows);
        if whole.centre_square() < LARGEST && rows.clone().all(fits) {
            return Ok(());
        }
        Err(DetectorError::Overflow {
            detector: "inner products",
            what: "a squared norm",
            hint: "values must be below about 1e150: scale the rows",
        })
    }

    /// Computes the distances of nearly equal rows from the rows themselves, by `exact`.
    fn refine(
        &mut self,
        exact: impl Fn(usize, usize) -> Result<f64, DetectorError> + Sync,
    ) -> Result<(), DetectorError> {
        let n = self.train_rows.len();
        let this = &*self;
        let near: Vec<Vec<((usize, usize), f64)>> = (0..n + self.query_rows.len())
            .into_par_iter()
            .map(|i| {
                let columns = if i < n { i } else { n };
                (0..columns)
                    .filter(|&j| this.is_near(i, j))
                    .map(|j| Ok(((i, j), exact(i, j)?)))
                    .collect()
            })
            .collect::<Result<_, DetectorError>>()?;
        self.near = near
            .into_iter()
            .flatten()
            .flat_map(|((i, j), exact)| {
                let mirrored = if i < n { (j, i) } else { (i, j) };
                [((i, j), exact), (mirrored, exact)]
            })
            .collect();
        Ok(())
    }

    /// Squared distance of row i (query rows are numbered from n) and training row j by difference.
    fn difference(&self, i: usize, j: usize) -> (f64, f64) {
        let n = self.train_rows.len();
        let (row, product) = if i < n {
            (&self.train_rows[i], self.train[[i, j]])
        } else {
            (&self.query_rows[i - n], self.cross[[i - n, j]])
        };
        let squares = row.square + self.train_rows[j].square;
        (squares - 2.0 * product, squares)
    }

    /// [`sq_distance`](Self::sq_distance) of row i and the first training rows.
    fn sq_distances(&self, i: usize, out: &mut [f64]) {
        let n = self.train_rows.len();
        let (row, products) = if i < n {
            (&self.train_rows[i], self.train.row(i))
        } else {
            (&self.query_rows[i - n], self.cross.row(i - n))
        };
        let square = row.square;
        if let Some(products) = products.as_slice() {
            pulp::Arch::new().dispatch(|| {
                for ((out, column), product) in out.iter_mut().zip(&self.train_rows).zip(products) {
                    *out = (square + column.square - 2.0 * product).max(0.0);
                }
            });
        }
        for ((_, j), exact) in self.near.range((i, 0)..(i, out.len())) {
            out[*j] = *exact;
        }
        if let Some(own) = out.get_mut(i) {
            *own = 0.0;
        }
    }

    fn is_near(&self, i: usize, j: usize) -> bool {
        let (difference, squares) = self.difference(i, j);
        difference <= NEAR * squares
    }

    fn sq_distance(&self, i: usize, j: usize) -> f64 {
        if i == j {
            return 0.0;
        }
        let (difference, squares) = self.difference(i, j);
        if difference <= NEAR * squares
            && let Some(exact) = self.near.get(&(i, j))
        {
            return *exact;
        }
        difference.max(0.0)
    }

    /// Number of training rows n.
    pub fn train_len(&self) -> usize {
        self.train_rows.len()
    }

    /// Number of query rows m.
    pub fn query_len(&self) -> usize {
        self.query_rows.len()
    }

    /// Number of columns d of the rows.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// All training rows, all query rows.
    pub fn view(&self) -> ProductsView<'_> {
        ProductsView {
            products: self,
            n: self.train_len(),
        }
    }

    /// The first `n_train` training rows, all query rows.
    ///
    /// # Errors
    /// If `n_train` is 0 or more than there are.
    pub fn leading(&self, n_train: usize) -> Result<ProductsView<'_>, DetectorError> {
        if n_train == 0 || n_train > self.train_len() {
            return Err(DetectorError::Shape {
                what: "leading training rows".into(),
                found: n_train,
                expected: self.train_len(),
            });
        }
        Ok(ProductsView {
            products: self,
            n: n_train,
        })
    }
}

/// The products of some leading training rows and all query rows: what detectors are fitted and scored on.
#[derive(Clone, Copy, Debug)]
pub struct ProductsView<'a> {
    products: &'a InnerProducts,
    n: usize,
}

impl<'a> ProductsView<'a> {
    /// Number of training rows n.
    pub fn train_len(&self) -> usize {
        self.n
    }

    /// Number of query rows m.
    pub fn query_len(&self) -> usize {
        self.products.query_len()
    }

    /// Number of columns d of the rows.
    pub fn dimensions(&self) -> usize {
        self.products.dimensions
    }

    /// Centred products of training rows, n x n.
    pub fn train(&self) -> ArrayView2<'a, f64> {
        self.products.train.slice(s![..self.n, ..self.n])
    }

    /// Centred products of query rows with training rows, m x n.
    pub fn cross(&self) -> ArrayView2<'a, f64> {
        self.products.cross.slice(s![.., ..self.n])
    }

    /// `<x_i, x_j>` of training rows, not centred.
    ///
    /// # Panics
    /// Like all accessors of single entries, if an index is out of range.
    pub fn train_inner(&self, i: usize, j: usize) -> f64 {
        let p = self.products;
        p.train[[i, j]] + self.offset(&p.train_rows[i]) + self.offset(&p.train_rows[j]) + self.centre_square()
    }

    /// `<q, x_j>` of query row q and training row j, not centred.
    pub fn query_inner(&self, q: usize, j: usize) -> f64 {
        let p = self.products;
        p.cross[[q, j]] + self.offset(&p.query_rows[q]) + self.offset(&p.train_rows[j]) + self.centre_square()
    }

    /// `|q - c|^2` of query row q, about the centre of the products.
    pub(crate) fn query_square(&self, q: usize) -> f64 {
        self.products.query_rows[q].square
    }

    /// `|x_i - x_j|^2` of training rows; 0 for i = j.
    pub fn train_sq_distance(&self, i: usize, j: usize) -> f64 {
        self.products.sq_distance(i, j)
    }

    /// `|q - x_j|^2` of query row q and training row j.
    pub fn query_sq_distance(&self, q: usize, j: usize) -> f64 {
        self.products.sq_distance(self.products.train_len() + q, j)
    }

    /// `<x_i, x_j>` for the first training rows j, as [`train_inner`](Self::train_inner) gives them one by one.
    pub(crate) fn train_inner_row(&self, i: usize, out: &mut [f64]) {
        self.inner_row(self.products.train.row(i), self.products.train_rows[i], out);
    }

    /// `<q, x_j>` for the first training rows j, as [`query_inner`](Self::query_inner) gives them one by one.
    pub(crate) fn query_inner_row(&self, q: usize, out: &mut [f64]) {
        self.inner_row(self.products.cross.row(q), self.products.query_rows[q], out);
    }

    fn inner_row(&self, products: ArrayView1<'_, f64>, row: RowSums, out: &mut [f64]) {
        let (own, centre, mean) = (self.offset(&row), self.centre_square(), self.products.centre.mean);
        if let Some(products) = products.as_slice() {
            pulp::Arch::new().dispatch(|| {
                for ((out, product), column) in out.iter_mut().zip(products).zip(&self.products.train_rows) {
                    *out = product + own + (column.about + mean * column.sum) + centre;
                }
            });
        }
    }

    /// `|x_i - x_j|^2` for the first training rows j.
    pub(crate) fn train_sq_distance_row(&self, i: usize, out: &mut [f64]) {
        self.products.sq_distances(i, out);
    }

    /// `|q - x_j|^2` for the first training rows j.
    pub(crate) fn query_sq_distance_row(&self, q: usize, out: &mut [f64]) {
        self.products.sq_distances(self.products.train_len() + q, out);
    }

    /// Population variance of all n x d entries of the training rows (numpy's `X.var()`).
    pub fn variance(&self) -> f64 {
        let c = &self.products.centre;
        let rows = &self.products.train_rows[..self.n];
        let entries = (self.n * self.dimensions()) as f64;
        // About the mean g of the centre, so that a common offset does not cancel.
        let squares: f64 = rows.iter().map(|r| r.square + 2.0 * r.about + c.square).sum();
        let deviation: f64 = rows.iter().map(|r| r.sum + c.sum).sum();
        (squares / entries - (deviation / entries).powi(2)).max(0.0)
    }

    /// `<x - c, c>`
    fn offset(&self, row: &RowSums) -> f64 {
        row.about + self.products.centre.mean * row.sum
    }

    /// `<c, c>`
    fn centre_square(&self) -> f64 {
        let c = &self.products.centre;
        c.square + 2.0 * c.mean * c.sum + self.dimensions() as f64 * c.mean * c.mean
    }
}

fn check_columns<T>(what: &str, rows: ArrayView2<'_, T>, d: usize) -> Result<(), DetectorError> {
    if rows.ncols() == d {
        return Ok(());
    }
    Err(DetectorError::Shape {
        what: format!("columns of {what}"),
        found: rows.ncols(),
        expected: d,
    })
}

fn check_finite<T: Element>(what: &str, rows: ArrayView2<'_, T>) -> Result<(), DetectorError> {
    let bad = (0..rows.nrows()).into_par_iter().find_map_first(|r| {
        rows.row(r)
            .iter()
            .position(|v| !(*v).into().is_finite())
            .map(|c| (r, c))
    });
    match bad {
        Some((row, column)) => {
            let value = rows[[row, column]].into();
            Err(DetectorError::NotFinite {
                what: what.to_owned(),
                row,
                column,
                value,
            })
        }
        None => Ok(()),
    }
}

/// `|a - b|^2` entry by entry.
fn exact_sq_distance<A: Element, B: Element>(a: ArrayView1<'_, A>, b: ArrayView1<'_, B>) -> f64 {
    match (a.as_slice(), b.as_slice()) {
        (Some(a), Some(b)) => pulp::Arch::new().dispatch(SqDistance { a, b }),
        _ => a.iter().zip(b).map(square_of_difference).sum(),
    }
}

#[inline(always)]
fn square_of_difference<A: Element, B: Element>((x, y): (&A, &B)) -> f64 {
    let difference: f64 = (*x).into() - (*y).into();
    difference * difference
}

/// A squared distance: a type, so that it is inlined where vectors are wide.
struct SqDistance<'a, A, B> {
    a: &'a [A],
    b: &'a [B],
}

impl<A: Element, B: Element> pulp::NullaryFnOnce for SqDistance<'_, A, B> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let mut sums = [0.0; LANES];
        let (a, rest_a) = self.a.as_chunks::<LANES>();
        let (b, rest_b) = self.b.as_chunks::<LANES>();
        for (a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                sums[lane] += square_of_difference((&a[lane], &b[lane]));
            }
        }
        for (sum, pair) in sums.iter_mut().zip(rest_a.iter().zip(rest_b)) {
            *sum += square_of_difference(pair);
        }
        sums.iter().sum()
    }
}

/// A row near the column means that differences and their products are taken about.
///
/// Each entry is rounded to a 64th of the column's spread, or a power of two below that. So small whole numbers (counts,
/// grey values) have exact differences with few digits, products of which are summed without rounding, and pairs that
/// are equally far apart have the same distance to the last bit, as they have where nothing is centred.
fn centre_of<T: Element>(rows: ArrayView2<'_, T>) -> Vec<f64> {
    let (n, d) = rows.dim();
    let mut centre = vec![0.0; d];
    centre.par_chunks_mut(COLUMNS).enumerate().for_each(|(p, part)| {
        let (mut low, mut high) = ([f64::INFINITY; COLUMNS], [f64::NEG_INFINITY; COLUMNS]);
        for row in rows.outer_iter() {
            let row = row.slice_move(s![p * COLUMNS..]);
            for (((sum, low), high), x) in part.iter_mut().zip(&mut low).zip(&mut high).zip(row) {
                let x = (*x).into();
                *sum += x;
                *low = low.min(x);
                *high = high.max(x);
            }
        }
        for ((sum, low), high) in part.iter_mut().zip(&low).zip(&high) {
            *sum = round_within(*sum / n as f64, *low, *high);
        }
    });
    centre
}

/// `mean` rounded to a multiple of a power of two that is at most a 64th of `high - low`; `low` where they are equal.
fn round_within(mean: f64, low: f64, high: f64) -> f64 {
    let spread = high - low;
    if spread == 0.0 {
        return low;
    }
    let step = 2.0_f64.powi((spread.log2() - 6.0).floor().clamp(-1000.0, 1000.0) as i32);
    let rounded = (mean / step).round() * step;
    // Not so where values are infinite or of the ends of the range: the caller says what is wrong with them.
    if rounded.is_finite() { rounded } else { mean }
}
