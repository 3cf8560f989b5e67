//! `blemish plan`: what a grid consists of, frozen before it runs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use blemish::lab::{
    Bytes, Calibration, GridConfig, Plan, RunFolder, TaskPrediction, check_disk, predict, take_over,
};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use crate::cluster;
use crate::commands::plural;
use crate::output::{note, print};
use crate::run_args::BoundsArgs;
use crate::selection::SelectionArgs;
use crate::status::duration;

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Image folder in the MVTec layout, or one object of it
    #[arg(required_unless_present = "print_config")]
    data: Option<PathBuf>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Run folder: made if it is not there
    #[arg(long, value_name = "RUN", required_unless_present = "print_config")]
    out: Option<PathBuf>,
    /// Add to a run that was made for less: all of its experiments must be in the new selection
    #[arg(long)]
    extend: bool,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// Predict nothing, which takes some seconds of measuring
    #[arg(long)]
    no_calibration: bool,
    /// Print the selection as a TOML file for --config, and do nothing else; without --architectures all
    /// networks of the study
    #[arg(long)]
    print_config: bool,
}

pub(crate) fn run(args: &PlanArgs) -> Result<ExitCode> {
    let data = args.data.clone().unwrap_or_default();
    let mut config = args.selection.config(&data)?;
    let Some(out) = args.out.as_deref().filter(|_| !args.print_config) else {
        if args.selection.architectures.is_none() && config.onnx.is_none() {
            config.architectures = GridConfig::study(&data).architectures;
        }
        print(config.to_toml().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    };
    let plan = Plan::new(&config)?;
    plan.left_out.iter().for_each(note);
    // Held to the end of the command, as whoever runs it does.
    let mut folder = match args.extend {
        true => RunFolder::create_or_extend(out, &plan)?,
        false => RunFolder::create_or_resume(out, &plan)?,
    };
    cluster::tell_merged(&take_over(&plan, &mut folder)?);
    let options = args.bounds.options();
    let predictions = if args.no_calibration {
        vec![]
    } else {
        let calibration = Calibration::measure(&plan, options.threads)?;
        let predictions = predict(&plan, &folder, &options, &calibration)?;
        folder.save_predictions(&calibration, &predictions)?;
        predictions
    };
    print(table(&plan, &predictions).trim_end())?;
    if !predictions.is_empty() {
        print(totals(&predictions))?;
    }
    print(format!(
        "{} task{}, {} experiments, plan {} in {}",
        plan.tasks.len(),
        plural(plan.tasks.len()),
        plan.experiments.len(),
        plan.hash,
        out.join("plan.json").display()
    ))?;
    check_disk(&plan, out, &options, &predictions)?;
    Ok(ExitCode::SUCCESS)
}

fn totals(predictions: &[TaskPrediction]) -> String {
    let sum = |of: fn(&TaskPrediction) -> f64| predictions.iter().map(of).sum::<f64>();
    let most = |of: fn(&TaskPrediction) -> u64| Bytes(predictions.iter().map(of).max().unwrap_or(0));
    let count = |of: fn(&TaskPrediction) -> usize| predictions.iter().map(of).sum::<usize>();
    format!(
        "predicted: {} ({} features of {} images, {} inner products, {} detectors), at most {} of memory and {} of \
         scratch, {} of inner products kept; {} of {} experiments have a result already",
        duration(sum(TaskPrediction::seconds)),
        duration(sum(|p| p.stages_s[0])),
        count(|p| p.images),
        duration(sum(|p| p.stages_s[1])),
        duration(sum(|p| p.stages_s[2])),
        most(|p| p.prediction.memory),
        most(|p| p.prediction.scratch),
        Bytes(predictions.iter().map(|p| p.prediction.kept).sum()),
        count(|p| p.finished),
        count(|p| p.experiments),
    )
}

fn table(plan: &Plan, predictions: &[TaskPrediction]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec!["task", "object", "network", "weights", "experiments"];
    if !predictions.is_empty() {
        header.extend(["done", "images", "time", "memory", "scratch", "kept"]);
    }
    table.set_header(header);
    for right in [0, 4, 5, 6, 7, 8, 9, 10] {
        if let Some(column) = table.column_mut(right) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for (i, task) in plan.tasks.iter().enumerate() {
        let mut row = vec![
            i.to_string(),
            plan.objects[task.object].name.clone(),
            task.backbone.architecture(),
            task.backbone.initialization(),
            plan.task_experiments(task).len().to_string(),
        ];
        if let Some(p) = predictions.get(i) {
            let bytes = |b: u64| if b == 0 { "-".into() } else { Bytes(b).to_string() };
            row.extend([
                p.finished.to_string(),
                p.images.to_string(),
                duration(p.seconds()),
                bytes(p.prediction.memory),
                bytes(p.prediction.scratch),
                bytes(p.prediction.kept),
            ]);
        }
        table.add_row(row);
    }
    let text = table.to_string();
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}
