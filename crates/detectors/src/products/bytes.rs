//! Products as bytes, to be kept: little endian, of the symmetric matrix one half.

use std::collections::BTreeMap;

use ndarray::Array2;

use super::{Centre, InnerProducts, RowSums};
use crate::DetectorError;

/// What the bytes begin with: a name, and the version of what follows.
const MAGIC: &[u8; 8] = b"blmprod1";

impl InnerProducts {
    /// The products as bytes: about 4 n (n + 1) + 8 n m of them. The same products give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (n, m) = (self.train_len(), self.query_len());
        let mut out = Vec::with_capacity(64 + 4 * n * (n + 1) + 8 * n * m + 24 * (n + m + 1));
        out.extend_from_slice(MAGIC);
        for count in [self.dimensions, n, m, self.near.len()] {
            out.extend_from_slice(&(count as u64).to_le_bytes());
        }
        let mut number = |value: f64| out.extend_from_slice(&value.to_le_bytes());
        for value in [self.centre.mean, self.centre.square, self.centre.sum] {
            number(value);
        }
        for row in self.train_rows.iter().chain(&self.query_rows) {
            for value in [row.square, row.about, row.sum] {
                number(value);
            }
        }
        for (i, row) in self.train.outer_iter().enumerate() {
            row.iter().take(i + 1).for_each(|value| number(*value));
        }
        self.cross.iter().for_each(|value| number(*value));
        for ((i, j), value) in &self.near {
            out.extend_from_slice(&(*i as u64).to_le_bytes());
            out.extend_from_slice(&(*j as u64).to_le_bytes());
            out.extend_from_slice(&value.to_le_bytes());
        }
        out
    }

    /// The products that [`to_bytes`](Self::to_bytes) made bytes of.
    ///
    /// # Errors
    /// [`DetectorError::ModelFile`] if they are not such bytes, whole.
    pub fn from_bytes(bytes: &[u8]) -> Result<InnerProducts, DetectorError> {
        let wrong = |what: &str| DetectorError::ModelFile {
            what: format!("inner products: {what}"),
        };
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| wrong("they do not begin as they should"))?;
        let (words, []) = rest.as_chunks::<8>() else {
            return Err(wrong("they are cut off"));
        };
        let count = |at: usize| -> Option<usize> {
            let count = usize::try_from(u64::from_le_bytes(*words.get(at)?)).ok()?;
            // So that no product of two of them overflows.
            (count <= 1 << 31).then_some(count)
        };
        let (Some(dimensions), Some(n), Some(m), Some(near)) = (count(0), count(1), count(2), count(3))
        else {
            return Err(wrong("they are cut off"));
        };
        // No memory is asked for that the bytes would not fill.
        let expected = 7 + 3 * (n + m) + n * (n + 1) / 2 + n * m + 3 * near;
        if dimensions == 0 || n == 0 || words.len() != expected {
            return Err(wrong("their length is wrong"));
        }
        let mut at = 4;
        let mut number = || {
            at += 1;
            f64::from_le_bytes(words[at - 1])
        };
        let centre = Centre {
            mean: number(),
            square: number(),
            sum: number(),
        };
        let mut rows: Vec<RowSums> = (0..n + m)
            .map(|_| RowSums {
                square: number(),
                about: number(),
                sum: number(),
            })
            .collect();
        let mut train = Array2::zeros((n, n));
        for i in 0..n {
            for j in 0..=i {
                let value = number();
                train[[i, j]] = value;
                train[[j, i]] = value;
            }
        }
        let cross = Array2::from_shape_simple_fn((m, n), &mut number);
        let mut by_pair = BTreeMap::new();
        for pair in words[expected - 3 * near..].chunks_exact(3) {
            let index = |word: [u8; 8]| usize::try_from(u64::from_le_bytes(word)).unwrap_or(usize::MAX);
            let (i, j) = (index(pair[0]), index(pair[1]));
            if i >= n + m || j >= n {
                return Err(wrong("they name rows that are not there"));
            }
            by_pair.insert((i, j), f64::from_le_bytes(pair[2]));
        }
        let query_rows = rows.split_off(n);
        Ok(InnerProducts {
            dimensions,
            train,
            cross,
            train_rows: rows,
            query_rows,
            centre,
            near: by_pair,
        })
    }
}
