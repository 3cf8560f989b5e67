//! Preprocessed images of an object, kept on disk while the networks that read the same are computed one after the other.

use blemish_images::{Preprocess, View};
use rayon::prelude::*;

use super::memory::Bytes;
use super::scratch::{ScratchFile, ScratchRows};
use crate::Error;
use blemish_detectors::RowStore;

/// Tensors (3 x side x side) of all views of the training images, image by image, and then of the test images.
#[derive(Debug)]
pub(crate) struct Prepared {
    object: usize,
    prepare: Preprocess,
    views: Vec<View>,
    tensors: ScratchRows,
    /// Whether all of them are there.
    complete: bool,
    /// Bytes on disk.
    bytes: u64,
}

impl Prepared {
    /// Bytes of so many images.
    pub(crate) fn bytes_of(prepare: &Preprocess, images: usize) -> u64 {
        let side = u64::from(prepare.preset.crop);
        12 * side * side * images as u64
    }

    /// Room for the images of an object.
    pub(crate) fn new(
        object: usize,
        prepare: Preprocess,
        views: &[View],
        images: usize,
        folder: &std::path::Path,
    ) -> Result<Prepared, Error> {
        let side = prepare.preset.crop as usize;
        let mut file = ScratchFile::new(folder)?;
        Ok(Prepared {
            object,
            prepare,
            views: views.to_vec(),
            tensors: file.rows(images, 3 * side * side),
            complete: false,
            bytes: file.used(),
        })
    }

    pub(crate) fn is_of(&self, object: usize) -> bool {
        self.object == object
    }

    /// Whether these are the tensors that are wanted.
    pub(crate) fn serves(&self, object: usize, prepare: &Preprocess, views: &[View]) -> bool {
        self.object == object && self.prepare == *prepare && self.views == views
    }

    pub(crate) fn bytes(&self) -> Bytes {
        Bytes(self.bytes)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(crate) fn set_complete(&mut self) {
        self.complete = true;
    }

    /// Reads consecutive images from `first` on into `out`.
    pub(crate) fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let read = out
            .par_chunks_mut(self.tensors.columns())
            .enumerate()
            .try_for_each(|(i, out)| self.tensors.read(first + i, 0, out));
        read.map_err(|e| Error::io(self.tensors.folder(), e))
    }

    /// Writes consecutive images from `first` on.
    pub(crate) fn write(&self, first: usize, tensors: &[f32]) -> Result<(), Error> {
        tensors
            .par_chunks(self.tensors.columns())
            .enumerate()
            .try_for_each_init(Vec::new, |buffer, (i, tensor)| {
                self.tensors.write(first + i, tensor, buffer)
            })
    }
}
