//! `blemish eval` on a model that `blemish fit` made.

use serde_json::Value;

use crate::common::Bench;

/// A washer's model by random weights.
fn fitted() -> Bench {
    let bench = Bench::new();
    bench.ok(&["synth", "data", "--size", "96", "--train", "16"]);
    bench.ok(&[
        "fit",
        "data/washer",
        "-o",
        "washer.blemish",
        "--method",
        "memory-bank",
        "--initialization",
        "random",
        "--size",
        "96",
        "--bank",
        "512",
    ]);
    bench
}

#[test]
fn metrics_have_intervals() {
    let bench = fitted();
    let json = bench.ok(&["eval", "washer.blemish", "data/washer", "--format", "json"]);
    let found: Value = serde_json::from_str(&json).unwrap();
    for key in [
        "image_auroc",
        "image_ap",
        "image_f1_max",
        "pixel_auroc",
        "pixel_ap",
        "aupro",
    ] {
        let part = |end: &str| {
            found[key][end]
                .as_f64()
                .unwrap_or_else(|| panic!("{key} {end}: {found}"))
        };
        let (value, low, high) = (part("value"), part("low"), part("high"));
        assert!(
            0.0 <= low && low <= value && value <= high && high <= 1.0,
            "{key}: {json}"
        );
    }
    assert!(found["pixel_auroc"]["value"].as_f64().unwrap() > 0.6, "{json}");
    assert_eq!((&found["good"], &found["defective"]), (&16.into(), &32.into()));
    assert_eq!(found["images"].as_array().unwrap().len(), 48);
    // As often as it is asked, and with any number of threads.
    let again = [
        "eval",
        "washer.blemish",
        "data/washer",
        "--format",
        "json",
        "--threads",
        "1",
    ];
    assert_eq!(bench.ok(&again), json);

    let text = bench.ok(&[
        "eval",
        "washer.blemish",
        "data/washer",
        "--worst",
        "3",
        "--resamples",
        "50",
    ]);
    assert!(text.contains("16 good and 32 defective images"), "{text}");
    assert!(text.contains("AUPRO to 0.3"), "{text}");
    assert_eq!(
        text.matches(" test/").count() + text.matches("\ntest/").count(),
        6,
        "{text}"
    );
}

#[test]
fn what_is_broken_is_named_and_the_rest_is_evaluated() {
    let bench = fitted();
    std::fs::write(bench.path("data/washer/test/chip/000.png"), "no image").unwrap();
    let output = bench.run(&["eval", "washer.blemish", "data/washer", "--resamples", "50"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("16 good and 31 defective images"), "{text}");
    assert!(text.contains("test/chip/000.png: "), "{text}");
    let text = bench.fails(1, &["eval", "washer.blemish", "data/washer/train/good"]);
    assert!(text.contains("0 good and 0 defective"), "{text}");
    let text = bench.fails(1, &["eval", "data/washer/train/good/000.png", "data/washer"]);
    assert!(text.starts_with("error: "), "{text}");
}
