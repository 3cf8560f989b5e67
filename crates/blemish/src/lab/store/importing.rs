//! A table of results as a run, so that what reads runs can read it.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::params;
use serde_json::{Value, json};

use super::{Row, Status, Store};
use crate::Error;
use crate::lab::compare::normal;
use crate::lab::key::{canonical, key};
use crate::lab::published::read_table;

/// What an import made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Experiments of the table.
    pub experiments: usize,
    /// Those without an AUROC.
    pub failed: usize,
    /// Feature sets.
    pub feature_sets: usize,
}

/// Makes a run of a published table ([`read_table`]) in a new or empty folder. It has AUROCs and times, and neither
/// scores nor test images. Importing the same table again changes nothing.
///
/// # Errors
/// If the table cannot be read or names an experiment twice, if the folder holds another run or something else, or if
/// it cannot be written.
pub fn import_published(table: &Path, folder: &Path) -> Result<Imported, Error> {
    let rows = read_table(table)?;
    if rows.is_empty() {
        return Err(Error::Table {
            path: table.into(),
            line: 1,
            reason: "the table has no rows".into(),
        });
    }
    let content = std::fs::read(table).map_err(|e| Error::io(table, e))?;
    let digest = blake3::hash(&content).to_hex()[..32].to_owned();
    let name = table.file_name().unwrap_or_default().to_string_lossy();
    let identity = json!({"published": {"file": name, "hash": digest, "rows": rows.len()}});

    let mut store = crate::lab::folder::new_store(folder)?;
    let imported = |sets: usize| Imported {
        experiments: rows.len(),
        failed: rows.iter().filter(|(_, r)| r.status == Status::Failed).count(),
        feature_sets: sets,
    };
    match store.store.identity()? {
        Some(found) if found["published"]["hash"] == identity["published"]["hash"] => {
            return Ok(imported(store.store.feature_sets()?.len()));
        }
        Some(_) => {
            return Err(Error::OtherConfiguration {
                folder: folder.into(),
                differences: "it holds other results than this table".into(),
            });
        }
        None => {}
    }
    let sets = store.store.import(table, &rows, &digest, &identity)?;
    store.store.fold()?;
    Ok(imported(sets))
}

impl Store {
    /// All rows in one transaction; how many feature sets they are of.
    fn import(
        &mut self,
        table: &Path,
        rows: &[(u64, Row)],
        digest: &str,
        identity: &Value,
    ) -> Result<usize, Error> {
        let mut sets: HashMap<String, i64> = HashMap::new();
        let mut seen: HashMap<String, u64> = HashMap::new();
        let mut keys = vec![];
        for (line, row) in rows {
            let set = key(&json!([
                digest,
                row.object,
                row.augmented,
                row.architecture,
                row.initialization,
                row.layer
            ]));
            let experiment = key(&json!([set, row.model, normal(&row.hyperparameter)]));
            if let Some(before) = seen.insert(experiment.clone(), *line) {
                return Err(Error::Table {
                    path: table.into(),
                    line: *line,
                    reason: format!("line {before} has the same experiment"),
                });
            }
            keys.push((set, experiment));
        }
        let written = self.db.transaction().and_then(|t| {
            {
                let mut set =
                    t.prepare("INSERT INTO feature_sets VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '')")?;
                let mut experiment =
                    t.prepare("INSERT INTO experiments VALUES (?1, ?2, ?3, ?4, ?5, ?6, '')")?;
                let mut result = t.prepare(
                    "INSERT INTO results (key, status, auroc, train_time_s, test_time_s, error_kind, error) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?;
                for (ordinal, ((_, row), (set_key, experiment_key))) in rows.iter().zip(&keys).enumerate() {
                    let next = sets.len() as i64;
                    let id = *sets.entry(set_key.clone()).or_insert(next);
                    if id == next {
                        set.execute(params![
                            id,
                            set_key,
                            row.object,
                            row.augmented,
                            row.architecture,
                            row.initialization,
                            row.layer,
                            row.train_samples as i64,
                        ])?;
                    }
                    experiment.execute(params![
                        ordinal as i64,
                        experiment_key,
                        id,
                        row.model,
                        row.hyperparameter,
                        row.dimensions as i64,
                    ])?;
                    if row.status == Status::Pending {
                        continue;
                    }
                    result.execute(params![
                        experiment_key,
                        row.status.name(),
                        row.auroc,
                        row.train_time_s,
                        row.test_time_s,
                        row.error.as_ref().map(|_| "published"),
                        row.error,
                    ])?;
                }
            }
            t.execute("INSERT INTO meta VALUES ('identity', ?1)", [canonical(identity)])?;
            t.commit()
        });
        self.check(written)?;
        Ok(sets.len())
    }
}
