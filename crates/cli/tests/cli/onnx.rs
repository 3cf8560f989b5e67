//! Networks from ONNX files: with the feature they are computed, without it the error says how to get it.

use crate::common::Bench;

fn network() -> String {
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../backbones/tests/golden/onnx_dynamic.onnx"
    )
    .into()
}

fn grid<'a>(file: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let arguments = [
        "grid",
        "data",
        "--out",
        out,
        "--backbone",
        file,
        "--augmented",
        "false",
        "--detectors",
        "LocalOutlierFactor,IsolationForest",
    ];
    [&arguments, more].concat()
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let bench = Bench::new();
    bench.fails(2, &["grid", "x", "--out", "y", "--backbone", "a.onnx"]);
    bench.fails(2, &["grid", "x", "--out", "y", "--tap", "a"]);
    bench.fails(2, &["grid", "x", "--out", "y", "--input-size", "32"]);
    bench.fails(2, &grid("a.onnx", "y", &["--tap", "a", "--layers", "layer1"]));
    bench.fails(2, &grid("a.onnx", "y", &["--tap", "a", "--mean", "1,2"]));
    let text = bench.fails(2, &grid("a.onnx", "y", &["--tap", "a", "--std", "1,0,1"]));
    assert!(text.contains("above 0"), "{text}");
}

#[cfg(not(feature = "onnx"))]
#[test]
fn a_build_without_says_how_to_get_one() {
    let bench = Bench::with_data();
    let text = bench.fails(1, &grid(&network(), "run", &["--tap", "features"]));
    assert!(text.contains("--features onnx"), "{text}");
    assert!(!bench.path("run").exists());
}

#[cfg(feature = "onnx")]
#[test]
fn a_network_from_a_file_is_a_backbone() {
    let bench = Bench::with_data();
    let network = network();
    let size = ["--input-size", "32"];
    let all = [&size[..], &["--tap", "relu1_out", "--tap", "features"]].concat();
    bench.ok(&grid(&network, "run", &all));
    let table = bench.timeless("run");
    let lines: Vec<&str> = table.lines().collect();
    // Two objects, two taps, 14 + 19 settings.
    assert_eq!(lines.len(), 2 * 2 * 33, "{table}");
    for part in [
        "|onnx_dynamic|onnx|relu1_out|",
        "|onnx_dynamic|onnx|features|",
        "|done|",
    ] {
        assert!(table.contains(part), "{part} is not in:\n{table}");
    }
    // Neither the number of threads, nor the other taps, nor the file's name changes a result.
    let other = bench.path("other.onnx");
    std::fs::copy(&network, &other).unwrap();
    let other = other.display().to_string();
    let one = [&size[..], &["--tap", "features", "--threads", "1"]].concat();
    bench.ok(&grid(&other, "one", &one));
    let renamed = bench.timeless("one").replace("|other|", "|onnx_dynamic|");
    assert_eq!(renamed.lines().count(), 2 * 33);
    for line in renamed.lines() {
        assert!(lines.contains(&line), "{line} is not in:\n{table}");
    }
    // Another normalisation is another run.
    let text = bench.fails(
        1,
        &grid(&network, "run", &[&all[..], &["--mean", "0,0,0"]].concat()),
    );
    assert!(text.contains("another configuration"), "{text}");
    let text = bench.fails(1, &grid(&network, "no", &["--tap", "relu3_out"]));
    assert!(text.contains("relu1_out, relu2_out"), "{text}");
    assert!(!bench.path("no").exists());
}
