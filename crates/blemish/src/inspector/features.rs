//! Pictures in, features of every wanted layer out.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blemish_backbones::Network;
use blemish_images::{RgbImage, WholeImage, load_rgb};
use ndarray::{Array2, Array4, ArrayView1, ArrayView2, ArrayView4, Axis};
use rayon::prelude::*;

use super::embed::Embedding;
use super::plan::FitPlan;
use super::tiles::{Tiles, Tiling, layout};
use crate::Error;

/// Images that go through the network together: enough to keep all cores busy, few enough to stay small.
pub(crate) const CHUNK: usize = 8;

/// Bytes that a batch of large images may take: with more, fewer images are taken at a time.
const BATCH_BYTES: u64 = 256_000_000;

/// How many images of `bytes` are taken at a time. Results do not depend on it.
pub(crate) fn at_a_time(bytes: u64) -> usize {
    ((BATCH_BYTES / bytes.max(1)) as usize).clamp(1, CHUNK)
}

/// Bytes that an image takes on its way to patches: its tensor, its features and its patches, with a copy of the first two.
pub(crate) fn image_bytes(prepare: &WholeImage, embedding: &Embedding) -> u64 {
    4 * (2 * prepare.len() + 2 * embedding.values() + embedding.patches() * embedding.columns) as u64
}

/// Width and height of an image, in pixels.
pub(crate) type Size = (u32, u32);

/// A network with the size of its images.
#[derive(Debug)]
pub(crate) struct Extractor {
    pub(crate) network: Network,
    pub(crate) prepare: WholeImage,
    pub(crate) embedding: Embedding,
    tiles: Option<Tiles>,
}

/// Features of some images, one matrix a layer.
pub(crate) struct Chunk<'a> {
    pub(crate) layers: Vec<ArrayView2<'a, f32>>,
}

impl Chunk<'_> {
    pub(crate) fn len(&self) -> usize {
        self.layers.first().map_or(0, ArrayView2::nrows)
    }

    /// A chunk of one image.
    pub(crate) fn one(&self, i: usize) -> Chunk<'_> {
        Chunk {
            layers: self
                .layers
                .iter()
                .map(|l| l.slice(ndarray::s![i..=i, ..]))
                .collect(),
        }
    }

    /// The layers' features of one image.
    pub(crate) fn image(&self, i: usize) -> Vec<ArrayView1<'_, f32>> {
        self.layers.iter().map(|layer| layer.row(i)).collect()
    }
}

impl Extractor {
    pub(crate) fn new(
        network: Network,
        prepare: WholeImage,
        tiling: Option<Tiling>,
    ) -> Result<Extractor, Error> {
        let size = (prepare.width, prepare.height);
        let (embedding, tiles) = layout(network.architecture(), &network.taps(), size, tiling)?;
        Ok(Extractor {
            embedding,
            network,
            prepare,
            tiles,
        })
    }

    /// How many images are taken at a time.
    pub(crate) fn chunk(&self) -> usize {
        at_a_time(image_bytes(&self.prepare, &self.embedding))
    }

    /// The features of a batch of tensors, one matrix a layer.
    pub(crate) fn features_into(
        &self,
        batch: ArrayView4<'_, f32>,
        features: &mut Vec<Array2<f32>>,
    ) -> Result<(), Error> {
        match &self.tiles {
            Some(tiles) => tiles.forward_into(&self.network, batch, features),
            None => Ok(self.network.forward_into(batch, features)?),
        }
    }

    /// The tensors of the images that `load` gives, side by side, and each image's size (width, height). Of images that
    /// cannot be loaded there is an error and no tensor.
    pub(crate) fn tensors(
        &self,
        count: usize,
        load: &(dyn Fn(usize) -> Result<RgbImage, Error> + Sync),
    ) -> (Array4<f32>, Vec<Result<Size, Error>>) {
        let (height, width) = (self.prepare.height as usize, self.prepare.width as usize);
        let len = self.prepare.len();
        let mut values = vec![0.0_f32; count * len];
        // The picture is dropped as soon as it is resized: as many are in memory as there are threads.
        let sizes: Vec<Result<Size, Error>> = values
            .par_chunks_mut(len)
            .enumerate()
            .map(|(i, out)| {
                let image = load(i)?;
                self.prepare.apply(&image, out)?;
                Ok(image.dimensions())
            })
            .collect();
        let mut good = 0;
        for (i, size) in sizes.iter().enumerate() {
            if size.is_ok() {
                values.copy_within(i * len..(i + 1) * len, good * len);
                good += 1;
            }
        }
        values.truncate(good * len);
        let batch = Array4::from_shape_vec((good, 3, height, width), values);
        (
            batch.unwrap_or_else(|_| Array4::zeros((0, 3, height, width))),
            sizes,
        )
    }
}

/// Training images, whose features are visited several times and kept where there is room.
pub(crate) struct Source<'a> {
    extractor: Option<&'a Extractor>,
    pub(crate) embedding: Embedding,
    images: usize,
    files: Vec<PathBuf>,
    /// Images that are taken at a time.
    chunk: usize,
    stop: Option<Arc<AtomicBool>>,
    /// Features of all images, once they were all computed.
    kept: Option<Vec<Array2<f32>>>,
    keep: bool,
}

impl<'a> Source<'a> {
    /// The training images of a plan.
    pub(crate) fn new(extractor: &'a Extractor, files: Vec<PathBuf>, plan: &FitPlan) -> Source<'a> {
        Source {
            extractor: Some(extractor),
            embedding: extractor.embedding.clone(),
            images: files.len(),
            files,
            chunk: plan.chunk,
            stop: plan.stop.clone(),
            kept: None,
            keep: plan.keeps_features,
        }
    }

    /// Images whose features there are already: one matrix a layer of the embedding.
    pub(crate) fn of_features(embedding: Embedding, features: Vec<Array2<f32>>) -> Source<'static> {
        Source {
            extractor: None,
            embedding,
            images: features.first().map_or(0, Array2::nrows),
            files: vec![],
            chunk: CHUNK,
            stop: None,
            kept: Some(features),
            keep: true,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.images
    }

    /// Shows `take` the features of all images, some at a time, in order, with the number of the first.
    pub(crate) fn visit(
        &mut self,
        advance: &dyn Fn(usize),
        take: &mut dyn FnMut(usize, &Chunk<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (n, chunk) = (self.images, self.chunk);
        if let Some(kept) = &self.kept {
            for first in (0..n).step_by(chunk) {
                check_stop(self.stop.as_deref())?;
                let end = (first + chunk).min(n);
                let layers = kept
                    .iter()
                    .map(|l| l.slice(ndarray::s![first..end, ..]))
                    .collect();
                take(first, &Chunk { layers })?;
                advance(end);
            }
            return Ok(());
        }
        let Some(extractor) = self.extractor else {
            return Ok(());
        };
        let mut kept: Vec<Array2<f32>> = vec![];
        let mut features = vec![];
        for first in (0..n).step_by(chunk) {
            check_stop(self.stop.as_deref())?;
            let files = &self.files[first..(first + chunk).min(n)];
            let load = |i: usize| Ok(load_rgb(&files[i])?);
            let (batch, sizes) = extractor.tensors(files.len(), &load);
            // Learning needs every image: the first that fails is the error.
            sizes.into_iter().collect::<Result<Vec<_>, _>>()?;
            extractor.features_into(batch.view(), &mut features)?;
            if self.keep {
                if kept.is_empty() {
                    kept = features.iter().map(|f| Array2::zeros((n, f.ncols()))).collect();
                }
                for (kept, features) in kept.iter_mut().zip(&features) {
                    kept.slice_mut(ndarray::s![first..first + files.len(), ..])
                        .assign(features);
                }
            }
            let layers = features.iter().map(|f| f.view()).collect();
            take(first, &Chunk { layers })?;
            advance(first + files.len());
        }
        if self.keep {
            self.kept = Some(kept);
        }
        Ok(())
    }
}

/// Whether the work is to go on.
///
/// # Errors
/// [`Error::Stopped`] if not.
pub(crate) fn check_stop(stop: Option<&AtomicBool>) -> Result<(), Error> {
    match stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
        true => Err(Error::Stopped),
        false => Ok(()),
    }
}

/// The patches of every image of a chunk.
pub(crate) fn patches(embedding: &Embedding, chunk: &Chunk<'_>) -> Vec<Array2<f32>> {
    (0..chunk.len())
        .into_par_iter()
        .map(|i| embedding.apply(&chunk.image(i)))
        .collect()
}

/// Rows of `matrix` by number.
pub(crate) fn select(matrix: &Array2<f32>, rows: &[usize]) -> Array2<f32> {
    matrix.select(Axis(0), rows)
}
