//! Detectors against scikit-learn's golden values (tests/golden/detectors.py), and what must hold for any rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bootstrap;
mod common;
mod density;
mod grid;
mod leave_one_out;
mod lof;
mod mahalanobis;
mod metrics;
mod pixels;
mod products;
mod svm;
mod wide;
