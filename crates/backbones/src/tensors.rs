//! Files of named tensors, opened: what a file holds is known at once, and only the tensors that are
//! wanted are read.
//!
//! The format is told by content: safetensors, PyTorch's zip archives, PyTorch's older files
//! (`pytorch`). What a file claims is never believed: every tensor must lie within its storage, every
//! storage within the file, and no more is read than stands in a plain relation to the file's length.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensorError};

use crate::error::BackbonesError;
use crate::pytorch::{self, PytorchError};

/// How many bytes of values may come from each byte of a file: more than any number format or
/// honest compression of weights gives, and little enough that a small file cannot fill the memory.
const MAXIMUM_GROWTH: u64 = 16;
/// So many bytes of values may come from any file.
const ALWAYS_READ: u64 = 64 << 20;
/// The longest header of a safetensors file, as in the format's own library.
const MAXIMUM_HEADER: u64 = 100_000_000;
/// Bytes read and converted at a time.
const CHUNK: usize = 1 << 16;

/// How the numbers of a tensor are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Float {
    F16,
    Bf16,
    F32,
    F64,
}

impl Float {
    fn bytes(self) -> u64 {
        match self {
            Float::F16 | Float::Bf16 => 2,
            Float::F32 => 4,
            Float::F64 => 8,
        }
    }

    /// Appends the numbers of `bytes`, a whole number of them, as f32: exactly, but for f64, which is
    /// rounded to the nearest.
    fn widen(self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            Float::F16 => values.extend(chunks(bytes).map(|b| from_f16(u16::from_le_bytes(b)))),
            Float::Bf16 => {
                values.extend(chunks(bytes).map(|b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)))
            }
            Float::F32 => values.extend(chunks(bytes).map(f32::from_le_bytes)),
            Float::F64 => values.extend(chunks(bytes).map(|b| f64::from_le_bytes(b) as f32)),
        }
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

/// Where the numbers of a storage lie.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// From this byte of the file on.
    At(u64),
    /// In a member of the zip archive, by index.
    Member(usize),
}

/// A row of numbers that tensors are views of.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    pub(crate) place: Place,
    pub(crate) float: Float,
    pub(crate) elements: usize,
}

/// A tensor of a file: a view of a storage, in elements.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The index of the storage.
    pub(crate) storage: usize,
    pub(crate) offset: usize,
    pub(crate) strides: Vec<usize>,
}

/// What a file says of a tensor.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) shape: Vec<usize>,
    /// The view, or the name of a type that is not a floating-point number of a known kind.
    pub(crate) view: Result<View, String>,
}

/// What is read from.
#[derive(Debug)]
pub(crate) enum Source {
    Plain(BufReader<File>),
    Archive(Box<zip::ZipArchive<BufReader<File>>>),
}

/// A file of tensors.
#[derive(Debug)]
pub(crate) struct TensorFile {
    path: PathBuf,
    /// In bytes.
    length: u64,
    source: Source,
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) storages: Vec<Storage>,
}

impl TensorFile {
    /// Opens a file and reads what it says it holds.
    pub(crate) fn open(path: &Path) -> Result<TensorFile, BackbonesError> {
        let read = |source| BackbonesError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let mut file = BufReader::new(file);
        let mut start = [0; 4];
        let known = read_up_to(&mut file, &mut start).map_err(read)?;
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        let of_pytorch = |source| BackbonesError::Pytorch {
            path: path.to_owned(),
            source,
        };
        let (source, entries, storages) = match &start[..known] {
            // A file, or nothing, in an archive. As the length of a safetensors header this would be 67 MB.
            b"PK\x03\x04" | b"PK\x05\x06" => pytorch::archive(file).map_err(of_pytorch)?,
            [0x80, 2..=5, ..] if pytorch::is_legacy(&mut file).map_err(read)? => {
                pytorch::legacy(file, length).map_err(of_pytorch)?
            }
            _ if pytorch::is_tar(&mut file).map_err(read)? => return Err(of_pytorch(PytorchError::Tar)),
            _ => {
                let (entries, storages) = safetensors(&mut file, length, path)?;
                (Source::Plain(file), entries, storages)
            }
        };
        Ok(TensorFile {
            path: path.to_owned(),
            length,
            source,
            entries,
            storages,
        })
    }

    /// The values of those of `wanted` that are here and are floating-point numbers, in PyTorch's
    /// order. One storage at a time is held besides what is given.
    pub(crate) fn read(
        &mut self,
        wanted: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Vec<f32>>, BackbonesError> {
        // By storage, so that each is read once.
        let mut views: BTreeMap<usize, Vec<(&String, &Entry, &View)>> = BTreeMap::new();
        let mut total = 0_u64;
        for (name, entry) in &self.entries {
            let Ok(view) = &entry.view else { continue };
            if !wanted.contains(name) {
                continue;
            }
            let elements = elements(&entry.shape).unwrap_or(usize::MAX);
            total = total.saturating_add((elements as u64).saturating_mul(4));
            views.entry(view.storage).or_default().push((name, entry, view));
        }
        for storage in views.keys() {
            let elements = self.storages[*storage].elements as u64;
            total = total.saturating_add(elements.saturating_mul(4));
        }
        let limit = self.length.saturating_mul(MAXIMUM_GROWTH).max(ALWAYS_READ);
        // Each value counts twice, in its storage and in its tensor.
        if total > 2 * limit {
            return Err(self.error(PytorchError::Limit {
                what: "bytes of values in a file of this length",
                limit,
            }));
        }
        let mut read = BTreeMap::new();
        for (storage, views) in views {
            let values = read_storage(&mut self.source, &self.storages[storage]);
            let values = values.map_err(|source| BackbonesError::Pytorch {
                path: self.path.clone(),
                source,
            })?;
            // The usual case: one tensor that is the whole storage.
            if let [(name, entry, view)] = views[..]
                && view.offset == 0
                && elements(&entry.shape) == Some(values.len())
                && is_contiguous(&entry.shape, &view.strides)
            {
                read.insert(name.clone(), values);
                continue;
            }
            for (name, entry, view) in views {
                read.insert(name.clone(), gather(&values, &entry.shape, view));
            }
        }
        Ok(read)
    }

    fn error(&self, source: PytorchError) -> BackbonesError {
        BackbonesError::Pytorch {
            path: self.path.clone(),
            source,
        }
    }
}

/// As many bytes as there are, at most `buffer`.
pub(crate) fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The number of a tensor's elements, where it is one.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |product, side| product.checked_mul(*side))
}

/// Whether the view of `shape` lies within a storage of `length` elements.
pub(crate) fn fits(shape: &[usize], view: &View, length: usize) -> bool {
    match elements(shape) {
        None => false,
        Some(0) => true,
        Some(_) => shape
            .iter()
            .zip(&view.strides)
            .try_fold(view.offset, |last, (side, stride)| {
                last.checked_add((side - 1).checked_mul(*stride)?)
            })
            .is_some_and(|last| last < length),
    }
}

pub(crate) fn contiguous(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// Whether the elements lie one after another; the stride along a side of one element does not count.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    contiguous(shape)
        .iter()
        .zip(strides)
        .zip(shape)
        .all(|((expected, found), side)| *side <= 1 || expected == found)
}

/// The elements of a view that [`fits`] its storage.
fn gather(storage: &[f32], shape: &[usize], view: &View) -> Vec<f32> {
    let count = elements(shape).unwrap_or(0);
    if is_contiguous(shape, &view.strides) {
        let end = view.offset.saturating_add(count);
        return storage.get(view.offset..end).unwrap_or_default().to_vec();
    }
    let mut values = Vec::with_capacity(count);
    let mut index = vec![0; shape.len()];
    let mut at = view.offset;
    while values.len() < count {
        values.push(storage[at]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += view.strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= view.strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    values
}

fn read_storage(source: &mut Source, storage: &Storage) -> Result<Vec<f32>, PytorchError> {
    let bytes = (storage.elements as u64).saturating_mul(storage.float.bytes());
    match (source, &storage.place) {
        (Source::Plain(file), Place::At(start)) => {
            file.seek(SeekFrom::Start(*start)).map_err(PytorchError::Io)?;
            convert(file, storage.float, bytes)
        }
        (Source::Archive(archive), Place::Member(index)) => {
            let mut member = archive.by_index(*index).map_err(PytorchError::Zip)?;
            let values = convert(&mut member, storage.float, bytes)?;
            // At its end a member's checksum is compared.
            match member.read(&mut [0]).map_err(PytorchError::Io)? {
                0 => Ok(values),
                _ => Err(PytorchError::Storage {
                    what: "is longer than the archive says",
                }),
            }
        }
        _ => Err(PytorchError::Storage {
            what: "is in no known place",
        }),
    }
}

fn convert(reader: &mut impl Read, float: Float, bytes: u64) -> Result<Vec<f32>, PytorchError> {
    let mut values = Vec::with_capacity((bytes / float.bytes()) as usize);
    let mut buffer = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let chunk = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let found = read_up_to(reader, &mut buffer[..chunk]).map_err(PytorchError::Io)?;
        if found < chunk {
            return Err(PytorchError::Truncated { what: "a tensor" });
        }
        float.widen(&buffer[..chunk], &mut values);
        left -= chunk as u64;
    }
    Ok(values)
}

/// The tensors of a safetensors file, each its own storage.
fn safetensors(
    file: &mut BufReader<File>,
    length: u64,
    path: &Path,
) -> Result<(BTreeMap<String, Entry>, Vec<Storage>), BackbonesError> {
    let wrong = |source| BackbonesError::Format {
        path: path.to_owned(),
        source,
    };
    let read = |source| BackbonesError::Read {
        path: path.to_owned(),
        source,
    };
    let mut size = [0; 8];
    if read_up_to(file, &mut size).map_err(read)? < 8 {
        return Err(wrong(SafeTensorError::HeaderTooSmall));
    }
    let header = u64::from_le_bytes(size);
    if header > MAXIMUM_HEADER {
        return Err(wrong(SafeTensorError::HeaderTooLarge));
    }
    if header > length.saturating_sub(8) {
        return Err(wrong(SafeTensorError::InvalidHeaderLength));
    }
    let mut text = vec![0; header as usize];
    if read_up_to(file, &mut text).map_err(read)? < text.len() {
        return Err(wrong(SafeTensorError::InvalidHeaderLength));
    }
    let text = std::str::from_utf8(&text).map_err(|e| wrong(SafeTensorError::InvalidHeader(e)))?;
    // Checks that the tensors lie one after another without a gap, each as long as its shape says.
    let metadata: safetensors::tensor::Metadata =
        serde_json::from_str(text).map_err(|e| wrong(SafeTensorError::InvalidHeaderDeserialization(e)))?;
    if (metadata.data_len() as u64).checked_add(8 + header) != Some(length) {
        return Err(wrong(SafeTensorError::MetadataIncompleteBuffer));
    }
    let (mut entries, mut storages) = (BTreeMap::new(), Vec::new());
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else {
            continue;
        };
        let float = match info.dtype {
            Dtype::F16 => Ok(Float::F16),
            Dtype::BF16 => Ok(Float::Bf16),
            Dtype::F32 => Ok(Float::F32),
            Dtype::F64 => Ok(Float::F64),
            other => Err(format!("{other:?}")),
        };
        let view = float.map(|float| {
            storages.push(Storage {
                place: Place::At(8 + header + info.data_offsets.0 as u64),
                float,
                elements: elements(&info.shape).unwrap_or(0),
            });
            View {
                storage: storages.len() - 1,
                offset: 0,
                strides: contiguous(&info.shape),
            }
        });
        let shape = info.shape.clone();
        entries.insert(name, Entry { shape, view });
    }
    Ok((entries, storages))
}

/// IEEE 754 half precision, exactly.
fn from_f16(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(half >> 10 & 0x1f), u32::from(half & 0x3ff));
    match exponent {
        // Zero and subnormal: fraction x 2^-24, which f32 holds exactly as a normal number.
        0 => f32::from_bits((fraction as f32 * 2.0_f32.powi(-24)).to_bits() | sign),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x03ff, 6.097_555e-5),
            (0x0001, 5.960_464_5e-8),
            (0x8001, -5.960_464_5e-8),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(from_f16(bits), value, "{bits:#x}");
        }
        assert_eq!(from_f16(0x8000).to_bits(), (-0.0_f32).to_bits());
        assert!(from_f16(0x7e00).is_nan());
        // Every finite half is larger than the one before.
        assert!((0..0x7c00_u16).map(from_f16).is_sorted_by(|a, b| a < b));
    }

    fn view(offset: usize, strides: &[usize]) -> View {
        View {
            storage: 0,
            offset,
            strides: strides.to_vec(),
        }
    }

    #[test]
    fn views_are_gathered_in_their_order() {
        let storage: Vec<f32> = (0..12).map(|i| i as f32).collect();
        for (shape, offset, strides, expected) in [
            (&[2, 3][..], 0, &[3, 1][..], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0][..]),
            (&[3, 2], 0, &[1, 3], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
            (&[2, 1, 2], 5, &[3, 99, 1], &[5.0, 6.0, 8.0, 9.0]),
            (&[3], 4, &[0], &[4.0; 3]),
            (&[2, 0], 3, &[1, 1], &[]),
            (&[], 7, &[], &[7.0]),
            (
                &[2, 2, 2],
                1,
                &[4, 1, 2],
                &[1.0, 3.0, 2.0, 4.0, 5.0, 7.0, 6.0, 8.0],
            ),
        ] {
            let view = view(offset, strides);
            assert!(fits(shape, &view, 12), "{shape:?} {strides:?}");
            assert_eq!(gather(&storage, shape, &view), expected, "{shape:?} {strides:?}");
        }
    }

    #[test]
    fn views_that_leave_their_storage_are_seen() {
        for (shape, offset, strides, length) in [
            (&[2, 3][..], 0, &[3, 1][..], 5),
            (&[1], 5, &[1], 5),
            (&[], 0, &[], 0),
            (&[2], 1, &[usize::MAX], usize::MAX),
            (&[2], usize::MAX, &[1], usize::MAX),
            (&[usize::MAX, 2], 0, &[0, 0], 1),
            (&[3], 0, &[usize::MAX / 2 + 1], usize::MAX),
        ] {
            assert!(!fits(shape, &view(offset, strides), length), "{shape:?}");
        }
        assert!(fits(&[0, 5], &view(99, &[1, 1]), 0));
    }
}
