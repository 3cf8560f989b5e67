//! Results of one feature set in a file of its own: how processes that share nothing but a folder hand over what they
//! computed.
//!
//! `RUN/parts/PLAN/KEY.part`, where PLAN is the hash of the plan and KEY the key of the feature set, holds the outcomes of all its experiments. It comes
//! into being whole or not at all, and is never replaced: whoever is first wins. A feature set with failures goes to
//! `KEY.failed` instead, which a later attempt may replace by one with fewer of them, or overrule by a `KEY.part`.
//! Whoever comes second with other numbers, which should be impossible, leaves them at `KEY.other` for a reader to see.
//!
//! # Format
//! | bytes | what |
//! |---|---|
//! | 8 | `BLEMPART` |
//! | 4 | version of the format, little endian |
//! | 8 | length of the body, little endian |
//! | n | the body: [`Part`] in postcard's encoding |
//! | 32 | BLAKE3 of all bytes before |

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::{FeatureSet, Plan};
use super::shard::DamagedPart;
use super::store::Outcome;
use crate::Error;

const MAGIC: &[u8; 8] = b"BLEMPART";
const FORMAT: u32 = 1;
const HEADER: usize = MAGIC.len() + 4 + 8;
const HASH: usize = blake3::OUT_LEN;
/// What the texts of one experiment (key, warning, message) may take: more is no part of ours.
const TEXTS: u64 = 1 << 16;

/// The outcomes of the experiments of one feature set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Hash of the plan.
    plan: String,
    /// Key of the feature set.
    feature_set: String,
    /// One for each experiment, in the plan's order.
    results: Vec<PartResult>,
    /// Where it was computed: not part of the digest.
    host: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PartResult {
    /// Key of the experiment.
    key: String,
    outcome: PartOutcome,
    /// To fit, to score, and the share of what was shared: not part of the digest.
    times: [Duration; 3],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum PartOutcome {
    Done {
        auroc: f64,
        scores: Vec<f64>,
        non_finite: u64,
        warning: Option<String>,
    },
    Failed {
        kind: String,
        message: String,
    },
}

impl PartResult {
    fn new(key: &str, outcome: &Outcome) -> PartResult {
        let key = key.to_owned();
        match outcome.clone() {
            Outcome::Done {
                auroc,
                scores,
                non_finite,
                warning,
                train_time,
                test_time,
                shared_time,
            } => PartResult {
                key,
                outcome: PartOutcome::Done {
                    auroc,
                    scores,
                    non_finite: non_finite as u64,
                    warning,
                },
                times: [train_time, test_time, shared_time],
            },
            Outcome::Failed { kind, message } => PartResult {
                key,
                outcome: PartOutcome::Failed { kind, message },
                times: [Duration::ZERO; 3],
            },
        }
    }

    fn into_outcome(self) -> (String, Outcome) {
        let [train_time, test_time, shared_time] = self.times;
        let outcome = match self.outcome {
            PartOutcome::Done {
                auroc,
                scores,
                non_finite,
                warning,
            } => Outcome::Done {
                auroc,
                scores,
                non_finite: non_finite as usize,
                warning,
                train_time,
                test_time,
                shared_time,
            },
            PartOutcome::Failed { kind, message } => Outcome::Failed { kind, message },
        };
        (self.key, outcome)
    }
}

impl Part {
    /// The part of `set` from the outcomes of its experiments; `None` while one is missing.
    pub(crate) fn new(plan: &Plan, set: &FeatureSet, outcomes: &HashMap<String, Outcome>) -> Option<Part> {
        let experiments = plan.experiments[set.experiments.clone()].iter();
        let results = experiments
            .map(|e| Some(PartResult::new(&e.key, outcomes.get(&e.key)?)))
            .collect::<Option<Vec<_>>>()?;
        Some(Part {
            plan: plan.hash.clone(),
            feature_set: set.key.clone(),
            results,
            host: host(),
        })
    }

    /// Experiments that failed.
    pub(crate) fn failed(&self) -> usize {
        let failed = |r: &&PartResult| matches!(r.outcome, PartOutcome::Failed { .. });
        self.results.iter().filter(failed).count()
    }

    /// Each experiment's key and outcome, in the plan's order.
    pub(crate) fn into_outcomes(self) -> impl Iterator<Item = (String, Outcome)> {
        self.results.into_iter().map(PartResult::into_outcome)
    }

    /// Hash of everything but the times and the place: equal for whoever computes the same.
    pub(crate) fn digest(&self) -> Result<String, Error> {
        let mut timeless = self.clone();
        timeless.host.clear();
        for result in &mut timeless.results {
            result.times = [Duration::ZERO; 3];
        }
        Ok(blake3::hash(&body(&timeless)?).to_hex().to_string())
    }

    fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let body = body(self)?;
        let mut bytes = Vec::with_capacity(HEADER + body.len() + HASH);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Ok(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Part, String> {
        let Some((magic, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(format!("it is cut short: {} bytes", bytes.len()));
        };
        if magic != MAGIC {
            return Err("it is no part of a run".into());
        }
        let Some((format, rest)) = rest.split_first_chunk::<4>() else {
            return Err(format!("it is cut short: {} bytes", bytes.len()));
        };
        let format = u32::from_le_bytes(*format);
        if format != FORMAT {
            return Err(format!("its format is {format}; this version reads {FORMAT}"));
        }
        let Some((length, rest)) = rest.split_first_chunk::<8>() else {
            return Err(format!("it is cut short: {} bytes", bytes.len()));
        };
        let length = u64::from_le_bytes(*length);
        let Some((body, hash)) = rest.split_last_chunk::<HASH>() else {
            return Err(format!("it is cut short: {} bytes", bytes.len()));
        };
        if body.len() as u64 != length {
            return Err(format!(
                "it has {} bytes where it says {length}: cut short, or grown",
                body.len()
            ));
        }
        if blake3::hash(&bytes[..HEADER + body.len()]).as_bytes() != hash {
            return Err("its checksum is wrong".into());
        }
        match postcard::take_from_bytes::<Part>(body) {
            Ok((part, [])) => Ok(part),
            Ok(_) => Err("it has more content than it should".into()),
            Err(e) => Err(format!("its content cannot be read ({e})")),
        }
    }

    /// Whether this is all that `set` asks for, and nothing else; its plan has been looked at before.
    fn check(&self, plan: &Plan, set: &FeatureSet) -> Result<(), String> {
        if self.feature_set != set.key {
            return Err(format!("it is of another feature set ({})", self.feature_set));
        }
        let experiments = &plan.experiments[set.experiments.clone()];
        let keys = self.results.iter().map(|r| r.key.as_str());
        if !keys.eq(experiments.iter().map(|e| e.key.as_str())) {
            return Err("its experiments are not those of the plan".into());
        }
        let images = plan.objects[plan.tasks[set.task].object].test.len();
        for result in &self.results {
            if let PartOutcome::Done { auroc, scores, .. } = &result.outcome {
                if scores.len() != images {
                    return Err(format!("it has {} scores for {images} test images", scores.len()));
                }
                if !(0.0..=1.0).contains(auroc) {
                    return Err(format!("it has an AUROC of {auroc}"));
                }
            }
        }
        Ok(())
    }
}

fn body(part: &Part) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(part).map_err(|e| Error::Panic(format!("results cannot be encoded: {e}")))
}

/// The name of this machine, for messages; empty where the system does not say.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().take(64).collect()
}

/// What there is of a feature set.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing; with the files that are there but damaged, and what is wrong with each.
    Nothing(Vec<DamagedPart>),
    /// All outcomes.
    Part(Part),
}

/// What came of publishing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// This was the first.
    First,
    /// Somebody else was, with the same results.
    Same,
    /// Somebody else was, with other results: theirs stay, and these are beside, in the file that is named.
    Different(PathBuf),
}

/// The parts of a run folder.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    folder: PathBuf,
}

/// Name of the folder inside a run folder.
pub(crate) const FOLDER: &str = "parts";

impl Parts {
    pub(crate) fn in_run(run: &Path, plan: &Plan) -> Parts {
        Parts {
            folder: run.join(FOLDER).join(&plan.hash),
        }
    }

    fn path(&self, set: &FeatureSet, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", set.key))
    }

    /// The part of `set`, with failures if there is none without. What is damaged counts as missing.
    ///
    /// # Errors
    /// [`Error::OtherPlan`] if there are results of another plan in its place; if a file cannot be read.
    pub(crate) fn read(&self, plan: &Plan, set: &FeatureSet) -> Result<Found, Error> {
        let mut damaged = vec![];
        for extension in ["part", "failed"] {
            let path = self.path(set, extension);
            match read(&path, plan, set)? {
                None => {}
                Some(Err(reason)) => damaged.push(DamagedPart { path, reason }),
                Some(Ok(part)) => return Ok(Found::Part(part)),
            }
        }
        Ok(Found::Nothing(damaged))
    }

    /// Where the results of `set` lie once all succeeded.
    pub(crate) fn file(&self, set: &FeatureSet) -> PathBuf {
        self.path(set, "part")
    }

    /// Where results of `set` lie that differ from those that were there first; `None` if there are none.
    pub(crate) fn difference(&self, set: &FeatureSet) -> Option<PathBuf> {
        let path = self.path(set, "other");
        path.exists().then_some(path)
    }

    /// Publishes `part`, whole or not at all; when this returns, it outlives a power cut.
    ///
    /// # Errors
    /// If it cannot be written, or if there are results of another plan in its place.
    pub(crate) fn publish(&self, plan: &Plan, set: &FeatureSet, part: &Part) -> Result<Published, Error> {
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io(&self.folder, e))?;
        let bytes = part.to_bytes()?;
        match part.failed() {
            0 => self.publish_complete(plan, set, part, &bytes),
            failed => {
                let path = self.path(set, "failed");
                // Fewer failures are better; who comes with as many is second.
                if let Found::Part(there) = self.read(plan, set)?
                    && there.failed() <= failed
                {
                    return Ok(Published::Same);
                }
                let file = self.temporary(set, &bytes)?;
                file.persist(&path).map_err(|e| Error::io(&path, e.error))?;
                self.sync()?;
                Ok(Published::First)
            }
        }
    }

    fn publish_complete(
        &self,
        plan: &Plan,
        set: &FeatureSet,
        part: &Part,
        bytes: &[u8],
    ) -> Result<Published, Error> {
        let path = self.path(set, "part");
        let mut file = self.temporary(set, bytes)?;
        // A damaged file is moved out of the way; that succeeds at once unless somebody damages the next one as well.
        for _ in 0..3 {
            // Renamed without replacing where the file system can do that, else linked: both are atomic.
            match file.persist_noclobber(&path) {
                Ok(_) => {
                    self.sync()?;
                    return Ok(Published::First);
                }
                Err(e) if e.error.kind() == ErrorKind::AlreadyExists => file = e.file,
                Err(e) => return Err(Error::io(&path, e.error)),
            }
            match read(&path, plan, set)? {
                // Gone again, or damaged.
                None => {}
                Some(Err(_)) => {
                    let aside = self.path(set, "damaged");
                    match std::fs::rename(&path, &aside) {
                        Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(&path, e)),
                        _ => {}
                    }
                }
                // Also where a file server made the link and its answer was lost: then it is this very part.
                Some(Ok(there)) if there.digest()? == part.digest()? => return Ok(Published::Same),
                Some(Ok(_)) => {
                    let other = self.path(set, "other");
                    return match file.persist_noclobber(&other) {
                        Err(e) if e.error.kind() != ErrorKind::AlreadyExists => {
                            Err(Error::io(&other, e.error))
                        }
                        // One that differs is enough to look into.
                        _ => {
                            self.sync()?;
                            Ok(Published::Different(other))
                        }
                    };
                }
            }
        }
        let error = std::io::Error::other("damaged again and again");
        Err(Error::io(&path, error))
    }

    /// A file that is on the disk, under a name that nobody looks at.
    fn temporary(&self, set: &FeatureSet, bytes: &[u8]) -> Result<tempfile::NamedTempFile, Error> {
        let io = |e| Error::io(&self.folder, e);
        let mut file = super::export::new_file()
            .prefix(&format!(".{}.", set.key))
            .tempfile_in(&self.folder)
            .map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        Ok(file)
    }

    /// Makes names outlive a power cut.
    fn sync(&self) -> Result<(), Error> {
        let folder = File::open(&self.folder).and_then(|f| f.sync_all());
        match folder {
            // Some file systems know no such thing.
            Err(e) if !matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
                Err(Error::io(&self.folder, e))
            }
            _ => Ok(()),
        }
    }
}

/// The part at `path`; `None` if there is no file, and what is wrong with a file that is damaged.
fn read(path: &Path, plan: &Plan, set: &FeatureSet) -> Result<Option<Result<Part, String>>, Error> {
    let file = match std::fs::metadata(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    // Before it is opened: a pipe would block.
    if !file.is_file() {
        return Ok(Some(Err("it is no file".into())));
    }
    let images = plan.objects[plan.tasks[set.task].object].test.len() as u64;
    let most = TEXTS + set.experiments.len() as u64 * (8 * images + TEXTS);
    let mut bytes = vec![];
    let opened = File::open(path).and_then(|f| f.take(most + 1).read_to_end(&mut bytes));
    match opened {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    }
    if bytes.len() as u64 > most {
        return Ok(Some(Err(format!("it has more than {most} bytes"))));
    }
    let part = match Part::from_bytes(&bytes) {
        Ok(part) => part,
        Err(reason) => return Ok(Some(Err(reason))),
    };
    if part.plan != plan.hash {
        return Err(Error::OtherPlan {
            path: path.into(),
            found: part.plan.chars().take(64).collect(),
            expected: plan.hash.clone(),
        });
    }
    Ok(Some(part.check(plan, set).map(|()| part)))
}
