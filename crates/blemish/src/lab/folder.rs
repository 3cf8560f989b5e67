//! The run folder: one store, one lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::merge::{Take, take};
use super::plan::Plan;
use super::store::Store;
use crate::Error;
use crate::error::in_brackets;

/// A run folder that this process alone may write, until it is dropped.
///
/// The lock is the operating system's, so a killed process leaves none behind.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    store: Store,
    lock: Option<File>,
}

impl RunFolder {
    /// Makes a run folder for `plan`, or opens the one that was made for the same plan.
    ///
    /// A new run decodes every image once before it starts, so that a damaged file is found now and
    /// not after hours.
    ///
    /// # Errors
    /// [`Error::OtherConfiguration`] if the folder was made for another plan, [`Error::Busy`] if
    /// another process holds it, [`Error::NotARun`] if it holds other files.
    pub fn create_or_resume(folder: &Path, plan: &Plan) -> Result<RunFolder, Error> {
        RunFolder::create(folder, plan, true, false)
    }

    /// As [`create_or_resume`](Self::create_or_resume), but a run that was made for another plan takes this one in its
    /// place, if that holds all experiments of the other: results stay, and so do inner products that were kept.
    ///
    /// # Errors
    /// As [`create_or_resume`](Self::create_or_resume); [`Error::Config`] where an experiment would be lost.
    pub fn create_or_extend(folder: &Path, plan: &Plan) -> Result<RunFolder, Error> {
        RunFolder::create(folder, plan, true, true)
    }

    /// As [`create_or_resume`](Self::create_or_resume), but images are not decoded beforehand: for parts of a plan whose
    /// images were checked when it was made.
    ///
    /// # Errors
    /// As [`create_or_resume`](Self::create_or_resume).
    pub fn create_unchecked(folder: &Path, plan: &Plan) -> Result<RunFolder, Error> {
        RunFolder::create(folder, plan, false, false)
    }

    fn create(folder: &Path, plan: &Plan, check_images: bool, extend: bool) -> Result<RunFolder, Error> {
        let NewStore { mut store, lock } = new_store(folder)?;
        match store.identity()? {
            Some(found) if found == plan.identity => {}
            Some(_) if extend => {
                // Results of the plan as it was until now, published and not merged: nobody looks for them any more after this.
                if let Ok(until_now) = Plan::recall(folder) {
                    let parts = super::parts::Parts::in_run(folder, &until_now);
                    let tasks = 0..until_now.tasks.len();
                    if parts.exist() {
                        take(
                            &until_now,
                            &parts,
                            &mut store,
                            tasks,
                            Take::Lacking { failures: true },
                        )?;
                    }
                }
                if let Some(lost) = store.extend(plan)? {
                    return Err(Error::Config(format!(
                        "{} cannot be extended: the new selection is without {lost}",
                        folder.display()
                    )));
                }
            }
            Some(found) => {
                return Err(Error::OtherConfiguration {
                    folder: folder.into(),
                    differences: differences(&found, &plan.identity, &|object| {
                        plan.changes_since(folder, object)
                    }),
                });
            }
            None => {
                for object in plan.objects.iter().filter(|_| check_images) {
                    blemish_images::verify(object)?;
                }
                store.freeze(plan)?;
            }
        }
        plan.save(folder)?;
        Ok(RunFolder {
            path: folder.into(),
            store,
            lock: Some(lock),
        })
    }

    /// Whether a process holds the run folder `folder` now. Nothing is written.
    pub fn is_busy(folder: &Path) -> bool {
        let file = File::open(folder.join("lock"));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run folder `folder` with an empty store that vanishes with the process: what is shared is not written to.
    pub(crate) fn in_memory(folder: &Path, plan: &Plan) -> Result<RunFolder, Error> {
        let mut store = Store::in_memory()?;
        store.freeze(plan)?;
        Ok(RunFolder {
            path: folder.into(),
            store,
            lock: None,
        })
    }

    /// Whether results outlive the process.
    pub(crate) fn is_stored(&self) -> bool {
        self.lock.is_some()
    }

    /// The results.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The results, to add to.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }
}

/// A store that this process alone may write, planned or not.
pub(crate) struct NewStore {
    pub(crate) store: Store,
    pub(crate) lock: File,
}

/// Makes or opens the store in a folder that is new, empty or a run's, and locks it.
pub(crate) fn new_store(folder: &Path) -> Result<NewStore, Error> {
    let store_path = Store::path_in(folder);
    if folder.exists() && !folder.is_dir() {
        return Err(unwritable(folder, std::io::ErrorKind::NotADirectory.into()));
    }
    if folder.exists() && !store_path.exists() {
        let mut entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
        let own = |name: &std::ffi::OsStr| {
            let all = [
                "lock",
                "plan.json",
                "status.json",
                "products",
                super::parts::FOLDER,
                "slurm",
            ];
            all.iter().any(|own| name == *own)
        };
        let foreign = entries.any(|e| e.is_ok_and(|e| !own(&e.file_name())));
        if foreign {
            return Err(Error::NotARun {
                folder: folder.into(),
            });
        }
    }
    std::fs::create_dir_all(folder).map_err(|e| unwritable(folder, e))?;
    let lock = lock(folder)?;
    let store = Store::create(folder)?;
    Ok(NewStore { store, lock })
}

/// The error for a run folder that cannot be written, with what to do about it.
fn unwritable(path: &Path, error: std::io::Error) -> Error {
    use std::io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    let kind = error.kind();
    if !matches!(kind, NotADirectory | PermissionDenied | ReadOnlyFilesystem) {
        return Error::io(path, error);
    }
    let text = format!("{error}; give an --out folder that can be written");
    Error::io(path, std::io::Error::new(kind, text))
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path: PathBuf = folder.join("lock");
    let io = |e| Error::io(&path, e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| unwritable(&path, e))?;
    // Who only looks whether the lock is held holds it for a moment.
    let mut locked = file.try_lock();
    for _ in 0..20 {
        if !matches!(locked, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who holds it is a courtesy; not being able to say is no error of its own.
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => String::new(),
                id => format!(" (process {id})"),
            };
            return Err(Error::Busy {
                folder: folder.into(),
                holder,
            });
        }
        Err(TryLockError::Error(e)) => return Err(io(e)),
    }
    file.set_len(0).map_err(io)?;
    file.rewind().map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

/// Which top-level settings differ, in words; `changes` says which files of an object do.
fn differences(
    found: &serde_json::Value,
    wanted: &serde_json::Value,
    changes: &dyn Fn(&str) -> Vec<String>,
) -> String {
    let empty = serde_json::Map::new();
    let (found, wanted) = (
        found.as_object().unwrap_or(&empty),
        wanted.as_object().unwrap_or(&empty),
    );
    let mut out = vec![];
    let keys: std::collections::BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    for key in keys {
        let (a, b) = (found.get(key), wanted.get(key));
        if a == b {
            continue;
        }
        let text = |v: Option<&serde_json::Value>| match v {
            Some(serde_json::Value::Null) => "all".to_owned(),
            Some(v) => v.to_string(),
            None => "nothing".to_owned(),
        };
        out.push(
            match (
                key.as_str(),
                a.and_then(|v| v.as_object()),
                b.and_then(|v| v.as_object()),
            ) {
                ("objects", Some(a), Some(b)) if a.keys().eq(b.keys()) => format!(
                    "the images of {} have changed",
                    a.keys()
                        .filter(|k| a.get(*k) != b.get(*k))
                        .map(|k| format!("{k}{}", in_brackets(&changes(k))))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                ("objects", Some(a), Some(b)) => format!(
                    "objects: {} there, {} here",
                    a.keys().cloned().collect::<Vec<_>>().join(","),
                    b.keys().cloned().collect::<Vec<_>>().join(",")
                ),
                ("weights", Some(a), Some(b)) if a.keys().eq(b.keys()) => "the weights are others".to_owned(),
                // The selection above the weights says what differs.
                ("weights", ..) => continue,
                ("versions", ..) => "it was computed by another version of blemish".to_owned(),
                _ => format!("{key}: {} there, {} here", text(a), text(b)),
            },
        );
    }
    out.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_told_in_words() {
        let a = json!({"objects": {"a": "1"}, "seed": 0, "layers": null, "weights": {"w/layer1": "x"}});
        let b = json!({"objects": {"a": "2"}, "seed": 1, "layers": ["layer1"], "weights": {"w/layer1": "y"}});
        assert_eq!(
            differences(&a, &b, &|_| vec!["1.png is gone".into()]),
            "layers: all there, [\"layer1\"] here; the images of a (1.png is gone) have changed; \
             seed: 0 there, 1 here; the weights are others"
        );
    }

    #[test]
    fn a_second_lock_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err().to_string();
        assert!(error.contains("in use by another process"), "{error}");
        drop(held);
        lock(dir.path()).unwrap();
    }
}
