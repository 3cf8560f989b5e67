//! `blemish plan`: what a grid consists of, frozen before it runs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use blemish::lab::{Plan, RunFolder};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use crate::commands::plural;
use crate::output::{note, print};
use crate::selection::SelectionArgs;

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Run folder: made if it is not there
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
}

pub(crate) fn run(args: &PlanArgs) -> Result<ExitCode> {
    let plan = Plan::new(&args.selection.config())?;
    plan.left_out.iter().for_each(note);
    // Held to the end of the command, as whoever runs it does.
    let _folder = RunFolder::create_or_resume(&args.out, &plan)?;
    print(table(&plan))?;
    print(format!(
        "{} task{}, {} experiments, plan {} in {}",
        plan.tasks.len(),
        plural(plan.tasks.len()),
        plan.experiments.len(),
        plan.hash,
        args.out.join("plan.json").display()
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
