//! What a run found, in short: the study's tables of best experiments and of times.

use std::collections::{BTreeMap, BTreeSet};

use super::store::{Row, Status};

/// A setting that can be applied to any object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    /// Network.
    pub architecture: String,
    /// Its weights.
    pub initialization: String,
    /// Hidden layer.
    pub layer: String,
    /// Whether the training set held the augmented images.
    pub augmented: bool,
    /// Detector.
    pub model: String,
    /// Its setting as JSON.
    pub hyperparameter: String,
}

impl Setting {
    /// The setting of an experiment.
    pub fn of(row: &Row) -> Setting {
        Setting {
            architecture: row.architecture.clone(),
            initialization: row.initialization.clone(),
            layer: row.layer.clone(),
            augmented: row.augmented,
            model: row.model.clone(),
            hyperparameter: row.hyperparameter.clone(),
        }
    }
}

/// The best experiment of one object, chosen by its test set.
#[derive(Clone, Debug)]
pub struct BestOfObject {
    /// Object name.
    pub object: String,
    /// Its best AUROC.
    pub auroc: f64,
    /// How many experiments reach that AUROC.
    pub ties: usize,
    /// The first of them.
    pub setting: Setting,
    /// Seconds to fit it.
    pub train_time_s: f64,
    /// Seconds to score the test rows.
    pub test_time_s: f64,
}

/// The single setting with the best mean over all objects.
#[derive(Clone, Debug)]
pub struct BestSetting {
    /// The setting.
    pub setting: Setting,
    /// Mean AUROC over all objects.
    pub mean_auroc: f64,
    /// Lowest AUROC over all objects.
    pub worst_auroc: f64,
}

/// Times of one detector.
#[derive(Clone, Debug)]
pub struct DetectorTimes {
    /// Detector.
    pub model: String,
    /// Experiments with a result.
    pub done: usize,
    /// Failed experiments.
    pub failed: usize,
    /// Mean seconds to fit.
    pub mean_train_time_s: f64,
    /// Mean seconds to score the test rows.
    pub mean_test_time_s: f64,
    /// Mean AUROC over its experiments.
    pub mean_auroc: f64,
}

/// The tables of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// One entry an object, by name.
    pub best_per_object: Vec<BestOfObject>,
    /// Mean of the best AUROCs: an oracle's choice, since the test sets made it.
    pub mean_of_best: Option<f64>,
    /// The best single setting over all objects, if any setting has a result on each.
    pub best_setting: Option<BestSetting>,
    /// One entry a detector, in the order of the plan.
    pub times: Vec<DetectorTimes>,
    /// Experiments by status.
    pub done: usize,
    /// Failed ones.
    pub failed: usize,
    /// Those still to be computed.
    pub pending: usize,
    /// Experiments that had scores that are not finite.
    pub non_finite: usize,
    /// Failures by message, with how many experiments share it.
    pub failures: Vec<(String, usize)>,
}

impl Summary {
    /// Makes the tables from a run's rows.
    pub fn new(rows: &[Row]) -> Summary {
        let mut best: BTreeMap<&str, BestOfObject> = BTreeMap::new();
        let mut by_setting: BTreeMap<Setting, Vec<f64>> = BTreeMap::new();
        let mut order: Vec<&str> = vec![];
        let mut per_model: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        let mut failures: BTreeMap<String, usize> = BTreeMap::new();
        let objects: BTreeSet<&str> = rows.iter().map(|r| r.object.as_str()).collect();
        for row in rows {
            if !per_model.contains_key(row.model.as_str()) {
                order.push(&row.model);
            }
            per_model.entry(&row.model).or_default().push(row);
            if row.status == Status::Failed {
                *failures.entry(row.error.clone().unwrap_or_default()).or_default() += 1;
            }
            let Some(auroc) = row.auroc else { continue };
            by_setting.entry(Setting::of(row)).or_default().push(auroc);
            let entry = best.entry(&row.object).or_insert_with(|| BestOfObject {
                object: row.object.clone(),
                auroc: f64::NEG_INFINITY,
                ties: 0,
                setting: Setting::of(row),
                train_time_s: 0.0,
                test_time_s: 0.0,
            });
            if auroc > entry.auroc {
                entry.auroc = auroc;
                entry.ties = 1;
                entry.setting = Setting::of(row);
                entry.train_time_s = row.train_time_s.unwrap_or(0.0);
                entry.test_time_s = row.test_time_s.unwrap_or(0.0);
            } else if auroc == entry.auroc {
                entry.ties += 1;
            }
        }
        let best_per_object: Vec<BestOfObject> = best.into_values().collect();
        let mean_of_best = mean(best_per_object.iter().map(|b| b.auroc));
        let best_setting = by_setting
            .into_iter()
            .filter(|(_, aurocs)| aurocs.len() == objects.len())
            .filter_map(|(setting, aurocs)| {
                let worst_auroc = aurocs.iter().copied().fold(f64::INFINITY, f64::min);
                mean(aurocs.into_iter()).map(|mean_auroc| BestSetting {
                    setting,
                    mean_auroc,
                    worst_auroc,
                })
            })
            // The first of equals, in the settings' order.
            .reduce(|a, b| if b.mean_auroc > a.mean_auroc { b } else { a });
        let times = order
            .into_iter()
            .map(|model| {
                let rows = &per_model[model];
                let of =
                    |f: fn(&Row) -> Option<f64>| mean(rows.iter().filter_map(|r| f(r))).unwrap_or(f64::NAN);
                DetectorTimes {
                    model: model.to_owned(),
                    done: rows.iter().filter(|r| r.status == Status::Done).count(),
                    failed: rows.iter().filter(|r| r.status == Status::Failed).count(),
                    mean_train_time_s: of(|r| r.train_time_s),
                    mean_test_time_s: of(|r| r.test_time_s),
                    mean_auroc: of(|r| r.auroc),
                }
            })
            .collect();
        let count = |status| rows.iter().filter(|r| r.status == status).count();
        let mut failures: Vec<_> = failures.into_iter().collect();
        failures.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        Summary {
            best_per_object,
            mean_of_best,
            best_setting,
            times,
            done: count(Status::Done),
            failed: count(Status::Failed),
            pending: count(Status::Pending),
            non_finite: rows
                .iter()
                .filter(|r| r.non_finite.is_some_and(|n| n > 0))
                .count(),
            failures,
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
    (n > 0).then(|| sum / n as f64)
}
