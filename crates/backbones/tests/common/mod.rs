//! What the integration tests share: weights that are changed and written to files.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::path::Path;

use blemish_backbones::Weights;
use ndarray::Array4;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// The published weights that the test data have: the stem to layer 3.
pub(crate) const PREFIX: &str = "weights/resnet18-imagenet1k_v1-conv1-to-layer3.safetensors";

/// A tensor as bytes.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Raw {
    pub(crate) fn f32(shape: &[usize], values: &[f32]) -> Raw {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Raw {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes,
        }
    }
}

pub(crate) type State = BTreeMap<String, Raw>;

pub(crate) fn state(weights: &Weights) -> State {
    let raw = |name: &str| {
        let (shape, values) = weights.get(name).unwrap();
        (name.to_owned(), Raw::f32(shape, values))
    };
    weights.names().map(raw).collect()
}

pub(crate) fn save(path: &Path, state: &State, metadata: Option<&str>) {
    let views: Vec<_> = state
        .iter()
        .map(|(name, raw)| {
            (
                name,
                TensorView::new(raw.dtype, raw.shape.clone(), &raw.bytes).unwrap(),
            )
        })
        .collect();
    let metadata = metadata.map(|text| [("note".to_owned(), text.to_owned())].into_iter().collect());
    std::fs::write(path, safetensors::serialize(views, metadata).unwrap()).unwrap();
}

/// Saved and loaded again.
pub(crate) fn reload(state: &State) -> Weights {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    save(&path, state, None);
    Weights::load(&path).unwrap()
}

/// The images of the golden script: multiples of 1/64 in -2 to 2, from the index alone.
pub(crate) fn images(n: usize, height: usize, width: usize) -> Array4<f32> {
    let values = (0..(n * 3 * height * width) as u64)
        .map(|i| {
            let hashed = (i.wrapping_mul(2_654_435_761) % (1 << 32)) >> 16;
            (hashed % 257) as f32 / 64.0 - 2.0
        })
        .collect();
    Array4::from_shape_vec((n, 3, height, width), values).unwrap()
}
