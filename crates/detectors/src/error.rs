//! What can go wrong in a detector, and where.

/// An error of a detector. Its text says what is wrong with which rows or parameter, and what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// There are no rows, or rows without columns.
    #[error("{what} has {rows} rows and {columns} columns: at least one of each is needed")]
    Empty {
        /// Which matrix.
        what: String,
        /// Its rows.
        rows: usize,
        /// Its columns.
        columns: usize,
    },
    /// Matrices do not fit each other.
    #[error("{what}: found {found}, expected {expected}")]
    Shape {
        /// What was counted.
        what: String,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A value is NaN or infinite.
    #[error("{what}, row {row}, column {column} is {value}: every value must be finite")]
    NotFinite {
        /// Which matrix.
        what: String,
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// The value.
        value: f64,
    },
    /// A detector needs more rows than there are.
    #[error("{detector} needs at least {needed} training rows, there are {found}")]
    TooFewRows {
        /// The detector.
        detector: &'static str,
        /// How many it needs.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// A parameter is out of its range.
    #[error("{name} is {value}, which is not {expected}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A computation left the range of f64.
    #[error("{detector}: {what} is not finite; {hint}")]
    Overflow {
        /// The detector.
        detector: &'static str,
        /// Which quantity.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A metric needs both classes.
    #[error("there is no {missing} row among {rows}: an AUROC needs good and defective ones")]
    OneClass {
        /// `good` or `defective`.
        missing: &'static str,
        /// How many rows there are.
        rows: usize,
    },
    /// A metric of pixels needs both classes.
    #[error(
        "there is no {missing} pixel in {maps} maps: metrics of pixels need good and defective ones, by masks"
    )]
    OneClassOfPixels {
        /// `good` or `defective`.
        missing: &'static str,
        /// How many maps there are.
        maps: usize,
    },
    /// A matrix decomposition did not converge.
    #[error("{what} did not converge")]
    Decomposition {
        /// Which one.
        what: &'static str,
    },
    /// Bytes are not those of a model.
    #[error("this is no model that can be used: {what}")]
    ModelFile {
        /// What is wrong.
        what: String,
    },
    /// Rows outside memory could not be read.
    #[error("rows could not be read: {what}")]
    Read {
        /// What the system said.
        what: String,
    },
    /// The rows vary too little for the detector.
    #[error("{detector}: {what}; {hint}")]
    Degenerate {
        /// The detector.
        detector: &'static str,
        /// What is wrong with the rows.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
}
