//! A fitted method: features of an image in, a score and the scores of its patches out.

use blemish_detectors::Model;
use ndarray::Array2;
use rayon::prelude::*;

use super::bank::MemoryBank;
use super::embed::Embedding;
use super::features::Chunk;
use super::gaussian::Gaussian;
use crate::Error;

/// Whole images are averaged over at most this many cells a side.
pub(crate) const CELLS: usize = 7;

/// What a method has learned.
#[derive(Debug)]
pub(crate) enum Detector {
    Bank(MemoryBank),
    Gaussian(Gaussian),
    Patches(Box<Model>),
    Image(Box<Model>),
}

/// An image's score, and that of each patch (height x width of the grid) where the method has them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scored {
    pub(crate) score: f64,
    pub(crate) patches: Option<Array2<f32>>,
}

impl Detector {
    /// Scores of a chunk of images.
    pub(crate) fn score(&self, embedding: &Embedding, chunk: &Chunk<'_>) -> Result<Vec<Scored>, Error> {
        (0..chunk.len())
            .into_par_iter()
            .map(|i| self.score_image(embedding, chunk, i, false))
            .collect()
    }

    /// Scores of a chunk of training images, each by what was learned from the others; of methods that have no such score,
    /// by all.
    pub(crate) fn score_left_out(
        &self,
        embedding: &Embedding,
        chunk: &Chunk<'_>,
    ) -> Result<Vec<Scored>, Error> {
        (0..chunk.len())
            .into_par_iter()
            .map(|i| self.score_image(embedding, chunk, i, true))
            .collect()
    }

    fn score_image(
        &self,
        embedding: &Embedding,
        chunk: &Chunk<'_>,
        i: usize,
        left_out: bool,
    ) -> Result<Scored, Error> {
        let features = chunk.image(i);
        if let Detector::Image(model) = self {
            let row = embedding.whole(&features, CELLS);
            let row = ndarray::ArrayView2::from_shape((1, row.len()), &row).map_err(internal)?;
            return Ok(Scored {
                score: model.score(row)?.first().copied().unwrap_or(f64::NAN),
                patches: None,
            });
        }
        let patches = embedding.apply(&features);
        let (score, values) = match self {
            Detector::Bank(bank) => {
                let nearest = bank.nearest(patches.view());
                let score = bank.image_score(patches.view(), &nearest);
                (score, nearest.iter().map(|n| n.distance).collect())
            }
            Detector::Gaussian(gaussian) => {
                let distances = gaussian.distances(patches.view(), left_out);
                (maximum(&distances), distances)
            }
            Detector::Patches(model) => {
                let scores = model.score(patches.view())?;
                (maximum(&scores), scores)
            }
            Detector::Image(_) => (f64::NAN, vec![]),
        };
        let values = values.into_iter().map(|v: f64| v as f32).collect();
        let map = Array2::from_shape_vec((embedding.height, embedding.width), values).map_err(internal)?;
        Ok(Scored {
            score,
            patches: Some(map),
        })
    }
}

fn maximum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Panic(error.to_string())
}
