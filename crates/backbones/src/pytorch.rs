//! PyTorch's files of weights, without Python and without executing anything.
//!
//! A state dict that `torch.save` wrote since version 1.6 is a zip archive: `data.pkl` describes the
//! tensors as views of storages, and `data/KEY` holds each storage's numbers. Before, it was a sequence
//! of pickles (magic number, protocol, the machine it was written on, the object, the storages' keys)
//! with the numbers behind. Both are read here; of the pickles only what dictionaries of tensors need
//! (`pickle`). A training checkpoint, a dictionary with the state dict under `state_dict` or `model`, is
//! read too, and so are names that `DataParallel` has put `module.` before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use zip::ZipArchive;

use crate::pickle::{ElementType, MAXIMUM_BYTES, Machine, StorageRecord, TensorRecord, Value};
use crate::tensors::{Entry, Float, Place, Source, Storage, View, fits, read_up_to};

/// Why a file of PyTorch's cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PytorchError {
    /// The pickle names a function or class that no dictionary of tensors needs.
    #[error(
        "it names \"{name}\", which a state dict does not need and which was not executed; \
         save the tensors alone: torch.save(model.state_dict(), FILE)"
    )]
    Global {
        /// The name, with its module.
        name: String,
    },
    /// The pickle has an instruction that no dictionary of tensors needs.
    #[error("byte {at} of its pickle is instruction {instruction:#04x}, which a state dict does not need")]
    Instruction {
        /// The instruction.
        instruction: u8,
        /// Its place in the pickle.
        at: usize,
    },
    /// The pickle does what no program that PyTorch wrote does.
    #[error("up to byte {at} its pickle {what}: it is damaged, or was not written by PyTorch")]
    Pickle {
        /// What it does.
        what: &'static str,
        /// Up to where it was run.
        at: usize,
    },
    /// Something ends before it is complete.
    #[error("{what} ends too early: the file is truncated, fetch it again")]
    Truncated {
        /// What ends.
        what: &'static str,
    },
    /// There is more of something than any honest file has.
    #[error("it claims more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The most that is read.
        limit: u64,
    },
    /// The numbers are big-endian.
    #[error("it was written on a big-endian machine; save it again on a little-endian one")]
    BigEndian,
    /// It is a program, not weights.
    #[error(
        "it is a TorchScript program; save its weights: torch.save(torch.jit.load(FILE).state_dict(), ...)"
    )]
    TorchScript,
    /// It is of a format that PyTorch left in 2017.
    #[error("it is a tar file of PyTorch 0.1; load and save it again with a newer version")]
    Tar,
    /// It is a zip archive of something else.
    #[error("it is a zip archive without data.pkl, so not of PyTorch")]
    NoPickle,
    /// It is of a version that is not known.
    #[error("its protocol is not 1001, which all versions of PyTorch write")]
    Protocol,
    /// It holds no tensors by name.
    #[error("it holds no tensors by name: neither itself nor under \"state_dict\" or \"model\"")]
    NoTensors,
    /// A tensor is not what it claims to be.
    #[error("tensor \"{tensor}\" {what}: the file is damaged")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A storage is not what it claims to be.
    #[error("a storage {what}: the file is damaged")]
    Storage {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The zip archive is damaged or uses what is not supported.
    #[error("its zip archive cannot be read: {0}")]
    Zip(#[source] zip::result::ZipError),
    /// The system could not read on, or a checksum is wrong.
    #[error("reading stopped: {0}")]
    Io(#[source] std::io::Error),
}

/// What a file gives: from where to read, the tensors by name, the storages.
type Contents = (Source, BTreeMap<String, Entry>, Vec<Storage>);

/// The magic number of PyTorch's older files, as a pickle writes it after its protocol.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
const PROTOCOL: i64 = 1001;

/// Whether a file begins with the magic number of the older format; it is read from its start again.
pub(crate) fn is_legacy(file: &mut BufReader<File>) -> std::io::Result<bool> {
    // Protocol 4 puts a frame of eleven bytes before.
    let mut start = [0; 32];
    let known = read_up_to(file, &mut start)?;
    file.seek(SeekFrom::Start(0))?;
    let start = &start[..known];
    Ok([2, 11]
        .iter()
        .any(|at| start.get(*at..).is_some_and(|rest| rest.starts_with(MAGIC))))
}

/// Whether a file is a tar archive; it is read from its start again.
pub(crate) fn is_tar(file: &mut BufReader<File>) -> std::io::Result<bool> {
    let mut start = [0; 262];
    let known = read_up_to(file, &mut start)?;
    file.seek(SeekFrom::Start(0))?;
    // The name of its first member is no length of a safetensors header.
    let named = start[4..8] != [0; 4];
    Ok(known == start.len() && named && &start[257..] == b"ustar")
}

/// A zip archive of `torch.save`.
pub(crate) fn archive(file: BufReader<File>) -> Result<Contents, PytorchError> {
    let mut archive = ZipArchive::new(file).map_err(PytorchError::Zip)?;
    let names: BTreeMap<String, usize> = (0..archive.len())
        .filter_map(|index| Some((archive.name_for_index(index)?.ok()?.into_owned(), index)))
        .collect();
    // All members lie in one folder of any name.
    let mut folders = names.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let folder = folders.find(|folder| folder.is_empty() || folder.matches('/').count() == 1);
    let folder = folder.ok_or(PytorchError::NoPickle)?.to_owned();
    let inside = |name: &str| names.get(&format!("{folder}{name}")).copied();
    if inside("constants.pkl").is_some() {
        return Err(PytorchError::TorchScript);
    }
    if let Some(index) = inside("byteorder")
        && member(&mut archive, index, 16)?.starts_with(b"big")
    {
        return Err(PytorchError::BigEndian);
    }
    let index = inside("data.pkl").ok_or(PytorchError::NoPickle)?;
    let pickle = member(&mut archive, index, MAXIMUM_BYTES)?;
    let mut machine = Machine::new(&pickle);
    let root = machine.run()?;
    let mut places = Vec::with_capacity(machine.storages.len());
    for storage in &machine.storages {
        let index = inside(&format!("data/{}", storage.key)).ok_or(PytorchError::Storage {
            what: "is missing in the archive",
        })?;
        let size = archive.by_index_raw(index).map_err(PytorchError::Zip)?.size();
        if Some(size) != byte_count(storage.element, storage.elements) {
            return Err(PytorchError::Storage {
                what: "is not of the length that its tensors need",
            });
        }
        places.push(Place::Member(index));
    }
    let (entries, storages) = tensors(&machine, root, places)?;
    Ok((Source::Archive(Box::new(archive)), entries, storages))
}

/// A file in the format before PyTorch 1.6, of `length` bytes.
pub(crate) fn legacy(mut file: BufReader<File>, length: u64) -> Result<Contents, PytorchError> {
    let mut bytes = Vec::new();
    let head = (&mut file).take(MAXIMUM_BYTES as u64).read_to_end(&mut bytes);
    head.map_err(PytorchError::Io)?;
    let mut machine = Machine::new(&bytes);
    let parsed = legacy_parts(&mut machine);
    // Where the pickles do not end within what was read, that is the reason.
    let (root, keys) = match parsed {
        Err(PytorchError::Truncated { .. }) if length > MAXIMUM_BYTES as u64 => {
            return Err(PytorchError::Limit {
                what: "bytes of pickle",
                limit: MAXIMUM_BYTES as u64,
            });
        }
        parsed => parsed?,
    };
    // The numbers follow, storage by storage: how many, then they themselves.
    let records: BTreeMap<&str, &StorageRecord<'_>> = machine
        .storages
        .iter()
        .map(|storage| (storage.key, storage))
        .collect();
    let mut places = BTreeMap::new();
    let mut at = machine.position() as u64;
    for key in keys {
        let storage = records.get(key).ok_or(PytorchError::Storage {
            what: "belongs to no tensor",
        })?;
        let mut count = [0; 8];
        file.seek(SeekFrom::Start(at)).map_err(PytorchError::Io)?;
        if read_up_to(&mut file, &mut count).map_err(PytorchError::Io)? < count.len() {
            return Err(PytorchError::Truncated { what: "a storage" });
        }
        if u64::from_le_bytes(count) != storage.elements as u64 {
            return Err(PytorchError::Storage {
                what: "is not of the length that its tensors need",
            });
        }
        at += count.len() as u64;
        places.insert(key, at);
        let end = byte_count(storage.element, storage.elements).and_then(|bytes| at.checked_add(bytes));
        at = match end {
            Some(end) if end <= length => end,
            _ => return Err(PytorchError::Truncated { what: "a storage" }),
        };
    }
    let missing = PytorchError::Storage {
        what: "is missing behind the pickles",
    };
    let places = machine.storages.iter().map(|storage| places.get(storage.key));
    let places: Option<Vec<Place>> = places.map(|at| at.copied().map(Place::At)).collect();
    let (entries, storages) = tensors(&machine, root, places.ok_or(missing)?)?;
    Ok((Source::Plain(file), entries, storages))
}

/// Runs the five pickles of the older format and gives the object and the keys of the storages.
fn legacy_parts<'a>(machine: &mut Machine<'a>) -> Result<(Value<'a>, Vec<&'a str>), PytorchError> {
    // The magic number has been seen.
    machine.run()?;
    if machine.run()? != Value::Int(PROTOCOL) {
        return Err(PytorchError::Protocol);
    }
    let system = machine.run()?;
    let little = Value::Text("little_endian");
    let pairs = machine.dict(system).unwrap_or_default();
    if !pairs.contains(&(little, Value::Bool(true))) {
        return Err(PytorchError::BigEndian);
    }
    let root = machine.run()?;
    let keys = machine.run()?;
    let keys = machine.sequence(keys).unwrap_or_default().iter();
    let keys = keys.map(|key| match key {
        Value::Text(key) => Ok(*key),
        _ => Err(PytorchError::Storage {
            what: "has a key that is not text",
        }),
    });
    Ok((root, keys.collect::<Result<_, _>>()?))
}

/// A member that should be small.
fn member(
    archive: &mut ZipArchive<BufReader<File>>,
    index: usize,
    limit: usize,
) -> Result<Vec<u8>, PytorchError> {
    let mut bytes = Vec::new();
    let member = archive.by_index(index).map_err(PytorchError::Zip)?;
    let read = member.take(limit as u64 + 1).read_to_end(&mut bytes);
    read.map_err(PytorchError::Io)?;
    if bytes.len() > limit {
        return Err(PytorchError::Limit {
            what: "bytes of pickle",
            limit: limit as u64,
        });
    }
    Ok(bytes)
}

fn byte_count(element: ElementType, elements: usize) -> Option<u64> {
    (elements as u64).checked_mul(element.bytes() as u64)
}

/// The tensors of the state dict in `root`, checked against their storages.
fn tensors(
    machine: &Machine<'_>,
    root: Value<'_>,
    places: Vec<Place>,
) -> Result<(BTreeMap<String, Entry>, Vec<Storage>), PytorchError> {
    let named = named_tensors(machine, root);
    if named.is_empty() {
        return Err(PytorchError::NoTensors);
    }
    let wrapped = named.keys().all(|name| name.starts_with("module."));
    // The machine has a record for each mention of a storage; those of one place are one storage.
    let mut storages: Vec<Storage> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut entries = BTreeMap::new();
    for (name, tensor) in named {
        let damaged = |what| PytorchError::Tensor {
            tensor: name.chars().take(120).collect(),
            what,
        };
        let record = &machine.storages[tensor.storage];
        let mut view = View {
            storage: 0,
            offset: tensor.offset,
            strides: tensor.strides.clone(),
        };
        if !fits(&tensor.shape, &view, record.elements) {
            return Err(damaged("reaches beyond its storage"));
        }
        let float = match record.element {
            ElementType::F16 => Ok(Float::F16),
            ElementType::Bf16 => Ok(Float::Bf16),
            ElementType::F32 => Ok(Float::F32),
            ElementType::F64 => Ok(Float::F64),
            ElementType::Other(name, _) => Err(name.to_owned()),
        };
        let view = match float {
            Err(other) => Err(other),
            Ok(float) => {
                view.storage = *known.entry(record.key).or_insert_with(|| {
                    storages.push(Storage {
                        place: places[tensor.storage].clone(),
                        float,
                        elements: record.elements,
                    });
                    storages.len() - 1
                });
                let storage = &storages[view.storage];
                if storage.float != float || storage.elements != record.elements {
                    return Err(damaged("sees its storage otherwise than another tensor"));
                }
                Ok(view)
            }
        };
        let name = if wrapped { &name["module.".len()..] } else { name };
        let shape = tensor.shape.clone();
        entries.insert(name.to_owned(), Entry { shape, view });
    }
    Ok((entries, storages))
}

/// The tensors of a dictionary by name, or of the one in it under `state_dict` or `model`.
fn named_tensors<'m>(machine: &'m Machine<'_>, root: Value<'m>) -> BTreeMap<&'m str, &'m TensorRecord> {
    let pairs = |value| machine.dict(value).unwrap_or_default();
    let under = |key| {
        let mut found = pairs(root).iter().rev();
        found.find(|(k, v)| *k == Value::Text(key) && matches!(v, Value::Dict(_)))
    };
    let dict = under("state_dict")
        .or_else(|| under("model"))
        .map_or(root, |(_, dict)| *dict);
    let tensors = pairs(dict).iter().filter_map(|(key, value)| match (key, value) {
        (Value::Text(name), Value::Tensor(index)) => Some((*name, &machine.tensors[*index])),
        _ => None,
    });
    // Of a name that occurs twice the last one counts.
    tensors.collect()
}
