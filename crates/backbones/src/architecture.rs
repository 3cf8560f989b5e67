//! Which networks there are, what they read, and where their weights may come from.

use std::fmt;
use std::str::FromStr;

use crate::description::{Description, TapShape};
use crate::error::BackbonesError;
use crate::resnet;

/// A network that can be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// ResNet-18 (He et al., "Deep Residual Learning for Image Recognition", 2016), as in torchvision.
    Resnet18,
}

/// What a network reads: how an image becomes its input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputSpec {
    /// The shorter side after resizing, in pixels.
    pub resize: u32,
    /// The side of the central square that is cut out afterwards, in pixels.
    pub crop: u32,
    /// Subtracted from red, green and blue in 0 to 1.
    pub mean: [f32; 3],
    /// Divided by, after the mean was subtracted.
    pub std: [f32; 3],
}

/// Where a network's weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Initialization {
    /// Drawn from a seed, as torchvision would.
    Random,
    /// torchvision's first weights trained on ImageNet-1k.
    Imagenet1kV1,
    /// torchvision's second weights trained on ImageNet-1k.
    Imagenet1kV2,
}

impl Architecture {
    /// All networks.
    pub const ALL: [Architecture; 1] = [Architecture::Resnet18];

    /// The name, as torchvision has it.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Resnet18 => "resnet18",
        }
    }

    /// The layers whose output can be had, from the first to the last.
    pub fn layers(self) -> &'static [&'static str] {
        match self {
            Architecture::Resnet18 => resnet::LAYERS,
        }
    }

    /// How an image becomes the network's input: torchvision's preprocessing.
    pub fn input(self) -> InputSpec {
        match self {
            Architecture::Resnet18 => InputSpec {
                resize: 256,
                crop: 224,
                mean: [0.485, 0.456, 0.406],
                std: [0.229, 0.224, 0.225],
            },
        }
    }

    /// The shape of `layer` for images of `height` x `width` pixels, without any weights.
    ///
    /// # Errors
    /// [`BackbonesError::UnknownLayer`], [`BackbonesError::ImageSize`].
    pub fn layer_shape(self, layer: &str, height: usize, width: usize) -> Result<TapShape, BackbonesError> {
        let depth = self.depth(layer)?;
        self.describe().tap_shape(depth, height, width)
    }

    pub(crate) fn describe(self) -> Description {
        match self {
            Architecture::Resnet18 => resnet::resnet18(),
        }
    }

    /// The index of `layer` among [`layers`](Self::layers).
    pub(crate) fn depth(self, layer: &str) -> Result<usize, BackbonesError> {
        self.layers()
            .iter()
            .position(|known| *known == layer)
            .ok_or_else(|| BackbonesError::UnknownLayer {
                architecture: self.name(),
                layer: layer.to_owned(),
                known: self.layers().join(", "),
            })
    }

    /// The name, without extension, under which torchvision publishes these weights.
    pub(crate) fn torchvision_name(self, initialization: Initialization) -> Option<&'static str> {
        match (self, initialization) {
            (Architecture::Resnet18, Initialization::Imagenet1kV1) => Some("resnet18-f37072fd"),
            (Architecture::Resnet18, Initialization::Imagenet1kV2 | Initialization::Random) => None,
        }
    }
}

impl Initialization {
    /// All initialisations.
    pub const ALL: [Initialization; 3] = [
        Initialization::Random,
        Initialization::Imagenet1kV1,
        Initialization::Imagenet1kV2,
    ];

    /// The name: "random", "imagenet1k_v1" or "imagenet1k_v2".
    pub fn name(self) -> &'static str {
        match self {
            Initialization::Random => "random",
            Initialization::Imagenet1kV1 => "imagenet1k_v1",
            Initialization::Imagenet1kV2 => "imagenet1k_v2",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Initialization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Architecture {
    type Err = BackbonesError;

    fn from_str(name: &str) -> Result<Self, BackbonesError> {
        Self::ALL
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| BackbonesError::UnknownArchitecture {
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

impl FromStr for Initialization {
    type Err = BackbonesError;

    fn from_str(name: &str) -> Result<Self, BackbonesError> {
        Self::ALL.into_iter().find(|i| i.name() == name).ok_or_else(|| {
            BackbonesError::UnknownInitialization {
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for a in Architecture::ALL {
            assert_eq!(a.to_string().parse::<Architecture>().unwrap(), a);
            assert_eq!(
                a.describe().stages.iter().map(|s| s.layer).collect::<Vec<_>>(),
                a.layers(),
                "the description has the layers that are promised"
            );
        }
        for i in Initialization::ALL {
            assert_eq!(i.to_string().parse::<Initialization>().unwrap(), i);
        }
        let message = "resnet19".parse::<Architecture>().unwrap_err().to_string();
        assert_eq!(message, "unknown network \"resnet19\"; known: resnet18");
        assert!("imagenet".parse::<Initialization>().is_err());
    }

    #[test]
    fn shapes_without_weights() {
        let shape = Architecture::Resnet18.layer_shape("layer3", 224, 224).unwrap();
        assert_eq!(
            shape,
            TapShape {
                height: 14,
                width: 14,
                channels: 256
            }
        );
        assert_eq!(shape.len(), 50176);
        assert!(!shape.is_empty());
        assert!(Architecture::Resnet18.layer_shape("layer5", 224, 224).is_err());
        assert!(Architecture::Resnet18.layer_shape("layer1", 31, 224).is_err());
        assert!(
            Architecture::Resnet18
                .layer_shape("layer1", 224, usize::MAX)
                .is_err()
        );
    }
}
