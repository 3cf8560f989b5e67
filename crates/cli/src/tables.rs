//! Tables for the terminal.

use std::fmt::Write;

use blemish::lab::{Comparison, Setting, Summary};
use comfy_table::{CellAlignment, Table, presets};

pub(crate) fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Without the blanks that the last column would leave at the ends of lines.
pub(crate) fn trimmed(table: &Table) -> String {
    table
        .to_string()
        .lines()
        .map(|l| format!("{}\n", l.trim_end()))
        .collect()
}

fn setting_cells(setting: &Setting) -> [String; 6] {
    [
        setting.architecture.clone(),
        setting.initialization.clone(),
        setting.layer.clone(),
        if setting.augmented { "yes" } else { "no" }.to_owned(),
        setting.model.clone(),
        setting.hyperparameter.clone(),
    ]
}

fn seconds(s: f64) -> String {
    match s {
        s if s.is_nan() => "-".into(),
        s if s < 0.001 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// The tables of a run.
pub(crate) fn summary(summary: &Summary) -> String {
    let mut out = String::new();
    let total = summary.done + summary.failed + summary.pending;
    let _ = writeln!(
        out,
        "{total} experiments: {} done, {} failed, {} not computed yet",
        summary.done, summary.failed, summary.pending
    );

    let _ = writeln!(
        out,
        "\nBest AUROC per object (chosen on the test set: an upper bound, not an estimate)"
    );
    let mut best = table(
        &[
            "object",
            "AUROC",
            "ties",
            "network",
            "weights",
            "layer",
            "augmented",
            "detector",
            "setting",
            "train",
            "test",
        ],
        &[1, 2, 9, 10],
    );
    for b in &summary.best_per_object {
        let [
            architecture,
            initialization,
            layer,
            augmented,
            model,
            hyperparameter,
        ] = setting_cells(&b.setting);
        best.add_row([
            b.object.clone(),
            format!("{:.3}", b.auroc),
            (b.ties - 1).to_string(),
            architecture,
            initialization,
            layer,
            augmented,
            model,
            hyperparameter,
            seconds(b.train_time_s),
            seconds(b.test_time_s),
        ]);
    }
    out.push_str(&trimmed(&best));
    // Of one object it would repeat the row above.
    let objects = summary.best_per_object.len();
    if let Some(mean) = summary.mean_of_best.filter(|_| objects > 1) {
        let _ = writeln!(out, "mean over {objects} objects: {mean:.3}");
    }

    let _ = writeln!(out, "\nBest single setting over all objects");
    match &summary.best_setting {
        Some(b) => {
            let s = &b.setting;
            let _ = writeln!(
                out,
                "mean AUROC {:.3}, lowest {:.3}: {} {} {}{}, {} {}",
                b.mean_auroc,
                b.worst_auroc,
                s.architecture,
                s.initialization,
                s.layer,
                if s.augmented { " augmented" } else { "" },
                s.model,
                s.hyperparameter
            );
        }
        None => {
            let _ = writeln!(out, "no setting has a result on every object yet");
        }
    }

    let _ = writeln!(out, "\nDetectors: mean over their experiments");
    let mut times = table(
        &["detector", "done", "failed", "AUROC", "train", "test"],
        &[1, 2, 3, 4, 5],
    );
    for t in &summary.times {
        times.add_row([
            t.model.clone(),
            t.done.to_string(),
            t.failed.to_string(),
            if t.mean_auroc.is_nan() {
                "-".into()
            } else {
                format!("{:.3}", t.mean_auroc)
            },
            seconds(t.mean_train_time_s),
            seconds(t.mean_test_time_s),
        ]);
    }
    out.push_str(&trimmed(&times));
    if summary.non_finite > 0 {
        let _ = writeln!(
            out,
            "\n{} experiments have scores that are not finite (kernels with finite support): \
             their AUROC counts those as ties",
            summary.non_finite
        );
    }
    if !summary.failures.is_empty() {
        let _ = writeln!(
            out,
            "\nFailures (`blemish run RUN --retry-failed` tries them again)"
        );
        for (message, n) in summary.failures.iter().take(5) {
            let _ = writeln!(out, "  {n} x {message}");
        }
        if summary.failures.len() > 5 {
            let _ = writeln!(
                out,
                "  and {} other messages: see `blemish export`",
                summary.failures.len() - 5
            );
        }
    }
    out
}

/// A comparison with a published table.
pub(crate) fn comparison(comparison: &Comparison, worst: usize) -> String {
    let mut out = String::new();
    let several = comparison.runs > 1;
    let _ = writeln!(
        out,
        "{} rows in both tables{}{}",
        comparison.rows.len(),
        if several {
            format!(", ours the mean of {} runs", comparison.runs)
        } else {
            String::new()
        },
        match comparison.unmatched {
            0 => String::new(),
            n => format!("; {n} of ours are not in the published table"),
        }
    );
    let _ = writeln!(out, "\nAbsolute difference of AUROC");
    let mut header = vec!["detector", "rows", "median", "95 %", "largest"];
    if several {
        header.push("within 3 sd + 0.02");
    }
    let mut groups = table(&header, &[1, 2, 3, 4, 5]);
    for g in &comparison.groups {
        let mut cells = vec![
            g.group.clone(),
            g.rows.to_string(),
            format!("{:.4}", g.median),
            format!("{:.4}", g.percentile_95),
            format!("{:.4}", g.largest),
        ];
        if let Some(n) = g.within_spread {
            cells.push(format!("{n} of {}", g.rows));
        }
        groups.add_row(cells);
    }
    out.push_str(&trimmed(&groups));

    let _ = writeln!(out, "\nLargest differences");
    out.push_str(&differences(comparison.rows.iter().take(worst), several));
    if several {
        // What draws no random numbers has no spread to be judged by.
        let outside: Vec<_> = comparison
            .rows
            .iter()
            .filter(|r| r.deviation > 0.0 && !r.within_spread())
            .collect();
        let random = comparison.rows.iter().filter(|r| r.deviation > 0.0).count();
        let _ = writeln!(
            out,
            "\nRows that vary with the seed: {random}, of which {} lie outside three standard deviations + 0.02",
            outside.len()
        );
        if !outside.is_empty() {
            out.push_str(&differences(outside.into_iter(), several));
        }
    }
    out
}

fn differences<'a>(rows: impl Iterator<Item = &'a blemish::lab::RowDifference>, several: bool) -> String {
    let mut header = vec![
        "difference",
        "ours",
        "published",
        "experiment",
        "detector",
        "setting",
    ];
    if several {
        header.push("sd");
    }
    let mut table = table(&header, &[0, 1, 2]);
    for r in rows {
        let mut cells = vec![
            format!("{:.4}", r.difference()),
            format!("{:.4}", r.ours),
            format!("{:.4}", r.published),
            r.experiment.clone(),
            r.model.clone(),
            r.hyperparameter.clone(),
        ];
        if several {
            cells.push(format!("{:.4}", r.deviation));
        }
        table.add_row(cells);
    }
    trimmed(&table)
}
