//! The arguments as typed.

use std::path::PathBuf;

use blemish::backbones::{Architecture, BackbonesError, Initialization};
use blemish::detectors::DetectorKind;
use blemish::images::ResizeMode;
use blemish::lab::{Augmentation, ExportFormat, GridConfig, OnnxBackbone};
use blemish::weights::default_folder;
use clap::{Args, Parser, Subcommand};

use crate::weights::WeightsArgs;

/// Finds defects in images from good images only.
#[derive(Debug, Parser)]
#[command(
    name = "blemish",
    version,
    max_term_width = 100,
    after_help = "Start here:\n  blemish demo\n  blemish grid mvtec_ad --out run --initializations random\n\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Learn from good images: one model file that finds defects
    #[command(
        after_help = "GOOD is a folder of good images, an object in the MVTec layout (DATA/OBJECT with train/good), a\n\
            folder with good/ and one folder a defect, or a .csv table of path,label[,mask][,split].\n\n\
            Examples:\n  blemish fit good_parts -o part.blemish\n  \
            blemish fit mvtec_ad/bottle -o bottle.blemish --false-reject-rate 0.02 --embed-weights"
    )]
    Fit(Box<crate::fit::FitArgs>),
    /// Score images by a model file: how odd, how sure, good or defective
    #[command(after_help = "Examples:\n  blemish score part.blemish new/*.png\n  \
                      blemish score part.blemish camera --format csv > scores.csv")]
    Score(crate::score::ScoreArgs),
    /// Run the detectors on a built-in data set and show the tables
    #[command(after_help = "Example:\n  blemish demo --out demo")]
    Demo(DemoArgs),
    /// Run a grid of experiments on image folders; the same command resumes it
    #[command(
        after_help = "DATA is a folder in the MVTec layout: DATA/OBJECT/train/good, DATA/OBJECT/test/good,\n\
            DATA/OBJECT/test/DEFECT and, for masks, DATA/OBJECT/ground_truth/DEFECT/NNN_mask.png;\n\
            or one such OBJECT folder.\n\n\
            Every result is stored in RUN/store.sqlite as soon as it is there. Kill it at any moment:\n\
            the same command computes what is left.\n\n\
            Examples:\n  \
            blemish grid mvtec_ad --out run --initializations random\n  \
            blemish grid mvtec_ad --out run --objects bottle --initializations imagenet1k_v1 \\\n      \
            --layers layer1,layer2,layer3 --resize paper --weights weights\n  \
            blemish grid mvtec_ad/bottle --out quick --initializations random --layers layer3 \\\n      \
            --augmented false --detectors LocalOutlierFactor,KernelDensity"
    )]
    Grid(Box<GridArgs>),
    /// Show the tables of a run: best per object, best single setting, times
    #[command(after_help = "Example:\n  blemish results run")]
    Results {
        /// Run folder
        run: PathBuf,
    },
    /// Write every experiment of a run to a file, one row each
    #[command(
        after_help = "Examples:\n  blemish export run --format csv -o results.csv\n  \
                            blemish export run --format json -o - | head"
    )]
    Export {
        /// Run folder
        run: PathBuf,
        /// File format: csv or json
        #[arg(long, default_value = "csv")]
        format: ExportFormat,
        /// File to write; `-` is standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Compare runs with a published table of AUROCs
    #[command(
        after_help = "Several runs (of other seeds) are averaged, and the detectors that draw random numbers\n\
            are then judged by the spread over the seeds.\n\n\
            Examples:\n  blemish compare run results.csv.gz\n  \
            blemish compare seed0 seed1 seed2 results.csv.gz"
    )]
    Compare {
        /// Run folders
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<PathBuf>,
        /// The table: CSV or gzipped CSV, with the columns of `blemish export`
        published: PathBuf,
        /// How many of the worst rows to list
        #[arg(long, default_value_t = 10, value_name = "N")]
        worst: usize,
    },
    /// Write the built-in synthetic data set as PNG files in the MVTec layout
    #[command(after_help = "Example:\n  blemish synth parts --seed 7")]
    Synth(SynthArgs),
    /// List, import and fetch the weights of networks
    #[command(
        after_help = "Examples:\n  blemish weights list\n  blemish weights fetch resnet18\n  \
                      blemish weights import resnet18-f37072fd.pth"
    )]
    Weights(WeightsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Folder for the data set and the run
    #[arg(long, default_value = "blemish-demo", value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Threads; the default is one for each core
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// Folder to write to; new or empty
    pub(crate) out: PathBuf,
    /// Seed: the same seed gives the same files
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Side of the square images, in pixels
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(32..=2048))]
    pub(crate) size: Option<u32>,
    /// Good training images of each object
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) train: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct GridArgs {
    /// Image folder in the MVTec layout, or one object of it
    pub(crate) data: PathBuf,
    /// Run folder: made if it is not there, resumed if it is
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
    /// Objects [default: all that are found]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) objects: Option<Vec<String>>,
    /// Networks: resnet18, resnet50, wide_resnet50_2, vit_base_16 (or vit_b_16), vit_base_32 (or
    /// vit_b_32), all
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_value = "resnet18", value_parser = architectures)]
    pub(crate) architectures: Vec<Architectures>,
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
    /// Threads; the default is one for each core. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
    /// Compute failed experiments again
    #[arg(long)]
    pub(crate) retry_failed: bool,
}

impl GridArgs {
    /// The arguments as meant.
    pub(crate) fn config(&self) -> GridConfig {
        let mut config = GridConfig::new(&self.data);
        config.objects = self.objects.as_ref().map(|names| distinct(names));
        let architectures: Vec<Architecture> = self.architectures.iter().flat_map(|a| a.0.clone()).collect();
        config.architectures = distinct(&architectures);
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
        // A folder that is not there yet is none: the error then says how to get weights.
        let own = || default_folder().ok().filter(|folder| folder.is_dir());
        config.weights = self.weights.clone().or_else(own);
        config.resize = self.resize;
        config.seed = self.seed;
        config
    }
}

/// What one name of a list of networks stands for.
#[derive(Debug, Clone)]
pub(crate) struct Architectures(Vec<Architecture>);

fn architectures(name: &str) -> Result<Architectures, BackbonesError> {
    Ok(Architectures(match name {
        "all" => Architecture::ALL.to_vec(),
        one => vec![one.parse()?],
    }))
}

/// Three numbers, for red, green and blue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rgb([f32; 3]);

fn rgb(text: &str) -> Result<Rgb, String> {
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
        .collect::<Result<_, _>>()?;
    Ok(Rgb(numbers.try_into().map_err(|_| wrong())?))
}

fn rgb_above_0(text: &str) -> Result<Rgb, String> {
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

pub(crate) fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("give a whole number from 0 to {}", u64::MAX))
}

pub(crate) fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=1024) => Ok(n),
        _ => Err("give a number from 1 to 1024".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
