//! What a report reads: more of each experiment than a table of results has.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;
use serde_json::Value;

use super::{Row, Status, Store};
use crate::Error;

/// An experiment with all that the store has of it but the scores ([`Store::scores`]).
#[derive(Clone, Debug)]
pub struct StoredExperiment {
    /// Its number in the plan's order, from 0.
    pub ordinal: u64,
    /// Its key.
    pub key: String,
    /// [`StoredFeatureSet::id`] of its features.
    pub feature_set: u64,
    /// As in a table of results.
    pub row: Row,
    /// Seconds: its share of decoding, features and inner products.
    pub shared_time_s: Option<f64>,
    /// Kind of the error, where it failed ([`Error::kind`]).
    pub error_kind: Option<String>,
}

/// A set of features: one layer of one network on the images of one object.
#[derive(Clone, Debug)]
pub struct StoredFeatureSet {
    /// Its number, from 0.
    pub id: u64,
    /// Object name.
    pub object: String,
    /// Content hash of the weights that the layer depends on; empty where it is not known.
    pub weights_digest: String,
}

/// An image of the test set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestImage {
    /// Object name.
    pub object: String,
    /// Path relative to the object's folder.
    pub path: String,
    /// Kind of defect; `None` where it is good.
    pub defect: Option<String>,
}

impl Store {
    /// Every experiment of the plan in its order, with its result if it has one.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn experiments(&self) -> Result<Vec<StoredExperiment>, Error> {
        const SQL: &str = "SELECT e.ordinal, e.key, e.feature_set, r.shared_time_s, r.error_kind, \
             f.object, f.augmented, f.architecture, f.initialization, f.layer, f.train_samples, \
             e.dimensions, e.model, e.hyperparameter, r.auroc, r.train_time_s, r.test_time_s, r.status, \
             r.error, r.non_finite, r.warning \
             FROM experiments e JOIN feature_sets f ON f.id = e.feature_set \
             LEFT JOIN results r ON r.key = e.key ORDER BY e.ordinal";
        let found = self.db.prepare(SQL).and_then(|mut s| {
            s.query_map([], |r| {
                Ok(StoredExperiment {
                    ordinal: r.get::<_, i64>(0)? as u64,
                    key: r.get(1)?,
                    feature_set: r.get::<_, i64>(2)? as u64,
                    shared_time_s: r.get(3)?,
                    error_kind: r.get(4)?,
                    row: Row {
                        object: r.get(5)?,
                        augmented: r.get(6)?,
                        architecture: r.get(7)?,
                        initialization: r.get(8)?,
                        layer: r.get(9)?,
                        train_samples: r.get::<_, i64>(10)? as u64,
                        dimensions: r.get::<_, i64>(11)? as u64,
                        model: r.get(12)?,
                        hyperparameter: r.get(13)?,
                        auroc: r.get(14)?,
                        train_time_s: r.get(15)?,
                        test_time_s: r.get(16)?,
                        status: match r.get::<_, Option<String>>(17)?.as_deref() {
                            Some("done") => Status::Done,
                            Some(_) => Status::Failed,
                            None => Status::Pending,
                        },
                        error: r.get(18)?,
                        non_finite: r.get::<_, Option<i64>>(19)?.map(|v| v as u64),
                        warning: r.get(20)?,
                    },
                })
            })?
            .collect()
        });
        self.check(found)
    }

    /// The feature sets of the plan in its order.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn feature_sets(&self) -> Result<Vec<StoredFeatureSet>, Error> {
        const SQL: &str = "SELECT id, object, weights_digest FROM feature_sets ORDER BY id";
        let found = self.db.prepare(SQL).and_then(|mut s| {
            s.query_map([], |r| {
                Ok(StoredFeatureSet {
                    id: r.get::<_, i64>(0)? as u64,
                    object: r.get(1)?,
                    weights_digest: r.get(2)?,
                })
            })?
            .collect()
        });
        self.check(found)
    }

    /// The test images by object, in the order of each result's scores. A run that was imported from a table has
    /// none.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn test_images(&self) -> Result<BTreeMap<String, Vec<TestImage>>, Error> {
        const SQL: &str = "SELECT object, path, defect FROM test_images ORDER BY object, position";
        let found: Vec<TestImage> = self.check(self.db.prepare(SQL).and_then(|mut s| {
            s.query_map([], |r| {
                Ok(TestImage {
                    object: r.get(0)?,
                    path: r.get(1)?,
                    defect: r.get(2)?,
                })
            })?
            .collect()
        }))?;
        let mut images: BTreeMap<String, Vec<TestImage>> = BTreeMap::new();
        for image in found {
            images.entry(image.object.clone()).or_default().push(image);
        }
        Ok(images)
    }

    /// What the run was planned for: data fingerprints, selection, weights, versions.
    ///
    /// # Errors
    /// If SQLite fails or the store is damaged.
    pub fn planned_for(&self) -> Result<Value, Error> {
        Ok(self.identity()?.unwrap_or_default())
    }

    /// The version of the program that made the store.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn made_by(&self) -> Result<Option<String>, Error> {
        self.meta("made_by")
    }

    /// A note that no result depends on, such as the machine.
    ///
    /// # Errors
    /// If SQLite fails; a note that is no JSON counts as none.
    pub fn note(&self, name: &str) -> Result<Option<Value>, Error> {
        let text = self.meta(&format!("note:{name}"))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Keeps a note; one that says the same already is left alone.
    pub(crate) fn set_note(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        let (name, text) = (format!("note:{name}"), value.to_string());
        let found: Option<String> = self.check(
            self.db
                .query_row("SELECT value FROM meta WHERE name = ?1", [&name], |r| r.get(0))
                .optional(),
        )?;
        if found.as_deref() == Some(text.as_str()) {
            return Ok(());
        }
        let put = self
            .db
            .execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [&name, &text]);
        self.check(put).map(|_| ())
    }

    /// Bytes that the results take in the file.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn size(&self) -> Result<u64, Error> {
        let pragma = |name: &str| -> Result<u64, Error> {
            let value = self.db.pragma_query_value(None, name, |r| r.get::<_, i64>(0));
            Ok(self.check(value)? as u64)
        };
        Ok(pragma("page_count")? * pragma("page_size")?)
    }
}
