//! The folder of weights: which published weights are in it ([`list`]), files of the user's put into it
//! ([`import`]), published files fetched into it ([`fetch`]).
//!
//! A file in it is complete or absent: it is written under another name, put onto the disk, and then
//! renamed.

mod error;
#[cfg(feature = "fetch")]
mod fetch;
mod import;

use std::path::{Path, PathBuf};

use blemish_backbones::{Architecture, BackbonesError, Initialization, PublishedWeights, Weights};

pub use error::WeightsError;
#[cfg(feature = "fetch")]
pub use fetch::{FetchProgress, fetch};
pub use import::{Imported, import};

/// The user's own folder of weights: `blemish/weights` in `XDG_DATA_HOME`, else in `.local/share` of the
/// home folder. It may not exist yet.
///
/// # Errors
/// [`WeightsError::NoHome`].
pub fn default_folder() -> Result<PathBuf, WeightsError> {
    use etcetera::BaseStrategy;
    let strategy = etcetera::base_strategy::Xdg::new().map_err(|_| WeightsError::NoHome)?;
    Ok(strategy.data_dir().join("blemish").join("weights"))
}

/// Weights from a seed or from a folder, as far as the layers need them.
pub(crate) fn load_for(
    architecture: Architecture,
    initialization: Initialization,
    seed: u64,
    layers: &[&str],
    folder: Option<&Path>,
) -> Result<Weights, crate::Error> {
    if initialization == Initialization::Random {
        return Ok(Weights::random_for(architecture, seed, layers)?);
    }
    let Some(folder) = folder else {
        return Err(crate::Error::MissingWeights {
            folder: None,
            missing: vec![crate::MissingWeights {
                name: format!("{architecture}-{initialization}"),
                published: PublishedWeights::of(architecture, initialization),
            }],
        });
    };
    let file = Weights::find(folder, architecture, initialization)?;
    Ok(Weights::load_for(&file, architecture, layers)?)
}

/// Published weights, and the file that holds them here.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The published weights.
    pub published: PublishedWeights,
    /// The file in the folder, or why none can be chosen; `None` where there is none.
    pub file: Option<Result<PathBuf, String>>,
}

/// All weights that torchvision publishes for the networks here, and which of them are in `folder`. A
/// folder that does not exist has none.
///
/// # Errors
/// [`WeightsError::Backbones`] where the folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Listed>, WeightsError> {
    let listed = |published: PublishedWeights| {
        let found = Weights::find(folder, published.architecture, published.initialization);
        let file = match found {
            Ok(file) => Some(Ok(file)),
            Err(BackbonesError::NoWeights { .. }) => None,
            Err(BackbonesError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
            Err(error @ BackbonesError::SeveralWeights { .. }) => Some(Err(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        Ok(Listed { published, file })
    };
    PublishedWeights::all().into_iter().map(listed).collect()
}

/// The published weights that `name` means: `ARCHITECTURE-INITIALIZATION`, or an architecture alone, of
/// which the newest are meant.
///
/// # Errors
/// [`WeightsError::UnknownName`].
pub fn published(name: &str) -> Result<PublishedWeights, WeightsError> {
    let known = PublishedWeights::all();
    let unknown = || WeightsError::UnknownName {
        name: name.to_owned(),
        known: known
            .iter()
            .map(PublishedWeights::name)
            .collect::<Vec<_>>()
            .join(", "),
    };
    if let Ok(architecture) = name.parse::<Architecture>() {
        let newest = known.iter().rfind(|weights| weights.architecture == architecture);
        return newest.copied().ok_or_else(unknown);
    }
    let (architecture, initialization) = parse_name(name).ok_or_else(unknown)?;
    PublishedWeights::of(architecture, initialization).ok_or_else(unknown)
}

/// `ARCHITECTURE-INITIALIZATION`, in any spelling.
fn parse_name(name: &str) -> Option<(Architecture, Initialization)> {
    let (architecture, initialization) = name.rsplit_once('-')?;
    Some((architecture.parse().ok()?, initialization.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_published_weights() {
        for (name, stem) in [
            ("resnet18", "resnet18-f37072fd"),
            ("resnet50", "resnet50-11ad3fa6"),
            ("resnet50-imagenet1k_v1", "resnet50-0676ba61"),
            ("vit_b_16", "vit_b_16-c867db91"),
            ("vit_base_16-imagenet1k_v1", "vit_b_16-c867db91"),
        ] {
            assert_eq!(published(name).unwrap().stem, stem);
        }
        for name in [
            "",
            "resnet19",
            "resnet18-random",
            "resnet18-imagenet1k_v2",
            "resnet18-",
        ] {
            let error = published(name).unwrap_err().to_string();
            assert!(error.contains("resnet18-imagenet1k_v1, resnet50"), "{error}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_empty() {
        let listed = list(Path::new("no such folder")).unwrap();
        assert_eq!(listed.len(), 7);
        assert!(listed.iter().all(|l| l.file.is_none()));
    }
}
