//! Where features come from: a built-in network, or one from an ONNX file.

use std::path::{Path, PathBuf};

use blemish_backbones::{Architecture, Initialization, Network};
use blemish_images::{Preprocess, Preset, ResizeMode};
use ndarray::{Array2, ArrayView4};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::blueprint::{PresetFields, by_name};
use crate::Error;

/// What turns the images of a task into features.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Backbone {
    /// A network of this program.
    Builtin {
        /// The network.
        #[serde(with = "by_name")]
        architecture: Architecture,
        /// Its weights.
        #[serde(with = "by_name")]
        initialization: Initialization,
    },
    /// A network from an ONNX file.
    Onnx(OnnxBackbone),
}

/// A network from an ONNX file and what it is given. Computed where the feature `onnx` is built in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnnxBackbone {
    /// The file.
    pub file: PathBuf,
    /// Names of outputs, inner values or nodes: each is a layer.
    pub taps: Vec<String>,
    /// Sizes and normalisation of its input.
    #[serde(with = "PresetFields")]
    pub preset: Preset,
}

impl OnnxBackbone {
    /// The network in `file` with ImageNet's preprocessing: shorter side to 256, crop 224.
    pub fn new(file: impl Into<PathBuf>, taps: &[&str]) -> OnnxBackbone {
        OnnxBackbone {
            file: file.into(),
            taps: taps.iter().map(|tap| (*tap).to_owned()).collect(),
            preset: Preset::imagenet(256),
        }
    }
}

impl Backbone {
    /// The value of the column `architecture`: the network's name, or the file's without its ending.
    pub fn architecture(&self) -> String {
        match self {
            Backbone::Builtin { architecture, .. } => architecture.to_string(),
            Backbone::Onnx(onnx) => stem(&onnx.file),
        }
    }

    /// The value of the column `initialization`: that of the weights, or `onnx`.
    pub fn initialization(&self) -> String {
        match self {
            Backbone::Builtin { initialization, .. } => initialization.to_string(),
            Backbone::Onnx(_) => "onnx".into(),
        }
    }

    /// What keys call it: a file is known by its content, not by its name.
    pub(crate) fn content(&self) -> String {
        match self {
            Backbone::Builtin { architecture, .. } => architecture.to_string(),
            Backbone::Onnx(_) => "onnx".into(),
        }
    }

    /// What a plan is compared by.
    pub(crate) fn identity(&self, layers: &[Layer]) -> Value {
        let layers: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        let (architecture, initialization) = (self.architecture(), self.initialization());
        match self {
            Backbone::Builtin { .. } => json!([architecture, initialization, layers]),
            Backbone::Onnx(OnnxBackbone { preset: p, .. }) => json!([
                architecture,
                initialization,
                layers,
                [p.resize, p.crop],
                [p.mean, p.std],
            ]),
        }
    }

    /// Preprocessing of its input, as the weights' authors did it or as the user says.
    pub(crate) fn preprocess(&self, mode: ResizeMode) -> Preprocess {
        let preset = match self {
            Backbone::Builtin {
                architecture,
                initialization,
            } => {
                let input = architecture.input(*initialization);
                Preset {
                    resize: input.resize,
                    crop: input.crop,
                    mean: input.mean,
                    std: input.std,
                }
            }
            Backbone::Onnx(onnx) => onnx.preset,
        };
        Preprocess { preset, mode }
    }
}

/// A layer of a network, as far as a plan needs to know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Layer {
    pub(crate) name: String,
    /// Number of features.
    pub(crate) dimensions: usize,
    /// Content hash of what the layer depends on: computed once, since weights take hundreds of megabytes.
    pub(crate) digest: String,
}

/// What computes the features of some layers.
pub(crate) enum Features {
    /// Made for these layers.
    Builtin(Box<Network>),
    /// Made for all of its taps, of which some are wanted.
    #[cfg(feature = "onnx")]
    Onnx(LoadedOnnx, Vec<String>),
}

impl Features {
    /// Those of an ONNX network, which is read again for each task.
    pub(crate) fn onnx(
        backbone: &OnnxBackbone,
        layers: &[&str],
        digests: &[&str],
    ) -> Result<Features, Error> {
        let (network, found) = load_onnx(backbone)?;
        for (layer, digest) in layers.iter().zip(digests) {
            if !found.iter().any(|f| f.name == *layer && f.digest == *digest) {
                return Err(Error::changed(&backbone.file));
            }
        }
        #[cfg(feature = "onnx")]
        {
            let layers = layers.iter().map(|layer| (*layer).to_owned()).collect();
            Ok(Features::Onnx(network, layers))
        }
        #[cfg(not(feature = "onnx"))]
        match network {}
    }

    /// One matrix a layer, one row an image; matrices of the right shape are written to.
    pub(crate) fn forward_into(
        &self,
        images: ArrayView4<'_, f32>,
        features: &mut Vec<Array2<f32>>,
    ) -> Result<(), Error> {
        match self {
            Features::Builtin(network) => network.forward_into(images, features)?,
            #[cfg(feature = "onnx")]
            Features::Onnx(network, layers) => {
                let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
                *features = network.forward_taps(images, &layers)?;
            }
        }
        Ok(())
    }
}

/// A network from an ONNX file, ready to compute.
#[cfg(feature = "onnx")]
pub(crate) type LoadedOnnx = std::sync::Arc<blemish_backbones::OnnxNetwork>;
/// There is none without the feature.
#[cfg(not(feature = "onnx"))]
pub(crate) type LoadedOnnx = std::convert::Infallible;

/// Reads the file and computes one image, to know the layers' sizes and that the runtime can.
#[cfg(feature = "onnx")]
pub(crate) fn load_onnx(backbone: &OnnxBackbone) -> Result<(LoadedOnnx, Vec<Layer>), Error> {
    let mut taps: Vec<&str> = vec![];
    for tap in &backbone.taps {
        if !taps.contains(&tap.as_str()) {
            taps.push(tap);
        }
    }
    let network = blemish_backbones::OnnxNetwork::load(&backbone.file, &taps)?;
    let side = backbone.preset.crop as usize;
    let shapes = network.tap_shapes(side, side)?;
    let layers = taps
        .iter()
        .zip(&shapes)
        .map(|(tap, shape)| {
            Ok(Layer {
                name: (*tap).to_owned(),
                dimensions: shape.iter().product(),
                digest: network.digest(tap)?,
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok((network.into(), layers))
}

/// This build cannot.
#[cfg(not(feature = "onnx"))]
pub(crate) fn load_onnx(backbone: &OnnxBackbone) -> Result<(LoadedOnnx, Vec<Layer>), Error> {
    Err(Error::Config(format!(
        "{} cannot be computed: this build of blemish leaves ONNX out. Install one with it: \
         `cargo install --path crates/cli --features onnx`",
        backbone.file.display()
    )))
}

fn stem(file: &Path) -> String {
    file.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
