//! What the user asks for.

use std::path::PathBuf;

use blemish_backbones::{Architecture, Initialization};
use blemish_detectors::DetectorKind;
use blemish_images::ResizeMode;

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
    /// Which training sets.
    pub augmented: Augmentation,
    /// Detectors, each with all settings of the study.
    pub detectors: Vec<DetectorKind>,
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
            augmented: Augmentation::Both,
            detectors: DetectorKind::STUDY.to_vec(),
            weights: None,
            resize: ResizeMode::Antialias,
            seed: 0,
        }
    }
}
