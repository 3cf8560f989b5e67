//! What each command does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use blemish::backbones::Initialization;
use blemish::images::{SynthOptions, write_synthetic, write_synthetic_mvtec};
use blemish::lab::{
    self, Augmentation, ExportFormat, GridConfig, Plan, RunFolder, RunOptions, Store, Summary,
};

use crate::args::{Arguments, Command, DemoArgs, SynthArgs};
use crate::cluster;
use crate::gc;
use crate::output::{STDOUT, note, print};
use crate::plan;
use crate::progress::RunProgress;
use crate::run_args::{STOPPED, stop_on_signals};
use crate::status;
use crate::submit;
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
            let options = args.run.options()?;
            let config = args.selection.config(&args.data)?;
            grid(&config, &args.out, &options, args.extend)
        }
        Command::Plan(args) => plan::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Gc(args) => gc::run(&args),
        Command::Run(args) if args.is_shard() => Ok(cluster::run(&args)),
        Command::Run(args) => {
            let options = args.options.options()?;
            carry_out(&Plan::open(&args.run)?, &args.run, &options, false)
        }
        Command::Missing(args) => cluster::missing(&args),
        Command::Merge { run } => Ok(cluster::exit_code(cluster::merge(&run))),
        Command::Submit(command) => submit::submit(&command),
        Command::Results { run } => {
            let store = Store::open(&run)?;
            cluster::tell_unmerged(&run);
            print(tables::summary(&Summary::new(&store.rows()?)))?;
            crate::report::print_choices(&store)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Report(args) => crate::report::run(&args),
        Command::ImportPublished(args) => crate::report::import(&args),
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

fn grid(config: &GridConfig, out: &Path, options: &RunOptions, extend: bool) -> Result<ExitCode> {
    carry_out(&Plan::new(config)?, out, options, extend)
}

/// Computes what is left of `plan` in the run folder `out` and shows the tables.
fn carry_out(plan: &Plan, out: &Path, options: &RunOptions, extend: bool) -> Result<ExitCode> {
    let start = std::time::Instant::now();
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
    let mut folder = match extend {
        true => RunFolder::create_or_extend(out, plan)?,
        false => RunFolder::create_or_resume(out, plan)?,
    };
    // Before anything is predicted, so that the time left is that of what is left.
    cluster::tell_merged(&lab::take_over(plan, &mut folder)?);
    let calibration = folder.store().calibration()?;
    let known = calibration.is_some();
    let predictions = lab::predict(plan, &folder, options, &calibration.unwrap_or_default())?;
    lab::check_disk(plan, out, options, &predictions)?;
    let progress = RunProgress::new(plan, &predictions, Some(out));
    let ended = lab::run(plan, &mut folder, options, &|event| progress.on_event(&event));
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
    progress.compare(known);
    if ended.stopped {
        note(format!(
            "stopped: {} of {} experiments have a result; the same command goes on",
            ended.done + ended.failed,
            ended.total
        ));
        return Ok(ExitCode::from(STOPPED));
    }
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
        stop: Some(stop_on_signals()?),
        ..RunOptions::default()
    };
    let code = grid(&config, &run, &options, false)?;
    crate::report::write(&run, &args.out.join("report"), None)?;
    print(format!(
        "Next:\n  open {}\n  blemish export {} --format csv -o results.csv\n  blemish grid YOUR_DATA --out YOUR_RUN --initializations random",
        args.out.join("report/report.html").display(),
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
    options.test_good = args.test_good.map_or(options.test_good, |n| n as usize);
    options.per_defect = args.per_defect.map_or(options.per_defect, |n| n as usize);
    let written = match args.mvtec_names {
        true => write_synthetic_mvtec(&args.out, &options)?,
        false => write_synthetic(&args.out, &options)?,
    };
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
    cluster::tell_unmerged(run);
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
