//! Which networks there are, what they read, and where their weights may come from.

use std::fmt;
use std::str::FromStr;

use crate::description::{Description, TapShape};
use crate::error::BackbonesError;
use crate::{resnet, vit};

/// A network that can be computed, as in torchvision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// ResNet-18 (He et al., "Deep Residual Learning for Image Recognition", 2016).
    Resnet18,
    /// ResNet-50 (the same).
    Resnet50,
    /// Wide ResNet-50-2 (Zagoruyko and Komodakis, "Wide Residual Networks", 2016).
    WideResnet50_2,
    /// The base vision transformer with patches of 16 x 16 pixels (Dosovitskiy et al., "An Image is
    /// Worth 16x16 Words", 2021).
    VitBase16,
    /// The base vision transformer with patches of 32 x 32 pixels (the same).
    VitBase32,
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
    pub const ALL: [Architecture; 5] = [
        Architecture::Resnet18,
        Architecture::Resnet50,
        Architecture::WideResnet50_2,
        Architecture::VitBase16,
        Architecture::VitBase32,
    ];

    /// The name, as the reference study has it: torchvision's, except that its `vit_b_16` and
    /// `vit_b_32` are called `vit_base_16` and `vit_base_32`. [`FromStr`] takes torchvision's too.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Resnet18 => "resnet18",
            Architecture::Resnet50 => "resnet50",
            Architecture::WideResnet50_2 => "wide_resnet50_2",
            Architecture::VitBase16 => "vit_base_16",
            Architecture::VitBase32 => "vit_base_32",
        }
    }

    /// The name of torchvision's constructor.
    pub fn constructor(self) -> &'static str {
        match self {
            Architecture::VitBase16 => "vit_b_16",
            Architecture::VitBase32 => "vit_b_32",
            Architecture::Resnet18 | Architecture::Resnet50 | Architecture::WideResnet50_2 => self.name(),
        }
    }

    /// The layers whose output can be had, from the first to the last: `layer1` to `layer4` of a
    /// residual network, `layer0` to `layer11` of a transformer, which are torchvision's
    /// `encoder_layer_0` to `encoder_layer_11`.
    pub fn layers(self) -> &'static [&'static str] {
        match self {
            Architecture::Resnet18 | Architecture::Resnet50 | Architecture::WideResnet50_2 => resnet::LAYERS,
            Architecture::VitBase16 | Architecture::VitBase32 => vit::LAYERS,
        }
    }

    /// The layers that the reference study takes features from: the first four.
    pub fn study_layers(self) -> &'static [&'static str] {
        &self.layers()[..4]
    }

    /// The initialisations that need no file of the user's own making: random, and those that
    /// torchvision publishes weights of.
    pub fn initializations(self) -> &'static [Initialization] {
        use Initialization::{Imagenet1kV1, Imagenet1kV2, Random};
        match self {
            Architecture::Resnet50 | Architecture::WideResnet50_2 => &[Random, Imagenet1kV1, Imagenet1kV2],
            Architecture::Resnet18 | Architecture::VitBase16 | Architecture::VitBase32 => {
                &[Random, Imagenet1kV1]
            }
        }
    }

    /// The initialisations that the reference study compares: random, and the newest published
    /// weights. It has no Wide ResNet, to which the same rule is applied.
    pub fn study_initializations(self) -> [Initialization; 2] {
        [Initialization::Random, self.newest()]
    }

    /// torchvision's `DEFAULT` weights.
    fn newest(self) -> Initialization {
        match self {
            Architecture::Resnet50 | Architecture::WideResnet50_2 => Initialization::Imagenet1kV2,
            Architecture::Resnet18 | Architecture::VitBase16 | Architecture::VitBase32 => {
                Initialization::Imagenet1kV1
            }
        }
    }

    /// How an image becomes the network's input: the preprocessing of its weights in torchvision.
    /// Random weights have the newest weights' preprocessing, as in the reference study.
    pub fn input(self, initialization: Initialization) -> InputSpec {
        let weights = match initialization {
            Initialization::Random => self.newest(),
            published => published,
        };
        // torchvision's second training recipe resizes less.
        let second = weights == Initialization::Imagenet1kV2 && weights == self.newest();
        InputSpec {
            resize: if second { 232 } else { 256 },
            crop: 224,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    /// The canonical name of `layer`, which may be spelled as here (`layer0`) or, of a transformer, as
    /// in torchvision (`encoder_layer_0`, or the whole node `encoder.layers.encoder_layer_0`).
    ///
    /// # Errors
    /// [`BackbonesError::UnknownLayer`].
    pub fn layer(self, layer: &str) -> Result<&'static str, BackbonesError> {
        Ok(self.layers()[self.depth(layer)?])
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
            Architecture::Resnet50 => resnet::resnet50(),
            Architecture::WideResnet50_2 => resnet::wide_resnet50_2(),
            Architecture::VitBase16 => vit::base(16),
            Architecture::VitBase32 => vit::base(32),
        }
    }

    /// The index of `layer` among [`layers`](Self::layers).
    pub(crate) fn depth(self, layer: &str) -> Result<usize, BackbonesError> {
        let plain = layer.strip_prefix("encoder.layers.").unwrap_or(layer);
        let same = |known: &str| match plain.strip_prefix("encoder_layer_") {
            // Only a transformer's layers begin with 0, so that no other network's answer to this.
            Some(index) => self.layers()[0] == "layer0" && known.strip_prefix("layer") == Some(index),
            None => known == layer,
        };
        self.layers()
            .iter()
            .position(|known| same(known))
            .ok_or_else(|| BackbonesError::UnknownLayer {
                architecture: self.name(),
                layer: layer.to_owned(),
                known: self.layers().join(", "),
            })
    }

    /// The name, without extension, under which torchvision publishes these weights.
    pub(crate) fn torchvision_name(self, initialization: Initialization) -> Option<&'static str> {
        use Initialization::{Imagenet1kV1, Imagenet1kV2, Random};
        match (self, initialization) {
            (Architecture::Resnet18, Imagenet1kV1) => Some("resnet18-f37072fd"),
            (Architecture::Resnet50, Imagenet1kV1) => Some("resnet50-0676ba61"),
            (Architecture::Resnet50, Imagenet1kV2) => Some("resnet50-11ad3fa6"),
            (Architecture::WideResnet50_2, Imagenet1kV1) => Some("wide_resnet50_2-95faca4d"),
            (Architecture::WideResnet50_2, Imagenet1kV2) => Some("wide_resnet50_2-9ba9bcbe"),
            (Architecture::VitBase16, Imagenet1kV1) => Some("vit_b_16-c867db91"),
            (Architecture::VitBase32, Imagenet1kV1) => Some("vit_b_32-d86f8d99"),
            (_, Random)
            | (Architecture::Resnet18 | Architecture::VitBase16 | Architecture::VitBase32, Imagenet1kV2) => {
                None
            }
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
            .find(|a| a.name() == name || a.constructor() == name)
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
            assert_eq!(a.constructor().parse::<Architecture>().unwrap(), a);
            assert_eq!(
                a.describe().stages.iter().map(|s| s.layer).collect::<Vec<_>>(),
                a.layers(),
                "the description has the layers that are promised"
            );
        }
        assert_eq!("vit_b_32".parse::<Architecture>().unwrap().name(), "vit_base_32");
        for i in Initialization::ALL {
            assert_eq!(i.to_string().parse::<Initialization>().unwrap(), i);
        }
        let message = "resnet19".parse::<Architecture>().unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown network \"resnet19\"; known: resnet18, resnet50, wide_resnet50_2, vit_base_16, vit_base_32"
        );
        assert!("imagenet".parse::<Initialization>().is_err());
    }

    #[test]
    fn layers_have_two_spellings() {
        let vit = Architecture::VitBase16;
        for spelling in ["layer11", "encoder_layer_11", "encoder.layers.encoder_layer_11"] {
            assert_eq!(vit.layer(spelling).unwrap(), "layer11");
        }
        for wrong in [
            "layer12",
            "encoder_layer_12",
            "encoder_layer_",
            "encoder.layers.layer1",
            "encoder_layer_01",
            "",
        ] {
            assert!(vit.layer(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Architecture::Resnet50.layer("layer4").unwrap(), "layer4");
        assert!(Architecture::Resnet50.layer("encoder_layer_1").is_err());
        assert!(Architecture::Resnet50.layer("layer0").is_err());
    }

    #[test]
    fn published_weights_have_names_and_presets() {
        for a in Architecture::ALL {
            for i in Initialization::ALL {
                let published = a.torchvision_name(i).is_some();
                assert_eq!(
                    published || i == Initialization::Random,
                    a.initializations().contains(&i)
                );
            }
            for i in a.study_initializations() {
                assert!(a.initializations().contains(&i));
            }
        }
        use Initialization::{Imagenet1kV1, Imagenet1kV2, Random};
        let resize = |a: Architecture, i| a.input(i).resize;
        assert_eq!(resize(Architecture::Resnet18, Random), 256);
        assert_eq!(resize(Architecture::Resnet18, Imagenet1kV2), 256);
        assert_eq!(resize(Architecture::VitBase16, Imagenet1kV1), 256);
        for wide in [Architecture::Resnet50, Architecture::WideResnet50_2] {
            assert_eq!(
                [Random, Imagenet1kV1, Imagenet1kV2].map(|i| resize(wide, i)),
                [232, 256, 232]
            );
        }
    }

    #[test]
    fn shapes_without_weights() {
        let len = |a: Architecture, layer: &str| a.layer_shape(layer, 224, 224).unwrap().len();
        // Table 2 of the reference study.
        for (a, layers) in [
            (Architecture::Resnet18, [200_704, 100_352, 50_176, 25_088]),
            (Architecture::Resnet50, [802_816, 401_408, 200_704, 100_352]),
            (Architecture::WideResnet50_2, [802_816, 401_408, 200_704, 100_352]),
            (Architecture::VitBase16, [151_296; 4]),
            (Architecture::VitBase32, [38_400; 4]),
        ] {
            assert_eq!(
                a.study_layers().iter().map(|l| len(a, l)).collect::<Vec<_>>(),
                layers,
                "{a}"
            );
        }
        let shape = Architecture::Resnet18.layer_shape("layer3", 224, 224).unwrap();
        assert_eq!(
            shape,
            TapShape {
                height: 14,
                width: 14,
                channels: 256
            }
        );
        assert!(!shape.is_empty());
        assert!(Architecture::Resnet18.layer_shape("layer5", 224, 224).is_err());
        assert!(Architecture::Resnet18.layer_shape("layer1", 31, 224).is_err());
        assert!(
            Architecture::Resnet18
                .layer_shape("layer1", 224, usize::MAX)
                .is_err()
        );
        let error = Architecture::VitBase16
            .layer_shape("layer1", 224, 256)
            .unwrap_err();
        assert!(matches!(
            error,
            BackbonesError::ImageSize {
                minimum: 224,
                maximum: 224,
                ..
            }
        ));
    }

    /// The published files' sizes: parameters without the classifier.
    #[test]
    fn descriptions_have_torchvisions_parameters() {
        let buffers = |name: &str| name.ends_with("running_mean") || name.ends_with("running_var");
        for (a, total, classifier) in [
            (Architecture::Resnet18, 11_689_512, 512 * 1000 + 1000),
            (Architecture::Resnet50, 25_557_032, 2048 * 1000 + 1000),
            (Architecture::WideResnet50_2, 68_883_240, 2048 * 1000 + 1000),
            // The classifier and the last normalisation.
            (Architecture::VitBase16, 86_567_656, 768 * 1000 + 1000 + 2 * 768),
            (Architecture::VitBase32, 88_224_232, 768 * 1000 + 1000 + 2 * 768),
        ] {
            let read: usize = a
                .describe()
                .stages
                .iter()
                .flat_map(|stage| stage.tensors())
                .filter(|spec| !buffers(&spec.name))
                .map(|spec| spec.shape.iter().product::<usize>())
                .sum();
            assert_eq!(read + classifier, total, "{a}");
        }
    }
}
