//! Draws a sheet of test images beside their maps, the masks' outlines on both: do maps glow where the masks are?
//!
//! ```sh
//! blemish synth parts
//! blemish fit parts/washer -o washer.blemish --initialization random
//! cargo run --release -p blemish --example maps -- washer.blemish parts/washer docs/images/maps.jpg 12
//! ```
//!
//! A fourth argument says how many images, spread evenly over the test set; a fifth names the folder with weights, for
//! models without their own.

#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::error::Error;
use std::path::{Path, PathBuf};

use blemish::images::{ImageFile, MapScale, RgbImage, load_mask, load_rgb, overlay};
use blemish::inspector::{Inspector, Samples};
use image::imageops::{self, FilterType};
use ndarray::Array2;

const SIDE: u32 = 192;
const GAP: u32 = 3;
/// Pairs of pictures in a row.
const PAIRS: u32 = 4;
/// A scale on which everything is 0: nothing but a contour is drawn.
const NO_HEAT: MapScale = MapScale {
    low: 300.0,
    high: 301.0,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, out, rest @ ..] = &arguments[..] else {
        return Err("usage: maps MODEL OBJECT OUT.jpg [COUNT [WEIGHTS]]".into());
    };
    let count: usize = rest.first().map_or(Ok(12), |n| n.parse())?;
    let weights = rest.get(1).map(PathBuf::from);
    let samples = Samples::open(Path::new(data))?;
    let inspector = Inspector::load(Path::new(model), weights.as_deref())?;

    let count = count.min(samples.test.len());
    let files: Vec<&ImageFile> = (0..count)
        .map(|i| &samples.test[i * samples.test.len() / count])
        .collect();
    let mut drawn = vec![];
    let mut values = vec![];
    for file in &files {
        let picture = load_rgb(&file.path)?;
        let found = inspector.score(&picture)?;
        let map = found.map.ok_or("this method has no maps")?;
        values.extend(map.iter().step_by(97).copied());
        drawn.push((picture, map));
    }
    // One scale for all: from what most pixels have to the highest.
    values.sort_by(f32::total_cmp);
    let scale = MapScale {
        low: values[values.len() / 2],
        high: values[values.len() - 1],
    };

    let step = SIDE + GAP;
    let rows = (count as u32).div_ceil(PAIRS);
    let white = image::Rgb([255; 3]);
    let mut sheet = RgbImage::from_pixel(2 * PAIRS * step - GAP, rows * step - GAP, white);
    for (i, (file, (picture, map))) in (0..).zip(files.iter().zip(&drawn)) {
        let mut both = [picture.clone(), overlay(picture, map.view(), scale, None)?];
        if let Some(path) = &file.mask {
            let mask = load_mask(path)?;
            let mask = Array2::from_shape_fn(map.dim(), |(y, x)| {
                f32::from(mask.get_pixel(x as u32, y as u32).0[0])
            });
            for picture in &mut both {
                *picture = overlay(picture, mask.view(), NO_HEAT, Some(128.0))?;
            }
        }
        for (k, picture) in (0..).zip(&both) {
            let small = imageops::resize(picture, SIDE, SIDE, FilterType::Triangle);
            let x = (2 * (i % PAIRS) + k) * step;
            imageops::replace(&mut sheet, &small, i64::from(x), i64::from(i / PAIRS * step));
        }
        println!("{}", file.relative);
    }
    sheet.save(out)?;
    Ok(())
}
