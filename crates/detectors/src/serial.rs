//! How `faer` matrices are serialised: rows, columns, values column by column.

use faer::Mat;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
struct Plain {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

pub(crate) fn serialize<S: Serializer>(matrix: &Mat<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    let columns = 0..matrix.ncols();
    Plain {
        rows: matrix.nrows(),
        columns: matrix.ncols(),
        values: columns.flat_map(|c| matrix.col(c).iter().copied()).collect(),
    }
    .serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mat<f64>, D::Error> {
    let plain = Plain::deserialize(deserializer)?;
    if plain.rows.checked_mul(plain.columns) != Some(plain.values.len()) {
        return Err(D::Error::custom(format!(
            "a matrix of {} x {} has {} values",
            plain.rows,
            plain.columns,
            plain.values.len()
        )));
    }
    Ok(Mat::from_fn(plain.rows, plain.columns, |i, j| {
        plain.values[j * plain.rows + i]
    }))
}
