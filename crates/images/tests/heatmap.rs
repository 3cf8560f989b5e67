//! Maps as files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use blemish_images::{ImagesError, MapScale, read_map, write_map};
use ndarray::{Array2, array};
use proptest::prelude::*;

#[test]
fn a_map_is_an_ordinary_16_bit_png() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.png");
    let map = array![[-1.0, 0.0, 0.5], [1.0, 2.0, f32::NAN]];
    write_map(&path, map.view(), MapScale { low: 0.0, high: 1.0 }).unwrap();
    let image::DynamicImage::ImageLuma16(read) = image::open(&path).unwrap() else {
        panic!("not 16-bit grey")
    };
    assert_eq!(read.dimensions(), (3, 2));
    assert_eq!(read.into_raw(), [0, 0, 32768, 65535, 65535, 0]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

proptest! {
    #[test]
    fn maps_are_read_back(
        values in prop::collection::vec(-1e3f32..1e3, 1..40),
        low in -1e3f32..0.0,
        span in 1e-3f32..2e3,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.png");
        let map = Array2::from_shape_vec((1, values.len()), values).unwrap();
        let scale = MapScale { low, high: low + span };
        prop_assume!(scale.high > scale.low);
        write_map(&path, map.view(), scale).unwrap();
        let (read, found) = read_map(&path).unwrap();
        prop_assert_eq!(found, scale);
        let step = (scale.high - scale.low) / 65535.0;
        for (r, v) in read.iter().zip(&map) {
            let v = v.clamp(scale.low, scale.high);
            prop_assert!((r - v).abs() <= 0.51 * step + 1e-4 * f32::EPSILON.max(v.abs()), "{} {}", r, v);
        }
    }
}

#[test]
fn what_is_no_map_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.png");
    let map = Array2::from_shape_fn((20, 30), |(y, x)| (y * x) as f32);
    let scale = MapScale::of(map.view());
    write_map(&path, map.view(), scale).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 5, 40, 90, bytes.len() / 2, bytes.len() - 30] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(
            matches!(read_map(&path), Err(ImagesError::Undecodable { .. })),
            "{length}"
        );
    }
    image::GrayImage::new(4, 4).save(&path).unwrap();
    assert!(read_map(&path).unwrap_err().to_string().contains("16-bit"));
    image::ImageBuffer::<image::Luma<u16>, Vec<u16>>::new(4, 4)
        .save(&path)
        .unwrap();
    assert!(read_map(&path).unwrap_err().to_string().contains("scale"));
    assert!(matches!(
        read_map(&folder.path().join("none.png")),
        Err(ImagesError::Io { .. })
    ));
    for (low, high) in [
        (1.0, 1.0),
        (2.0, 1.0),
        (f32::NAN, 1.0),
        (0.0, f32::INFINITY),
        (f32::MIN, f32::MAX),
    ] {
        let wrong = write_map(&path, map.view(), MapScale { low, high });
        assert!(matches!(wrong, Err(ImagesError::Map { .. })));
    }
    let nothing = Array2::<f32>::zeros((0, 3));
    assert!(matches!(
        write_map(&path, nothing.view(), scale),
        Err(ImagesError::Map { .. })
    ));
    let nowhere = write_map(&folder.path().join("no/map.png"), map.view(), scale);
    assert!(matches!(nowhere, Err(ImagesError::Io { .. })));
}
