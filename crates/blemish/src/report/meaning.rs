//! What the numbers mean: layers, augmentation, weights, hyperparameters, cost.

use std::collections::{BTreeMap, BTreeSet};

use blemish_detectors::{BootstrapOptions, Interval};
use plotters::prelude::{Circle, PathElement, Rectangle};
use plotters::style::Color;
use serde_json::Value;

use super::data::{Experiment, RunData, setting_in_words};
use super::figure::{Figure, GRID, Ink, MUTED, TEXT, series};
use super::plot::{self, Axis, Frame, Hang, Room, heat, legend, legend_height, rgb, short, write, write_in};
use super::stats::{mean, mean_interval, quantile, signed_interval_text};
use super::study::{color, rule};
use super::table::{Cell, Table, seconds};
use crate::lab::Setting;

/// Mean AUROC by layer and detector. The figure is missing while there is no result.
pub(crate) fn layers(data: &RunData) -> (Table, Option<Figure>) {
    let mut columns = vec!["network".to_owned(), "weights".into(), "layer".into()];
    columns.extend(data.models.iter().map(|m| format!("#{m}")));
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut table = Table::new("layers", "Mean AUROC by layer and detector", &columns)
        .note("Mean over objects, training sets and settings of the detector.");
    let mut cells: BTreeMap<(String, String, String), BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    for e in &data.experiments {
        if let Some(auroc) = e.row.auroc {
            let r = &e.row;
            let place = (r.architecture.clone(), r.initialization.clone(), r.layer.clone());
            cells
                .entry(place)
                .or_default()
                .entry(r.model.clone())
                .or_default()
                .push(auroc);
        }
    }
    let rows: Vec<(String, Vec<Option<f64>>)> = cells
        .into_iter()
        .map(|(place, by_model)| {
            let means: Vec<Option<f64>> = data
                .models
                .iter()
                .map(|m| mean(by_model.get(m).into_iter().flatten().copied()))
                .collect();
            let mut row = vec![Cell::text(&place.0), Cell::text(&place.1), Cell::text(&place.2)];
            row.extend(means.iter().map(|m| Cell::auroc(*m)));
            table.rows.push(row);
            (format!("{} {} {}", place.0, place.1, place.2), means)
        })
        .collect();
    let values = || rows.iter().flat_map(|r| r.1.iter().flatten().copied());
    let (low, high) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    );
    let (left, step, column) = (240, 24, 136);
    let (width, height) = (
        left + column * data.models.len() as i32 + 10,
        40 + step * rows.len() as i32,
    );
    let svg = plot::svg(width as u32, height as u32, |area| {
        for (m, model) in data.models.iter().enumerate() {
            write(
                area,
                model,
                (left + m as i32 * column + column / 2, 18),
                12,
                TEXT,
                Hang::Middle,
            )?;
        }
        for (r, (name, means)) in rows.iter().enumerate() {
            let y = 34 + r as i32 * step;
            write(area, name, (left - 10, y + step / 2), 12, TEXT, Hang::Right)?;
            for (m, value) in means.iter().enumerate() {
                let x = left + m as i32 * column;
                let Some(v) = value else { continue };
                let (fill, text) = heat(if high > low { (v - low) / (high - low) } else { 0.5 });
                area.draw(&Rectangle::new(
                    [(x, y), (x + column - 2, y + step - 2)],
                    fill.filled(),
                ))?;
                write_in(
                    area,
                    &format!("{v:.3}"),
                    (x + column / 2, y + step / 2 - 1),
                    12,
                    &text,
                    Hang::Middle,
                )?;
            }
        }
        Ok(())
    });
    let figure = Figure {
        id: "layers".into(),
        title: "Mean AUROC by network, layer and detector".into(),
        note: format!("Darker is better; from {low:.3} to {high:.3}."),
        alt: format!(
            "Heat map of {} layers by {} detectors, mean AUROC {low:.3} to {high:.3}; the numbers are in the table below",
            rows.len(),
            data.models.len()
        ),
        svg,
        wide: true,
    };
    (table, Some(figure).filter(|_| !rows.is_empty()))
}

/// A paired difference.
#[derive(Clone, Debug)]
pub(crate) struct Paired {
    /// Of what.
    pub(crate) name: String,
    /// Pairs of experiments.
    pub(crate) pairs: usize,
    /// Mean difference.
    pub(crate) mean: f64,
    /// Its interval over feature sets.
    pub(crate) interval: Option<Interval>,
    /// Share of pairs with a positive difference.
    pub(crate) better: f64,
}

/// Differences by `name`. Settings on the same features are not independent, so intervals are over feature sets.
fn paired(pairs: &[(&Experiment, &Experiment)], name: impl Fn(&Experiment) -> String) -> Vec<Paired> {
    type Sets = BTreeMap<(String, String, String, String, bool), Vec<f64>>;
    let mut groups: BTreeMap<String, Sets> = BTreeMap::new();
    for (a, b) in pairs {
        let Some((x, y)) = a.row.auroc.zip(b.row.auroc) else {
            continue;
        };
        let r = &b.row;
        let set = (
            r.object.clone(),
            r.architecture.clone(),
            r.initialization.clone(),
            r.layer.clone(),
            r.augmented,
        );
        groups
            .entry(name(b))
            .or_default()
            .entry(set)
            .or_default()
            .push(y - x);
    }
    groups
        .into_iter()
        .map(|(name, sets)| {
            let all: Vec<f64> = sets.values().flatten().copied().collect();
            let of_sets: Vec<f64> = sets.values().filter_map(|v| mean(v.iter().copied())).collect();
            Paired {
                name,
                pairs: all.len(),
                mean: mean(all.iter().copied()).unwrap_or(f64::NAN),
                interval: mean_interval(&of_sets, &BootstrapOptions::default()),
                better: all.iter().filter(|d| **d > 0.0).count() as f64 / all.len().max(1) as f64,
            }
        })
        .collect()
}

fn paired_table(id: &'static str, title: &str, what: &str, list: &[Paired]) -> Table {
    let columns = [
        what,
        "#pairs",
        "#mean difference",
        "95 % interval",
        "#share of pairs it helps",
    ];
    let mut table = Table::new(id, title, &columns)
        .note("Pairs differ in this alone. Intervals: bootstrap over feature sets, since settings on the same features are not independent; none below three sets.");
    for p in list {
        table.rows.push(vec![
            Cell::text(&p.name),
            Cell::count(p.pairs),
            Cell::difference(Some(p.mean)),
            Cell::text(signed_interval_text(p.interval)),
            Cell::number(p.better, format!("{:.0} %", 100.0 * p.better)),
        ]);
    }
    table
}

fn paired_figure(id: &str, title: &str, label: &str, list: &[Paired]) -> Option<Figure> {
    let ends = list.iter().flat_map(|p| {
        [
            p.mean,
            p.interval.map_or(p.mean, |i| i.low),
            p.interval.map_or(p.mean, |i| i.high),
            0.0,
        ]
    });
    let range = Axis::around(ends, false)?;
    let height = 80 + 24 * list.len() as i32;
    let svg = plot::svg(520, height as u32, |area| {
        let x = Axis::linear(label, range);
        let mut y = Axis::linear("", (0.0, list.len() as f64));
        y.ticks = Some(
            list.iter()
                .enumerate()
                .map(|(i, p)| (list.len() as f64 - i as f64 - 0.5, p.name.clone()))
                .collect(),
        );
        let frame = Frame::draw(
            area,
            x,
            y,
            Room {
                left: 150,
                ..Room::default()
            },
        )?;
        let zero = frame.at(0.0, 0.0);
        rule(area, zero.0, 24, zero.1, MUTED)?;
        for (i, p) in list.iter().enumerate() {
            let at = list.len() as f64 - i as f64 - 0.5;
            let ink = if p.mean >= 0.0 { series(0) } else { series(1) };
            if let Some(interval) = p.interval {
                frame.line(area, &[(interval.low, at), (interval.high, at)], ink, 2)?;
            }
            frame.dots(area, &[(p.mean, at)], ink, 4, 1.0)?;
        }
        Ok(())
    });
    Some(Figure {
        id: id.into(),
        title: title.into(),
        note: "Dot: mean over pairs; bar: 95 % interval. Right of zero it helps.".into(),
        alt: format!(
            "{title}: {}",
            list.iter()
                .map(|p| format!("{} {:+.3}", p.name, p.mean))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        svg,
        wide: false,
    })
}

/// What augmentation does, per object and per detector.
pub(crate) fn augmentation(data: &RunData) -> (Vec<Table>, Vec<Figure>) {
    let pairs = data.pairs(|s| {
        s.augmented.then(|| Setting {
            augmented: false,
            ..s.clone()
        })
    });
    let objects = paired(&pairs, |e| e.row.object.clone());
    let models = paired(&pairs, |e| e.row.model.clone());
    if objects.is_empty() {
        return (vec![], vec![]);
    }
    let label = "AUROC with augmentation − without";
    (
        vec![
            paired_table(
                "augmentation_objects",
                "What augmentation does, per object",
                "object",
                &objects,
            ),
            paired_table(
                "augmentation_detectors",
                "What augmentation does, per detector",
                "detector",
                &models,
            ),
        ],
        [
            paired_figure(
                "augmentation_objects",
                "Augmentation, per object",
                label,
                &objects,
            ),
            paired_figure(
                "augmentation_detectors",
                "Augmentation, per detector",
                label,
                &models,
            ),
        ]
        .into_iter()
        .flatten()
        .collect(),
    )
}

/// Random against published weights.
pub(crate) fn weights(data: &RunData) -> (Vec<Table>, Vec<Figure>) {
    let pairs = data.pairs(|s| {
        (s.initialization != "random").then(|| Setting {
            initialization: "random".into(),
            ..s.clone()
        })
    });
    let objects = paired(&pairs, |e| e.row.object.clone());
    let models = paired(&pairs, |e| e.row.model.clone());
    if objects.is_empty() {
        return (vec![], vec![]);
    }
    let label = "AUROC with published weights − random";
    (
        vec![
            paired_table(
                "weights_objects",
                "Published against random weights, per object",
                "object",
                &objects,
            ),
            paired_table(
                "weights_detectors",
                "Published against random weights, per detector",
                "detector",
                &models,
            ),
        ],
        [
            paired_figure(
                "weights_objects",
                "Published weights, per object",
                label,
                &objects,
            ),
            paired_figure(
                "weights_detectors",
                "Published weights, per detector",
                label,
                &models,
            ),
        ]
        .into_iter()
        .flatten()
        .collect(),
    )
}

/// A place on the axis, and the mean and quartiles of the AUROCs there.
type Spread = (f64, f64, f64, f64);

/// AUROC against each hyperparameter: one figure for each detector with one.
pub(crate) fn hyperparameters(data: &RunData) -> Vec<Figure> {
    let mut out = vec![];
    for model in &data.models {
        // By value of the parameter that varies, and by the other one, if there are two.
        let mut points: BTreeMap<String, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
        let mut xs: BTreeMap<String, f64> = BTreeMap::new();
        let mut label = String::new();
        for e in data.experiments.iter().filter(|e| e.row.model == *model) {
            let (Some(auroc), Value::Object(p)) = (e.row.auroc, data.parameters(e.recipe)) else {
                continue;
            };
            let varying = p.iter().filter(|(n, _)| n.as_str() != "dim_reduction");
            let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
            let (mut x, mut of) = (String::new(), String::new());
            for (name, value) in varying {
                // A kernel is a line of its own, unless it is all there is.
                if name == "kernel" && *model == "KernelDensity" {
                    of = text(value);
                } else if name == "kernel" {
                    x = if x.is_empty() {
                        text(value)
                    } else {
                        format!("{} {x}", text(value))
                    };
                } else {
                    label.clone_from(name);
                    x = text(value);
                    if let Some(v) = value.as_f64() {
                        xs.insert(x.clone(), v);
                    }
                }
            }
            points.entry(of).or_default().entry(x).or_default().push(auroc);
        }
        if *model == "OneClassSVM" {
            label = "kernel (poly: and degree)".into();
        }
        let mut names: Vec<String> = points
            .values()
            .flat_map(|m| m.keys().cloned())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        if names.len() < 2 && points.len() < 2 {
            continue;
        }
        let numeric = names.iter().all(|n| xs.contains_key(n));
        let number = |n: &String| n.rsplit(' ').next().and_then(|w| w.parse::<f64>().ok());
        names.sort_by(|a, b| {
            number(a)
                .unwrap_or(f64::MAX)
                .total_cmp(&number(b).unwrap_or(f64::MAX))
                .then(a.cmp(b))
        });
        let at = |n: &String| {
            if numeric {
                xs[n]
            } else {
                names.iter().position(|x| x == n).unwrap_or(0) as f64
            }
        };
        let lines: Vec<(String, Ink, Vec<Spread>)> = points
            .iter()
            .enumerate()
            .map(|(i, (name, by_x))| {
                let mut line: Vec<_> = by_x
                    .iter()
                    .filter_map(|(x, v)| {
                        let mut v = v.clone();
                        Some((
                            at(x),
                            mean(v.iter().copied())?,
                            quantile(&mut v, 0.25)?,
                            quantile(&mut v, 0.75)?,
                        ))
                    })
                    .collect();
                line.sort_by(|a, b| a.0.total_cmp(&b.0));
                (
                    name.clone(),
                    if points.len() > 1 {
                        series(i)
                    } else {
                        color(data, model)
                    },
                    line,
                )
            })
            .collect();
        let band = lines.len() == 1;
        let Some(range) = Axis::around(
            lines.iter().flat_map(|l| {
                l.2.iter()
                    .flat_map(|p| if band { vec![p.1, p.2, p.3] } else { vec![p.1] })
            }),
            false,
        ) else {
            continue;
        };
        let legend_names: Vec<(String, Ink)> = if band {
            vec![]
        } else {
            lines.iter().map(|l| (l.0.clone(), l.1)).collect()
        };
        let below = if band {
            0
        } else {
            legend_height(&legend_names, 12, 520)
        };
        let height = 290 + below;
        let values: Vec<f64> = names.iter().map(&at).collect();
        let svg = plot::svg(520, height as u32, |area| {
            let x = if numeric {
                let (low, high) = (
                    values.iter().copied().fold(f64::MAX, f64::min),
                    values.iter().copied().fold(0.0, f64::max),
                );
                Axis::log(&label, (low / 1.1, high * 1.1), short)
            } else {
                let mut x = Axis::linear(&label, (-0.5, names.len() as f64 - 0.5));
                let brief = |n: &String| n.replace("poly ", "");
                x.ticks = Some(names.iter().map(|n| (at(n), brief(n))).collect());
                x
            };
            let frame = Frame::draw(
                area,
                x,
                Axis::linear("AUROC", range),
                Room {
                    bottom: 46 + below,
                    ..Room::default()
                },
            )?;
            for (_, ink, line) in &lines {
                let means: Vec<(f64, f64)> = line.iter().map(|p| (p.0, p.1)).collect();
                if band {
                    let low: Vec<(f64, f64)> = line.iter().map(|p| (p.0, p.2)).collect();
                    let high: Vec<(f64, f64)> = line.iter().map(|p| (p.0, p.3)).collect();
                    frame.band(area, &low, &high, *ink)?;
                }
                frame.line(area, &means, *ink, 2)?;
                frame.dots(area, &means, *ink, 3, 1.0)?;
            }
            if !band {
                legend(area, &legend_names, 12, height - below + 8)?;
            }
            Ok(())
        });
        out.push(Figure {
            id: format!("hyperparameter_{model}"),
            title: format!("{model}: AUROC against its hyperparameters"),
            note: if band {
                "Line: mean over objects and features; band: the middle half of the experiments."
            } else {
                "Lines: mean over objects and features, one a kernel."
            }
            .into(),
            alt: format!("Mean AUROC of {model} for {} values", names.len()),
            svg,
            wide: false,
        });
    }
    out
}

/// AUROC against cost: every setting, and those that no other beats in both.
pub(crate) fn cost(data: &RunData) -> (Table, Option<Figure>) {
    struct Point {
        recipe: usize,
        cost: f64,
        auroc: f64,
    }
    let mut points: Vec<Point> = vec![];
    for recipe in 0..data.recipes.len() {
        let all: Option<Vec<(f64, f64)>> = (0..data.objects.len())
            .map(|o| {
                let r = &data.experiment(recipe, o)?.row;
                Some((r.train_time_s? + r.test_time_s?, r.auroc?))
            })
            .collect();
        if let Some(all) = all
            && let Some((cost, auroc)) = mean(all.iter().map(|p| p.0)).zip(mean(all.iter().map(|p| p.1)))
            && cost > 0.0
        {
            points.push(Point { recipe, cost, auroc });
        }
    }
    points.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(b.auroc.total_cmp(&a.auroc)));
    let mut front: Vec<&Point> = vec![];
    for p in &points {
        if front.last().is_none_or(|f| p.auroc > f.auroc) {
            front.push(p);
        }
    }
    let mut table = Table::new("pareto", "Settings that no other beats in both AUROC and time", &["#mean AUROC", "#mean train + test", "setting"])
        .note("Mean over all objects, of settings with a result on each. The last row is the most accurate, the first the quickest; the time of the network comes on top and is the same for all settings of a layer.");
    for p in &front {
        let first = data.experiment(p.recipe, 0).map_or(0, |e| e.ordinal);
        table.rows.push(vec![
            Cell::auroc(Some(p.auroc)),
            Cell::seconds(Some(p.cost)),
            Cell::text(setting_in_words(&data.recipes[p.recipe])).of(first),
        ]);
    }
    let (Some(xs), Some(ys)) = (
        Axis::around(points.iter().map(|p| p.cost), true),
        Axis::around(points.iter().map(|p| p.auroc), false),
    ) else {
        return (table, None);
    };
    let names: Vec<(String, Ink)> = data.models.iter().map(|m| (m.clone(), color(data, m))).collect();
    let below = legend_height(&names, 12, 860);
    let height = 440 + below;
    let svg = plot::svg(860, height as u32, |area| {
        let x = Axis::log("mean train + test time", xs, seconds);
        let frame = Frame::draw(
            area,
            x,
            Axis::linear("mean AUROC over objects", ys),
            Room {
                bottom: 46 + below,
                ..Room::default()
            },
        )?;
        for (model, ink) in &names {
            let of: Vec<(f64, f64)> = points
                .iter()
                .filter(|p| data.recipes[p.recipe].model == *model)
                .map(|p| (p.cost, p.auroc))
                .collect();
            frame.dots(area, &of, *ink, 2, 0.55)?;
        }
        let mut steps: Vec<(i32, i32)> = vec![];
        for p in &front {
            let at = frame.at(p.cost, p.auroc);
            if let Some(last) = steps.last().copied() {
                steps.push((at.0, last.1));
            }
            steps.push(at);
        }
        area.draw(&PathElement::new(steps, rgb(TEXT).stroke_width(2)))?;
        for p in &front {
            area.draw(&Circle::new(frame.at(p.cost, p.auroc), 5, rgb(GRID).filled()))?;
            area.draw(&Circle::new(
                frame.at(p.cost, p.auroc),
                5,
                rgb(TEXT).stroke_width(2),
            ))?;
        }
        legend(area, &names, 12, height - below + 8)
    });
    let figure = Figure {
        id: "pareto".into(),
        title: "AUROC against cost".into(),
        note: "A dot is a setting; the line joins those that no other beats in both: pick from these.".into(),
        alt: format!(
            "{} settings by time and AUROC, {} of them on the front; the table lists those",
            points.len(),
            front.len()
        ),
        svg,
        wide: true,
    };
    (table, Some(figure))
}
