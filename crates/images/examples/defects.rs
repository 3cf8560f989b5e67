//! Draws a sheet of synthetic defects on good images: a row a kind, each with its outline.
//!
//! ```sh
//! blemish synth parts
//! cargo run --release -p blemish-images --example defects -- parts/washer/train/good docs/images/defects.jpg
//! ```

use std::error::Error;
use std::path::Path;

use blemish_images::{DefectKind, MapScale, RgbImage, list_images, load_rgb, make_defect, overlay};
use image::imageops::{self, FilterType};
use ndarray::Array2;

const COLUMNS: u32 = 8;
const SIDE: u32 = 160;
const GAP: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(data), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: defects FOLDER_OF_GOOD_IMAGES OUT.jpg".into());
    };
    let files = list_images(Path::new(&data), false)?;
    let step = SIDE + GAP;
    let rows = DefectKind::ALL.len() as u32;
    let white = image::Rgb([255; 3]);
    let mut sheet = RgbImage::from_pixel(COLUMNS * step - GAP, rows * step - GAP, white);
    for (y, kind) in (0..).zip(DefectKind::ALL) {
        for x in 0..COLUMNS {
            let file = &files[x as usize / 2 % files.len()];
            let good = load_rgb(file)?;
            let (spoiled, mask) = make_defect(&good, kind, u64::from(x / 2))?;
            let map = Array2::from_shape_fn((mask.height() as usize, mask.width() as usize), |(y, x)| {
                f32::from(mask.get_pixel(x as u32, y as u32).0[0])
            });
            let scale = MapScale {
                low: 300.0,
                high: 301.0,
            };
            // The same without and with its outline.
            let threshold = (x % 2 == 1).then_some(128.0);
            let drawn = overlay(&spoiled, map.view(), scale, threshold)?;
            let small = imageops::resize(&drawn, SIDE, SIDE, FilterType::Triangle);
            imageops::replace(&mut sheet, &small, i64::from(x * step), i64::from(y * step));
        }
    }
    sheet.save(&out)?;
    Ok(())
}
