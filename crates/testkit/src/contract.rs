//! What every detector promises, whatever it computes: one suite that each of them passes.

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};

/// What a model makes of rows, n x d.
pub type OfRows<T> = Box<dyn Fn(ArrayView2<'_, f64>) -> Result<T, Refusal> + Send + Sync>;

/// A fitted detector, as closures: this crate knows none.
pub struct Fitted {
    /// Scores of rows.
    pub score: OfRows<Vec<f64>>,
    /// Which rows are anomalous.
    pub predict: OfRows<Vec<bool>>,
    /// Whether the fit came to its end; if not, it may depend on the order of the training rows.
    pub converged: bool,
    /// The decision threshold.
    pub threshold: f64,
    /// The model after it was saved and loaded.
    pub reload: Box<dyn Fn() -> Fitted + Send + Sync>,
}

/// An error of a detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its variant, such as `NotFinite`.
    pub kind: String,
    /// What it says.
    pub message: String,
}

/// Fits rows.
pub type Fit<'a> = &'a (dyn Fn(ArrayView2<'_, f64>) -> Result<Fitted, Refusal> + Sync);

/// A detector with its setting.
pub struct Detector<'a> {
    /// Name for reports.
    pub name: String,
    /// Its fit.
    pub fit: Fit<'a>,
    /// How far scores may differ, relative to the largest, when training rows come in another order.
    pub permuted: f64,
}

/// The kinds of errors that a detector may have for rows that it cannot take.
const TYPED: [&str; 4] = ["TooFewRows", "Degenerate", "Empty", "Parameter"];

/// Runs the suite: a sentence for each promise that is broken.
pub fn broken(detector: &Detector<'_>) -> Vec<String> {
    let mut found = vec![];
    for (name, train, query) in data() {
        let context = format!("{} on {name}", detector.name);
        match (detector.fit)(train.view()) {
            Ok(model) => {
                scores(&context, detector, &model, &train, &query, &mut found);
                hostile_queries(&context, &model, &query, &mut found);
            }
            Err(refusal) => found.push(format!("{context}: refused: {}", refusal.message)),
        }
    }
    hostile_training(detector, &mut found);
    small(detector, &mut found);
    found
}

/// Fewer rows than columns and more, equal rows, constant columns, rows far from the origin.
fn data() -> Vec<(&'static str, Array2<f64>, Array2<f64>)> {
    let of = |n, d, seed| {
        // Queries: some like the training rows, some training rows, one far out.
        let train = normal(n, d, seed);
        let query = concatenate![Axis(0), normal(19, d, seed + 1), train.slice(s![..3, ..])];
        (train, query)
    };
    let (narrow, narrow_query) = of(60, 5, 1);
    let (wide, wide_query) = of(24, 130, 3);
    let (mut equal, equal_query) = of(40, 6, 5);
    for i in 0..10 {
        let row = equal.row(i + 10).to_owned();
        equal.row_mut(i).assign(&row);
    }
    let (mut constant, mut constant_query) = of(50, 8, 7);
    for rows in [&mut constant, &mut constant_query] {
        rows.column_mut(2).fill(1.5);
        rows.column_mut(5).fill(0.0);
    }
    let (mut far, mut far_query) = of(45, 7, 9);
    far += 50.0;
    far_query += 50.0;
    far_query.row_mut(4).fill(500.0);
    vec![
        ("60 x 5", narrow, narrow_query),
        ("24 x 130", wide, wide_query),
        ("equal rows", equal, equal_query),
        ("constant columns", constant, constant_query),
        ("an offset", far, far_query),
    ]
}

/// Nearly normal numbers that f32 holds exactly, by hashing the indices.
fn normal(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        let sum: u64 = (0..12)
            .map(|k| {
                let mut z = (seed << 52) ^ ((i as u64) << 32) ^ ((j as u64) << 8) ^ k;
                for _ in 0..2 {
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                }
                z >> 48
            })
            .sum();
        sum as f64 / 65536.0 - 6.0
    })
}

fn bits(scores: &[f64]) -> Vec<u64> {
    scores.iter().map(|s| s.to_bits()).collect()
}

fn scores(
    context: &str,
    detector: &Detector<'_>,
    model: &Fitted,
    train: &Array2<f64>,
    query: &Array2<f64>,
    found: &mut Vec<String>,
) {
    let mut promise = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{context}: {what}"));
        }
    };
    let expected = match (model.score)(query.view()) {
        Ok(scores) => scores,
        Err(refusal) => return promise(false, &format!("does not score: {}", refusal.message)),
    };
    promise(expected.len() == query.nrows(), "one score a row");
    promise(!expected.iter().any(|s| s.is_nan()), "no score is NaN");

    let above: Vec<bool> = expected.iter().map(|s| *s > model.threshold).collect();
    promise(
        (model.predict)(query.view()) == Ok(above),
        "anomalous is what scores above the threshold",
    );

    let rescored = |model: &Fitted| (model.score)(query.view()).map(|s| bits(&s));
    let refitted = || (detector.fit)(train.view()).and_then(|m| rescored(&m));
    promise(refitted() == Ok(bits(&expected)), "fitting twice gives the same");
    promise(
        rescored(&(model.reload)()) == Ok(bits(&expected)),
        "a loaded model scores the same bytes",
    );
    promise(
        (model.reload)().threshold.to_bits() == model.threshold.to_bits(),
        "a loaded model has the threshold",
    );
    for threads in [1, 5] {
        let same = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .is_ok_and(|pool| pool.install(refitted) == Ok(bits(&expected)));
        promise(same, &format!("{threads} threads give the same bytes"));
    }

    let mut subsets = vec![vec![], (0..query.nrows()).rev().collect(), vec![7, 2, 2]];
    subsets.extend((0..query.nrows()).map(|i| vec![i]));
    let whole = subsets.iter().all(|rows| {
        let wanted: Vec<u64> = rows.iter().map(|i| expected[*i].to_bits()).collect();
        (model.score)(query.select(Axis(0), rows).view()).map(|s| bits(&s)) == Ok(wanted)
    });
    promise(whole, "a row scores the same with any other rows");

    // Every 7th: a permutation, as no number of rows here has that factor.
    let n = train.nrows();
    let permuted = train.select(Axis(0), &(0..n).map(|i| (i * 7 + 3) % n).collect::<Vec<_>>());
    if !model.converged {
        return;
    }
    match (detector.fit)(permuted.view()).and_then(|m| (m.score)(query.view())) {
        Ok(scores) => {
            let finite = |s: &&f64| s.is_finite();
            let largest = expected
                .iter()
                .filter(finite)
                .fold(0.0, |m: f64, s| m.max(s.abs()));
            let apart = expected
                .iter()
                .zip(&scores)
                .map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() });
            let worst = apart.fold(0.0, f64::max);
            promise(
                worst <= detector.permuted * largest,
                &format!("order of training rows moves scores by {worst:e} of {largest:e}"),
            );
        }
        Err(refusal) => promise(false, &format!("refuses another order: {}", refusal.message)),
    }
}

fn hostile_queries(context: &str, model: &Fitted, query: &Array2<f64>, found: &mut Vec<String>) {
    let mut refuses = |rows: Array2<f64>, kind: &str, what: &str| {
        let outcome = (model.score)(rows.view()).map(|_| ()).map_err(|r| r.kind);
        if outcome != Err(kind.to_owned()) {
            found.push(format!("{context}: scoring {what}: {outcome:?}, not {kind}"));
        }
    };
    let d = query.ncols();
    refuses(
        query.slice(s![.., ..d - 1]).to_owned(),
        "Shape",
        "a column too few",
    );
    refuses(concatenate![Axis(1), *query, *query], "Shape", "columns too many");
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut rows = query.clone();
        rows[[3, d - 1]] = bad;
        refuses(rows, "NotFinite", &format!("{bad}"));
    }
}

fn hostile_training(detector: &Detector<'_>, found: &mut Vec<String>) {
    let mut refuses = |rows: Array2<f64>, kind: &str, what: &str| {
        let outcome = (detector.fit)(rows.view()).map(|_| ()).map_err(|r| r.kind);
        if outcome != Err(kind.to_owned()) {
            found.push(format!(
                "{}: fitting {what}: {outcome:?}, not {kind}",
                detector.name
            ));
        }
    };
    refuses(Array2::zeros((0, 4)), "Empty", "no rows");
    refuses(Array2::zeros((4, 0)), "Empty", "no columns");
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut rows = normal(30, 4, 11);
        rows[[17, 2]] = bad;
        match (detector.fit)(rows.view()) {
            Err(r) if r.kind == "NotFinite" && r.message.contains("17") && r.message.contains('2') => {}
            other => found.push(format!(
                "{}: fitting {bad} in row 17, column 2: {:?}",
                detector.name,
                other.map(|_| ())
            )),
        }
    }
}

/// One row, one column, two equal rows: they work, or are refused by name.
fn small(detector: &Detector<'_>, found: &mut Vec<String>) {
    for (what, train) in [
        ("one row", normal(1, 3, 13)),
        ("one column", normal(30, 1, 15)),
        ("one number", normal(1, 1, 17)),
        ("two rows", normal(2, 3, 19)),
        ("equal rows", Array2::ones((9, 3))),
        ("equal rows of zeros", Array2::zeros((9, 3))),
    ] {
        let outcome =
            (detector.fit)(train.view()).and_then(|m| (m.score)(normal(4, train.ncols(), 21).view()));
        match outcome {
            Ok(scores) if scores.len() == 4 && !scores.iter().any(|s| s.is_nan()) => {}
            Ok(scores) => found.push(format!("{}: {what}: scores {scores:?}", detector.name)),
            Err(r) if TYPED.contains(&r.kind.as_str()) && r.message.len() > 20 => {}
            Err(r) => found.push(format!("{}: {what}: {r:?}", detector.name)),
        }
    }
}
