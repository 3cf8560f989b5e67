//! Properties of the six views.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use blemish_images::{RgbImage, View};
use proptest::prelude::*;

fn image(width: u32, height: u32, seed: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let h = (x * 73 + y * 179 + seed).wrapping_mul(2_654_435_761);
        image::Rgb([(h >> 24) as u8, (h >> 16) as u8, (h >> 8) as u8])
    })
}

fn reds(image: &RgbImage) -> Vec<Vec<u8>> {
    image.rows().map(|row| row.map(|p| p.0[0]).collect()).collect()
}

#[test]
fn each_view_of_a_known_matrix() {
    let image = RgbImage::from_fn(3, 2, |x, y| image::Rgb([(y * 3 + x + 1) as u8; 3]));
    assert_eq!(reds(&image), [[1, 2, 3], [4, 5, 6]]);
    let seen = View::ALL.map(|view| reds(&view.apply(&image)));
    assert_eq!(seen[0], [[1, 2, 3], [4, 5, 6]]);
    assert_eq!(seen[1], [[3, 2, 1], [6, 5, 4]]);
    assert_eq!(seen[2], [[4, 5, 6], [1, 2, 3]]);
    // Counter-clockwise, as `numpy.rot90` and PIL turn.
    assert_eq!(seen[3], [[3, 6], [2, 5], [1, 4]]);
    assert_eq!(seen[4], [[6, 5, 4], [3, 2, 1]]);
    assert_eq!(seen[5], [[4, 1], [5, 2], [6, 3]]);
}

#[test]
fn names_are_distinct() {
    let mut names = View::ALL.map(View::name).to_vec();
    assert_eq!(names[0], "original");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 6);
    assert_eq!(View::Rotate90.to_string(), "rotate_90");
}

proptest! {
    #[test]
    fn views_form_their_group(width in 1u32..40, height in 1u32..40, seed: u32) {
        let original = image(width, height, seed % 1000);
        let apply = |views: &[View]| views.iter().fold(original.clone(), |i, v| v.apply(&i));
        use View::{FlipLeftRight, FlipTopBottom, Original, Rotate90, Rotate180, Rotate270};
        prop_assert_eq!(&apply(&[Original]), &original);
        prop_assert_eq!(&apply(&[Rotate90; 4]), &original);
        prop_assert_eq!(&apply(&[Rotate90, Rotate270]), &original);
        prop_assert_eq!(&apply(&[FlipLeftRight; 2]), &original);
        prop_assert_eq!(&apply(&[FlipTopBottom; 2]), &original);
        prop_assert_eq!(apply(&[Rotate90; 2]), apply(&[Rotate180]));
        prop_assert_eq!(apply(&[FlipLeftRight, FlipTopBottom]), apply(&[Rotate180]));
    }
}
