//! Draws a contact sheet of a data set: a row for the training images of each object and for each kind of test image.
//!
//! ```sh
//! blemish synth parts
//! cargo run --release -p blemish-images --example contact_sheet -- parts docs/images/synthetic.jpg
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use blemish_images::{Dataset, ImageFile, RgbImage, load_rgb};
use image::imageops::{self, FilterType};

const COLUMNS: usize = 8;
const SIDE: u32 = 96;
const GAP: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(data), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: contact_sheet DATA OUT.jpg".into());
    };
    let dataset = Dataset::open(Path::new(&data), None)?;
    let mut rows: Vec<Vec<&ImageFile>> = vec![];
    for object in &dataset.objects {
        rows.push(object.train.iter().collect());
        let mut kinds: BTreeMap<Option<&str>, Vec<&ImageFile>> = BTreeMap::new();
        for file in &object.test {
            kinds.entry(file.defect.as_deref()).or_default().push(file);
        }
        // Good test images look like training images.
        rows.extend(
            kinds
                .into_iter()
                .filter(|(kind, _)| kind.is_some())
                .map(|(_, files)| files),
        );
    }
    let step = SIDE + GAP;
    let white = image::Rgb([255; 3]);
    let mut sheet = RgbImage::from_pixel(COLUMNS as u32 * step - GAP, rows.len() as u32 * step - GAP, white);
    for (y, files) in (0..).zip(&rows) {
        for (x, file) in (0..).zip(files.iter().take(COLUMNS)) {
            let small = imageops::resize(&load_rgb(&file.path)?, SIDE, SIDE, FilterType::Triangle);
            imageops::replace(&mut sheet, &small, i64::from(x * step), i64::from(y * step));
        }
    }
    sheet.save(&out)?;
    Ok(())
}
