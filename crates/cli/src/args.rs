//! The arguments as typed.

use std::path::PathBuf;

use blemish::lab::ExportFormat;
use clap::{Args, Parser, Subcommand};

use crate::plan::PlanArgs;
use crate::selection::SelectionArgs;
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
    /// Check images before anything is learned from them: what is unreadable, twice there, out of place
    #[command(
        after_help = "Exit codes: 0 nothing or warnings only, 1 errors, 2 wrong usage.\n\n\
            Examples:\n  blemish check mvtec_ad/bottle\n  blemish check good_parts --quick --format json"
    )]
    Check(crate::check::CheckArgs),
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
    /// Evaluate a model file on labelled images: metrics of images and pixels with intervals, worst images
    #[command(after_help = "Examples:\n  blemish eval bottle.blemish mvtec_ad/bottle\n  \
                            blemish eval part.blemish parts.csv --format json")]
    Eval(crate::eval::EvalArgs),
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
    /// Freeze a plan: the tasks and experiments of a grid, before any of them runs
    #[command(
        after_help = "A task is an object with a network and its weights: all layers and training sets come out of one\n\
            pass over its images. RUN/plan.json lists the tasks, each with the hash of its content, and the\n\
            hash of the whole. `blemish grid` with the same selection carries the plan out.\n\n\
            Example:\n  blemish plan mvtec_ad --out run --architectures all --initializations random"
    )]
    Plan(Box<PlanArgs>),
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
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Run folder: made if it is not there, resumed if it is
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
    /// Threads; the default is one for each core. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
    /// Compute failed experiments again
    #[arg(long)]
    pub(crate) retry_failed: bool,
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
