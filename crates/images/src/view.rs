//! The six views of an image by which the training set is augmented.

use image::{RgbImage, imageops};

/// One of the six views of an image: the image, two flips and three rotations.
///
/// Each moves pixels exactly; nothing is interpolated. Two views of the square's eight symmetries, the
/// flips along the diagonals, are absent, as in the study.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// The image itself.
    Original,
    /// Left and right exchanged.
    FlipLeftRight,
    /// Top and bottom exchanged.
    FlipTopBottom,
    /// A quarter turn counter-clockwise: width and height exchanged.
    Rotate90,
    /// A half turn.
    Rotate180,
    /// A quarter turn clockwise: width and height exchanged.
    Rotate270,
}

impl View {
    /// All views, the original first.
    pub const ALL: [View; 6] = [
        View::Original,
        View::FlipLeftRight,
        View::FlipTopBottom,
        View::Rotate90,
        View::Rotate180,
        View::Rotate270,
    ];

    /// Its name, for tables and file names.
    pub fn name(self) -> &'static str {
        match self {
            View::Original => "original",
            View::FlipLeftRight => "flip_left_right",
            View::FlipTopBottom => "flip_top_bottom",
            View::Rotate90 => "rotate_90",
            View::Rotate180 => "rotate_180",
            View::Rotate270 => "rotate_270",
        }
    }

    /// This view of `image`.
    pub fn apply(self, image: &RgbImage) -> RgbImage {
        match self {
            View::Original => image.clone(),
            View::FlipLeftRight => imageops::flip_horizontal(image),
            View::FlipTopBottom => imageops::flip_vertical(image),
            // `imageops` turns clockwise.
            View::Rotate90 => imageops::rotate270(image),
            View::Rotate180 => imageops::rotate180(image),
            View::Rotate270 => imageops::rotate90(image),
        }
    }
}

impl std::fmt::Display for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
