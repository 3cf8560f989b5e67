//! Test helpers of Blemish. The principal items are [`data`], which finds the real test data, [`golden`], which
//! reads the golden values that a committed script made, and [`contract`], the suite that every detector passes.
#![deny(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a helper that fails should fail the test that called it"
)]

pub mod contract;

use std::path::{Path, PathBuf};

/// The folder or file `relative` in the real test data, or `None`, with a note on standard error,
/// where the data are absent.
///
/// The data are sought at the environment variable `BLEMISH_TEST_DATA`, else at `../shared/data`
/// beside the repository. Where `CI` is set and `BLEMISH_TEST_DATA` is set too, absence is a failure
/// instead: a check that silently did not run is not a check.
pub fn data(relative: &str) -> Option<PathBuf> {
    let named = std::env::var_os("BLEMISH_TEST_DATA");
    let root = named.as_ref().map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = root.join(relative);
    if path.exists() {
        return Some(path);
    }
    assert!(
        named.is_none() || std::env::var_os("CI").is_none(),
        "BLEMISH_TEST_DATA is set, but {} does not exist",
        path.display()
    );
    eprintln!("skipped: no test data at {}", path.display());
    None
}

/// Reads a golden JSON file, given relative to the calling crate's `tests/golden` folder.
///
/// # Panics
/// If the file is missing or is not the JSON of a `T`: golden files are committed.
pub fn golden<T: serde::de::DeserializeOwned>(manifest_dir: &str, file: &str) -> T {
    let path = Path::new(manifest_dir).join("tests/golden").join(file);
    let text =
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("golden file {}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("golden file {}: {e}", path.display()))
}
