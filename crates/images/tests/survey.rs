//! Facts of images and near duplicates.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use blemish_images::{ImageFacts, RgbImage, SynthOptions, load_rgb, near_duplicates, write_synthetic};
use image::imageops::{self, FilterType};

/// Pairs among good washers and cloths, and the images themselves.
fn parts(folder: &std::path::Path, object: &str) -> Vec<RgbImage> {
    let out = folder.join("parts");
    if !out.exists() {
        let options = SynthOptions {
            size: 128,
            train: 24,
            test_good: 1,
            per_defect: 1,
            ..SynthOptions::default()
        };
        write_synthetic(&out, &options).unwrap();
    }
    (0..24)
        .map(|i| load_rgb(&out.join(object).join(format!("train/good/{i:03}.png"))).unwrap())
        .collect()
}

fn pairs(folder: &std::path::Path, images: &[RgbImage]) -> Vec<(usize, usize)> {
    let file = folder.join("one.png");
    let facts: Vec<ImageFacts> = images
        .iter()
        .map(|image| {
            image.save(&file).unwrap();
            ImageFacts::of(&file).unwrap()
        })
        .collect();
    near_duplicates(&facts.iter().map(|f| &*f.thumbnail).collect::<Vec<_>>())
}

#[test]
fn copies_are_found_and_other_parts_are_not() {
    let folder = tempfile::tempdir().unwrap();
    for object in ["washer", "weave"] {
        let good = parts(folder.path(), object);
        assert_eq!(pairs(folder.path(), &good), [], "{object}");
        let mut images = good.clone();
        // Smaller, darker, and compressed.
        images.push(imageops::resize(&good[3], 90, 90, FilterType::Triangle));
        let mut darker = good[7].clone();
        darker
            .pixels_mut()
            .for_each(|p| p.0 = p.0.map(|v| (f32::from(v) * 0.8) as u8));
        images.push(darker);
        let jpeg = folder.path().join("a.jpg");
        good[11].save(&jpeg).unwrap();
        images.push(load_rgb(&jpeg).unwrap());
        // Threads of the cloth are as wide as a part of the thumbnail: in another size they fall otherwise.
        let expected: &[(usize, usize)] = match object {
            "washer" => &[(3, 24), (7, 25), (11, 26)],
            _ => &[(7, 25), (11, 26)],
        };
        assert_eq!(pairs(folder.path(), &images), expected, "{object}");
        // Of two, which have nothing beyond their mean but each other, those that differ by hardly a level; of three all.
        let darker = [images[7].clone(), images[25].clone()];
        assert_eq!(pairs(folder.path(), &darker), [(0, 1)], "{object}");
        assert_eq!(pairs(folder.path(), &good[..2]), []);
        assert_eq!(
            pairs(
                folder.path(),
                &[images[7].clone(), images[5].clone(), images[25].clone()]
            ),
            [(0, 2)]
        );
    }
}

#[test]
fn blank_images_are_not_called_alike() {
    let folder = tempfile::tempdir().unwrap();
    let blank = vec![RgbImage::from_pixel(40, 40, image::Rgb([9; 3])); 3];
    assert_eq!(pairs(folder.path(), &blank), []);
    assert_eq!(near_duplicates(&[]), []);
    assert_eq!(near_duplicates(&[&[0.0; 3]]), []);
}

#[test]
fn facts_are_of_the_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let image = RgbImage::from_fn(50, 7, |x, _| image::Rgb([x as u8, 0, 90]));
    image.save(at("a.png")).unwrap();
    image.save(at("b.bmp")).unwrap();
    let a = ImageFacts::of(&at("a.png")).unwrap();
    let b = ImageFacts::of(&at("b.bmp")).unwrap();
    assert_eq!((a.width, a.height, a.mode), (50, 7, "RGB"));
    assert_eq!(a, b);
    let mean = (24.5 + 90.0) / 3.0 / 255.0;
    assert!((a.brightness - mean).abs() < 1e-12, "{}", a.brightness);
    image::GrayImage::new(7, 50).save(at("c.png")).unwrap();
    let c = ImageFacts::of(&at("c.png")).unwrap();
    assert_eq!((c.mode, c.brightness), ("grey", 0.0));
    assert_ne!(c.pixels, a.pixels);
    std::fs::write(at("d.png"), "no image").unwrap();
    assert!(ImageFacts::of(&at("d.png")).is_err());
}
