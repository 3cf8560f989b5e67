//! Writes the features of one object as the lab computes them, for programs that read numpy's `.npy` files:
//!
//! ```sh
//! cargo run --release -p blemish --example features_npy -- mvtec_ad/bottle weights layer3 features
//! ```
//!
//! Arguments: an object's folder, the folder of ResNet-18's ImageNet weights, the layer, the folder to write to. There
//! will be `train.npy` (f32, n x d: the training images, then their five other views, view by view), `originals.npy`
//! (the number of training images, i64), `test.npy` (f32, m x d) and `defective.npy` (bool, m). Images are resized as
//! in the study. One chunk of images is held in memory, never all rows.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use blemish::backbones::{Architecture, Initialization, Network, Weights};
use blemish::images::{Dataset, ImageFile, Preprocess, Preset, ResizeMode, View, load_rgb};
use ndarray::{Array2, Array4, Axis};

type Failure = Box<dyn std::error::Error>;

/// Images of a forward pass.
const CHUNK: usize = 16;

/// Starts a `.npy` file, version 1.0; the values follow.
fn create(path: PathBuf, kind: &str, shape: &str) -> Result<BufWriter<File>, Failure> {
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version and length take 10 bytes; all together is a multiple of 64, with a line break at the end.
    let padding = 63 - (10 + header.len()) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&u16::try_from(header.len())?.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    Ok(out)
}

struct Extractor {
    network: Network,
    prepare: Preprocess,
}

impl Extractor {
    fn rows(&self, files: &[ImageFile], view: View) -> Result<Array2<f32>, Failure> {
        let mut tensors = vec![];
        for file in files {
            tensors.push(self.prepare.apply(&view.apply(&load_rgb(&file.path)?))?);
        }
        let views: Vec<_> = tensors.iter().map(|t| t.view()).collect();
        let batch: Array4<f32> = ndarray::stack(Axis(0), &views)?;
        Ok(self.network.forward(batch.view())?.remove(0))
    }

    fn write(&self, out: &mut BufWriter<File>, files: &[ImageFile], view: View) -> Result<(), Failure> {
        for chunk in files.chunks(CHUNK) {
            for value in &self.rows(chunk, view)? {
                out.write_all(&value.to_le_bytes())?;
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [object, weights, layer, folder] = &arguments[..] else {
        return Err("arguments: OBJECT_FOLDER WEIGHTS_FOLDER LAYER OUTPUT_FOLDER".into());
    };
    let dataset = Dataset::open(Path::new(object), None)?;
    let object = dataset.objects.first().ok_or("no object")?;
    let architecture = Architecture::Resnet18;
    let file = Weights::find(Path::new(weights), architecture, Initialization::Imagenet1kV1)?;
    let input = architecture.input(Initialization::Imagenet1kV1);
    let extractor = Extractor {
        network: Network::new(architecture, &Weights::load(&file)?, &[layer.as_str()])?,
        prepare: Preprocess {
            preset: Preset {
                resize: input.resize,
                crop: input.crop,
                mean: input.mean,
                std: input.std,
            },
            mode: ResizeMode::Paper,
        },
    };
    let crop = input.crop as usize;
    let d = extractor.network.tap_shape(layer, crop, crop)?.len();
    let (originals, m) = (object.train.len(), object.test.len());
    let n = originals * View::ALL.len();

    let folder = Path::new(folder);
    std::fs::create_dir_all(folder)?;
    let mut train = create(folder.join("train.npy"), "<f4", &format!("({n}, {d})"))?;
    for view in View::ALL {
        extractor.write(&mut train, &object.train, view)?;
    }
    let bytes = train.stream_position()?;
    train.flush()?;
    let mut test = create(folder.join("test.npy"), "<f4", &format!("({m}, {d})"))?;
    extractor.write(&mut test, &object.test, View::Original)?;
    test.flush()?;
    let mut defective = create(folder.join("defective.npy"), "|b1", &format!("({m},)"))?;
    for file in &object.test {
        defective.write_all(&[u8::from(file.is_defective())])?;
    }
    defective.flush()?;
    let mut count = create(folder.join("originals.npy"), "<i8", "()")?;
    count.write_all(&i64::try_from(originals)?.to_le_bytes())?;
    count.flush()?;
    println!("{n} x {d} training rows ({originals} originals), {m} test rows; {bytes} bytes");
    Ok(())
}
