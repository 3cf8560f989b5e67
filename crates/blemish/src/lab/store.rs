//! The store: one SQLite file that is the truth about a run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::canonical;
use super::plan::{Experiment, Plan};
use super::stats::TaskStats;
use crate::Error;

mod importing;
mod reading;

pub use importing::{Imported, import_published};
pub use reading::{StoredExperiment, StoredFeatureSet, TestImage};

const SCHEMA_VERSION: &str = "1";
const SCHEMA: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- Rows of the test set, in the order of each result's scores.
CREATE TABLE test_images (
    object TEXT NOT NULL,
    position INTEGER NOT NULL,
    path TEXT NOT NULL,
    defect TEXT,                      -- NULL: good
    PRIMARY KEY (object, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE feature_sets (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    object TEXT NOT NULL,
    augmented INTEGER NOT NULL,
    architecture TEXT NOT NULL,
    initialization TEXT NOT NULL,
    layer TEXT NOT NULL,
    train_samples INTEGER NOT NULL,
    weights_digest TEXT NOT NULL
) STRICT;
-- The plan: every experiment, in order, computed or not.
CREATE TABLE experiments (
    ordinal INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    feature_set INTEGER NOT NULL REFERENCES feature_sets (id),
    model TEXT NOT NULL,
    hyperparameter TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    seed TEXT NOT NULL                -- u64; SQLite's integers are signed
) STRICT;
CREATE TABLE results (
    key TEXT PRIMARY KEY REFERENCES experiments (key),
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
    auroc REAL,
    train_time_s REAL,                -- own fit, and a share of what the settings of a detector share
    test_time_s REAL,
    shared_time_s REAL,               -- share of decoding, features and inner products
    non_finite INTEGER,               -- scores that were not finite
    warning TEXT,
    scores BLOB,                      -- f64, little endian, one a test image; higher = more anomalous
    error_kind TEXT,
    error TEXT
) STRICT, WITHOUT ROWID;
";

/// How far a task is.
pub(crate) struct TaskCount {
    /// Object, network, weights.
    pub(crate) name: String,
    pub(crate) total: usize,
    pub(crate) done: usize,
    pub(crate) failed: usize,
}

/// What tasks cost: a table that stores of earlier versions do not have.
const STATS_SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS task_runs (
    id INTEGER PRIMARY KEY,
    task TEXT NOT NULL,               -- content key
    stats TEXT NOT NULL               -- JSON
) STRICT;
";

/// What came of one experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It has a result.
    Done {
        /// Area under the ROC curve, in `0..=1`.
        auroc: f64,
        /// One score a test image; higher is more anomalous.
        scores: Vec<f64>,
        /// How many scores were not finite.
        non_finite: usize,
        /// What a reader should know of the fit, such as running out of iterations.
        warning: Option<String>,
        /// Time to fit, with a share of what the settings of a detector share.
        train_time: Duration,
        /// Time to score the test rows.
        test_time: Duration,
        /// Share of the time for decoding, features and inner products.
        shared_time: Duration,
    },
    /// It failed, and why.
    Failed {
        /// Kind of the error ([`Error::kind`]).
        kind: String,
        /// Its text.
        message: String,
    },
}

impl Outcome {
    /// Whether it failed.
    pub fn is_failure(&self) -> bool {
        matches!(self, Outcome::Failed { .. })
    }

    /// Leaves what the experiment's key decides.
    pub(crate) fn forget_times(&mut self) {
        if let Outcome::Done {
            train_time,
            test_time,
            shared_time,
            ..
        } = self
        {
            (*train_time, *test_time, *shared_time) = Default::default();
        }
    }
}

/// Whether an experiment has a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has one.
    Done,
    /// It failed.
    Failed,
    /// Not yet.
    Pending,
}

impl Status {
    /// `done`, `failed` or `pending`.
    pub fn name(self) -> &'static str {
        match self {
            Status::Done => "done",
            Status::Failed => "failed",
            Status::Pending => "pending",
        }
    }
}

/// One experiment with its result, in the vocabulary of the study's published table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Object name.
    pub object: String,
    /// Whether the training set held the augmented images.
    pub augmented: bool,
    /// Network.
    pub architecture: String,
    /// Its weights.
    pub initialization: String,
    /// Hidden layer.
    pub layer: String,
    /// Training rows.
    pub train_samples: u64,
    /// Features that the detector saw.
    pub dimensions: u64,
    /// Detector, such as `LocalOutlierFactor`.
    pub model: String,
    /// Its setting as JSON with sorted keys.
    pub hyperparameter: String,
    /// Area under the ROC curve.
    pub auroc: Option<f64>,
    /// Seconds to fit.
    pub train_time_s: Option<f64>,
    /// Seconds to score the test rows.
    pub test_time_s: Option<f64>,
    /// Whether there is a result.
    pub status: Status,
    /// Why it failed.
    pub error: Option<String>,
    /// How many scores were not finite.
    pub non_finite: Option<u64>,
    /// What a reader should know of the fit.
    pub warning: Option<String>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Experiments planned.
    pub total: usize,
    /// With a result.
    pub done: usize,
    /// Failed.
    pub failed: usize,
}

/// Opens the SQLite file at `path` for reading, in a folder that cannot be written as well.
///
/// SQLite reads a file in WAL mode with the help of files beside it, which it makes if need be. Where
/// it cannot, a log that is empty or absent says that the file alone is complete and that nobody
/// writes to it, and it is read as it is.
fn open_to_read(path: &Path) -> Result<Connection, Error> {
    let store = |e| Error::store(path, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let untouched = |text: &str| {
        let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let flags = flags | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags).map_err(store)
    };
    // Whoever writes has a log; where there is none, a reader needs no file beside the store either, and must leave none:
    // it might be of another user, whose files keep the run's owner out.
    if let Some(text) = path.to_str()
        && !Path::new(&log).exists()
    {
        return untouched(text);
    }
    let db = Connection::open_with_flags(path, flags).map_err(store)?;
    let first = db.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get::<_, i64>(0));
    let (Err(error), Some(text)) = (first, path.to_str()) else {
        return Ok(db);
    };
    let complete = std::fs::metadata(&log)
        .map_or_else(|e| e.kind() == std::io::ErrorKind::NotFound, |log| log.len() == 0);
    if error.sqlite_error_code() != Some(rusqlite::ErrorCode::CannotOpen) {
        // Whoever reads on meets it again, and waits if the file is busy.
        return Ok(db);
    }
    if !complete {
        let text = "it cannot be read where nothing can be written, since a run that was killed left \
                    results in the log beside it; copy the run folder to a place that can be written";
        let kind = std::io::ErrorKind::ReadOnlyFilesystem;
        return Err(Error::io(path, std::io::Error::new(kind, text)));
    }
    untouched(text)
}

/// The error for a folder without a store that holds anything.
fn no_store(folder: &Path) -> Error {
    Error::NoRun {
        folder: folder.into(),
    }
}

/// The SQLite file of a run.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    db: Connection,
}

impl Store {
    /// Where the store of a run folder is.
    pub fn path_in(folder: &Path) -> PathBuf {
        folder.join("store.sqlite")
    }

    /// Opens the store of an existing run for reading.
    ///
    /// # Errors
    /// [`Error::NoRun`] if the folder holds none.
    pub fn open(folder: &Path) -> Result<Store, Error> {
        let path = Store::path_in(folder);
        if !path.is_file() {
            return Err(no_store(folder));
        }
        let db = open_to_read(&path)?;
        let store = Store { path, db };
        store.check(store.db.busy_timeout(Duration::from_secs(30)))?;
        // Empty, where the disk was full from the start.
        if store.has_table("meta")? {
            store.check_version()?;
        } else {
            return Err(no_store(folder));
        }
        if store.identity()?.is_none() {
            return Err(no_store(folder));
        }
        Ok(store)
    }

    pub(crate) fn create(folder: &Path) -> Result<Store, Error> {
        let path = Store::path_in(folder);
        let db = Connection::open(&path).map_err(|e| Error::store(&path, e))?;
        Store::set_up(path, db)
    }

    /// A store that vanishes with the process.
    pub(crate) fn in_memory() -> Result<Store, Error> {
        let path = PathBuf::from("in memory");
        let db = Connection::open_in_memory().map_err(|e| Error::store(&path, e))?;
        Store::set_up(path, db)
    }

    fn set_up(path: PathBuf, db: Connection) -> Result<Store, Error> {
        let mut store = Store { path, db };
        store.check(store.db.busy_timeout(Duration::from_secs(30)))?;
        // In WAL mode, NORMAL survives any crash of the process, and a power cut costs at most the
        // last results, which are then computed again; FULL would cost a disk flush a result.
        let set_up = store
            .db
            .pragma_update(None, "journal_mode", "WAL")
            .and_then(|()| store.db.pragma_update(None, "synchronous", "NORMAL"))
            .and_then(|()| store.db.pragma_update(None, "foreign_keys", "ON"));
        store.check(set_up)?;
        let made = store.db.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'",
            [],
            |r| r.get::<_, i64>(0),
        );
        if store.check(made)? == 0 {
            let transaction = store.db.transaction().and_then(|t| {
                t.execute_batch(SCHEMA)?;
                t.execute("INSERT INTO meta VALUES ('schema', ?1)", [SCHEMA_VERSION])?;
                t.execute(
                    "INSERT INTO meta VALUES ('made_by', ?1)",
                    [concat!("blemish ", env!("CARGO_PKG_VERSION"))],
                )?;
                t.commit()
            });
            store.check(transaction)?;
        }
        store.check_version()?;
        Ok(store)
    }

    fn check<T>(&self, result: rusqlite::Result<T>) -> Result<T, Error> {
        result.map_err(|e| Error::store(&self.path, e))
    }

    pub(crate) fn meta(&self, name: &str) -> Result<Option<String>, Error> {
        self.check(
            self.db
                .query_row("SELECT value FROM meta WHERE name = ?1", [name], |r| r.get(0))
                .optional(),
        )
    }

    pub(crate) fn put_meta(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let put = self
            .db
            .execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [name, value]);
        self.check(put).map(|_| ())
    }

    fn check_version(&self) -> Result<(), Error> {
        match self.meta("schema")? {
            Some(v) if v == SCHEMA_VERSION => Ok(()),
            found => Err(Error::StoreVersion {
                path: self.path.clone(),
                found: found.unwrap_or_else(|| "none".into()),
                expected: SCHEMA_VERSION,
            }),
        }
    }

    /// What the run was planned for, once it is.
    pub(crate) fn identity(&self) -> Result<Option<Value>, Error> {
        let Some(text) = self.meta("identity")? else {
            return Ok(None);
        };
        serde_json::from_str(&text).map(Some).map_err(|e| {
            Error::Config(format!(
                "the store {} is damaged: its identity is no JSON ({e})",
                self.path.display()
            ))
        })
    }

    /// Writes the plan: all of it, or, if the process dies, none.
    pub(crate) fn freeze(&mut self, plan: &Plan) -> Result<(), Error> {
        let written = self.db.transaction().and_then(|t| {
            insert(&t, plan)?;
            t.commit()
        });
        self.check(written)
    }

    /// Writes a plan in place of the one that is here, if it holds all experiments of that; results stay. Gives an
    /// experiment that would be lost, in words, if there is one; nothing is written then.
    pub(crate) fn extend(&mut self, plan: &Plan) -> Result<Option<String>, Error> {
        let keys: std::collections::HashSet<&str> = plan.experiments.iter().map(|e| e.key.as_str()).collect();
        let extended = self.db.transaction().and_then(|t| {
            {
                let mut planned = t.prepare(
                    "SELECT e.key, f.object || ' ' || f.architecture || ' ' || f.initialization || ' ' || f.layer \
                     || ' ' || e.model || ' ' || e.hyperparameter \
                     FROM experiments e JOIN feature_sets f ON f.id = e.feature_set",
                )?;
                let mut rows = planned.query([])?;
                while let Some(row) = rows.next()? {
                    if !keys.contains(row.get_ref(0)?.as_str()?) {
                        return row.get(1).map(Some);
                    }
                }
            }
            // Results refer to experiments, which are gone only until the transaction ends.
            t.execute_batch(
                "PRAGMA defer_foreign_keys = ON; DELETE FROM experiments; DELETE FROM feature_sets; \
                 DELETE FROM test_images; DELETE FROM meta WHERE name = 'identity';",
            )?;
            insert(&t, plan)?;
            t.commit()?;
            Ok(None)
        });
        self.check(extended)
    }

    /// Stores one result, in a transaction of its own.
    ///
    /// # Errors
    /// If the disk is full or SQLite fails; what was stored before stays.
    pub fn put(&mut self, key: &str, outcome: &Outcome) -> Result<(), Error> {
        const SQL: &str = "INSERT OR REPLACE INTO results (key, status, auroc, train_time_s, test_time_s, \
             shared_time_s, non_finite, warning, scores, error_kind, error) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let put = self
            .db
            .prepare_cached(SQL)
            .and_then(|mut statement| match outcome {
                Outcome::Done {
                    auroc,
                    scores,
                    non_finite,
                    warning,
                    train_time,
                    test_time,
                    shared_time,
                } => {
                    let blob: Vec<u8> = scores.iter().flat_map(|s| s.to_le_bytes()).collect();
                    statement.execute(params![
                        key,
                        "done",
                        auroc,
                        train_time.as_secs_f64(),
                        test_time.as_secs_f64(),
                        shared_time.as_secs_f64(),
                        *non_finite as i64,
                        warning,
                        blob,
                        None::<String>,
                        None::<String>,
                    ])
                }
                Outcome::Failed { kind, message } => statement.execute(params![
                    key,
                    "failed",
                    None::<f64>,
                    None::<f64>,
                    None::<f64>,
                    None::<f64>,
                    None::<i64>,
                    None::<String>,
                    None::<Vec<u8>>,
                    kind,
                    message,
                ]),
            });
        self.check(put).map(|_| ())
    }

    /// Stores what a task cost.
    pub(crate) fn put_stats(&mut self, stats: &TaskStats) -> Result<(), Error> {
        let text = serde_json::to_string(stats).unwrap_or_default();
        let put = self.db.execute_batch(STATS_SCHEMA).and_then(|()| {
            let sql = "INSERT INTO task_runs (task, stats) VALUES (?1, ?2)";
            self.db.execute(sql, [&stats.key, &text])
        });
        self.check(put).map(|_| ())
    }

    /// What each task cost, in the order in which they ended; a task that was interrupted is there several times. Runs
    /// of earlier versions have none.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn task_stats(&self) -> Result<Vec<TaskStats>, Error> {
        if !self.has_table("task_runs")? {
            return Ok(vec![]);
        }
        let texts: rusqlite::Result<Vec<String>> = self
            .db
            .prepare("SELECT stats FROM task_runs ORDER BY id")
            .and_then(|mut s| s.query_map([], |r| r.get(0))?.collect());
        let texts = self.check(texts)?;
        Ok(texts
            .iter()
            .filter_map(|text| serde_json::from_str(text).ok())
            .collect())
    }

    /// How far each task is, in the plan's order.
    pub(crate) fn task_counts(&self) -> Result<Vec<TaskCount>, Error> {
        const SQL: &str = "SELECT f.object || ' ' || f.architecture || ' ' || f.initialization, count(*), \
             count(r.key) FILTER (WHERE r.status = 'done'), count(r.key) FILTER (WHERE r.status = 'failed') \
             FROM experiments e JOIN feature_sets f ON f.id = e.feature_set LEFT JOIN results r ON r.key = e.key \
             GROUP BY f.object, f.architecture, f.initialization ORDER BY min(f.id)";
        let counts = self.db.prepare(SQL).and_then(|mut s| {
            s.query_map([], |r| {
                Ok(TaskCount {
                    name: r.get(0)?,
                    total: r.get::<_, i64>(1)? as usize,
                    done: r.get::<_, i64>(2)? as usize,
                    failed: r.get::<_, i64>(3)? as usize,
                })
            })?
            .collect()
        });
        self.check(counts)
    }

    /// The last failures in the plan's order, in words.
    pub(crate) fn latest_failures(&self, most: usize) -> Result<Vec<String>, Error> {
        const SQL: &str = "SELECT f.object || ' ' || f.architecture || ' ' || f.initialization || ' ' || f.layer || ' ' || \
             e.model || ' ' || e.hyperparameter || ': ' || coalesce(r.error, '') \
             FROM results r JOIN experiments e ON e.key = r.key JOIN feature_sets f ON f.id = e.feature_set \
             WHERE r.status = 'failed' ORDER BY e.ordinal DESC LIMIT ?1";
        let texts = self
            .db
            .prepare(SQL)
            .and_then(|mut s| s.query_map([most as i64], |r| r.get(0))?.collect());
        self.check(texts)
    }

    fn has_table(&self, name: &str) -> Result<bool, Error> {
        const SQL: &str = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        let count = self.check(self.db.query_row(SQL, [name], |r| r.get::<_, i64>(0)))?;
        Ok(count > 0)
    }

    /// Does `work` in one transaction: if it fails, nothing of it was done.
    pub(crate) fn atomically<T>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.check(self.db.execute_batch("BEGIN IMMEDIATE"))?;
        match work(self) {
            Ok(value) => {
                self.check(self.db.execute_batch("COMMIT"))?;
                Ok(value)
            }
            Err(error) => {
                // SQLite may have done so itself, as it does when the disk is full.
                let _ = self.db.execute_batch("ROLLBACK");
                Err(error)
            }
        }
    }

    /// Whether the stored result of an experiment is `outcome`, whatever time it took.
    pub(crate) fn agrees(&self, key: &str, outcome: &Outcome) -> Result<bool, Error> {
        let Outcome::Done {
            auroc,
            scores,
            non_finite,
            warning,
            ..
        } = outcome
        else {
            return Ok(false);
        };
        const SQL: &str = "SELECT auroc, scores, non_finite, warning FROM results WHERE key = ?1";
        type Stored = (Option<f64>, Option<Vec<u8>>, Option<i64>, Option<String>);
        let stored: Option<Stored> = self.check(self.db.prepare_cached(SQL).and_then(|mut statement| {
            let row = statement.query_row([key], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)));
            row.optional()
        }))?;
        let blob: Vec<u8> = scores.iter().flat_map(|s| s.to_le_bytes()).collect();
        let wanted = (
            Some(*auroc),
            Some(blob),
            Some(*non_finite as i64),
            warning.clone(),
        );
        Ok(stored == Some(wanted))
    }

    /// What came of the experiment with this key; `None` without a result.
    pub(crate) fn outcome(&self, key: &str) -> Result<Option<Outcome>, Error> {
        const SQL: &str = "SELECT status, auroc, scores, non_finite, warning, train_time_s, test_time_s, shared_time_s, \
             error_kind, error FROM results WHERE key = ?1";
        let seconds = |s: Option<f64>| Duration::try_from_secs_f64(s.unwrap_or(0.0)).unwrap_or_default();
        let found = self.db.prepare_cached(SQL).and_then(|mut statement| {
            let outcome = statement.query_row([key], |r| {
                if r.get_ref(0)?.as_str()? != "done" {
                    return Ok(Outcome::Failed {
                        kind: r.get(8)?,
                        message: r.get(9)?,
                    });
                }
                Ok(Outcome::Done {
                    auroc: r.get(1)?,
                    scores: scores(r.get_ref(2)?.as_blob()?),
                    non_finite: r.get::<_, i64>(3)? as usize,
                    warning: r.get(4)?,
                    train_time: seconds(r.get(5)?),
                    test_time: seconds(r.get(6)?),
                    shared_time: seconds(r.get(7)?),
                })
            });
            outcome.optional()
        });
        self.check(found)
    }

    /// Keys that have a result, and whether it is one; `false` is a failure.
    pub(crate) fn finished(&self) -> Result<HashMap<String, bool>, Error> {
        let keys = self
            .db
            .prepare("SELECT key, status = 'done' FROM results")
            .and_then(|mut s| s.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect());
        self.check(keys)
    }

    /// Forgets failures, so that they are tried again.
    pub(crate) fn forget_failures(&mut self) -> Result<usize, Error> {
        let gone = self.db.execute("DELETE FROM results WHERE status = 'failed'", []);
        self.check(gone)
    }

    /// Forgets the failures among `experiments`.
    pub(crate) fn forget_failures_of<'e>(
        &mut self,
        experiments: impl Iterator<Item = &'e Experiment>,
    ) -> Result<usize, Error> {
        let gone = self.db.transaction().and_then(|t| {
            let mut gone = 0;
            {
                let mut delete = t.prepare("DELETE FROM results WHERE key = ?1 AND status = 'failed'")?;
                for experiment in experiments {
                    gone += delete.execute([&experiment.key])?;
                }
            }
            t.commit()?;
            Ok(gone)
        });
        self.check(gone)
    }

    /// Folds the write-ahead log into the file, so that the file alone can be copied.
    pub(crate) fn fold(&self) -> Result<(), Error> {
        let folded = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.check(folded)
    }

    /// How far the run is.
    pub fn progress(&self) -> Result<Progress, Error> {
        let counted = self.db.query_row(
            "SELECT (SELECT count(*) FROM experiments), \
             (SELECT count(*) FROM results WHERE status = 'done'), \
             (SELECT count(*) FROM results WHERE status = 'failed')",
            [],
            |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?)),
        );
        let (total, done, failed) = self.check(counted)?;
        Ok(Progress {
            total: total as usize,
            done: done as usize,
            failed: failed as usize,
        })
    }

    /// Every experiment of the plan in its order, with its result if it has one.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn rows(&self) -> Result<Vec<Row>, Error> {
        const SQL: &str = "SELECT f.object, f.augmented, f.architecture, f.initialization, f.layer, \
             f.train_samples, e.dimensions, e.model, e.hyperparameter, r.auroc, r.train_time_s, \
             r.test_time_s, r.status, r.error, r.non_finite, r.warning \
             FROM experiments e JOIN feature_sets f ON f.id = e.feature_set \
             LEFT JOIN results r ON r.key = e.key ORDER BY e.ordinal";
        let rows = self.db.prepare(SQL).and_then(|mut s| {
            s.query_map([], |r| {
                Ok(Row {
                    object: r.get(0)?,
                    augmented: r.get(1)?,
                    architecture: r.get(2)?,
                    initialization: r.get(3)?,
                    layer: r.get(4)?,
                    train_samples: r.get::<_, i64>(5)? as u64,
                    dimensions: r.get::<_, i64>(6)? as u64,
                    model: r.get(7)?,
                    hyperparameter: r.get(8)?,
                    auroc: r.get(9)?,
                    train_time_s: r.get(10)?,
                    test_time_s: r.get(11)?,
                    status: match r.get::<_, Option<String>>(12)?.as_deref() {
                        Some("done") => Status::Done,
                        Some(_) => Status::Failed,
                        None => Status::Pending,
                    },
                    error: r.get(13)?,
                    non_finite: r.get::<_, Option<i64>>(14)?.map(|v| v as u64),
                    warning: r.get(15)?,
                })
            })?
            .collect()
        });
        self.check(rows)
    }

    /// The scores of the experiment with this key, one a test image; `None` without a result.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn scores(&self, key: &str) -> Result<Option<Vec<f64>>, Error> {
        let blob: Option<Option<Vec<u8>>> = self.check(
            self.db
                .query_row("SELECT scores FROM results WHERE key = ?1", [key], |r| r.get(0))
                .optional(),
        )?;
        Ok(blob.flatten().map(|bytes| scores(&bytes)))
    }
}

/// Scores as they are stored.
fn scores(bytes: &[u8]) -> Vec<f64> {
    let (chunks, _) = bytes.as_chunks::<8>();
    chunks.iter().map(|c| f64::from_le_bytes(*c)).collect()
}

fn insert(t: &rusqlite::Transaction<'_>, plan: &Plan) -> rusqlite::Result<()> {
    let mut image = t.prepare("INSERT INTO test_images VALUES (?1, ?2, ?3, ?4)")?;
    for object in &plan.objects {
        for (position, file) in object.test.iter().enumerate() {
            image.execute(params![object.name, position as i64, file.relative, file.defect])?;
        }
    }
    let mut set = t.prepare("INSERT INTO feature_sets VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    for (id, s) in plan.feature_sets.iter().enumerate() {
        let task = &plan.tasks[s.task];
        set.execute(params![
            id as i64,
            s.key,
            plan.objects[task.object].name,
            s.augmented,
            task.backbone.architecture(),
            task.backbone.initialization(),
            s.layer,
            s.train_samples as i64,
            s.weights_digest,
        ])?;
    }
    let mut experiment = t.prepare("INSERT INTO experiments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for (ordinal, e) in plan.experiments.iter().enumerate() {
        experiment.execute(params![
            ordinal as i64,
            e.key,
            e.feature_set as i64,
            e.spec.model_name(),
            e.spec.hyperparameter_json(),
            e.dimensions as i64,
            e.seed.to_string(),
        ])?;
    }
    let identity = canonical(&plan.identity);
    t.execute("INSERT INTO meta VALUES ('identity', ?1)", [identity])?;
    Ok(())
}
