//! Files of every kind that is accepted, and of kinds that are not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use blemish_images::{ImagesError, RgbImage, load_mask, load_rgb};
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};
use tempfile::TempDir;

fn picture() -> RgbImage {
    RgbImage::from_fn(37, 23, |x, y| {
        Rgb([(x * 6) as u8, (y * 11) as u8, ((x * y) % 251) as u8])
    })
}

fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A folder with one file.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn load(name: &str, bytes: &[u8]) -> Result<RgbImage, ImagesError> {
    let (_dir, path) = file(name, bytes);
    load_rgb(&path)
}

fn message(name: &str, bytes: &[u8]) -> String {
    let error = load(name, bytes).unwrap_err().to_string();
    assert!(error.contains(name), "the path is not in: {error}");
    error
}

#[test]
fn lossless_formats_give_the_pixels_back() {
    let image = DynamicImage::from(picture());
    for (name, format) in [
        ("a.png", ImageFormat::Png),
        ("a.BMP", ImageFormat::Bmp),
        ("a.tif", ImageFormat::Tiff),
        ("a.webp", ImageFormat::WebP),
        // By content, whatever the name says.
        ("a.jpg", ImageFormat::Png),
        ("a.png", ImageFormat::Tiff),
    ] {
        assert_eq!(
            load(name, &encode(&image, format)).unwrap(),
            picture(),
            "{name} {format:?}"
        );
    }
}

#[test]
fn jpeg_is_near_and_is_told_by_its_content() {
    let smooth = RgbImage::from_fn(64, 48, |x, y| Rgb([(x * 2) as u8, (y * 3) as u8, 90]));
    let got = load("named.png", &encode(&smooth.clone().into(), ImageFormat::Jpeg)).unwrap();
    assert_eq!(got.dimensions(), smooth.dimensions());
    let worst = got
        .as_raw()
        .iter()
        .zip(smooth.as_raw())
        .map(|(a, b)| a.abs_diff(*b))
        .max()
        .unwrap();
    assert!(worst < 24, "{worst}");
}

#[test]
fn sixteen_bits_are_scaled_and_rounded() {
    let grey = ImageBuffer::<Luma<u16>, _>::from_fn(256, 256, |x, y| Luma([(y * 256 + x) as u16]));
    let color = ImageBuffer::<Rgb<u16>, _>::from_fn(256, 256, |x, y| {
        let v = (y * 256 + x) as u16;
        Rgb([v, 65535 - v, v / 2])
    });
    let want = |v: u16| (f64::from(v) * 255.0 / 65535.0).round() as u8;
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let got = load("a.png", &encode(&DynamicImage::from(grey.clone()), format)).unwrap();
        for (a, b) in got.pixels().zip(grey.pixels()) {
            assert_eq!(a.0, [want(b.0[0]); 3], "{format:?}");
        }
        let got = load("a.png", &encode(&DynamicImage::from(color.clone()), format)).unwrap();
        for (a, b) in got.pixels().zip(color.pixels()) {
            assert_eq!(a.0, b.0.map(want), "{format:?}");
        }
    }
}

#[test]
fn grey_is_repeated_and_alpha_is_dropped() {
    let rgb = picture();
    let rgba = ImageBuffer::from_fn(37, 23, |x, y| {
        let [r, g, b] = rgb.get_pixel(x, y).0;
        Rgba([r, g, b, (x * 7 % 256) as u8])
    });
    assert_eq!(
        load("a.png", &encode(&DynamicImage::from(rgba), ImageFormat::Png)).unwrap(),
        rgb
    );
    let grey = ImageBuffer::from_fn(9, 9, |x, y| Luma([(x * 20 + y) as u8]));
    let with_alpha = ImageBuffer::from_fn(9, 9, |x, y| LumaA([(x * 20 + y) as u8, (y * 20) as u8]));
    let want = RgbImage::from_fn(9, 9, |x, y| Rgb([(x * 20 + y) as u8; 3]));
    assert_eq!(
        load("a.png", &encode(&DynamicImage::from(grey), ImageFormat::Png)).unwrap(),
        want
    );
    assert_eq!(
        load(
            "a.png",
            &encode(&DynamicImage::from(with_alpha), ImageFormat::Png)
        )
        .unwrap(),
        want
    );
}

/// A PNG of `chunks` with right checksums.
fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, body) in chunks {
        out.extend((body.len() as u32).to_be_bytes());
        let from = out.len();
        out.extend(*kind);
        out.extend(*body);
        let mut crc = u32::MAX;
        for &byte in &out[from..] {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 {
                    (crc >> 1) ^ 0xedb8_8320
                } else {
                    crc >> 1
                };
            }
        }
        out.extend((!crc).to_be_bytes());
    }
    out
}

/// zlib with one stored block.
fn stored(raw: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01, 0x01];
    out.extend((raw.len() as u16).to_le_bytes());
    out.extend((!(raw.len() as u16)).to_le_bytes());
    out.extend(raw);
    let (mut a, mut b) = (1u32, 0u32);
    for &v in raw {
        a = (a + u32::from(v)) % 65521;
        b = (b + a) % 65521;
    }
    out.extend((b << 16 | a).to_be_bytes());
    out
}

fn header(width: u32, height: u32, depth: u8, kind: u8) -> Vec<u8> {
    let mut out = vec![];
    out.extend(width.to_be_bytes());
    out.extend(height.to_be_bytes());
    out.extend([depth, kind, 0, 0, 0]);
    out
}

#[test]
fn a_palette_is_expanded() {
    // 4 x 1, two bits a pixel: 0 1 2 3; one colour is transparent, which changes nothing.
    let bytes = png(&[
        (b"IHDR", &header(4, 1, 2, 3)),
        (b"PLTE", &[255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7]),
        (b"tRNS", &[255, 0]),
        (b"IDAT", &stored(&[0, 0b0001_1011])),
        (b"IEND", &[]),
    ]);
    let got = load("a.png", &bytes).unwrap();
    assert_eq!(got.as_raw(), &[255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7]);
}

#[test]
fn one_bit_grey_is_black_and_white() {
    let bytes = png(&[
        (b"IHDR", &header(8, 1, 1, 0)),
        (b"IDAT", &stored(&[0, 0b1010_0001])),
        (b"IEND", &[]),
    ]);
    let got = load("a.png", &bytes).unwrap();
    let red: Vec<u8> = got.pixels().map(|p| p.0[0]).collect();
    assert_eq!(red, [255, 0, 255, 0, 0, 0, 0, 255]);
}

/// The EXIF of a picture whose orientation is `value`.
fn exif(value: u8) -> Vec<u8> {
    let mut out = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    out.extend([value, 0, 0, 0, 0, 0, 0]);
    out
}

#[test]
fn exif_orientation_is_applied_to_jpeg_and_png() {
    let image = RgbImage::from_fn(64, 32, |x, _| Rgb([if x < 32 { 250 } else { 5 }; 3]));
    let plain = encode(&image.clone().into(), ImageFormat::Jpeg);
    let mut turned = plain[..2].to_vec();
    let mut body = b"Exif\0\0".to_vec();
    body.extend(exif(6));
    turned.extend([0xff, 0xe1]);
    turned.extend((body.len() as u16 + 2).to_be_bytes());
    turned.extend(body);
    turned.extend(&plain[2..]);
    // 6: to be turned clockwise, so that the left side comes to be at the top.
    let got = load("a.jpg", &turned).unwrap();
    assert_eq!(got.dimensions(), (32, 64));
    assert!(got.get_pixel(16, 5).0[0] > 200 && got.get_pixel(16, 60).0[0] < 50);

    let bytes = png(&[
        (b"IHDR", &header(2, 1, 8, 0)),
        (b"eXIf", &exif(3)),
        (b"IDAT", &stored(&[0, 10, 200])),
        (b"IEND", &[]),
    ]);
    let got = load("a.png", &bytes).unwrap();
    assert_eq!((got.get_pixel(0, 0).0[0], got.get_pixel(1, 0).0[0]), (200, 10));
}

#[test]
fn cut_off_files_are_errors() {
    let image = DynamicImage::from(RgbImage::from_fn(64, 64, |x, y| {
        Rgb([(x * x % 251) as u8, (y * 7 % 256) as u8, ((x ^ y) * 3) as u8])
    }));
    for (name, format) in [
        ("a.png", ImageFormat::Png),
        ("a.jpg", ImageFormat::Jpeg),
        ("a.bmp", ImageFormat::Bmp),
        ("a.tiff", ImageFormat::Tiff),
        ("a.webp", ImageFormat::WebP),
    ] {
        let whole = encode(&image, format);
        assert!(load(name, &whole).is_ok());
        for tenths in 1..10 {
            let cut = &whole[..whole.len() * tenths / 10];
            let error = message(name, cut);
            assert!(error.contains("copy the file again or remove it"), "{error}");
        }
    }
    // The last bytes of a JPEG are its end marker; its decoder alone would not miss them.
    let whole = encode(&image, ImageFormat::Jpeg);
    let error = message("a.jpg", &whole[..whole.len() - 2]);
    assert!(error.contains("the file ends before the image does"), "{error}");
}

#[test]
fn a_jpeg_with_something_after_its_end_is_whole() {
    let mut bytes = encode(&DynamicImage::from(picture()), ImageFormat::Jpeg);
    bytes.extend(b"trailer of some phone");
    assert!(load("a.jpg", &bytes).is_ok());
}

#[test]
fn a_thumbnails_end_is_not_the_images() {
    let plain = encode(&DynamicImage::from(picture()), ImageFormat::Jpeg);
    let mut bytes = plain[..2].to_vec();
    bytes.extend([0xff, 0xe5, 0, 6, 0xff, 0xd8, 0xff, 0xd9]);
    bytes.extend(&plain[2..plain.len() - 2]);
    assert!(message("a.jpg", &bytes).contains("ends before"));
}

#[test]
fn what_is_no_image_is_an_error() {
    assert!(message("a.png", b"").contains("the file is empty"));
    assert!(message("a.png", b"Dear sir or madam,").contains("not a PNG, JPEG, BMP, TIFF or WebP image"));
    assert!(message("a.png", &[0; 4096]).contains("not a PNG"));
    // A format that is known but not read.
    assert!(message("a.png", b"GIF89a\x01\0\x01\0\0\0\0").contains("copy the file again"));
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("x.png");
    std::fs::create_dir(&folder).unwrap();
    assert!(load_rgb(&folder).unwrap_err().to_string().contains("x.png"));
    let absent = load_rgb(Path::new("nowhere/a.png")).unwrap_err();
    assert!(matches!(absent, ImagesError::Io { .. }) && absent.to_string().contains("nowhere/a.png"));
}

#[test]
fn bombs_and_damaged_checksums_are_refused() {
    let bomb = png(&[
        (b"IHDR", &header(60_000, 60_000, 8, 2)),
        (b"IDAT", &stored(&[0])),
        (b"IEND", &[]),
    ]);
    let error = message("a.png", &bomb);
    assert!(
        error.contains("60000 x 60000 pixels and may have at most 200 million"),
        "{error}"
    );
    let mut bytes = encode(&DynamicImage::from(picture()), ImageFormat::Png);
    let at = bytes.len() / 2;
    bytes[at] ^= 0x40;
    message("a.png", &bytes);
}

#[test]
fn floating_point_pixels_are_refused() {
    let image = ImageBuffer::from_pixel(4, 4, Rgb([3.5f32, 0.0, 1.0]));
    let bytes = encode(&DynamicImage::ImageRgb32F(image), ImageFormat::Tiff);
    assert!(message("a.tif", &bytes).contains("floating-point numbers, which is not supported"));
}

#[test]
fn masks_are_black_or_not() {
    let image = ImageBuffer::from_fn(4, 1, |x, _| Luma([[0u8, 1, 128, 255][x as usize]]));
    let (_dir, path) = file("m.png", &encode(&DynamicImage::from(image), ImageFormat::Png));
    assert_eq!(load_mask(&path).unwrap().as_raw(), &[0, 255, 255, 255]);
}
