//! Inner products that are kept, so that a new setting of a detector needs no image: `RUN/products/KEY.products`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use blemish_detectors::InnerProducts;

use super::plan::{FeatureSet, Plan};
use crate::Error;

/// What a run leaves behind besides results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Inner products: new settings of all detectors but the isolation forest need no image again.
    #[default]
    Products,
    /// Results alone.
    Nothing,
}

impl std::str::FromStr for Keep {
    type Err = String;
    fn from_str(text: &str) -> Result<Keep, String> {
        match text {
            "products" => Ok(Keep::Products),
            "nothing" => Ok(Keep::Nothing),
            other => Err(format!("`{other}` is none of products, nothing")),
        }
    }
}

const EXTENSION: &str = "products";
/// Length of the hash at the end of a file.
const HASH: usize = 32;

/// The folder of kept products of a run folder.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
}

impl Kept {
    pub(crate) fn in_run(run: &Path) -> Kept {
        Kept {
            folder: run.join("products"),
        }
    }

    fn path(&self, set: &FeatureSet) -> PathBuf {
        self.folder.join(format!("{}.{EXTENSION}", set.key))
    }

    /// Products that serve training sets of up to `rows` rows, from one of `sets` of the same layer, which differ in the
    /// number of training rows; `test` is the number of test rows. What is damaged is as if it were not there.
    pub(crate) fn load(&self, sets: &[&FeatureSet], rows: usize, test: usize) -> Option<InnerProducts> {
        sets.iter()
            .filter(|set| set.train_samples >= rows)
            .find_map(|set| {
                let bytes = std::fs::read(self.path(set)).ok()?;
                let (content, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
                if blake3::hash(content).as_bytes() != hash {
                    return None;
                }
                let products = InnerProducts::from_bytes(content).ok()?;
                let fits = products.train_len() == set.train_samples
                    && products.query_len() == test
                    && products.dimensions() == set.dimensions;
                fits.then_some(products)
            })
    }

    /// Whether [`load`](Self::load) will find a file, which may turn out to be damaged.
    pub(crate) fn has(&self, sets: &[&FeatureSet], rows: usize) -> bool {
        let mut sets = sets.iter().filter(|set| set.train_samples >= rows);
        sets.any(|set| self.path(set).is_file())
    }

    /// Keeps products; gives the bytes that they take.
    pub(crate) fn save(&self, set: &FeatureSet, products: &InnerProducts) -> Result<u64, Error> {
        use std::io::Write;
        let path = self.path(set);
        let io = |e| Error::io(&path, e);
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io(&self.folder, e))?;
        let mut bytes = products.to_bytes();
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        // Under another name first, so that no reader sees a part. The hash tells what a power cut may have left.
        let mut file = super::export::new_file()
            .prefix(".products")
            .tempfile_in(&self.folder)
            .map_err(io)?;
        file.write_all(&bytes).map_err(io)?;
        file.persist(&path).map_err(|e| io(e.error))?;
        Ok(bytes.len() as u64)
    }
}

/// What [`collect_garbage`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of kept products that are left.
    pub kept: u64,
}

/// Removes from the run folder `run` what no experiment of `plan` needs: products of feature sets that it does not have,
/// or that others of the same layer make superfluous, and what killed processes left; with `products` all products.
///
/// The caller holds the run's lock ([`RunFolder`](super::RunFolder)), so that nobody else is writing.
///
/// # Errors
/// [`Error::Io`] where a folder cannot be read or a file cannot be removed.
pub fn collect_garbage(run: &Path, plan: &Plan, products: bool) -> Result<Removed, Error> {
    let mut needed = HashSet::new();
    let kept = Kept::in_run(run);
    for task in &plan.tasks {
        let sets = &plan.feature_sets[task.feature_sets.clone()];
        for set in sets {
            // The products of the largest set hold those of the others.
            let larger = |other: &FeatureSet| {
                other.layer == set.layer
                    && other.train_samples > set.train_samples
                    && kept.path(other).is_file()
            };
            if !sets.iter().any(larger) {
                needed.insert(kept.path(set));
            }
        }
    }
    let mut removed = Removed::default();
    let mut visit = |folder: &Path, unneeded: &dyn Fn(&Path, &str) -> bool| -> Result<(), Error> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io(folder, e)),
        };
        for entry in entries {
            let path = entry.map_err(|e| Error::io(folder, e))?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let length = std::fs::metadata(&path).map_or(0, |m| m.len());
            if unneeded(&path, &name) {
                std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
                removed.files += 1;
                removed.bytes += length;
            } else if path.extension().is_some_and(|e| e == EXTENSION) {
                removed.kept += length;
            }
        }
        Ok(())
    };
    visit(run, &|_, name| name.starts_with(".plan"))?;
    visit(&kept.folder, &|path, name| {
        name.starts_with(".products")
            || (path.extension().is_some_and(|e| e == EXTENSION) && (products || !needed.contains(path)))
    })?;
    // Other machines may be writing parts now, and hold no lock.
    visit(super::parts::Parts::in_run(run, plan).folder(), &|path, name| {
        let age = std::fs::metadata(path)
            .and_then(|m| m.modified())
            .map(|t| t.elapsed());
        name.starts_with('.') && age.is_ok_and(|age| age.is_ok_and(|age| age.as_secs() > 3600))
    })?;
    Ok(removed)
}
