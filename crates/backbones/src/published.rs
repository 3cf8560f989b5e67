//! The weights that torchvision publishes: where they are, and how to know them.

use crate::architecture::{Architecture, Initialization};

/// A file of weights that torchvision publishes. Its code is under BSD-3-Clause; the weights were
/// trained on ImageNet-1k, and torchvision leaves it to the user to determine whether the terms of that
/// data set permit a use of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishedWeights {
    /// The network.
    pub architecture: Architecture,
    /// Which of its weights.
    pub initialization: Initialization,
    /// The file's name without its extension; it ends with the first digits of the file's SHA-256.
    pub stem: &'static str,
    /// The file's size in units of 2^20 bytes, to about 0.001 of them, as torchvision states it.
    pub mebibytes: f64,
}

impl PublishedWeights {
    /// All, by architecture and age.
    pub fn all() -> Vec<PublishedWeights> {
        let pairs = Architecture::ALL
            .into_iter()
            .flat_map(|a| Initialization::ALL.map(|i| (a, i)));
        pairs.filter_map(|(a, i)| Self::of(a, i)).collect()
    }

    /// Those of `architecture` with `initialization`; none where torchvision publishes none.
    pub fn of(architecture: Architecture, initialization: Initialization) -> Option<PublishedWeights> {
        use Initialization::{Imagenet1kV1, Imagenet1kV2, Random};
        // `_file_size` of the weights' metadata in torchvision 0.22.1.
        let mebibytes = match (architecture, initialization) {
            (Architecture::Resnet18, Imagenet1kV1) => 44.661,
            (Architecture::Resnet50, Imagenet1kV1) => 97.781,
            (Architecture::Resnet50, Imagenet1kV2) => 97.79,
            // Half precision.
            (Architecture::WideResnet50_2, Imagenet1kV1) => 131.82,
            (Architecture::WideResnet50_2, Imagenet1kV2) => 263.124,
            (Architecture::VitBase16, Imagenet1kV1) => 330.285,
            (Architecture::VitBase32, Imagenet1kV1) => 336.604,
            (_, Random)
            | (Architecture::Resnet18 | Architecture::VitBase16 | Architecture::VitBase32, Imagenet1kV2) => {
                return None;
            }
        };
        Some(PublishedWeights {
            architecture,
            initialization,
            stem: architecture.torchvision_name(initialization)?,
            mebibytes,
        })
    }

    /// What Blemish calls them: architecture and initialisation.
    pub fn name(&self) -> String {
        format!("{}-{}", self.architecture, self.initialization)
    }

    /// The file's name.
    pub fn file_name(&self) -> String {
        format!("{}.pth", self.stem)
    }

    /// Where the file is published.
    pub fn url(&self) -> String {
        format!("{}/{}", Self::BASE_URL, self.file_name())
    }

    /// What the URLs begin with, without the last slash.
    pub const BASE_URL: &str = "https://download.pytorch.org/models";

    /// The first eight digits of the file's SHA-256, in hexadecimal.
    pub fn sha256_prefix(&self) -> &'static str {
        self.stem.rsplit('-').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Golden {
        architecture: String,
        initialization: String,
        url: String,
        mebibytes: f64,
        resize: u32,
        crop: u32,
        mean: [f32; 3],
        std: [f32; 3],
    }

    /// torchvision's own metadata; see `tests/golden/published_weights.py`.
    #[test]
    fn files_and_presets_are_torchvisions() {
        let golden: Vec<Golden> =
            blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "published_weights.json");
        let ours = PublishedWeights::all();
        assert_eq!(ours.len(), golden.len());
        for expected in golden {
            let architecture: Architecture = expected.architecture.parse().unwrap();
            let initialization: Initialization = expected.initialization.parse().unwrap();
            let found = PublishedWeights::of(architecture, initialization).unwrap();
            assert!(ours.contains(&found));
            assert_eq!(found.url(), expected.url);
            assert_eq!(found.mebibytes, expected.mebibytes);
            assert_eq!(found.sha256_prefix().len(), 8);
            let input = architecture.input(initialization);
            assert_eq!(
                (input.resize, input.crop, input.mean, input.std),
                (expected.resize, expected.crop, expected.mean, expected.std),
                "{}",
                found.name()
            );
        }
    }
}
