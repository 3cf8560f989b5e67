//! What an AUROC means depends on how its setting was chosen: three ways of choosing, each named for what it is.

use blemish_detectors::{BootstrapOptions, Interval, auroc, bootstrap_interval};

use super::data::{RunData, setting_in_words};
use super::stats::{interval_text, mean};
use super::table::{Cell, Table};
use crate::Error;
use crate::lab::Store;

/// A way of choosing, and what it gives.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does, in words.
    pub(crate) what: &'static str,
    /// Experiment chosen for each object: index into [`RunData::experiments`].
    pub(crate) chosen: Vec<Option<usize>>,
    /// Mean AUROC over the objects, if each has one.
    pub(crate) mean: Option<f64>,
    /// Its interval.
    pub(crate) interval: Option<Interval>,
    /// How much lower it is than the oracle, with its interval.
    pub(crate) gap: Option<Interval>,
}

/// The three ways.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// The best on each object's own test set.
    pub(crate) oracle: Choice,
    /// The best mean over all objects.
    pub(crate) single: Choice,
    /// The best mean over the other objects.
    pub(crate) left_out: Choice,
    /// Whether intervals are over test images (there are scores), or over objects.
    pub(crate) over_images: bool,
    /// Mean AUROC of all experiments: what an unlucky choice gives.
    pub(crate) of_all: Option<f64>,
    /// AUROC of each object by choice, with an interval over its test images.
    pub(crate) per_object: Vec<[Option<Interval>; 3]>,
}

/// The recipe with the best mean over `objects`, the first of equals; only recipes that have all of those.
fn best_recipe(data: &RunData, objects: &[usize], also: Option<usize>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (recipe, aurocs) in data.aurocs.iter().enumerate() {
        if also.is_some_and(|o| aurocs[o].is_none()) || objects.iter().any(|o| aurocs[*o].is_none()) {
            continue;
        }
        let Some(mean) = mean(objects.iter().filter_map(|o| aurocs[*o])) else {
            continue;
        };
        if best.is_none_or(|(_, b)| mean > b) {
            best = Some((recipe, mean));
        }
    }
    best.map(|(recipe, _)| recipe)
}

impl Selection {
    /// Chooses, and asks the scores how sure the means are.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn new(data: &RunData, store: &Store, options: &BootstrapOptions) -> Result<Selection, Error> {
        let all: Vec<usize> = (0..data.objects.len()).collect();
        let number = |o: usize, recipe: Option<usize>| recipe.and_then(|r| data.index[r][o]);
        let recipe = best_recipe(data, &all, None);
        let chosen = [
            all.iter()
                .map(|o| data.best_of(*o).and_then(|(e, _)| number(*o, Some(e.recipe))))
                .collect::<Vec<_>>(),
            all.iter().map(|o| number(*o, recipe)).collect(),
            all.iter()
                .map(|o| {
                    let others: Vec<usize> = all.iter().copied().filter(|x| x != o).collect();
                    number(*o, best_recipe(data, &others, Some(*o)))
                })
                .collect(),
        ];
        // Scores by choice and object, where the run has them.
        let mut scores: Vec<Vec<Option<Vec<f64>>>> = vec![];
        for choice in &chosen {
            let mut of_choice = vec![];
            for (object, e) in choice.iter().enumerate() {
                let found = match e {
                    Some(e) => store.scores(&data.experiments[*e].key)?,
                    None => None,
                };
                let images = data.defective(object).len();
                of_choice.push(found.filter(|s| !s.is_empty() && s.len() == images));
            }
            scores.push(of_choice);
        }
        let labels: Vec<Vec<bool>> = all.iter().map(|o| data.defective(*o)).collect();
        let mut strata = vec![];
        let mut place = vec![];
        for (object, labels) in labels.iter().enumerate() {
            for (image, defective) in labels.iter().enumerate() {
                strata.push((object, *defective));
                place.push(image);
            }
        }
        let over_images = scores[0].iter().all(Option::is_some) && !strata.is_empty();
        // Mean over objects of the AUROC of the drawn images.
        let mean_of = |choice: usize, rows: &[usize]| -> Option<f64> {
            let mut drawn: Vec<(Vec<f64>, Vec<bool>)> = vec![Default::default(); labels.len()];
            for row in rows {
                let (object, defective) = strata[*row];
                let score = scores[choice][object].as_ref()?[place[*row]];
                drawn[object].0.push(score);
                drawn[object].1.push(defective);
            }
            mean(
                drawn
                    .iter()
                    .map(|(s, d)| auroc(s, d).ok())
                    .collect::<Option<Vec<_>>>()?,
            )
        };
        let value = |choice: usize, o: usize| chosen[choice][o].and_then(|e| data.experiments[e].row.auroc);
        let values = |choice: usize| {
            all.iter()
                .map(|o| value(choice, *o))
                .collect::<Option<Vec<f64>>>()
        };
        let objects_alike = vec![(); all.len()];
        let interval = |f: &(dyn Fn(&[usize]) -> Option<f64> + Sync), over_images: bool| {
            if over_images {
                bootstrap_interval(&strata, options, f).ok()
            } else if all.len() > 2 {
                bootstrap_interval(&objects_alike, options, f).ok()
            } else {
                None
            }
        };
        let make = |choice: usize, name, what| {
            let (own, best) = (values(choice), values(0));
            let of = |list: &Option<Vec<f64>>, rows: &[usize]| {
                list.as_ref().and_then(|v| mean(rows.iter().map(|i| v[*i])))
            };
            let (mean_interval, gap) = if over_images {
                (
                    interval(&|rows| mean_of(choice, rows), true),
                    interval(&|rows| Some(mean_of(0, rows)? - mean_of(choice, rows)?), true),
                )
            } else {
                (
                    interval(&|rows| of(&own, rows), false),
                    interval(&|rows| Some(of(&best, rows)? - of(&own, rows)?), false),
                )
            };
            Choice {
                name,
                what,
                chosen: chosen[choice].clone(),
                mean: own.and_then(mean),
                interval: mean_interval,
                gap: gap.filter(|_| choice > 0),
            }
        };
        let oracle = make(
            0,
            "Oracle",
            "the best setting of each object, chosen on the test images it is then measured on: an upper bound that no user can reach knowingly",
        );
        let single = make(
            1,
            "Best single setting",
            "one setting for all objects, the one with the best mean on these test images: still chosen on them, but one choice instead of one per object",
        );
        let left_out = make(
            2,
            "Leave one object out",
            "for each object the setting that is best on the other objects: what a new object can expect",
        );
        let per_object = all
            .iter()
            .map(|o| {
                std::array::from_fn(|choice| {
                    let value = value(choice, *o)?;
                    let alone = Interval {
                        value,
                        low: f64::NAN,
                        high: f64::NAN,
                    };
                    let Some(scores) = scores[choice][*o].as_ref() else {
                        return Some(alone);
                    };
                    let interval = bootstrap_interval(&labels[*o], options, |rows| {
                        let s: Vec<f64> = rows.iter().map(|i| scores[*i]).collect();
                        let d: Vec<bool> = rows.iter().map(|i| labels[*o][*i]).collect();
                        auroc(&s, &d).ok()
                    });
                    Some(interval.unwrap_or(alone))
                })
            })
            .collect();
        Ok(Selection {
            oracle,
            single,
            left_out,
            over_images,
            of_all: mean(data.experiments.iter().filter_map(|e| e.row.auroc)),
            per_object,
        })
    }

    /// The three, best first.
    pub(crate) fn choices(&self) -> [&Choice; 3] {
        [&self.oracle, &self.single, &self.left_out]
    }

    /// What the intervals are over, in words.
    pub(crate) fn basis(&self) -> &'static str {
        if self.over_images {
            "95 % bootstrap intervals over test images, drawn within the good and the defective images of each object, for the settings as chosen (choosing anew in each draw is not part of them)"
        } else {
            "Scores of single images are not at hand for every setting that is compared (results are lacking yet, or were imported from a table), so the intervals are 95 % bootstrap intervals over objects only"
        }
    }

    /// Means of the three choices.
    pub(crate) fn means(&self) -> Table {
        let columns = [
            "choice",
            "#mean AUROC",
            "95 % interval",
            "#below the oracle",
            "95 % interval of that",
            "what it is",
        ];
        let mut table =
            Table::new("selection", "How good is it? It depends on who chooses", &columns).note(self.basis());
        for c in self.choices() {
            table.rows.push(vec![
                Cell::text(c.name).strong(),
                Cell::auroc(c.mean),
                Cell::text(interval_text(c.interval)),
                c.gap.map_or_else(
                    || Cell::text("–"),
                    |g| Cell::number(g.value, format!("{:.3}", g.value)),
                ),
                Cell::text(interval_text(c.gap)),
                Cell::text(c.what),
            ]);
        }
        // What choosing blindly gives, for comparison.
        table.foot = Some(vec![
            Cell::text("All experiments"),
            Cell::auroc(self.of_all),
            Cell::text("–"),
            Cell::difference(None),
            Cell::text("–"),
            Cell::text("the mean of every experiment of the run: what a choice by lot gives"),
        ]);
        table
    }

    /// Per object.
    pub(crate) fn objects(&self, data: &RunData) -> Table {
        let columns = [
            "object",
            "#oracle",
            "95 %",
            "#single setting",
            "95 %",
            "#left out",
            "95 %",
            "setting chosen without the object",
        ];
        let mut table = Table::new("selection_objects", "The three choices per object", &columns);
        for (o, intervals) in self.per_object.iter().enumerate() {
            let mut cells = vec![Cell::text(&data.objects[o])];
            for (choice, interval) in self.choices().iter().zip(intervals) {
                let mut cell = Cell::auroc(interval.map(|i| i.value));
                if let Some(e) = choice.chosen[o] {
                    cell = cell.of(data.experiments[e].ordinal);
                }
                cells.push(cell);
                cells.push(Cell::text(interval_text(interval.filter(|i| !i.low.is_nan()))));
            }
            let setting =
                self.left_out.chosen[o].map(|e| setting_in_words(&data.recipes[data.experiments[e].recipe]));
            cells.push(Cell::text(setting.unwrap_or_else(|| "–".into())));
            table.rows.push(cells);
        }
        table
    }
}
