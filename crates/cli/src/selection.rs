//! The selection of a grid, as typed: what `blemish grid` and `blemish plan` have in common.

use std::path::{Path, PathBuf};

use anyhow::Result;
use blemish::backbones::{Architecture, BackbonesError, Initialization};
use blemish::detectors::DetectorKind;
use blemish::images::ResizeMode;
use blemish::lab::{Augmentation, GridConfig, OnnxBackbone};
use blemish::weights::default_folder;
use clap::Args;

use crate::args::seed;

#[derive(Debug, Args)]
pub(crate) struct SelectionArgs {
    /// A TOML file with the grid: objects, training sets, networks, layers, detectors with their settings;
    /// `blemish plan --print-config` prints one to begin with
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "objects", "architectures", "initializations", "layers", "backbone", "augmented", "detectors", "resize", "seed",
    ])]
    pub(crate) config: Option<PathBuf>,
    /// Objects [default: all that are found]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) objects: Option<Vec<String>>,
    /// Networks: resnet18, resnet50, wide_resnet50_2, vit_base_16 (or vit_b_16), vit_base_32 (or
    /// vit_b_32), all [default: resnet18]
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = architectures)]
    pub(crate) architectures: Option<Vec<Architectures>>,
    /// Weights of the networks: random (seeded), imagenet1k_v1, imagenet1k_v2 [default: random and
    /// the newest published: imagenet1k_v2 of resnet50 and wide_resnet50_2, else imagenet1k_v1]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) initializations: Option<Vec<Initialization>>,
    /// Hidden layers: layer1 to layer4 of residual networks, layer0 to layer11 of transformers
    /// [default: the first four]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) layers: Option<Vec<String>>,
    /// A network from an ONNX file, in place of the built-in ones; needs a build with the feature `onnx`
    #[arg(long, value_name = "FILE", requires = "tap", conflicts_with_all = ["architectures", "initializations", "layers"])]
    pub(crate) backbone: Option<PathBuf>,
    /// With --backbone: a layer of it, by the name of an output, inner value or node; may be repeated
    #[arg(long, value_name = "NAME", requires = "backbone")]
    pub(crate) tap: Vec<String>,
    /// With --backbone: side of its square input in pixels; images are resized to 8/7 of it and cropped
    #[arg(long, value_name = "PIXELS", requires = "backbone", default_value_t = 224, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) input_size: u32,
    /// With --backbone: mean of red, green and blue in 0 to 1 [default: that of ImageNet]
    #[arg(long, value_name = "R,G,B", requires = "backbone", value_parser = rgb)]
    pub(crate) mean: Option<Rgb>,
    /// With --backbone: standard deviation of red, green and blue [default: that of ImageNet]
    #[arg(long, value_name = "R,G,B", requires = "backbone", value_parser = rgb_above_0)]
    pub(crate) std: Option<Rgb>,
    /// Training sets: with the five other views of each image (true), without (false), or both
    #[arg(long, default_value = "both")]
    pub(crate) augmented: Augmentation,
    /// Detectors, of the study's OneClassSVM, IsolationForest, KernelDensity, LocalOutlierFactor,
    /// EllipticEnvelope [default: these five] and further ones: KNearestNeighbors, Mahalanobis
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) detectors: Option<Vec<DetectorKind>>,
    /// Folder with weights files, such as resnet18-imagenet1k_v1.safetensors or resnet18-f37072fd.pth
    /// [default: that of `blemish weights`]
    #[arg(long, value_name = "FOLDER", env = "BLEMISH_WEIGHTS")]
    pub(crate) weights: Option<PathBuf>,
    /// Resizing: antialias (torchvision since 0.17) or paper (as the study: no antialias, rounded)
    #[arg(long, default_value = "antialias")]
    pub(crate) resize: ResizeMode,
    /// Seed of random weights and of the detectors that draw random numbers
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
}

impl SelectionArgs {
    /// The arguments as meant.
    pub(crate) fn config(&self, data: &Path) -> Result<GridConfig> {
        let mut config = match &self.config {
            Some(file) => GridConfig::from_file(file, data)?,
            None => self.typed(data),
        };
        // A folder that is not there yet is none: the error then says how to get weights.
        let own = || default_folder().ok().filter(|folder| folder.is_dir());
        config.weights = self.weights.clone().or_else(own);
        Ok(config)
    }

    /// Without a file.
    fn typed(&self, data: &Path) -> GridConfig {
        let mut config = GridConfig::new(data);
        config.objects = self.objects.as_ref().map(|names| distinct(names));
        if let Some(names) = &self.architectures {
            let all: Vec<Architecture> = names.iter().flat_map(|a| a.0.clone()).collect();
            config.architectures = distinct(&all);
        }
        config.initializations = self.initializations.as_ref().map(|names| distinct(names));
        config.layers = self.layers.as_ref().map(|names| distinct(names));
        config.onnx = self.backbone.as_ref().map(|file| {
            let taps: Vec<&str> = self.tap.iter().map(String::as_str).collect();
            let mut onnx = OnnxBackbone::new(file, &taps);
            // ImageNet's 256 for 224.
            onnx.preset.resize = (self.input_size * 8).div_ceil(7);
            onnx.preset.crop = self.input_size;
            onnx.preset.mean = self.mean.map_or(onnx.preset.mean, |Rgb(mean)| mean);
            onnx.preset.std = self.std.map_or(onnx.preset.std, |Rgb(std)| std);
            onnx
        });
        config.augmented = self.augmented;
        if let Some(kinds) = &self.detectors {
            config.detectors = distinct(kinds);
        }
        config.resize = self.resize;
        config.seed = self.seed;
        config
    }
}

/// What one name of a list of networks stands for.
#[derive(Debug, Clone)]
pub(crate) struct Architectures(Vec<Architecture>);

fn architectures(name: &str) -> std::result::Result<Architectures, BackbonesError> {
    Ok(Architectures(match name {
        "all" => Architecture::ALL.to_vec(),
        one => vec![one.parse()?],
    }))
}

/// Three numbers, for red, green and blue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rgb([f32; 3]);

fn rgb(text: &str) -> std::result::Result<Rgb, String> {
    let wrong = || "give three numbers, as in 0.485,0.456,0.406".to_owned();
    let numbers: Vec<f32> = text
        .split(',')
        .map(|number| {
            number
                .trim()
                .parse()
                .ok()
                .filter(|v: &f32| v.is_finite())
                .ok_or_else(wrong)
        })
        .collect::<std::result::Result<_, _>>()?;
    Ok(Rgb(numbers.try_into().map_err(|_| wrong())?))
}

fn rgb_above_0(text: &str) -> std::result::Result<Rgb, String> {
    let numbers = rgb(text)?;
    if numbers.0.iter().all(|v| *v > 0.0) {
        return Ok(numbers);
    }
    Err("a standard deviation is above 0".into())
}

/// Named twice is meant once.
fn distinct<T: PartialEq + Clone>(items: &[T]) -> Vec<T> {
    let mut out: Vec<T> = vec![];
    for item in items {
        if !out.contains(item) {
            out.push(item.clone());
        }
    }
    out
}
