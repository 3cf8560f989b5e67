//! The synthetic data set.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
use blemish_images::{SynthOptions, write_synthetic};
#[test]
fn look() {
    let out = std::path::Path::new("/tmp/synth");
    let _ = std::fs::remove_dir_all(out);
    let t = std::time::Instant::now();
    println!(
        "{:?} {:?}",
        write_synthetic(out, &SynthOptions::default()).unwrap(),
        t.elapsed()
    );
}
