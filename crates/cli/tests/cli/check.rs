//! `blemish check` on the synthetic data set with planted faults, and on real images.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::common::Bench;

type Findings = BTreeMap<String, Vec<(String, Vec<String>)>>;

/// Severity and files of each finding, by code.
fn findings(json: &str, object: usize) -> Findings {
    let report: Value = serde_json::from_str(json).unwrap();
    let mut out = Findings::new();
    for finding in report["objects"][object]["findings"].as_array().unwrap() {
        let files = finding["files"].as_array().unwrap();
        let files = files.iter().map(|f| f.as_str().unwrap().to_owned()).collect();
        let text = |key: &str| finding[key].as_str().unwrap().to_owned();
        assert!(!text("message").is_empty());
        out.entry(text("code"))
            .or_default()
            .push((text("severity"), files));
    }
    out
}

fn image(width: u32, height: u32, path: &std::path::Path) {
    image::GrayImage::from_fn(width, height, |x, y| image::Luma([(x * 5 + y * 3) as u8]))
        .save(path)
        .unwrap();
}

#[test]
fn sound_images_have_no_findings() {
    let bench = Bench::new();
    bench.ok(&["synth", "data", "--size", "64", "--train", "24"]);
    let text = bench.ok(&["check", "data"]);
    assert!(text.contains("washer: 24 good images to learn from"), "{text}");
    assert!(text.contains("\n0 errors, "), "{text}");
    let json = bench.ok(&["check", "data", "--format", "json", "--threads", "1"]);
    assert_eq!(
        bench.ok(&["check", "data", "--format", "json", "--threads", "3"]),
        json
    );
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["errors"], 0);
    // One in two dozen small images does look unlike the others, which is no more than a warning.
    for object in 0..2 {
        for (code, found) in findings(&json, object) {
            assert!(code == "suspicious_good" && found.len() <= 1, "{json}");
        }
    }
    assert_eq!(report["objects"].as_array().unwrap().len(), 2);
    // Folders of one kind and tables too.
    bench.ok(&["check", "data/washer/train/good", "--quick"]);
    std::fs::write(
        bench.path("parts.csv"),
        "path,label\ndata/washer/train/good/000.png,good\ndata/weave/train/good/000.png,good\n",
    )
    .unwrap();
    let text = bench.ok(&["check", "parts.csv"]);
    assert!(text.contains("2 good images to learn from"), "{text}");
}

#[test]
fn every_planted_fault_is_found() {
    let bench = Bench::new();
    bench.ok(&["synth", "data", "--size", "64", "--train", "24"]);
    let at = |name: &str| bench.path("data/washer").join(name);
    let copy = |from: &str, to: &str| std::fs::copy(at(from), at(to)).map(|_| ()).unwrap();
    copy("train/good/001.png", "train/good/900.png");
    copy("train/good/002.png", "test/good/900.png");
    // A defective image, mistaken for a good one; it has a mask.
    copy("test/chip/000.png", "train/good/901.png");
    std::fs::remove_file(at("test/chip/000.png")).unwrap();
    std::fs::remove_file(at("ground_truth/crack/001_mask.png")).unwrap();
    image(64, 64, &at("train/good/902.png"));
    image(80, 64, &at("train/good/903.png"));
    image(63, 64, &at("ground_truth/crack/002_mask.png"));
    image::GrayImage::new(64, 64)
        .save(at("ground_truth/crack/003_mask.png"))
        .unwrap();
    let bytes = std::fs::read(at("train/good/003.png")).unwrap();
    std::fs::write(at("train/good/003.png"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(at("ground_truth/crack/004_mask.png"), "no mask").unwrap();
    std::fs::create_dir(at("test/empty")).unwrap();
    std::fs::create_dir(at("train/bad")).unwrap();
    copy("test/chip/003.png", "train/bad/000.png");
    copy("test/chip/003.png", "test/000.png");

    let output = bench.run(&["check", "data/washer", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found = findings(&String::from_utf8(output.stdout).unwrap(), 0);
    let of = |code: &str| found.get(code).unwrap_or_else(|| panic!("{code}: {found:#?}"));
    let error =
        |code: &str, files: &[&str]| assert_eq!(*of(code), [("error".to_owned(), strings(files))], "{code}");
    let warning = |code: &str, files: &[&str]| {
        assert_eq!(*of(code), [("warning".to_owned(), strings(files))], "{code}");
    };
    error("unreadable", &["train/good/003.png"]);
    error("mask_without_image", &["ground_truth/chip/000_mask.png"]);
    error("mask_size", &["test/crack/002.png"]);
    error("mask_unreadable", &["test/crack/004.png"]);
    error("no_images", &["test/empty"]);
    error("duplicate_across", &["train/good/002.png", "test/good/900.png"]);
    warning("duplicate", &["train/good/001.png", "train/good/900.png"]);
    warning("mask_empty", &["test/crack/003.png"]);
    warning("image_without_mask", &["test/crack/001.png"]);
    warning("unused", &["train/bad", "test/000.png"]);
    warning("odd_size", &["train/good/903.png"]);
    warning("mixed_modes", &["train/good/902.png", "train/good/903.png"]);
    let (severity, suspects) = &of("suspicious_good")[0];
    assert_eq!(severity, "warning");
    assert!(
        suspects.contains(&"train/good/902.png".to_owned()),
        "{suspects:?}"
    );
    assert!(
        suspects.contains(&"train/good/903.png".to_owned()),
        "{suspects:?}"
    );
    let text = String::from_utf8(bench.run(&["check", "data/washer", "--quick"]).stdout).unwrap();
    assert!(text.contains("error: "), "{text}");
    assert!(!text.contains("unlike all others"), "{text}");
}

fn strings(files: &[&str]) -> Vec<String> {
    files.iter().map(|f| (*f).to_owned()).collect()
}

#[test]
fn a_change_of_light_between_the_splits_is_noticed() {
    let bench = Bench::new();
    bench.ok(&["synth", "data", "--size", "64", "--train", "24"]);
    for entry in std::fs::read_dir(bench.path("data/weave/test/good")).unwrap() {
        let path = entry.unwrap().path();
        let mut picture = image::open(&path).unwrap().into_rgb8();
        picture
            .pixels_mut()
            .for_each(|p| p.0 = p.0.map(|v| (f32::from(v) * 0.7) as u8));
        picture.save(&path).unwrap();
    }
    let json = bench.ok(&["check", "data/weave", "--format", "json", "--quick"]);
    assert_eq!(findings(&json, 0)["brightness_shift"][0].0, "warning");
    let json = bench.ok(&["check", "data/washer", "--format", "json", "--quick"]);
    assert!(!findings(&json, 0).contains_key("brightness_shift"));
}

#[test]
fn nothing_to_check_is_an_error() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("empty")).unwrap();
    for path in ["nowhere", "empty"] {
        let text = bench.fails(1, &["check", path]);
        assert!(text.starts_with("error: "), "{text}");
    }
    bench.fails(2, &["check"]);
}

#[test]
fn two_bottles_were_photographed_twice() {
    let Some(bottle) = blemish_testkit::data("mvtec_ad/bottle") else {
        return;
    };
    let bench = Bench::new();
    let json = bench.ok(&["check", bottle.to_str().unwrap(), "--format", "json", "--quick"]);
    let pair = |a: &str, b: &str| {
        let files = [a, b].map(|name| format!("train/good/{name}.png"));
        ("warning".to_owned(), files.to_vec())
    };
    let expected = vec![pair("069", "070"), pair("156", "158")];
    assert_eq!(
        findings(&json, 0),
        Findings::from([("near_duplicate".to_owned(), expected)])
    );
}
