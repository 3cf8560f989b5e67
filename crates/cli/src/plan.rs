//! `blemish plan`: what a grid consists of, frozen before it runs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use blemish::lab::{GridConfig, Plan, RunFolder};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use crate::commands::plural;
use crate::output::{note, print};
use crate::selection::SelectionArgs;

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
    let _folder = RunFolder::create_or_resume(out, &plan)?;
    print(table(&plan))?;
    print(format!(
        "{} task{}, {} experiments, plan {} in {}",
        plan.tasks.len(),
        plural(plan.tasks.len()),
        plan.experiments.len(),
        plan.hash,
        out.join("plan.json").display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn table(plan: &Plan) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["task", "object", "network", "weights", "experiments"]);
    for right in [0, 4] {
        if let Some(column) = table.column_mut(right) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for (i, task) in plan.tasks.iter().enumerate() {
        table.add_row([
            i.to_string(),
            plan.objects[task.object].name.clone(),
            task.backbone.architecture(),
            task.backbone.initialization(),
            plan.task_experiments(task).len().to_string(),
        ]);
    }
    let text = table.to_string();
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}
