//! What ran, and what came of it in a few numbers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::data::{RunData, setting_in_words};
use super::html::Headline;
use super::selection::Selection;
use super::table::{Cell, Table, bytes, seconds, thousands};
use crate::lab::Status;

fn count(n: usize) -> String {
    thousands(n as u64)
}

/// What ran.
pub(crate) fn facts(data: &RunData) -> Table {
    let mut table = Table::new("run", "What ran", &["what", "value"]);
    let mut add = |what: &str, value: String| {
        if !value.is_empty() {
            table.rows.push(vec![Cell::text(what), Cell::text(value)]);
        }
    };
    let identity = &data.identity;
    if data.imported() {
        let p = &identity["published"];
        add(
            "imported from",
            format!("{}, {} rows", p["file"].as_str().unwrap_or_default(), p["rows"]),
        );
        add("hash of that file", p["hash"].as_str().unwrap_or_default().into());
    }
    add(
        "objects",
        format!("{}: {}", data.objects.len(), data.objects.join(", ")),
    );
    let distinct = |f: &dyn Fn(&crate::lab::Setting) -> String| -> String {
        data.recipes
            .iter()
            .map(f)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(", ")
    };
    add(
        "networks",
        distinct(&|s| format!("{} {}", s.architecture, s.initialization)),
    );
    add("detectors", data.models.join(", "));
    let (done, failed, pending) = (
        data.count(Status::Done),
        data.count(Status::Failed),
        data.count(Status::Pending),
    );
    add(
        "experiments",
        format!(
            "{}: {} done, {} failed, {} not computed yet",
            count(data.experiments.len()),
            count(done),
            count(failed),
            count(pending)
        ),
    );
    for (object, fingerprint) in identity["objects"].as_object().into_iter().flatten() {
        add(
            &format!("images of {object}, hash"),
            fingerprint.as_str().unwrap_or_default().into(),
        );
    }
    let plain = |v: &Value| {
        v.as_str().map_or_else(
            || if v.is_null() { String::new() } else { v.to_string() },
            Into::into,
        )
    };
    add("resizing", plain(&identity["resize"]));
    add("seed", plain(&identity["seed"]));
    if let Some(versions) = identity["versions"].as_object() {
        add(
            "versions of the computation",
            versions
                .iter()
                .map(|(k, v)| format!("{k} {v}"))
                .collect::<Vec<_>>()
                .join(", "),
        );
    }
    let told = |name: &str| -> String {
        let all: BTreeSet<String> = data
            .sessions
            .iter()
            .map(|s| plain(&s[name]))
            .filter(|s| !s.is_empty())
            .collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    };
    add("processor", told("processor"));
    add("threads", told("threads"));
    let sum = |name: &str| data.sessions.iter().filter_map(|s| s[name].as_f64()).sum::<f64>();
    if !data.sessions.is_empty() {
        let (f, p, d) = (sum("features_s"), sum("products_s"), sum("detectors_s"));
        add(
            "time",
            format!(
                "{}: features {}, inner products {}, detectors {} ({} call{})",
                seconds(f + p + d),
                seconds(f),
                seconds(p),
                seconds(d),
                data.sessions.len(),
                if data.sessions.len() == 1 { "" } else { "s" }
            ),
        );
    }
    let own: f64 = data
        .experiments
        .iter()
        .filter_map(|e| Some(e.row.train_time_s? + e.row.test_time_s.unwrap_or(0.0)))
        .sum();
    add("train and test times, summed", seconds(own));
    add("disk", bytes(data.size));
    add("made by", data.made_by.clone());
    table
}

/// The failed experiments, so that links reach them without a script; the first 500.
pub(crate) fn failed_rows(data: &RunData) -> Option<Table> {
    let failed: Vec<_> = data
        .experiments
        .iter()
        .filter(|e| e.row.status == Status::Failed)
        .collect();
    if failed.is_empty() {
        return None;
    }
    let mut table = Table::new(
        "failed_rows",
        "Failed experiments",
        &["#no.", "object", "setting", "kind", "message"],
    );
    if failed.len() > 500 {
        table = table.note(format!(
            "The first 500 of {}; the list of all experiments has the others.",
            count(failed.len())
        ));
    }
    for e in failed.into_iter().take(500) {
        table.rows.push(vec![
            Cell::number(e.ordinal as f64, e.ordinal.to_string()).of(e.ordinal),
            Cell::text(&e.row.object),
            Cell::text(setting_in_words(&data.recipes[e.recipe])),
            Cell::text(e.error_kind.clone().unwrap_or_default()),
            Cell::text(e.row.error.clone().unwrap_or_default()),
        ]);
    }
    Some(table)
}

/// The numbers on top.
pub(crate) fn headlines(data: &RunData, selection: &Selection, warnings: usize) -> Vec<Headline> {
    let mut out = vec![];
    for choice in selection.choices() {
        out.push(Headline {
            name: choice.name,
            value: choice.mean.map_or_else(|| "–".into(), |m| format!("{m:.3}")),
            note: match choice.interval {
                Some(i) => format!("mean AUROC, 95 %: {:.3} to {:.3}", i.low, i.high),
                None => "mean AUROC".into(),
            },
        });
    }
    out.push(Headline {
        name: "Experiments",
        value: count(data.experiments.len()),
        note: format!(
            "{} failed, {} not computed",
            count(data.count(Status::Failed)),
            count(data.count(Status::Pending))
        ),
    });
    out.push(Headline {
        name: "Warnings",
        value: warnings.to_string(),
        note: "kinds of things to mistrust".into(),
    });
    out
}
