//! What each command does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use blemish::backbones::Initialization;
use blemish::images::{SynthOptions, write_synthetic};
use blemish::lab::{
    self, Augmentation, ExportFormat, GridConfig, Plan, RunFolder, RunOptions, Store, Summary,
};

use crate::args::{Arguments, Command, DemoArgs, SynthArgs};
use crate::output::{STDOUT, note, print};
use crate::plan;
use crate::progress::RunProgress;
use crate::tables;
use crate::weights;

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Check(args) => crate::check::run(&args),
        Command::Eval(args) => crate::eval::run(&args),
        Command::Fit(args) => crate::fit::run(&args),
        Command::Score(args) => crate::score::run(&args),
        Command::Demo(args) => demo(&args),
        Command::Grid(args) => {
            let options = RunOptions {
                threads: args.threads,
                retry_failed: args.retry_failed,
                ..RunOptions::default()
            };
            grid(&args.selection.config(), &args.out, &options)
        }
        Command::Plan(args) => plan::run(&args),
        Command::Results { run } => {
            print(tables::summary(&Summary::new(&Store::open(&run)?.rows()?)))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Export { run, format, output } => export(&run, format, &output),
        Command::Compare {
            runs,
            published,
            worst,
        } => compare(&runs, &published, worst),
        Command::Synth(args) => synth(&args),
        Command::Weights(args) => {
            weights::run(args)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn grid(config: &GridConfig, out: &Path, options: &RunOptions) -> Result<ExitCode> {
    let start = std::time::Instant::now();
    let plan = Plan::new(config)?;
    note(format!(
        "{} experiments: {} object{}, {} feature set{}; run folder {}",
        plan.experiments.len(),
        plan.objects.len(),
        plural(plan.objects.len()),
        plan.feature_sets.len(),
        plural(plan.feature_sets.len()),
        out.display()
    ));
    plan.left_out.iter().for_each(note);
    let mut folder = RunFolder::create_or_resume(out, &plan)?;
    let progress = RunProgress::new(&plan);
    let ended = lab::run(&plan, &mut folder, options, &|event| progress.on_event(&event));
    progress.finish();
    let ended = ended?;
    note(format!(
        "{} experiments computed in {:.1} s: features {:.1} s, inner products {:.1} s, detectors {:.1} s",
        ended.computed,
        start.elapsed().as_secs_f64(),
        ended.features_time.as_secs_f64(),
        ended.products_time.as_secs_f64(),
        ended.detectors_time.as_secs_f64(),
    ));
    print(tables::summary(&Summary::new(&folder.store().rows()?)))?;
    Ok(if ended.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(crate) fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn demo(args: &DemoArgs) -> Result<ExitCode> {
    let (data, run) = (args.out.join("data"), args.out.join("run"));
    if data.exists() {
        note(format!("using the data set in {}", data.display()));
    } else {
        let options = SynthOptions::default();
        // Complete or absent: a demo that was interrupted starts this step again.
        let partial = args.out.join("data.partial");
        if partial.exists() {
            std::fs::remove_dir_all(&partial).with_context(|| partial.display().to_string())?;
        }
        let written = write_synthetic(&partial, &options)?;
        std::fs::rename(&partial, &data).with_context(|| data.display().to_string())?;
        note(format!("wrote {} images to {}", written.images, data.display()));
    }
    let mut config = GridConfig::new(&data);
    // The one set of weights that needs no file.
    config.initializations = Some(vec![Initialization::Random]);
    config.augmented = Augmentation::Both;
    let options = RunOptions {
        threads: args.threads,
        ..RunOptions::default()
    };
    let code = grid(&config, &run, &options)?;
    print(format!(
        "Next:\n  blemish export {} --format csv -o results.csv\n  blemish grid YOUR_DATA --out YOUR_RUN --initializations random",
        run.display()
    ))?;
    Ok(code)
}

fn synth(args: &SynthArgs) -> Result<ExitCode> {
    let mut options = SynthOptions {
        seed: args.seed,
        ..SynthOptions::default()
    };
    if let Some(size) = args.size {
        options.size = size;
    }
    if let Some(train) = args.train {
        options.train = train as usize;
    }
    let written = write_synthetic(&args.out, &options)?;
    print(format!(
        "wrote {} images of {} to {}",
        written.images,
        written.objects.join(" and "),
        args.out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn export(run: &Path, format: ExportFormat, output: &Path) -> Result<ExitCode> {
    let store = Store::open(run)?;
    if output == Path::new("-") {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        lab::write_rows(&store.rows()?, format, &mut out)
            .and_then(|()| out.flush())
            .context(STDOUT)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = lab::export(&store, format, output)?;
    print(format!("wrote {rows} experiments to {}", output.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn compare(runs: &[PathBuf], published: &Path, worst: usize) -> Result<ExitCode> {
    // The table first: it is the likelier mistake, and read in a moment.
    let published = lab::read_published(published)?;
    let rows = runs
        .iter()
        .map(|run| Ok(Store::open(run)?.rows()?))
        .collect::<Result<Vec<_>>>()?;
    let comparison = lab::compare(&rows, &published);
    if comparison.rows.is_empty() {
        anyhow::bail!(
            "no experiment is in both tables: are the objects, networks and layers the same, and has the run any result?"
        );
    }
    print(tables::comparison(&comparison, worst))?;
    Ok(ExitCode::SUCCESS)
}
