//! Finding a weights file in a folder by its name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::architecture::{Architecture, Initialization};
use crate::error::BackbonesError;
use crate::weights::Weights;

/// Of weights files, in the order of preference: the first is read fastest.
const EXTENSIONS: [&str; 3] = [".safetensors", ".pth", ".pt"];

impl Weights {
    /// The file in `folder` that holds the weights of `architecture`: safetensors, or PyTorch's `.pth`
    /// or `.pt`.
    ///
    /// `ARCHITECTURE-INITIALIZATION` with one of these extensions wins; else there must be one file with
    /// this name and something more after `-`, `_` or `.`, such as
    /// `resnet18-imagenet1k_v1-conv1-to-layer3.safetensors`, or with torchvision's own name, such as
    /// `resnet18-f37072fd.pth`. The architecture may be spelled as in torchvision. Of files that differ
    /// in their extension alone the safetensors file is taken.
    ///
    /// # Errors
    /// [`BackbonesError::Read`] of the folder, [`BackbonesError::NoWeights`],
    /// [`BackbonesError::SeveralWeights`] and [`BackbonesError::RandomHasNoFile`].
    pub fn find(
        folder: &Path,
        architecture: Architecture,
        initialization: Initialization,
    ) -> Result<PathBuf, BackbonesError> {
        if initialization == Initialization::Random {
            return Err(BackbonesError::RandomHasNoFile);
        }
        let mut stems = vec![format!("{architecture}-{initialization}")];
        if architecture.constructor() != architecture.name() {
            stems.push(format!("{}-{initialization}", architecture.constructor()));
        }
        let preferred = format!("{}.safetensors", stems[0]);
        let published = architecture.torchvision_name(initialization);

        let read = |source| BackbonesError::Read {
            path: folder.to_owned(),
            source,
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            if entry.path().is_file()
                && let Some(name) = entry.file_name().to_str()
            {
                names.push(name.to_owned());
            }
        }
        names.sort();

        // By the name without its extension, so that one file in two formats is one candidate.
        let mut candidates: BTreeMap<&str, &str> = BTreeMap::new();
        for extension in EXTENSIONS {
            for name in &names {
                if let Some(stem) = name.strip_suffix(extension) {
                    candidates.entry(stem).or_insert(name);
                }
            }
        }
        if let Some(name) = stems.iter().find_map(|stem| candidates.get(stem.as_str())) {
            return Ok(folder.join(name));
        }
        let fits = |name: &str| published == Some(name) || stems.iter().any(|stem| extends(name, stem));
        candidates.retain(|name, _| fits(name));
        let files: Vec<&str> = candidates.into_values().collect();
        match files[..] {
            [file] => return Ok(folder.join(file)),
            [] => {}
            [..] => {
                return Err(BackbonesError::SeveralWeights {
                    folder: folder.to_owned(),
                    files: files.join(", "),
                    preferred,
                });
            }
        }
        let mut sought = format!("{preferred}, {}-*.safetensors", stems[0]);
        let advice = match published {
            Some(name) => {
                sought.push_str(&format!(", {name}.pth"));
                format!(
                    "fetch https://download.pytorch.org/models/{name}.pth and put it there, or use random weights"
                )
            }
            None => format!("torchvision publishes no {initialization} weights of {architecture}"),
        };
        Err(BackbonesError::NoWeights {
            architecture: architecture.name(),
            initialization: initialization.name(),
            folder: folder.to_owned(),
            sought,
            advice,
        })
    }
}

/// Whether `name` is `stem`, or `stem` and something set off from it: `imagenet1k_v10` is not a
/// version of `imagenet1k_v1`.
fn extends(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
}
