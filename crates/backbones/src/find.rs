//! Finding a weights file in a folder by its name.

use std::path::{Path, PathBuf};

use crate::architecture::{Architecture, Initialization};
use crate::error::BackbonesError;
use crate::weights::Weights;

impl Weights {
    /// The file in `folder` that holds the weights of `architecture`.
    ///
    /// `ARCHITECTURE-INITIALIZATION.safetensors` wins; else there must be one file with this name and
    /// something more after `-`, `_` or `.`, such as `resnet18-imagenet1k_v1-conv1-to-layer3.safetensors`,
    /// or with torchvision's own name, such as `resnet18-f37072fd.safetensors`.
    ///
    /// # Errors
    /// [`BackbonesError::Read`] of the folder, [`BackbonesError::NoWeights`],
    /// [`BackbonesError::SeveralWeights`], [`BackbonesError::PthNotRead`] where only PyTorch's own file
    /// is there, and [`BackbonesError::RandomHasNoFile`].
    pub fn find(
        folder: &Path,
        architecture: Architecture,
        initialization: Initialization,
    ) -> Result<PathBuf, BackbonesError> {
        if initialization == Initialization::Random {
            return Err(BackbonesError::RandomHasNoFile);
        }
        let stem = format!("{architecture}-{initialization}");
        let preferred = format!("{stem}.safetensors");
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

        let fits = |name: &str| published == Some(name) || extends(name, &stem);
        let fit = |name: &str, extension: &str| name.strip_suffix(extension).is_some_and(fits);
        if names.contains(&preferred) {
            return Ok(folder.join(preferred));
        }
        let files: Vec<&String> = names.iter().filter(|name| fit(name, ".safetensors")).collect();
        match files[..] {
            [file] => return Ok(folder.join(file)),
            [] => {}
            [..] => {
                let files = files.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(", ");
                return Err(BackbonesError::SeveralWeights {
                    folder: folder.to_owned(),
                    files,
                    preferred,
                });
            }
        }
        if let Some(file) = names.iter().find(|name| fit(name, ".pth")) {
            let path = folder.join(file);
            return Err(BackbonesError::PthNotRead {
                converted: path.with_extension("safetensors"),
                path,
            });
        }
        let mut sought = format!("{preferred}, {stem}-*.safetensors");
        let advice = match published {
            Some(name) => {
                sought.push_str(&format!(", {name}.safetensors"));
                format!(
                    "fetch https://download.pytorch.org/models/{name}.pth and convert it to safetensors, \
                     or use random weights"
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
