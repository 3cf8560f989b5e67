//! The arguments as typed.

use std::path::PathBuf;

use blemish::lab::ExportFormat;
use clap::{Args, Parser, Subcommand};

use crate::cluster::{MissingArgs, RunCommandArgs};
use crate::gc::GcArgs;
use crate::plan::PlanArgs;
use crate::run_args::RunArgs;
use crate::selection::SelectionArgs;
use crate::status::StatusArgs;
use crate::submit::SubmitCommand;
use crate::weights::WeightsArgs;

/// Finds defects in images from good images only.
#[derive(Debug, Parser)]
#[command(
    name = "blemish",
    version,
    max_term_width = 100,
    after_help = "Start here:\n  blemish demo\n  blemish grid mvtec_ad --out run --initializations random\n\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage; of runs also 75 (stopped by a signal, or worth another\n\
                  try: the same command goes on) and 65 (another try would not help)."
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
        after_help = "DATA is a folder of good images, an object in the MVTec layout (DATA/OBJECT with train/good), a\n\
            folder with good/ and one folder a defect, or a .csv table of path,label[,mask][,split].\n\n\
            Examples:\n  blemish fit good_parts -o part.blemish\n  \
            blemish fit mvtec_ad/bottle -o bottle.blemish --false-reject-rate 0.02 --embed-weights\n  \
            blemish fit boards -o board.blemish --method memory-bank --tile 512  # at full resolution\n  \
            blemish fit boards -o board.blemish --size 1024 --tile 512           # half of it"
    )]
    Fit(Box<crate::fit::FitArgs>),
    /// Score images by a model file: how odd, how sure, good or defective
    #[command(after_help = "Examples:\n  blemish score part.blemish new/*.png\n  \
                      blemish score part.blemish camera --format csv > scores.csv")]
    Score(crate::score::ScoreArgs),
    /// Evaluate a model file on labelled images: metrics of images and pixels with intervals, worst images
    #[command(
        after_help = "Examples:\n  blemish eval bottle.blemish mvtec_ad/bottle --html bottle.html\n  \
                            blemish eval part.blemish parts.csv --format json"
    )]
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
            Examples:\n  blemish plan mvtec_ad --out run --initializations random\n  \
            blemish plan --print-config > grid.toml\n  blemish plan mvtec_ad --out run --config grid.toml"
    )]
    Plan(Box<PlanArgs>),
    /// Show how far a run is, while it goes on or afterwards; nothing is written
    #[command(after_help = "Examples:\n  blemish status run\n  blemish status run --format json")]
    Status(StatusArgs),
    /// Remove what a run does not need: leftovers of killed processes, superfluous inner products
    #[command(after_help = "Examples:\n  blemish gc run\n  blemish gc run --products")]
    Gc(GcArgs),
    /// Run a plan that was frozen, or some of its tasks as one of many processes
    #[command(
        after_help = "RUN is made by `blemish plan`. Without --task and --shard all of it runs here, as with\n\
            `blemish grid`, and the results go to RUN/store.sqlite.\n\n\
            With --task or --shard any number of processes, here or on other machines, share RUN. Each skips\n\
            what has results, and publishes those of a feature set in RUN/parts as soon as they are complete.\n\
            `blemish missing RUN` tells what is left, `blemish merge RUN` puts all into the store.\n\n\
            Exit codes with --task or --shard: 0 done; 75 worth another try: it was stopped, or files could\n\
            not be read or written; 65 another try will not help: experiments failed, results differ, another\n\
            plan; 2 wrong usage.\n\n\
            Examples:\n  blemish run run --shard 0/4\n  blemish run run --task $SLURM_ARRAY_TASK_ID"
    )]
    Run(Box<RunCommandArgs>),
    /// List the tasks of a plan that lack results of `blemish run --task` or `--shard`
    #[command(after_help = "Example:\n  sbatch --array=$(blemish missing run --format ranges) job.sh")]
    Missing(MissingArgs),
    /// Put the results of `blemish run --task` and `--shard` into the store of the run
    #[command(
        after_help = "It may be repeated, and done before all results are there: what is in the store stays.\n\n\
            Exit codes: 0 all results are there, 75 some are missing, 65 some experiments failed, or differ\n\
            from results that were there first.\n\n\
            Example:\n  blemish merge run"
    )]
    Merge {
        /// Run folder
        run: PathBuf,
    },
    /// Run a plan on a cluster
    #[command(subcommand)]
    Submit(SubmitCommand),
    /// Show the tables of a run: best per object, best single setting, times
    #[command(after_help = "Example:\n  blemish results run")]
    Results {
        /// Run folder
        run: PathBuf,
    },
    /// Write the report of a run: one HTML file, its tables as CSV and Markdown, its figures as SVG and PNG
    #[command(
        after_help = "The page needs nothing but itself. See docs/report.md for what each figure means.\n\n\
            Examples:\n  blemish report run\n  blemish report run -o report --published results.csv.gz"
    )]
    Report(crate::report::ReportArgs),
    /// Make a run of a published table of results, so that it can be reported
    #[command(
        after_help = "Example:\n  blemish import-published results.csv.gz --out study\n  blemish report study"
    )]
    ImportPublished(crate::report::ImportArgs),
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
    /// Good test images of each object
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) test_good: Option<u32>,
    /// Test images of each of an object's four kinds of defect
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) per_defect: Option<u32>,
    /// Objects with the names of MVTec AD's fifteen, in place of a washer and a weave: to try a whole study
    #[arg(long)]
    pub(crate) mvtec_names: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GridArgs {
    /// Image folder in the MVTec layout, or one object of it
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Run folder: made if it is not there, resumed if it is
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
    /// Add to a run that was made for less: all of its experiments must be in the new selection
    #[arg(long)]
    pub(crate) extend: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
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
