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

#[test]
fn the_page_has_everything_in_it() {
    let bench = fitted();
    std::fs::write(
        bench.path("data/washer/ground_truth/chip/001_mask.png"),
        "no image",
    )
    .unwrap();
    let args = [
        "eval",
        "washer.blemish",
        "data/washer",
        "--html",
        "page.html",
        "--worst",
        "3",
        "--resamples",
        "50",
        "--format",
        "json",
    ];
    let output = bench.run(&args);
    // A mask is broken: named, and the rest is there.
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["failed_masks"][0]["image"], "test/chip/001.png");
    assert_eq!(found["defective"], 32);
    assert_eq!(found["pixel_images"], 47);

    let page = std::fs::read_to_string(bench.path("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    // Three of each kind, each with its mask or without, and its map.
    assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), 12);
    assert_eq!(page.matches("alt=\"the map of where it is odd").count(), 6);
    assert!(page.contains("001_mask.png"), "the broken mask is named");
    // Every image, and every metric as printed.
    for image in found["images"].as_array().unwrap() {
        assert!(page.contains(image["image"].as_str().unwrap()));
    }
    for key in ["image_auroc", "pixel_auroc", "aupro"] {
        for part in ["value", "low", "high"] {
            let text = format!("{:.4}", found[key][part].as_f64().unwrap());
            assert!(page.contains(&text), "{key} {part}");
        }
    }
    // Nothing is fetched, and what is not escaped would be.
    assert!(!page.contains("src=\"http") && !page.contains("@import") && !page.contains("url("));
    // The same bytes again, with another number of threads.
    let mut again = args.to_vec();
    again.extend(["--threads", "1"]);
    bench.run(&again);
    assert_eq!(std::fs::read_to_string(bench.path("page.html")).unwrap(), page);
}

#[test]
fn a_page_is_written_over_pages_alone() {
    let bench = fitted();
    let eval = |page: &str| {
        let args = [
            "eval",
            "washer.blemish",
            "data/washer",
            "--resamples",
            "20",
            "--html",
            page,
        ];
        bench.run(&args)
    };
    let image = "data/washer/test/good/000.png";
    let before = std::fs::read(bench.path(image)).unwrap();
    for (page, expected) in [
        (image, "no page of blemish"),
        ("washer.blemish", "no page of blemish"),
        ("data", "no page of blemish"),
        ("no/where/page.html", "no folder"),
    ] {
        let output = eval(page);
        assert_eq!(output.status.code(), Some(1), "{page}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains(expected) && output.stdout.is_empty(),
            "{page}: {text}"
        );
    }
    assert_eq!(std::fs::read(bench.path(image)).unwrap(), before);
    bench.fails(2, &["eval", "washer.blemish", "data/washer", "--resamples", "1"]);
}
