//! Synthetic defects.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use blemish_images::{
    DefectKind, ImagesError, RgbImage, SynthOptions, load_rgb, make_defect, write_synthetic,
};
use image::Rgb;

/// Good images of both objects of the synthetic data set.
fn parts() -> Vec<RgbImage> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("parts");
    let options = SynthOptions {
        size: 128,
        train: 1,
        test_good: 1,
        per_defect: 1,
        ..SynthOptions::default()
    };
    write_synthetic(&out, &options).unwrap();
    ["washer", "weave"]
        .map(|object| load_rgb(&out.join(object).join("train/good/000.png")).unwrap())
        .into()
}

fn largest_change(a: Rgb<u8>, b: Rgb<u8>) -> u8 {
    (0..3).map(|c| a.0[c].abs_diff(b.0[c])).max().unwrap()
}

#[test]
fn defects_are_seen_where_the_mask_is_and_nowhere_else() {
    for good in parts() {
        for kind in DefectKind::ALL {
            for seed in 0..20 {
                let (spoiled, mask) = make_defect(&good, kind, seed).unwrap();
                assert_eq!(spoiled.dimensions(), good.dimensions());
                assert_eq!(mask.dimensions(), good.dimensions());
                let masked = mask.pixels().filter(|p| p.0 == [255]).count();
                assert!(mask.pixels().all(|p| p.0 == [255] || p.0 == [0]));
                let share = masked as f64 / f64::from(128 * 128);
                assert!((2e-4..0.06).contains(&share), "{kind} {seed}: {share}");
                let mut inside = 0;
                for (x, y, pixel) in spoiled.enumerate_pixels() {
                    let change = largest_change(*pixel, *good.get_pixel(x, y));
                    if mask.get_pixel(x, y).0 == [255] {
                        inside += u64::from(change);
                    } else if change > 0 {
                        // A rim where it fades out.
                        let near = |dx: i64, dy: i64| {
                            let (x, y) = (i64::from(x) + dx, i64::from(y) + dy);
                            (0..128).contains(&x)
                                && (0..128).contains(&y)
                                && mask.get_pixel(x as u32, y as u32).0 == [255]
                        };
                        let rim = (-4..=4).any(|dx| (-4..=4).any(|dy| near(dx, dy)));
                        assert!(rim, "{kind} {seed}: ({x}, {y}) changes by {change}");
                    }
                }
                assert!(inside as f64 / masked as f64 >= 14.0, "{kind} {seed}");
            }
        }
    }
}

#[test]
fn defects_follow_from_the_seed() {
    let good = &parts()[0];
    for kind in DefectKind::ALL {
        let once = make_defect(good, kind, 3).unwrap();
        assert_eq!(make_defect(good, kind, 3).unwrap(), once);
        assert_ne!(make_defect(good, kind, 4).unwrap().1, once.1);
    }
}

#[test]
fn what_cannot_be_spoiled_is_an_error() {
    let small = RgbImage::from_fn(31, 200, |x, y| Rgb([(x * y) as u8, 0, 0]));
    let error = make_defect(&small, DefectKind::Blob, 0).unwrap_err();
    assert!(error.to_string().contains("32 pixels"), "{error}");
    let blank = RgbImage::from_pixel(64, 64, Rgb([128; 3]));
    let error = make_defect(&blank, DefectKind::Shift, 0).unwrap_err();
    assert!(matches!(error, ImagesError::Defect { .. }), "{error}");
    for kind in [DefectKind::Texture, DefectKind::Scratch, DefectKind::Blob] {
        make_defect(&blank, kind, 0).unwrap();
    }
}

#[test]
fn odd_shapes_are_no_trouble() {
    for (width, height) in [(32, 32), (32, 500), (700, 33)] {
        let image = RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 9) as u8, (y * 5) as u8, (x ^ y) as u8])
        });
        for kind in DefectKind::ALL {
            make_defect(&image, kind, 1).unwrap();
        }
    }
}
