//! The program as a user meets it: each case in a fresh folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod common;
mod determinism;
mod hostile;
mod inspect;
mod onnx;
mod plan;
mod real;
mod resume;
mod text;
mod weights;
