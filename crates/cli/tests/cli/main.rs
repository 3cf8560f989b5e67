//! The program as a user meets it: each case in a fresh folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod check;
mod common;
mod determinism;
mod eval;
mod hostile;
mod inspect;
mod kill;
mod onnx;
mod plan;
mod real;
mod report;
mod resume;
mod shards;
#[cfg(target_os = "linux")]
mod slurm;
mod text;
mod weights;
