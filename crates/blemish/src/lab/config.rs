//! What the user asks for.

use std::path::PathBuf;

use blemish_backbones::{Architecture, Initialization};
use blemish_detectors::{DetectorKind, DetectorSpec};
use blemish_images::{ResizeMode, View};

use super::backbone::OnnxBackbone;

/// Which training sets are used: the original images, or those and their five other views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Augmentation {
    /// Each experiment without and with the augmented images.
    Both,
    /// Original and augmented images only.
    True,
    /// Original images only.
    False,
}

impl Augmentation {
    /// The values of the column `augmented` that this asks for.
    pub fn values(self) -> &'static [bool] {
        match self {
            Augmentation::Both => &[false, true],
            Augmentation::True => &[true],
            Augmentation::False => &[false],
        }
    }
}

impl std::str::FromStr for Augmentation {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "both" => Ok(Augmentation::Both),
            "true" => Ok(Augmentation::True),
            "false" => Ok(Augmentation::False),
            other => Err(format!("`{other}` is none of both, true, false")),
        }
    }
}

/// A network of a grid, with weights and layers of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkConfig {
    /// A network of this program.
    Builtin {
        /// The network.
        architecture: Architecture,
        /// Its weights, as in [`GridConfig::initializations`].
        initializations: Option<Vec<Initialization>>,
        /// Its layers, as in [`GridConfig::layers`].
        layers: Option<Vec<String>>,
    },
    /// A network from an ONNX file.
    Onnx(OnnxBackbone),
}

/// The selection of a grid. The default of each field is the study's, as far as it is supported.
#[derive(Clone, Debug)]
pub struct GridConfig {
    /// Folder in the MVTec layout: it holds objects, or is one.
    pub data: PathBuf,
    /// Objects by name; `None` takes all.
    pub objects: Option<Vec<String>>,
    /// A network from an ONNX file, in place of `architectures`, `initializations` and `layers`.
    pub onnx: Option<OnnxBackbone>,
    /// Networks.
    pub architectures: Vec<Architecture>,
    /// Their weights; `None` takes the study's for each network: random, and the newest published.
    /// A network without published weights of a name is left out for that name, unless there is a
    /// file of them.
    pub initializations: Option<Vec<Initialization>>,
    /// Hidden layers by name, in either spelling, each for the networks that have it; `None` takes
    /// those that the study taps.
    pub layers: Option<Vec<String>>,
    /// Networks with weights and layers of their own, in place of `onnx`, `architectures`,
    /// `initializations` and `layers`.
    pub networks: Option<Vec<NetworkConfig>>,
    /// Which training sets.
    pub augmented: Augmentation,
    /// What the augmented training set is made of, [`View::Original`] first. The default is all views.
    pub views: Vec<View>,
    /// Detectors, each with all settings of the study.
    pub detectors: Vec<DetectorKind>,
    /// Detectors with their settings, in place of `detectors`.
    pub settings: Option<Vec<DetectorSpec>>,
    /// Folder of weights files.
    pub weights: Option<PathBuf>,
    /// How images are resized.
    pub resize: ResizeMode,
    /// Seed of random weights, of the isolation forest and of the elliptic envelope.
    pub seed: u64,
}

impl GridConfig {
    /// The study's grid over the objects found at `data`.
    pub fn new(data: impl Into<PathBuf>) -> GridConfig {
        GridConfig {
            data: data.into(),
            objects: None,
            onnx: None,
            architectures: vec![Architecture::Resnet18],
            initializations: None,
            layers: None,
            networks: None,
            augmented: Augmentation::Both,
            views: View::ALL.to_vec(),
            detectors: DetectorKind::STUDY.to_vec(),
            settings: None,
            weights: None,
            resize: ResizeMode::Antialias,
            seed: 0,
        }
    }
}
