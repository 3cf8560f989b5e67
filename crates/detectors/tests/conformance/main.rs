//! Detectors against scikit-learn on real features and on awkward rows: golden/svm.py, lof.py, density.py and so on.
//!
//! Each test compares a table of cases and reports all that fail. Those on real features are skipped, with a note,
//! where the test data are absent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests, which tell how far off they are"
)]

mod density;
mod envelope;
mod forest;
mod inputs;
mod lof;
mod offset;
mod svm;
