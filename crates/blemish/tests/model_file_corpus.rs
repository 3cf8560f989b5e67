//! A bounded run of what `fuzz/fuzz_targets/model_file.rs` does: the committed corpus, and seeded changes of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

use std::path::{Path, PathBuf};

use blemish::backbones::Initialization;
use blemish::images::{SynthOptions, write_synthetic};
use blemish::inspector::{FitConfig, Inspector, Method, Samples, Tiling};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/model_file")
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "blemish"))
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

/// Writes what is missing of the corpus: a model of every kind, as small as they get. What is there stays: it shows that
/// models of before are read.
/// `BLEMISH_WRITE_CORPUS=1 cargo test --release -p blemish --test model_file_corpus`
fn write() {
    let dir = tempfile::tempdir().unwrap();
    let options = SynthOptions {
        size: 64,
        train: 6,
        test_good: 1,
        per_defect: 1,
        ..SynthOptions::default()
    };
    write_synthetic(&dir.path().join("data"), &options).unwrap();
    let samples = Samples::open(&dir.path().join("data/weave")).unwrap();
    for name in [
        "memory-bank",
        "padim",
        "patch-mahalanobis",
        "knn",
        "isolation-forest",
        "tiles",
    ] {
        let path = folder().join(format!("{name}.blemish"));
        if path.exists() {
            continue;
        }
        let mut config = FitConfig::new();
        config.method = name.parse().unwrap_or(Method::MemoryBank);
        config.initialization = Some(Initialization::Random);
        // One position for PaDiM, so that its covariances are few.
        let layer = if config.method == Method::Padim {
            "layer4"
        } else {
            "layer1"
        };
        config.layers = Some(vec![layer.into()]);
        config.size = Some(32);
        if name == "tiles" {
            config.size = Some(96);
            config.tiling = Some(Tiling { size: 64, overlap: 0 });
        }
        config.bank = Some(8);
        config.candidates = Some(24);
        let inspector = Inspector::fit(&samples, &config, &|_| {}).unwrap();
        inspector.save(&path, false).unwrap();
    }
}

#[test]
fn no_bytes_make_the_reader_panic() {
    if std::env::var_os("BLEMISH_WRITE_CORPUS").is_some() {
        write();
    }
    let corpus = corpus();
    assert!(corpus.len() >= 6, "the corpus is not there");
    for (name, bytes) in &corpus {
        // Also a check that models of before are still read, and still give their scores.
        if let Err(error) = Inspector::from_bytes(bytes, None) {
            panic!("{name}: {error}");
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let mut read = 0;
    for round in 0..200 {
        let mut bytes = corpus[round % corpus.len()].1.clone();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        match rng.random_range(0..5) {
            0 => bytes.truncate(rng.random_range(0..bytes.len())),
            1 => {
                // A digit of the header: shapes, offsets, settings.
                let digits: Vec<usize> = (8..8 + header).filter(|i| bytes[*i].is_ascii_digit()).collect();
                let at = digits[rng.random_range(0..digits.len())];
                bytes[at] = b'0' + rng.random_range(0..10_u8);
            }
            2 => {
                let at = rng.random_range(8 + header..bytes.len());
                let end = (at + 8).min(bytes.len());
                bytes[at..end].fill([0, 0x7f, 0xff][rng.random_range(0..3)]);
            }
            3 => {
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8_u32);
            }
            _ => {
                // A part of another file.
                let other = &corpus[rng.random_range(0..corpus.len())].1;
                let at = rng.random_range(0..bytes.len().min(other.len()));
                let end = (at + rng.random_range(1..64)).min(bytes.len()).min(other.len());
                bytes[at..end].copy_from_slice(&other[at..end]);
            }
        }
        read += usize::from(Inspector::from_bytes_unhashed(&bytes).is_ok());
    }
    // Some changes touch nothing that counts, such as the name.
    assert!(read < 150, "{read} of 200 changed files were read");
}
