//! A run beside a published table.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::published::read_table;
use super::store::Row;
use crate::Error;

/// What identifies an experiment in any table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct JoinKey {
    object: String,
    augmented: bool,
    architecture: String,
    initialization: String,
    layer: String,
    model: String,
    /// JSON with sorted keys and every number as a float, so that `1` and `1.0` meet.
    hyperparameter: String,
}

/// AUROCs of a published table, by experiment.
#[derive(Debug, Default)]
pub struct Published {
    aurocs: BTreeMap<JoinKey, f64>,
}

/// An experiment that both tables have.
#[derive(Clone, Debug)]
pub struct RowDifference {
    /// Object, training set, network, weights and layer in words.
    pub experiment: String,
    /// Detector.
    pub model: String,
    /// Its setting as JSON.
    pub hyperparameter: String,
    /// Our AUROC; the mean over runs.
    pub ours: f64,
    /// Standard deviation over runs, 0 for one.
    pub deviation: f64,
    /// The published AUROC.
    pub published: f64,
}

impl RowDifference {
    /// Absolute difference.
    pub fn difference(&self) -> f64 {
        (self.ours - self.published).abs()
    }

    /// Whether the published value lies within three standard deviations over our seeds plus 0.02:
    /// what can be asked of a detector that draws random numbers.
    pub fn within_spread(&self) -> bool {
        self.difference() <= 3.0 * self.deviation + 0.02
    }
}

/// The differences of one group of settings.
#[derive(Clone, Debug)]
pub struct GroupDifference {
    /// Detector and part of its settings.
    pub group: String,
    /// Rows that both tables have.
    pub rows: usize,
    /// Median absolute difference.
    pub median: f64,
    /// 95th percentile of the absolute differences.
    pub percentile_95: f64,
    /// Largest absolute difference.
    pub largest: f64,
    /// Rows within three standard deviations plus 0.02, if there are several runs.
    pub within_spread: Option<usize>,
}

/// A run, or several with other seeds, beside a published table.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Runs compared.
    pub runs: usize,
    /// Experiments with a result that the published table does not have.
    pub unmatched: usize,
    /// By detector and part of its settings.
    pub groups: Vec<GroupDifference>,
    /// Every joined row, largest difference first.
    pub rows: Vec<RowDifference>,
}

/// Reads a published table: CSV, or gzipped CSV if the name ends in `.gz`.
///
/// # Errors
/// If the file cannot be read, lacks a column, or holds a value that is none; with the line.
pub fn read_published(path: &Path) -> Result<Published, Error> {
    let mut published = Published::default();
    for (line, row) in read_table(path)? {
        let Some(auroc) = row.auroc else { continue };
        let hyperparameter = normal(&row.hyperparameter).ok_or_else(|| Error::Table {
            path: path.into(),
            line,
            reason: format!("hyperparameter `{}` is no JSON", row.hyperparameter),
        })?;
        let key = JoinKey {
            object: row.object,
            augmented: row.augmented,
            architecture: row.architecture,
            initialization: row.initialization,
            layer: row.layer,
            model: row.model,
            hyperparameter,
        };
        published.aurocs.insert(key, auroc);
    }
    Ok(published)
}

/// Joins runs (the same experiments, other seeds) with a published table.
pub fn compare(runs: &[Vec<Row>], published: &Published) -> Comparison {
    // With the setting as we spell it, for display.
    let mut ours: BTreeMap<JoinKey, (&str, Vec<f64>)> = BTreeMap::new();
    for row in runs.iter().flatten() {
        let (Some(auroc), Some(hyperparameter)) = (row.auroc, normal(&row.hyperparameter)) else {
            continue;
        };
        let key = JoinKey {
            object: row.object.clone(),
            augmented: row.augmented,
            architecture: row.architecture.clone(),
            initialization: row.initialization.clone(),
            layer: row.layer.clone(),
            model: row.model.clone(),
            hyperparameter,
        };
        ours.entry(key)
            .or_insert((&row.hyperparameter, vec![]))
            .1
            .push(auroc);
    }
    let mut unmatched = 0;
    let mut rows = vec![];
    let mut groups: BTreeMap<String, Vec<RowDifference>> = BTreeMap::new();
    for (key, (setting, aurocs)) in ours {
        let Some(&auroc) = published.aurocs.get(&key) else {
            unmatched += 1;
            continue;
        };
        let n = aurocs.len() as f64;
        let mean = aurocs.iter().sum::<f64>() / n;
        let squares = aurocs.iter().map(|a| (a - mean).powi(2)).sum::<f64>();
        let row = RowDifference {
            experiment: format!(
                "{} {} {} {} {}",
                key.object,
                if key.augmented { "augmented" } else { "originals" },
                key.architecture,
                key.initialization,
                key.layer
            ),
            deviation: if aurocs.len() > 1 {
                (squares / (n - 1.0)).sqrt()
            } else {
                0.0
            },
            ours: mean,
            published: auroc,
            hyperparameter: setting.to_owned(),
            model: key.model.clone(),
        };
        groups.entry(group(&key)).or_default().push(row.clone());
        rows.push(row);
    }
    // Stable, so that equal differences stay in key order.
    rows.sort_by(|a, b| b.difference().total_cmp(&a.difference()));
    let groups = groups
        .into_iter()
        .map(|(group, rows)| {
            let mut differences: Vec<f64> = rows.iter().map(RowDifference::difference).collect();
            differences.sort_by(f64::total_cmp);
            GroupDifference {
                group,
                rows: rows.len(),
                median: quantile(&differences, 0.5),
                percentile_95: quantile(&differences, 0.95),
                largest: quantile(&differences, 1.0),
                within_spread: (runs.len() > 1).then(|| rows.iter().filter(|r| r.within_spread()).count()),
            }
        })
        .collect();
    Comparison {
        runs: runs.len(),
        unmatched,
        groups,
        rows,
    }
}

/// Settings that are expected to agree equally well: see `docs/reproduction.md`.
fn group(key: &JoinKey) -> String {
    let setting: Value = serde_json::from_str(&key.hyperparameter).unwrap_or_default();
    let text = |name: &str| setting[name].as_str().unwrap_or("?").to_owned();
    match key.model.as_str() {
        "LocalOutlierFactor" if setting["n_neighbors"].as_f64() < Some(8.0) => {
            "LocalOutlierFactor, n_neighbors < 8".into()
        }
        "LocalOutlierFactor" => "LocalOutlierFactor, n_neighbors >= 8".into(),
        "OneClassSVM" if text("kernel") == "rbf" => "OneClassSVM, rbf".into(),
        "OneClassSVM" => "OneClassSVM, linear, poly, sigmoid".into(),
        "KernelDensity" => format!("KernelDensity, {}", text("kernel")),
        model => model.into(),
    }
}

/// Linear interpolation between order statistics, as numpy's default.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let at = q * (sorted.len() - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

pub(crate) fn normal(json: &str) -> Option<String> {
    fn floats(value: Value) -> Value {
        match value {
            Value::Number(n) => n.as_f64().map_or(Value::Number(n), Value::from),
            Value::Object(map) => map.into_iter().map(|(k, v)| (k, floats(v))).collect(),
            other => other,
        }
    }
    Some(super::key::canonical(&floats(serde_json::from_str(json).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_meet_whatever_their_spelling() {
        assert_eq!(
            normal(r#"{"kernel": "x", "bandwidth": 1.0}"#),
            normal(r#"{"bandwidth":1,"kernel":"x"}"#)
        );
        assert_ne!(normal(r#"{"bandwidth": 0.5}"#), normal(r#"{"bandwidth": 1.0}"#));
        assert_eq!(normal("{"), None);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[0.0, 1.0, 2.0, 4.0], 0.5), 1.5);
        assert_eq!(quantile(&[3.0], 0.95), 3.0);
    }
}
