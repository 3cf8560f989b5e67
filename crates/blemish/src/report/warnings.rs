//! What a reader should mistrust: found in the rows of the run and, if they are still there, in its images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::data::{Experiment, RunData};
use super::stats::{mean, quantile};
use super::table::{Cell, Table};
use crate::lab::Status;

/// One warning.
#[derive(Clone, Debug)]
pub(crate) struct Warning {
    /// Its kind, in a word or two.
    pub(crate) kind: &'static str,
    /// What was found.
    pub(crate) text: String,
    /// The first experiment of it.
    pub(crate) example: Option<u64>,
}

/// Detector and, where it has one, kernel: settings that fail alike.
fn family(data: &RunData, recipe: usize) -> String {
    let s = &data.recipes[recipe];
    match data.parameters(recipe)["kernel"].as_str() {
        Some(kernel) => format!("{} with kernel {kernel}", s.model),
        None => s.model.clone(),
    }
}

fn by_family<'a>(
    data: &'a RunData,
    of: impl Fn(&Experiment) -> bool,
) -> BTreeMap<String, (Vec<&'a Experiment>, usize)> {
    let mut found: BTreeMap<String, (Vec<&Experiment>, usize)> = BTreeMap::new();
    for e in data.experiments.iter().filter(|e| e.row.status == Status::Done) {
        let entry = found.entry(family(data, e.recipe)).or_default();
        entry.1 += 1;
        if of(e) {
            entry.0.push(e);
        }
    }
    found.retain(|_, (hits, _)| !hits.is_empty());
    found
}

/// Failures by what they have in common: kind, message, detector, network, layer, training set.
pub(crate) fn failures(data: &RunData) -> Table {
    type Group<'a> = (String, String, &'a str, &'a str, &'a str, bool);
    let mut groups: BTreeMap<Group<'_>, Vec<&Experiment>> = BTreeMap::new();
    let mut all: BTreeMap<(&str, &str, &str, bool), usize> = BTreeMap::new();
    for e in &data.experiments {
        let s = &data.recipes[e.recipe];
        let place = (
            s.model.as_str(),
            s.architecture.as_str(),
            s.layer.as_str(),
            s.augmented,
        );
        *all.entry(place).or_default() += 1;
        if e.row.status == Status::Failed {
            let kind = e.error_kind.clone().unwrap_or_else(|| "unknown".into());
            let message = e.row.error.clone().unwrap_or_default();
            groups
                .entry((kind, message, place.0, place.1, place.2, place.3))
                .or_default()
                .push(e);
        }
    }
    let columns = [
        "kind",
        "detector",
        "network",
        "layer",
        "augmented",
        "#failed",
        "#of",
        "objects",
        "message",
        "first row",
    ];
    let mut table = Table::new("failures", "Failed experiments by kind", &columns);
    for ((kind, message, model, architecture, layer, augmented), list) in groups {
        let objects: BTreeSet<&str> = list.iter().map(|e| e.row.object.as_str()).collect();
        let first = list[0].ordinal;
        table.rows.push(vec![
            Cell::text(kind),
            Cell::text(model),
            Cell::text(architecture),
            Cell::text(layer),
            Cell::text(if augmented { "yes" } else { "no" }),
            Cell::count(list.len()),
            Cell::count(all[&(model, architecture, layer, augmented)]),
            Cell::text(if objects.len() == data.objects.len() {
                format!("all {}", objects.len())
            } else {
                objects.into_iter().collect::<Vec<_>>().join(", ")
            }),
            Cell::text(message),
            Cell::text(format!("no. {first}")).of(first),
        ]);
    }
    table
}

/// All warnings.
pub(crate) fn find(data: &RunData) -> Vec<Warning> {
    let mut out = vec![];
    let percent = |n: usize, of: usize| {
        if n == of {
            format!("all {n}")
        } else {
            format!("{n} of {of} ({:.0} %)", 100.0 * n as f64 / of as f64)
        }
    };

    for row in &failures(data).rows {
        let t = |i: usize| row[i].text.clone();
        let augmented = if t(4) == "yes" {
            "with augmentation"
        } else {
            "without augmentation"
        };
        out.push(Warning {
            kind: "failed",
            text: format!(
                "{} of {} experiments of {} on {} {} {augmented} failed ({}): {}",
                t(5),
                t(6),
                t(1),
                t(2),
                t(3),
                t(7),
                t(8)
            ),
            example: row[9].experiment,
        });
    }
    for (name, (hits, of)) in by_family(data, |e| e.row.auroc == Some(0.5)) {
        // A single one may be chance: with few images, 0.5 is a value like others.
        if hits.len() * 100 < of && hits.len() < of {
            continue;
        }
        let whole = if hits.len() == of {
            ": this detector never told anything apart; its rows say nothing"
        } else {
            ""
        };
        out.push(Warning {
            kind: "constant scores",
            text: format!("{name}: {} experiments have an AUROC of exactly 0.5, as if every image had the same score{whole}", percent(hits.len(), of)),
            example: Some(hits[0].ordinal),
        });
    }
    for (name, (hits, of)) in by_family(data, |e| e.row.non_finite.is_some_and(|n| n > 0)) {
        out.push(Warning {
            kind: "scores not finite",
            text: format!("{name}: {} experiments gave some images an infinite or undefined score; their AUROC counts those as ties", percent(hits.len(), of)),
            example: Some(hits[0].ordinal),
        });
    }
    for (name, (hits, of)) in by_family(data, |e| e.row.warning.is_some()) {
        let texts: BTreeSet<&str> = hits.iter().filter_map(|e| e.row.warning.as_deref()).collect();
        let first = texts.iter().next().copied().unwrap_or_default().to_owned();
        let more = if texts.len() > 1 {
            format!(" (and {} other texts)", texts.len() - 1)
        } else {
            String::new()
        };
        out.push(Warning {
            kind: "fit not settled",
            text: format!(
                "{name}: {} experiments warn, such as: {first}{more}",
                percent(hits.len(), of)
            ),
            example: Some(hits[0].ordinal),
        });
    }
    weights(data, &mut out);
    inverted(data, &mut out);
    duplicates(data, &mut out);
    out
}

/// Whether training and test features come from the same weights. In runs of this program the key of a feature set
/// holds the hash of its weights, so they do. In an imported run it can only be suspected: augmenting the training
/// images changes little, unless the training features of one of the two sets come from another network.
fn weights(data: &RunData, out: &mut Vec<Warning>) {
    if data.weights.values().all(|digest| !digest.is_empty()) && !data.weights.is_empty() {
        return;
    }
    let mut moved: BTreeMap<(&str, &str, &str), Vec<f64>> = BTreeMap::new();
    let pairs = data.pairs(|s| {
        s.augmented.then(|| crate::lab::Setting {
            augmented: false,
            ..s.clone()
        })
    });
    for (a, b) in pairs {
        if let Some((x, y)) = a.row.auroc.zip(b.row.auroc) {
            let place = (
                a.row.initialization.as_str(),
                a.row.architecture.as_str(),
                a.row.object.as_str(),
            );
            moved.entry(place).or_default().push((x - y).abs());
        }
    }
    let means: Vec<(_, f64)> = moved
        .iter()
        .filter_map(|(k, v)| Some((*k, mean(v.iter().copied())?)))
        .collect();
    let fixed = mean(means.iter().filter(|(k, _)| k.0 != "random").map(|(_, m)| *m));
    let random = mean(means.iter().filter(|(k, _)| k.0 == "random").map(|(_, m)| *m));
    let (Some(fixed), Some(random)) = (fixed, random) else {
        return;
    };
    let limit = means
        .iter()
        .filter(|(k, _)| k.0 != "random")
        .map(|(_, m)| *m)
        .fold(0.0, f64::max);
    let beyond = means.iter().filter(|(k, m)| k.0 == "random" && *m > limit);
    let mut beyond: Vec<_> = beyond
        .map(|(k, m)| (*m, format!("{} {} {m:.2}", k.2, k.1)))
        .collect();
    if random < 2.0 * fixed || beyond.is_empty() {
        return;
    }
    beyond.sort_by(|a, b| b.0.total_cmp(&a.0));
    let worst: Vec<&str> = beyond.iter().take(4).map(|b| b.1.as_str()).collect();
    out.push(Warning {
        kind: "features of two networks?",
        text: format!(
            "with random weights, augmenting the training images moves the AUROC by {random:.2} on average, with published weights by {fixed:.2}; \
             {} pairs of object and network move by more than any with published weights ({}). Training and test features of the random \
             networks may come from different weights: the run does not say which weights it used",
            beyond.len(),
            worst.join("; ")
        ),
        example: None,
    });
}

/// Feature sets whose detectors call the defective images normal.
fn inverted(data: &RunData, out: &mut Vec<Warning>) {
    let mut sets: BTreeMap<(usize, &str, &str, &str, bool), Vec<f64>> = BTreeMap::new();
    for e in &data.experiments {
        let s = &data.recipes[e.recipe];
        if let Some(auroc) = e.row.auroc {
            let set = (
                e.object,
                s.architecture.as_str(),
                s.initialization.as_str(),
                s.layer.as_str(),
                s.augmented,
            );
            sets.entry(set).or_default().push(auroc);
        }
    }
    let mut objects: BTreeMap<usize, Vec<(f64, String)>> = BTreeMap::new();
    for ((object, architecture, initialization, layer, augmented), mut values) in sets {
        let below = values.iter().filter(|v| **v < 0.35).count();
        let median = quantile(&mut values, 0.5).unwrap_or(0.5);
        if values.len() >= 5 && (median < 0.4 || below * 3 >= values.len()) {
            let text = format!(
                "{architecture} {initialization} {layer}{}, {below} of {} experiments below 0.35",
                if augmented { " augmented" } else { "" },
                values.len()
            );
            objects.entry(object).or_default().push((median, text));
        }
    }
    for (object, mut list) in objects {
        list.sort_by(|a, b| a.0.total_cmp(&b.0));
        let name = &data.objects[object];
        let shown: Vec<String> = list
            .iter()
            .take(3)
            .map(|(m, t)| format!("{t}, median {m:.2}"))
            .collect();
        let intensities = intensities(data, object);
        let why = match &intensities {
            Some(text) => format!("Mean intensity of the images, 0 to 1: {text}"),
            None => "The images are not at hand to compare their mean intensities".into(),
        };
        out.push(Warning {
            kind: "AUROC far below 0.5",
            text: format!(
                "{name}: on {} feature set{} many experiments find defective images more normal than good ones: {}{}. Often the good test images are \
                 shifted against the training images (light, camera, crop). {why}",
                list.len(),
                if list.len() == 1 { "" } else { "s" },
                shown.join("; "),
                if list.len() > 3 { "; …" } else { "" }
            ),
            example: None,
        });
    }
}

/// The folder of an object's images, if it is still there.
pub(crate) fn folder(data: &RunData, object: usize) -> Option<PathBuf> {
    let folder = data.data_note[&data.objects[object]]["folder"].as_str()?;
    let folder = PathBuf::from(folder);
    folder.is_dir().then_some(folder)
}

fn intensities(data: &RunData, object: usize) -> Option<String> {
    let folder = folder(data, object)?;
    let train: Vec<PathBuf> = files(&folder.join("train/good"));
    let images = data.images.get(&data.objects[object])?;
    let of = |defective: bool| -> Vec<PathBuf> {
        let wanted = images.iter().filter(|i| i.defect.is_some() == defective);
        wanted.map(|i| folder.join(&i.path)).collect()
    };
    // Forty images tell a mean well enough, and keep a report quick.
    let mean_of = |paths: Vec<PathBuf>| {
        let step = paths.len().div_ceil(40).max(1);
        mean(paths.iter().step_by(step).filter_map(|path| {
            let image = blemish_images::load_rgb(path).ok()?;
            let raw = image.as_raw();
            mean(raw.iter().step_by(7).map(|v| f64::from(*v) / 255.0))
        }))
    };
    let (train, good, bad) = (mean_of(train)?, mean_of(of(false))?, mean_of(of(true))?);
    Some(format!(
        "training {train:.3}, good test images {good:.3}, defective ones {bad:.3}"
    ))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_file()).collect();
    files.sort();
    files
}

/// Files that are in the training and in the test set.
fn duplicates(data: &RunData, out: &mut Vec<Warning>) {
    for (object, name) in data.objects.iter().enumerate() {
        let Some(folder) = folder(data, object) else {
            continue;
        };
        let size = |p: &Path| std::fs::metadata(p).map(|m| m.len()).ok();
        let mut train: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
        for file in files(&folder.join("train/good")) {
            if let Some(size) = size(&file) {
                train.entry(size).or_default().push(file);
            }
        }
        let mut found = vec![];
        for image in data.images.get(name).into_iter().flatten() {
            let path = folder.join(&image.path);
            let Some(alike) = size(&path).and_then(|s| train.get(&s)) else {
                continue;
            };
            let Ok(content) = std::fs::read(&path) else {
                continue;
            };
            if let Some(twin) = alike
                .iter()
                .find(|t| std::fs::read(t).is_ok_and(|c| c == content))
            {
                let twin = twin
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                found.push(format!("{} is train/good/{twin}", image.path));
            }
        }
        if !found.is_empty() {
            out.push(Warning {
                kind: "image in training and test",
                text: format!(
                    "{name}: {} test images are training images too: {}{}",
                    found.len(),
                    found.iter().take(5).cloned().collect::<Vec<_>>().join(", "),
                    if found.len() > 5 { ", …" } else { "" }
                ),
                example: None,
            });
        }
    }
}
