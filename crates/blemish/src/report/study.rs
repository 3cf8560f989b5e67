//! The tables and figures of the study.

use std::collections::{BTreeMap, BTreeSet};

use super::data::{RunData, parameters_in_words};
use super::figure::{Figure, Ink, MUTED, TEXT, series};
use super::plot::{self, Axis, Frame, Hang, Room, counted, legend, legend_height, rgb, write};
use super::stats::mean;
use super::table::{Cell, Table, seconds, thousands};
use crate::lab::Status;
use plotters::prelude::{PathElement, Rectangle};

/// The colour of a detector, the same in every figure.
pub(crate) fn color(data: &RunData, model: &str) -> Ink {
    series(data.models.iter().position(|m| m == model).unwrap_or_default())
}

/// Table 1: sample sizes.
pub(crate) fn samples(data: &RunData) -> Table {
    let columns = [
        "object",
        "#originals",
        "#with augmentation",
        "#test good",
        "#test defective",
        "kinds of defect",
    ];
    let mut table = Table::new("table1_samples", "Table 1. Images per object", &columns);
    for (o, object) in data.objects.iter().enumerate() {
        let size = |augmented| {
            let sizes = data.of_object(o).filter(|e| e.row.augmented == augmented);
            sizes.map(|e| e.row.train_samples as usize).max()
        };
        let count = |n: Option<usize>| n.map_or_else(|| Cell::text("–"), Cell::count);
        let images = data.images.get(object);
        let defective = images.map(|i| i.iter().filter(|i| i.defect.is_some()).count());
        let kinds: BTreeSet<&str> = images
            .into_iter()
            .flatten()
            .filter_map(|i| i.defect.as_deref())
            .collect();
        table.rows.push(vec![
            Cell::text(object),
            count(size(false)),
            count(size(true)),
            count(images.map(|i| i.len() - defective.unwrap_or(0))),
            count(defective),
            Cell::text(if kinds.is_empty() {
                "–".into()
            } else {
                kinds.into_iter().collect::<Vec<_>>().join(", ")
            }),
        ]);
    }
    table
}

/// Table 2: feature configurations.
pub(crate) fn features(data: &RunData) -> Table {
    let columns = [
        "network",
        "weights",
        "layer",
        "#features",
        "#experiments",
        "hash of the weights",
    ];
    let mut table = Table::new(
        "table2_features",
        "Table 2. Feature configurations as run",
        &columns,
    );
    let mut found: BTreeMap<(String, String, String), (u64, usize)> = BTreeMap::new();
    for e in &data.experiments {
        let r = &e.row;
        let entry = found
            .entry((r.architecture.clone(), r.initialization.clone(), r.layer.clone()))
            .or_default();
        entry.0 = entry.0.max(r.dimensions);
        entry.1 += 1;
    }
    for (name, (dimensions, n)) in found {
        let digest = data.weights.get(&name).cloned().unwrap_or_default();
        let digest: String = if digest.is_empty() {
            "not known".into()
        } else {
            digest.chars().take(12).collect()
        };
        table.rows.push(vec![
            Cell::text(name.0),
            Cell::text(name.1),
            Cell::text(name.2),
            Cell::number(dimensions as f64, thousands(dimensions)),
            Cell::count(n),
            Cell::text(digest),
        ]);
    }
    table
}

/// Table 3: hyperparameters.
pub(crate) fn hyperparameters(data: &RunData) -> Table {
    let mut table = Table::new(
        "table3_hyperparameters",
        "Table 3. Hyperparameters as run",
        &["detector", "#settings", "parameter", "values"],
    );
    for model in &data.models {
        let mut values: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
        let mut settings = BTreeSet::new();
        for (recipe, setting) in data.recipes.iter().enumerate().filter(|(_, s)| s.model == *model) {
            if !settings.insert(&setting.hyperparameter) {
                continue;
            }
            for (name, value) in data.parameters(recipe).as_object().into_iter().flatten() {
                let list = values.entry(name.clone()).or_default();
                if !list.contains(value) {
                    list.push(value.clone());
                }
            }
        }
        for (name, mut list) in values {
            list.sort_by(|a, b| match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => a.to_string().cmp(&b.to_string()),
            });
            let list: Vec<String> = list
                .iter()
                .map(|v| v.as_str().map_or_else(|| v.to_string(), Into::into))
                .collect();
            table.rows.push(vec![
                Cell::text(model),
                Cell::count(settings.len()),
                Cell::text(name),
                Cell::text(list.join(", ")),
            ]);
        }
    }
    table
}

/// Table 4: best AUROC per object and the mean.
pub(crate) fn best(data: &RunData, published: Option<&RunData>) -> Table {
    let mut columns = vec!["object", "#best AUROC"];
    if published.is_some() {
        columns.extend(["#published", "#difference"]);
    }
    let mut table = Table::new("table4_best", "Table 4. Best AUROC per object", &columns)
        .note("Chosen on the test images themselves: an upper bound, not an estimate. See Honest selection.");
    let (mut ours, mut theirs) = (vec![], vec![]);
    for (o, object) in data.objects.iter().enumerate() {
        let best = data.best_of(o);
        let auroc = best.and_then(|(e, _)| e.row.auroc);
        let mut cell = Cell::auroc(auroc).strong();
        if let Some((e, _)) = best {
            cell = cell.of(e.ordinal);
        }
        let mut cells = vec![Cell::text(object), cell];
        if let Some(p) = published {
            let other = p
                .objects
                .iter()
                .position(|x| x == object)
                .and_then(|o| p.best_of(o)?.0.row.auroc);
            cells.push(Cell::auroc(other));
            cells.push(Cell::difference(auroc.zip(other).map(|(a, b)| a - b)));
            if let Some((a, b)) = auroc.zip(other) {
                ours.push(a);
                theirs.push(b);
            }
        }
        table.rows.push(cells);
    }
    let all: Vec<f64> = (0..data.objects.len())
        .filter_map(|o| data.best_of(o)?.0.row.auroc)
        .collect();
    let mut foot = vec![
        // Of those that have a result.
        Cell::text(format!("mean of {}", all.len())),
        Cell::auroc(mean(all.iter().copied())).strong(),
    ];
    if published.is_some() {
        // Of the objects that both have, which may be fewer.
        if ours.len() < all.len() {
            table.note.push_str(&format!(
                " The published mean and the difference are over the {} objects of both.",
                ours.len()
            ));
        }
        let (a, b) = (mean(ours), mean(theirs));
        foot.push(Cell::auroc(b));
        foot.push(Cell::difference(a.zip(b).map(|(a, b)| a - b)));
    }
    table.foot = Some(foot);
    table
}

/// Table 5: times per detector.
pub(crate) fn times(data: &RunData, published: Option<&RunData>) -> Table {
    let mut columns = vec![
        "detector",
        "#done",
        "#failed",
        "#mean AUROC",
        "#mean train",
        "#mean test",
        "#total",
    ];
    if published.is_some() {
        columns.extend(["#published train", "#published test", "#times as fast"]);
    }
    let mut table = Table::new("table5_times", "Table 5. Mean time per detector", &columns)
        .note("Seconds to fit and to score all test images, features not counted. What the settings of a detector share is divided among them. Published times are those of the same experiments.");
    // Means of other experiments would compare nothing.
    let same = |e: &super::data::Experiment| {
        let r = &e.row;
        let place = (
            r.object.clone(),
            r.augmented,
            r.architecture.clone(),
            r.initialization.clone(),
            r.layer.clone(),
        );
        (place, r.model.clone(), parameters_in_words(&r.hyperparameter))
    };
    let ours: BTreeSet<_> = match published {
        Some(_) => data
            .experiments
            .iter()
            .filter(|e| e.row.status == Status::Done)
            .map(same)
            .collect(),
        None => BTreeSet::new(),
    };
    for model in &data.models {
        let of = |d: &RunData, f: &dyn Fn(&crate::lab::Row) -> Option<f64>| {
            mean(
                d.experiments
                    .iter()
                    .filter(|e| e.row.model == *model)
                    .filter(|e| std::ptr::eq(d, data) || ours.contains(&same(e)))
                    .filter_map(|e| f(&e.row)),
            )
        };
        let count = |s| {
            data.experiments
                .iter()
                .filter(|e| e.row.model == *model && e.row.status == s)
                .count()
        };
        let (train, test) = (of(data, &|r| r.train_time_s), of(data, &|r| r.test_time_s));
        let n = count(Status::Done);
        let total = train.zip(test).map(|(a, b)| (a + b) * n as f64);
        let mut cells = vec![
            Cell::text(model),
            Cell::count(n),
            Cell::count(count(Status::Failed)),
            Cell::auroc(of(data, &|r| r.auroc)),
            Cell::seconds(train),
            Cell::seconds(test),
            Cell::seconds(total),
        ];
        if let Some(p) = published {
            let (a, b) = (of(p, &|r| r.train_time_s), of(p, &|r| r.test_time_s));
            let factor = a
                .zip(b)
                .zip(train.zip(test))
                .map(|((a, b), (x, y))| (a + b) / (x + y))
                .filter(|f| f.is_finite());
            cells.extend([Cell::seconds(a), Cell::seconds(b)]);
            cells.push(factor.map_or_else(
                || Cell::text("–"),
                |f| {
                    Cell::number(
                        f,
                        if f < 10.0 {
                            format!("{f:.1}")
                        } else {
                            thousands(f.round() as u64)
                        },
                    )
                },
            ));
        }
        table.rows.push(cells);
    }
    table
}

/// Table 6: the best experiment of each object.
pub(crate) fn best_experiments(data: &RunData, published: Option<&RunData>) -> Table {
    let mut columns = vec![
        "object",
        "#AUROC",
        "#equals",
        "network",
        "weights",
        "layer",
        "augmented",
        "detector",
        "setting",
        "#train",
        "#test",
    ];
    if published.is_some() {
        columns.extend(["#published, same setting", "#difference"]);
    }
    let mut table = Table::new(
        "table6_best",
        "Table 6. The best experiment of each object",
        &columns,
    )
    .note("Of equally good ones the first in the order of the plan; “equals” counts the others.");
    for (o, object) in data.objects.iter().enumerate() {
        let Some((e, n)) = data.best_of(o) else { continue };
        let s = &data.recipes[e.recipe];
        let mut cells = vec![
            Cell::text(object),
            Cell::auroc(e.row.auroc).of(e.ordinal),
            Cell::count(n - 1),
            Cell::text(&s.architecture),
            Cell::text(&s.initialization),
            Cell::text(&s.layer),
            Cell::text(if s.augmented { "yes" } else { "no" }),
            Cell::text(&s.model),
            Cell::text(parameters_in_words(&s.hyperparameter)),
            Cell::seconds(e.row.train_time_s),
            Cell::seconds(e.row.test_time_s),
        ];
        if let Some(p) = published {
            let same = p.objects.iter().position(|x| x == object).and_then(|o| {
                let found = p.of_object(o).find(|x| {
                    let r = &p.recipes[x.recipe];
                    parameters_in_words(&r.hyperparameter) == parameters_in_words(&s.hyperparameter)
                        && (
                            &r.architecture,
                            &r.initialization,
                            &r.layer,
                            r.augmented,
                            &r.model,
                        ) == (
                            &s.architecture,
                            &s.initialization,
                            &s.layer,
                            s.augmented,
                            &s.model,
                        )
                });
                found?.row.auroc
            });
            cells.push(Cell::auroc(same));
            cells.push(Cell::difference(e.row.auroc.zip(same).map(|(a, b)| a - b)));
        }
        table.rows.push(cells);
    }
    table
}

/// Figure 3: the combinations, level by level.
pub(crate) fn tree(data: &RunData) -> Figure {
    type Level<'a> = (&'static str, Box<dyn Fn(&super::data::Experiment) -> String + 'a>);
    let levels: Vec<Level<'_>> = vec![
        ("object", Box::new(|e| e.row.object.clone())),
        (
            "training set",
            Box::new(|e| if e.row.augmented { "augmented" } else { "originals" }.into()),
        ),
        ("network", Box::new(|e| e.row.architecture.clone())),
        ("weights", Box::new(|e| e.row.initialization.clone())),
        ("layer", Box::new(|e| e.row.layer.clone())),
        ("detector", Box::new(|e| e.row.model.clone())),
    ];
    let counted: Vec<(&str, Vec<(String, usize)>)> = levels
        .iter()
        .map(|(name, of)| {
            let mut values: Vec<(String, usize)> = vec![];
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for e in &data.experiments {
                *counts.entry(of(e)).or_default() += 1;
            }
            if *name == "detector" {
                values.extend(
                    data.models
                        .iter()
                        .map(|m| (m.clone(), counts.get(m).copied().unwrap_or(0))),
                );
            } else {
                values.extend(counts);
            }
            (*name, values)
        })
        .collect();
    let total = data.experiments.len();
    let most = counted.iter().map(|(_, v)| v.len()).max().unwrap_or(1) as i32;
    let (width, height) = (1040, (most * 24 + 84).max(240));
    let column = width / counted.len() as i32;
    let svg = plot::svg(width as u32, height as u32, |area| {
        let (top, bottom) = (48, height - 30);
        for (i, (name, values)) in counted.iter().enumerate() {
            let left = i as i32 * column + 8;
            let right = left + column - 36;
            write(
                area,
                &several(values.len(), name),
                (left, 18),
                13,
                TEXT,
                Hang::Left,
            )?;
            let room = f64::from(bottom - top);
            let mut y = f64::from(top);
            for (value, n) in values {
                let part = room * *n as f64 / total.max(1) as f64;
                let (a, b) = (y.round() as i32, (y + part).round() as i32 - 2);
                area.draw(&Rectangle::new(
                    [(left, a), (right, b.max(a + 1))],
                    rgb(series(i)).mix_fill(),
                ))?;
                if b - a >= 13 {
                    let shown = thousands(*n as u64);
                    let free = right - left - 16 - plot::width_of(&shown, 11);
                    let mut label: String = value.clone();
                    while plot::width_of(&label, 12) > free && label.chars().count() > 4 {
                        label.pop();
                        if plot::width_of(&label, 12) <= free {
                            label.push('…');
                            break;
                        }
                    }
                    write(area, &label, (left + 6, (a + b) / 2), 12, TEXT, Hang::Left)?;
                    write(area, &shown, (right - 6, (a + b) / 2), 11, MUTED, Hang::Right)?;
                }
                y += part;
            }
            if i + 1 < counted.len() {
                let middle = (top + bottom) / 2;
                write(area, "×", (right + 18, middle), 16, MUTED, Hang::Middle)?;
            }
        }
        write(
            area,
            &format!(
                "{} experiments; the height of a box is its share of them",
                thousands(total as u64)
            ),
            (8, height - 12),
            12,
            MUTED,
            Hang::Left,
        )
    });
    Figure {
        id: "figure3_combinations".into(),
        title: "Figure 3. The combinations".into(),
        note: "Every box of a column is combined with every box of the next; a detector has as many settings as Table 3 says.".into(),
        alt: format!("{total} experiments: {}", counted.iter().map(|(n, v)| several(v.len(), n)).collect::<Vec<_>>().join(" times ")),
        svg,
        wide: true,
    }
}

/// So many of something.
fn several(n: usize, what: &str) -> String {
    let ending = if n == 1 || what.ends_with('s') { "" } else { "s" };
    format!("{n} {what}{ending}")
}

trait MixFill {
    fn mix_fill(self) -> plotters::style::ShapeStyle;
}

impl MixFill for plotters::style::RGBColor {
    fn mix_fill(self) -> plotters::style::ShapeStyle {
        use plotters::style::Color;
        self.mix(0.22).filled()
    }
}

/// Name, colour and points.
type Line = (String, Ink, Vec<(f64, f64)>);

/// Figure 4: mean train and test time against dimension and against sample count.
pub(crate) fn scaling(data: &RunData) -> Vec<Figure> {
    let dimension = |e: &super::data::Experiment| {
        let r = &e.row;
        (r.architecture.clone(), r.layer.clone())
    };
    // An envelope sees principal components; its layer has the dimension of the others.
    let mut layer: BTreeMap<(String, String), u64> = BTreeMap::new();
    for e in &data.experiments {
        let entry = layer.entry(dimension(e)).or_default();
        *entry = (*entry).max(e.row.dimensions);
    }
    let panels: [(&str, &str, bool, bool); 4] = [
        (
            "figure4_train_dimension",
            "Train time against dimension",
            true,
            true,
        ),
        (
            "figure4_test_dimension",
            "Test time against dimension",
            true,
            false,
        ),
        (
            "figure4_train_samples",
            "Train time against training images",
            false,
            true,
        ),
        (
            "figure4_test_samples",
            "Test time against training images",
            false,
            false,
        ),
    ];
    panels
        .into_iter()
        .filter_map(|(id, title, by_dimension, train)| {
            let mut lines: Vec<Line> = vec![];
            for model in &data.models {
                let mut points: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
                for e in data.experiments.iter().filter(|e| e.row.model == *model) {
                    let x = if by_dimension {
                        layer.get(&dimension(e)).copied().unwrap_or(0)
                    } else {
                        e.row.train_samples
                    };
                    let y = if train {
                        e.row.train_time_s
                    } else {
                        e.row.test_time_s
                    };
                    if let Some(y) = y {
                        points.entry(x).or_default().push(y);
                    }
                }
                let line = points.into_iter().filter_map(|(x, y)| Some((x as f64, mean(y)?)));
                lines.push((
                    model.clone(),
                    color(data, model),
                    line.filter(|(_, y)| *y > 0.0).collect(),
                ));
            }
            let xs = Axis::around(lines.iter().flat_map(|l| l.2.iter().map(|p| p.0)), true)?;
            let ys = Axis::around(lines.iter().flat_map(|l| l.2.iter().map(|p| p.1)), true)?;
            let names: Vec<(String, Ink)> = lines.iter().map(|l| (l.0.clone(), l.1)).collect();
            let below = legend_height(&names, 12, 520);
            let height = 300 + below;
            let svg = plot::svg(520, height as u32, |area| {
                let x = Axis::log(
                    if by_dimension {
                        "features of the layer"
                    } else {
                        "training images"
                    },
                    xs,
                    counted,
                );
                let y = Axis::log(
                    if train {
                        "mean train time"
                    } else {
                        "mean test time"
                    },
                    ys,
                    seconds,
                );
                let frame = Frame::draw(
                    area,
                    x,
                    y,
                    Room {
                        bottom: 46 + below,
                        left: 70,
                        ..Room::default()
                    },
                )?;
                for (_, ink, points) in &lines {
                    frame.line(area, points, *ink, 2)?;
                    frame.dots(area, points, *ink, 3, 1.0)?;
                }
                legend(area, &names, 12, height - below + 8)
            });
            Some(Figure {
                id: id.into(),
                title: format!("Figure 4. {title}"),
                note: "Both axes are logarithmic; each point is the mean over all experiments of that size."
                    .into(),
                alt: format!("{title}, one line for each of {} detectors", data.models.len()),
                svg,
                wide: false,
            })
        })
        .collect()
}

/// A vertical rule in a drawing.
pub(crate) fn rule(area: &plot::Area<'_>, x: i32, from: i32, to: i32, ink: Ink) -> plot::Drawn {
    use plotters::style::Color;
    area.draw(&PathElement::new(
        vec![(x, from), (x, to)],
        rgb(ink).stroke_width(1),
    ))?;
    Ok(())
}
