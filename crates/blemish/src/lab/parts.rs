//! Results of one feature set in a file of its own: how processes that share nothing but a folder hand over what they
//! computed.
//!
//! `RUN/parts/PLAN/KEY.part`, where PLAN is the hash of the plan and KEY the key of the feature set, holds the outcomes of all its experiments. It comes
//! into being whole or not at all, and is never replaced: whoever is first wins. A feature set with failures goes to
//! `KEY.failed` instead, which a later attempt may replace by one with fewer of them, or overrule by a `KEY.part`.
//! Whoever comes second with other numbers, which should be impossible, leaves them at `KEY.other` for a reader to see.
//! Beside them `KEY.json`, with the key of a task, says what the task cost ([`TaskStats`]).
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

use serde::{Deserialize, Serialize};

use super::plan::{FeatureSet, Plan, Task};
use super::shard::DamagedPart;
use super::stats::TaskStats;
use super::store::Outcome;
use crate::Error;

const MAGIC: &[u8; 8] = b"BLEMPART";
const FORMAT: u32 = 2;
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
    /// Each experiment's key and outcome, in the plan's order.
    results: Vec<(String, Outcome)>,
    /// Where it was computed: not part of the digest.
    host: String,
}

impl Part {
    /// The part of `set` from the outcomes of its experiments; `None` while one is missing.
    pub(crate) fn new(plan: &Plan, set: &FeatureSet, outcomes: &HashMap<String, Outcome>) -> Option<Part> {
        let experiments = plan.experiments[set.experiments.clone()].iter();
        let results = experiments
            .map(|e| Some((e.key.clone(), outcomes.get(&e.key)?.clone())))
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
        self.results.iter().filter(|(_, o)| o.is_failure()).count()
    }

    /// Each experiment's key and outcome, in the plan's order.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = &(String, Outcome)> {
        self.results.iter()
    }

    /// As [`outcomes`](Self::outcomes), to keep.
    pub(crate) fn into_outcomes(self) -> impl Iterator<Item = (String, Outcome)> {
        self.results.into_iter()
    }

    /// Hash of everything but the times and the place: equal for whoever computes the same.
    pub(crate) fn digest(&self) -> Result<String, Error> {
        let mut timeless = self.clone();
        timeless.host.clear();
        for (_, outcome) in &mut timeless.results {
            outcome.forget_times();
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
        let keys = self.results.iter().map(|(key, _)| key.as_str());
        if !keys.eq(experiments.iter().map(|e| e.key.as_str())) {
            return Err("its experiments are not those of the plan".into());
        }
        let images = plan.objects[plan.tasks[set.task].object].test.len();
        for (_, outcome) in &self.results {
            if let Outcome::Done { auroc, scores, .. } = outcome {
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

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether anything was ever published.
    pub(crate) fn exist(&self) -> bool {
        self.folder.is_dir()
    }

    /// Makes a file server tell what is new in the folder: a client may remember for a minute that a file was not there,
    /// but asks again when a folder is opened.
    pub(crate) fn refresh(&self) {
        let _ = std::fs::read_dir(&self.folder);
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
        self.make()?;
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
                let file = self.temporary(&set.key, &bytes)?;
                file.persist(&path).map_err(|e| Error::io(&path, e.error))?;
                sync(&self.folder)?;
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
        let mut file = self.temporary(&set.key, bytes)?;
        // A damaged file is moved out of the way; that succeeds at once unless somebody damages the next one as well.
        for _ in 0..3 {
            // Renamed without replacing where the file system can do that, else linked: both are atomic.
            match file.persist_noclobber(&path) {
                Ok(_) => {
                    sync(&self.folder)?;
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
                            sync(&self.folder)?;
                            Ok(Published::Different(other))
                        }
                    };
                }
            }
        }
        let error = std::io::Error::other("damaged again and again");
        Err(Error::io(&path, error))
    }

    fn stats_path(&self, task: &Task) -> PathBuf {
        self.folder.join(format!("{}.json", task.key))
    }

    /// Publishes what a task cost, for who computed it to its end first.
    pub(crate) fn publish_stats(&self, task: &Task, stats: &TaskStats) -> Result<(), Error> {
        self.make()?;
        let path = self.stats_path(task);
        let text = serde_json::to_vec_pretty(stats).unwrap_or_default();
        match self.temporary(&task.key, &text)?.persist_noclobber(&path) {
            Err(e) if e.error.kind() != ErrorKind::AlreadyExists => Err(Error::io(&path, e.error)),
            _ => Ok(()),
        }
    }

    /// What a task cost; `None` where nobody says so.
    pub(crate) fn stats(&self, task: &Task) -> Option<TaskStats> {
        let path = self.stats_path(task);
        let file = std::fs::metadata(&path).ok()?;
        if !file.is_file() || file.len() > TEXTS {
            return None;
        }
        let stats: TaskStats = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        (stats.key == task.key).then_some(stats)
    }

    /// Makes the folder, so that it outlives a power cut.
    fn make(&self) -> Result<(), Error> {
        if self.folder.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io(&self.folder, e))?;
        // The folder of all plans, and the run folder that it is in.
        self.folder.ancestors().skip(1).take(2).try_for_each(sync)
    }

    /// A file that is on the disk, under a name that nobody looks at.
    fn temporary(&self, key: &str, bytes: &[u8]) -> Result<tempfile::NamedTempFile, Error> {
        let io = |e| Error::io(&self.folder, e);
        let mut file = super::export::new_file()
            .prefix(&format!(".{key}."))
            .tempfile_in(&self.folder)
            .map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        Ok(file)
    }
}

/// Makes the names in a folder outlive a power cut.
fn sync(folder: &Path) -> Result<(), Error> {
    match File::open(folder).and_then(|f| f.sync_all()) {
        // Some file systems know no such thing.
        Err(e) if !matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Err(Error::io(folder, e))
        }
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{Augmentation, GridConfig};
    use blemish_backbones::Initialization;
    use blemish_detectors::DetectorKind;
    use blemish_images::{SynthOptions, write_synthetic};
    use std::time::Duration;

    /// A plan of one feature set a task.
    fn plan(dir: &Path) -> Plan {
        let options = SynthOptions {
            size: 32,
            train: 2,
            test_good: 1,
            per_defect: 1,
            ..SynthOptions::default()
        };
        let data = dir.join("data");
        write_synthetic(&data, &options).unwrap();
        let mut config = GridConfig::new(&data);
        config.initializations = Some(vec![Initialization::Random]);
        config.layers = Some(vec!["layer1".into()]);
        config.augmented = Augmentation::False;
        config.detectors = vec![DetectorKind::LocalOutlierFactor];
        Plan::new(&config).unwrap()
    }

    /// A part of the first feature set whose experiments took `seconds`, have `score` in their first score, and of
    /// which so many failed.
    fn part(plan: &Plan, seconds: u64, score: f64, failed: usize) -> Part {
        let set = &plan.feature_sets[0];
        let images = plan.objects[0].test.len();
        let experiments = plan.experiments[set.experiments.clone()].iter().enumerate();
        let outcomes = experiments.map(|(i, e)| {
            let outcome = if i < failed {
                Outcome::Failed {
                    kind: "detectors".into(),
                    message: "no".into(),
                }
            } else {
                Outcome::Done {
                    auroc: 0.5,
                    scores: std::iter::once(score)
                        .chain((1..images).map(|i| i as f64))
                        .collect(),
                    non_finite: 0,
                    warning: Some("a warning".into()),
                    train_time: Duration::from_secs(seconds),
                    test_time: Duration::from_secs(seconds),
                    shared_time: Duration::ZERO,
                }
            };
            (e.key.clone(), outcome)
        });
        Part::new(plan, set, &outcomes.collect()).unwrap()
    }

    fn found(parts: &Parts, plan: &Plan) -> Option<Part> {
        match parts.read(plan, &plan.feature_sets[0]).unwrap() {
            Found::Part(part) => Some(part),
            Found::Nothing(_) => None,
        }
    }

    #[test]
    fn the_first_wins_and_a_difference_is_kept_beside() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        let set = &plan.feature_sets[0];
        let parts = Parts::in_run(dir.path(), &plan);
        assert!(found(&parts, &plan).is_none());
        let first = part(&plan, 1, 0.25, 0);
        assert_eq!(parts.publish(&plan, set, &first).unwrap(), Published::First);
        // Other times are no difference; the sign of a zero in a score is one.
        let slower = part(&plan, 2, 0.25, 0);
        assert_eq!(parts.publish(&plan, set, &slower).unwrap(), Published::Same);
        assert!(parts.difference(set).is_none());
        assert_ne!(
            part(&plan, 1, 0.0, 0).digest().unwrap(),
            part(&plan, 1, -0.0, 0).digest().unwrap()
        );
        let other = part(&plan, 1, 0.75, 0);
        match parts.publish(&plan, set, &other).unwrap() {
            Published::Different(path) => assert_eq!(Some(path), parts.difference(set)),
            published => panic!("{published:?}"),
        }
        assert_eq!(found(&parts, &plan), Some(first));
        // No temporary file is left.
        assert_eq!(std::fs::read_dir(&parts.folder).unwrap().count(), 2);
    }

    #[test]
    fn failures_give_way_to_fewer_and_to_none() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        let set = &plan.feature_sets[0];
        let parts = Parts::in_run(dir.path(), &plan);
        let failed = |parts: &Parts| found(parts, &plan).map(|p| p.failed());
        for (failures, published, there) in [
            (5, Published::First, 5),
            (5, Published::Same, 5),
            (7, Published::Same, 5),
            (2, Published::First, 2),
            (0, Published::First, 0),
            (3, Published::Same, 0),
        ] {
            let part = part(&plan, 1, 0.25, failures);
            assert_eq!(parts.publish(&plan, set, &part).unwrap(), published);
            assert_eq!(failed(&parts), Some(there));
        }
    }

    #[test]
    fn of_many_at_a_time_one_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        let parts = Parts::in_run(dir.path(), &plan);
        let published: Vec<Published> = std::thread::scope(|scope| {
            let (plan, parts) = (&plan, &parts);
            let publish = |i| move || parts.publish(plan, &plan.feature_sets[0], &part(plan, i, 0.25, 0));
            let threads: Vec<_> = (0..8).map(|i| scope.spawn(publish(i))).collect();
            threads.into_iter().map(|t| t.join().unwrap().unwrap()).collect()
        });
        let first = published.iter().filter(|p| **p == Published::First).count();
        assert_eq!((first, published.len()), (1, 8));
        assert!(published.iter().all(|p| !matches!(p, Published::Different(_))));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        let bytes = part(&plan, 1, 0.25, 1).to_bytes().unwrap();
        assert_eq!(Part::from_bytes(&bytes).unwrap(), part(&plan, 1, 0.25, 1));
        for length in 0..bytes.len() {
            assert!(Part::from_bytes(&bytes[..length]).is_err(), "cut at {length}");
        }
        let mut flipped = bytes.clone();
        for i in 0..bytes.len() {
            flipped[i] ^= 1 << (i % 8);
            assert!(Part::from_bytes(&flipped).is_err(), "byte {i}");
            flipped[i] = bytes[i];
        }
        // A body that claims more than there is, with a checksum that is right.
        let mut claim = bytes[..HEADER].to_vec();
        let body = [0xff; 40];
        claim[12..20].copy_from_slice(&(body.len() as u64).to_le_bytes());
        claim.extend(body);
        let hash = blake3::hash(&claim);
        claim.extend(hash.as_bytes());
        let reason = Part::from_bytes(&claim).unwrap_err();
        assert!(reason.contains("cannot be read"), "{reason}");
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_file_is_damaged_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        let set = &plan.feature_sets[0];
        let parts = Parts::in_run(dir.path(), &plan);
        std::fs::create_dir_all(parts.file(set)).unwrap();
        match parts.read(&plan, set).unwrap() {
            Found::Nothing(damaged) => assert_eq!(damaged[0].reason, "it is no file"),
            found => panic!("{found:?}"),
        }
        let whole = part(&plan, 1, 0.25, 0);
        assert_eq!(parts.publish(&plan, set, &whole).unwrap(), Published::First);
        assert_eq!(found(&parts, &plan), Some(whole));
    }
}
