//! f32 rows of so many columns that products are summed in f32 first.

use blemish_detectors::{InnerProducts, Pca};
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, concatenate, s};

use crate::common::{uniform, with_threads};

/// Not a whole number of chunks or segments.
const COLUMNS: usize = 3 * 8192 + 345;

/// Rectified, with a few large columns, as activations are; `scale` is that of what differs between rows.
fn rows(seed: u64, n: usize, scale: f32) -> Array2<f32> {
    let unit = |s: u64, i: usize, j: usize| (uniform(s, i, j) as f64 * 2.0f64.powi(-53)) as f32;
    let size: Vec<f32> = (0..COLUMNS).map(|j| 1.0 / (0.03 + unit(99, 0, j))).collect();
    let base: Vec<f32> = (0..COLUMNS).map(|j| unit(98, 0, j) - 0.3).collect();
    Array2::from_shape_fn((n, COLUMNS), |(i, j)| {
        let own = unit(seed, i, j) + unit(seed + 1, i, j) - 1.0;
        ((base[j] + scale * own) * size[j]).max(0.0)
    })
}

fn sq_distance(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
        .sum()
}

/// Errors of squared distances, relative to each: root mean square and largest.
fn errors(x: ArrayView2<'_, f32>, query: ArrayView2<'_, f32>, products: &InnerProducts) -> (f64, f64) {
    let view = products.view();
    let (mut squares, mut largest, mut pairs) = (0.0, 0.0f64, 0.0);
    let mut compare = |found: f64, exact: f64| {
        let error = if exact == 0.0 {
            found
        } else {
            (found - exact).abs() / exact
        };
        squares += error * error;
        largest = largest.max(error);
        pairs += 1.0;
    };
    for (j, row) in x.outer_iter().enumerate() {
        for i in 0..j {
            assert_eq!(view.train_sq_distance(i, j), view.train_sq_distance(j, i));
            compare(view.train_sq_distance(i, j), sq_distance(x.row(i), row));
        }
        for (q, query) in query.outer_iter().enumerate() {
            compare(view.query_sq_distance(q, j), sq_distance(query, row));
        }
    }
    (f64::sqrt(squares / pairs), largest)
}

#[test]
fn distances_are_right_to_a_few_units_in_the_tenth_place() {
    let (x, query) = (rows(1, 90, 1.0), rows(5, 11, 1.3));
    let products =
        InnerProducts::from_rows(&[x.slice(s![..70, ..]), x.slice(s![70.., ..])], query.view()).unwrap();
    let (rms, largest) = errors(x.view(), query.view(), &products);
    assert!(
        rms < 7.5e-10 && largest < 3e-9,
        "{rms:.1e}, at most {largest:.1e}"
    );
    // It is the path under test: f64 sums would be a thousand times nearer.
    assert!(rms > 1e-12, "{rms:.1e}");
    let view = products.view();
    let wide = x.mapv(f64::from);
    assert!((view.variance() / wide.var(0.0) - 1.0).abs() < 1e-12);
    let norm: f64 = wide.row(3).dot(&wide.row(3));
    assert!((view.train_inner(3, 3) / norm - 1.0).abs() < 1e-12);
    let inner: f64 = wide.row(3).dot(&wide.row(80));
    assert!((view.train_inner(80, 3) / inner - 1.0).abs() < 1e-9);
}

/// Two kinds of rows far from each other, so that the centre is far from both, equal rows, and rows that differ in one
/// column: where f32 is too rough, f64 takes over.
#[test]
fn near_rows_are_summed_in_f64() {
    let close = rows(1, 40, 1e-3);
    let mut shifted = rows(3, 40, 1e-3);
    shifted.mapv_inplace(|v| 2.0 * v + 1.0);
    let mut x = concatenate![Axis(0), close, shifted, rows(7, 30, 1.0)];
    let copy = x.row(2).to_owned();
    x.row_mut(60).assign(&copy);
    x.row_mut(100).assign(&copy);
    x[[100, 7]] += 1e-3;
    let query = x.slice(s![30..50, ..]);
    let products = InnerProducts::from_rows(&[x.view()], query).unwrap();
    let (rms, largest) = errors(x.view(), query, &products);
    assert!(largest < 4e-9, "{rms:.1e}, at most {largest:.1e}");
    assert_eq!(products.view().train_sq_distance(60, 2), 0.0);
    assert_eq!(products.view().query_sq_distance(3, 33), 0.0);
}

#[test]
fn values_beyond_the_range_of_f32_products_are_summed_in_f64() {
    for scale in [1e-24f32, 1e24] {
        let x = rows(1, 30, 1.0).mapv(|v| v * scale);
        let products = InnerProducts::from_rows(&[x.view()], x.slice(s![..2, ..])).unwrap();
        let (_, largest) = errors(x.view(), x.slice(s![..2, ..]), &products);
        assert!(largest < 1e-11, "{scale:e}: {largest:.1e}");
    }
    let mut bad = rows(1, 5, 1.0);
    bad[[4, COLUMNS - 1]] = f32::NAN;
    let text = InnerProducts::from_rows(&[bad.view()], bad.view())
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("row 4") && text.contains(&format!("column {}", COLUMNS - 1)),
        "{text}"
    );
}

fn bits(products: &InnerProducts, n: usize) -> Vec<u64> {
    let view = products.leading(n).unwrap();
    let mut values: Vec<f64> = view.train().iter().chain(&view.cross()).copied().collect();
    values.push(view.variance());
    values.extend((0..n).flat_map(|j| (0..n).map(move |i| view.train_sq_distance(i, j))));
    values.extend((0..n).flat_map(|j| (0..view.query_len()).map(move |q| view.query_sq_distance(q, j))));
    values.into_iter().map(f64::to_bits).collect()
}

#[test]
fn threads_layouts_and_groups_that_follow_change_nothing() {
    let (x, query) = (rows(1, 50, 1.0), rows(5, 9, 1.0));
    let (first, second) = x.view().split_at(Axis(0), 21);
    let alone = with_threads(1, || InnerProducts::from_rows(&[first], query.view()).unwrap());
    let transposed = x.t().to_owned();
    let turned = transposed.t();
    let (first_turned, second_turned) = turned.split_at(Axis(0), 21);
    let whole = InnerProducts::from_rows(&[first, second], query.view()).unwrap();
    assert!(bits(&whole, 21) == bits(&alone, 21));
    for threads in [1, 3] {
        let again = with_threads(threads, || {
            InnerProducts::from_rows(&[first_turned, second_turned], query.view()).unwrap()
        });
        assert!(bits(&again, 50) == bits(&whole, 50), "{threads} threads");
    }
}

/// Rounding errors of products are no components.
#[test]
fn components_below_the_rounding_errors_are_null() {
    let mut x = rows(1, 30, 1.0);
    // Row 9 is row 4 but for the last bits: their difference is lost in the products.
    let copy = x.row(4).mapv(|v| v * (1.0 + f32::EPSILON));
    x.row_mut(9).assign(&copy);
    let products = InnerProducts::from_rows(&[x.view()], x.slice(s![..3, ..])).unwrap();
    let pca = Pca::fit(products.view()).unwrap();
    assert!(pca.explained_variance()[27] > 0.0);
    assert_eq!(pca.explained_variance()[28..], [0.0, 0.0]);
    let (train, query) = (
        pca.train_scores(30),
        pca.query_scores(products.view(), 30).unwrap(),
    );
    for (a, b) in train.slice(s![..3, ..]).iter().zip(&query) {
        assert!((a - b).abs() < 1e-6 * train.iter().fold(0.0, |m: f64, v| m.max(v.abs())));
    }
}
