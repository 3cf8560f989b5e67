//! Rows on disk, while a task runs: in a file without a name, which the system removes whatever happens.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blemish_detectors::RowStore;

use crate::Error;

/// A file without a name in some folder.
#[derive(Debug)]
pub(crate) struct ScratchFile {
    file: Arc<File>,
    folder: PathBuf,
    used: u64,
}

impl ScratchFile {
    pub(crate) fn new(folder: &Path) -> Result<ScratchFile, Error> {
        let file = tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, e))?;
        Ok(ScratchFile {
            file: Arc::new(file),
            folder: folder.into(),
            used: 0,
        })
    }

    /// Room for rows, at the end.
    pub(crate) fn rows(&mut self, rows: usize, columns: usize) -> ScratchRows {
        let start = self.used;
        self.used += (rows * columns * 4) as u64;
        ScratchRows {
            file: self.file.clone(),
            folder: self.folder.clone(),
            start,
            rows,
            columns,
        }
    }

    /// Bytes that were given out.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }
}

/// Rows in a scratch file, one after the other, as little-endian f32.
#[derive(Debug)]
pub(crate) struct ScratchRows {
    file: Arc<File>,
    folder: PathBuf,
    start: u64,
    rows: usize,
    columns: usize,
}

impl ScratchRows {
    /// The folder whose disk holds them.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes consecutive whole rows from `row` on.
    pub(crate) fn write(&self, row: usize, values: &[f32], buffer: &mut Vec<u8>) -> Result<(), Error> {
        buffer.resize(4 * values.len(), 0);
        for (bytes, value) in buffer.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
        let at = self.start + (row * self.columns * 4) as u64;
        write_all_at(&self.file, buffer, at).map_err(|e| Error::io(&self.folder, e))
    }
}

impl RowStore for ScratchRows {
    fn rows(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn read(&self, row: usize, from: usize, out: &mut [f32]) -> io::Result<()> {
        let at = self.start + ((row * self.columns + from) * 4) as u64;
        // A forest asks for one value at a time, very often: no memory is to be found for it.
        let mut small = [0; 64];
        let mut large = vec![];
        let bytes = if out.len() * 4 <= small.len() {
            &mut small[..out.len() * 4]
        } else {
            large.resize(out.len() * 4, 0);
            &mut large[..]
        };
        read_exact_at(&self.file, bytes, at)?;
        for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *out = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        bytes = &bytes[n..];
        at += n as u64;
    }
    Ok(())
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[n..];
        at += n as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = ScratchFile::new(dir.path()).unwrap();
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "it has no name"
        );
        let (first, second) = (file.rows(3, 100), file.rows(2, 7));
        assert_eq!(file.used(), 4 * (300 + 14));
        let values: Vec<f32> = (0..300).map(|i| i as f32 * 0.5).collect();
        let mut buffer = vec![];
        second.write(0, &values[..14], &mut buffer).unwrap();
        first.write(1, &values[..200], &mut buffer).unwrap();
        first.write(0, &values[200..], &mut buffer).unwrap();
        let read = |rows: &ScratchRows, row, from, n| {
            let mut out = vec![0.0; n];
            rows.read(row, from, &mut out).unwrap();
            out
        };
        assert_eq!(read(&first, 0, 90, 10), values[290..300]);
        assert_eq!(read(&first, 2, 0, 100), values[100..200]);
        assert_eq!(read(&second, 1, 2, 5), values[9..14]);
        assert_eq!(read(&second, 1, 6, 1), values[13..14]);
        assert!(second.read(2, 0, &mut [0.0; 2]).is_err(), "beyond the end");
    }
}
