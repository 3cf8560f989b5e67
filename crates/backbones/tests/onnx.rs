//! Networks from ONNX files against onnx's reference evaluator, and files that are none.
#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use blemish_backbones::{BackbonesError, OnnxError, OnnxNetwork};
use ndarray::{Array4, Axis, s};

const MANIFEST: &str = env!("CARGO_MANIFEST_DIR");
const HEIGHT: usize = 12;
const WIDTH: usize = 16;

#[derive(serde::Deserialize)]
struct Tap {
    shape: Vec<usize>,
    step: usize,
    values: Vec<Vec<f32>>,
    sums: Vec<f64>,
}

fn file(name: &str) -> PathBuf {
    Path::new(MANIFEST).join("tests/golden").join(name)
}

/// Those of the golden script.
fn images() -> Array4<f32> {
    let shape = (3, 3, HEIGHT, WIDTH);
    let values = (0..3 * 3 * HEIGHT * WIDTH).map(|i| ((i * 7919 % 1021) as f32 - 510.0) / 256.0);
    Array4::from_shape_vec(shape, values.collect()).unwrap()
}

fn load(name: &str, taps: &[&str]) -> OnnxNetwork {
    OnnxNetwork::load(&file(name), taps).unwrap()
}

fn refused(path: &Path, taps: &[&str]) -> OnnxError {
    reason(OnnxNetwork::load(path, taps).map(|_| ()))
}

fn reason<T>(result: Result<T, BackbonesError>) -> OnnxError {
    match result {
        Err(BackbonesError::Onnx { source, .. }) => source,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("no error"),
    }
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    pool.install(work)
}

#[test]
fn features_are_those_of_the_reference_evaluator() {
    let golden: BTreeMap<String, Tap> = blemish_testkit::golden(MANIFEST, "onnx_networks.json");
    let cases: [(&str, &[&str]); 2] = [
        ("onnx_dynamic.onnx", &["features", "relu1_out"]),
        ("onnx_fixed.onnx", &["logits", "relu1_out", "features"]),
    ];
    for (name, taps) in cases {
        let network = load(name, taps);
        assert_eq!(network.taps(), taps);
        let features = network.forward(images().view()).unwrap();
        let shapes = network.tap_shapes(HEIGHT, WIDTH).unwrap();
        for (i, tap) in taps.iter().enumerate() {
            let expected = &golden[*tap];
            assert_eq!(shapes[i], expected.shape, "{name} {tap}");
            assert_eq!(network.tap_shape(tap, HEIGHT, WIDTH).unwrap(), expected.shape);
            assert_eq!(features[i].dim(), (3, expected.shape.iter().product()));
            for (image, row) in features[i].outer_iter().enumerate() {
                let sampled = row.iter().step_by(expected.step);
                assert_eq!(sampled.len(), expected.values[image].len());
                for (ours, theirs) in sampled.zip(&expected.values[image]) {
                    assert!(
                        (ours - theirs).abs() < 2e-5,
                        "{name} {tap}: {ours} against {theirs}"
                    );
                }
                let sum: f64 = row.iter().map(|v| f64::from(*v)).sum();
                assert!((sum - expected.sums[image]).abs() < 2e-3, "{name} {tap}: {sum}");
            }
        }
    }
}

#[test]
fn bytes_do_not_depend_on_batches_threads_or_other_taps() {
    let images = images();
    let whole = load("onnx_dynamic.onnx", &["features", "relu1_out"]);
    let expected = on_threads(1, || whole.forward(images.view()).unwrap());
    assert_eq!(on_threads(3, || whole.forward(images.view()).unwrap()), expected);
    for (i, image) in images.axis_iter(Axis(0)).enumerate() {
        let alone = whole.forward(image.insert_axis(Axis(0))).unwrap();
        assert_eq!(alone[0].row(0), expected[0].row(i));
    }
    let some = whole.forward_taps(images.view(), &["relu1_out"]).unwrap();
    assert_eq!(some, expected[1..]);
    let one = load("onnx_dynamic.onnx", &["features"]);
    assert_eq!(one.forward(images.view()).unwrap(), expected[..1]);
    // Images that do not lie in one piece.
    let every_other = whole.forward(images.slice(s![..;2, .., .., ..])).unwrap();
    assert_eq!(every_other[0].row(1), expected[0].row(2));
    let none = whole.forward(images.slice(s![..0, .., .., ..])).unwrap();
    assert_eq!(none[0].dim(), (0, expected[0].ncols()));
}

#[test]
fn a_node_stands_for_its_first_output() {
    let network = load("onnx_dynamic.onnx", &["/relu1/Relu", "relu1_out"]);
    let features = network.forward(images().view()).unwrap();
    assert_eq!(features[0], features[1]);
    assert!(features[0].iter().any(|v| *v > 0.0));
}

#[test]
fn digests_name_the_content_and_the_tap() {
    let network = load("onnx_dynamic.onnx", &["features", "relu1_out"]);
    let digest = network.digest("features").unwrap();
    assert_eq!(digest.len(), 64);
    assert_ne!(digest, network.digest("relu1_out").unwrap());
    assert_ne!(
        digest,
        load("onnx_fixed.onnx", &["features"]).digest("features").unwrap()
    );
    // Neither the place nor the other taps matter.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.onnx");
    std::fs::copy(file("onnx_dynamic.onnx"), &copy).unwrap();
    let copy = OnnxNetwork::load(&copy, &["features"]).unwrap();
    assert_eq!(copy.digest("features").unwrap(), digest);
    assert!(matches!(
        reason(copy.digest("relu1_out")),
        OnnxError::NotComputed { .. }
    ));
}

#[test]
fn files_that_are_no_networks_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let missing = OnnxNetwork::load(&path, &["features"]);
    assert!(matches!(missing, Err(BackbonesError::Read { .. })));

    let whole = std::fs::read(file("onnx_dynamic.onnx")).unwrap();
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(refused(&path, &["features"]), OnnxError::Format { .. }));
    std::fs::write(&path, b"\x89PNG\r\n\x1a\n is no network").unwrap();
    assert!(matches!(refused(&path, &["features"]), OnnxError::Format { .. }));
    // Cut anywhere, it is refused or (behind the network itself) still the same network; it never panics.
    let features = load("onnx_dynamic.onnx", &["features"])
        .forward(images().view())
        .unwrap();
    let mut refusals = 0;
    for length in (0..whole.len()).step_by(37).chain(whole.len() - 12..whole.len()) {
        std::fs::write(&path, &whole[..length]).unwrap();
        match OnnxNetwork::load(&path, &["features"]) {
            Ok(network) => assert_eq!(network.forward(images().view()).unwrap(), features),
            Err(BackbonesError::Onnx { source, .. }) => {
                assert!(matches!(source, OnnxError::Format { .. }), "{length}: {source}");
                refusals += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refusals > whole.len() / 37);
}

#[test]
fn unknown_taps_are_answered_with_the_nearest() {
    let path = file("onnx_dynamic.onnx");
    let OnnxError::UnknownTap { tap, known } = refused(&path, &["features", "relu3_out"]) else {
        panic!("another error");
    };
    assert_eq!(tap, "relu3_out");
    assert!(known.starts_with("its values: relu1_out, relu2_out"), "{known}");
    // Weights and the image are no taps.
    assert!(matches!(refused(&path, &["w1"]), OnnxError::UnknownTap { .. }));
    assert!(matches!(refused(&path, &["image"]), OnnxError::UnknownTap { .. }));
    assert!(matches!(refused(&path, &[]), OnnxError::NoTaps { .. }));
    let network = load("onnx_fixed.onnx", &["class"]);
    let error = reason(network.forward(images().view()));
    assert!(matches!(error, OnnxError::TapType { .. }), "{error}");
}

#[test]
fn an_operator_that_the_runtime_lacks_is_named() {
    let OnnxError::Operator {
        operator,
        node,
        reason,
    } = refused(&file("onnx_operator.onnx"), &["features"])
    else {
        panic!("another error");
    };
    assert_eq!((operator.as_str(), node.as_str()), ("Frobnicate", "/odd"));
    assert!(reason.contains("not supported"), "{reason}");
}

#[test]
fn images_of_another_shape_are_refused() {
    let images = images();
    let fixed = load("onnx_fixed.onnx", &["logits"]);
    let error = reason(fixed.forward(images.slice(s![.., .., ..8, ..])));
    assert!(
        error
            .to_string()
            .contains("takes input [1, 3, 12, 16], and images are [1, 3, 8, 16]"),
        "{error}"
    );
    assert!(matches!(
        reason(fixed.tap_shape("logits", 32, 32)),
        OnnxError::InputShape { .. }
    ));
    let dynamic = load("onnx_dynamic.onnx", &["features"]);
    let error = reason(dynamic.forward(images.slice(s![.., ..2, .., ..])));
    assert!(
        matches!(error, OnnxError::InputShape { channels: 2, .. }),
        "{error}"
    );
    let batch = load("onnx_batch4.onnx", &["features"]);
    let error = reason(batch.forward(images.view()));
    assert!(matches!(error, OnnxError::InputShape { .. }), "{error}");
    assert!(dynamic.forward(images.slice(s![.., .., ..8, ..])).is_ok());

    let mut bad = images;
    bad[[1, 0, 0, 0]] = f32::NAN;
    let error = dynamic.forward(bad.view()).unwrap_err();
    assert!(
        matches!(error, BackbonesError::ImageValues { image: 1 }),
        "{error}"
    );
}
