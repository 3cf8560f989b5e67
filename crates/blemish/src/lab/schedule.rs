//! In which passes over its images a task is computed, and where rows lie meanwhile, so that memory and scratch space
//! stay within their bounds.

use blemish_backbones::Architecture;

use super::backbone::Backbone;
use super::memory::Bytes;
use crate::Error;

/// The program itself: code, threads, the store, the plan.
const PROGRAM: u64 = 100_000_000;
/// Source images decoded at a time, at most.
pub(crate) const CHUNK: usize = 8;
/// A source image and what its decoding and resizing needs, in bytes: 1024 x 1024 pixels as f32 in three colours, and
/// smaller copies of it.
const IMAGE: u64 = 20_000_000;
/// Columns of all rows that are in memory while rows on disk are multiplied.
const PART_ON_DISK: u64 = 4096;

/// Bounds of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) memory: Bytes,
    pub(crate) scratch: Bytes,
    pub(crate) threads: usize,
}

/// What a task is about, in numbers.
#[derive(Clone, Debug)]
pub(crate) struct TaskSize {
    /// Columns of each layer whose rows are needed.
    pub(crate) layers: Vec<usize>,
    /// Training images and views of each.
    pub(crate) train: usize,
    pub(crate) views: usize,
    pub(crate) test: usize,
}

/// Where the rows of a layer lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Memory,
    Disk,
}

/// One pass over the images: the layers that are taken, and where their rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Indices into [`TaskSize::layers`], ascending.
    pub(crate) layers: Vec<(usize, Place)>,
    /// Source images taken at a time.
    pub(crate) chunk: usize,
}

/// The passes of a task and what they need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) passes: Vec<Pass>,
    /// Predicted peak of resident memory.
    pub(crate) memory: u64,
    /// Bytes on disk while it runs.
    pub(crate) scratch: u64,
}

/// Memory of a network that is ready, with its activations for one image.
fn network(backbone: &Backbone) -> (u64, u64) {
    match backbone {
        Backbone::Builtin { architecture, .. } => match architecture {
            Architecture::Resnet18 => (260_000_000, 2_000_000),
            Architecture::Resnet50 => (330_000_000, 4_000_000),
            Architecture::WideResnet50_2 => (900_000_000, 8_000_000),
            Architecture::VitBase16 | Architecture::VitBase32 => (400_000_000, 4_000_000),
        },
        // The runtime keeps what it computed; how much is not known.
        Backbone::Onnx(_) => (1_000_000_000, 40_000_000),
    }
}

/// What detectors need on n training and m test rows: the products while they are put together, kernel matrices of as
/// many threads, eigenvectors and what is between.
fn detectors(n: u64, m: u64, threads: u64) -> u64 {
    8 * n * n * (4 + threads) + 16 * n * m
}

impl Schedule {
    pub(crate) fn new(backbone: &Backbone, size: &TaskSize, bounds: Bounds) -> Result<Schedule, Error> {
        let (network, activations) = network(backbone);
        let (n, m) = ((size.train * size.views) as u64, size.test as u64);
        let work = detectors(n, m, bounds.threads as u64);
        let row = |layers: &[usize]| layers.iter().map(|l| 4 * size.layers[*l] as u64).sum::<u64>();
        let train_and_test = |layers: &[usize]| (n + m) * row(layers);
        let images = bounds.threads as u64 * IMAGE;
        // A chunk: tensors, activations, and the rows that come out.
        let tensor = 3 * 224 * 224 * 4 * 2;
        let chunk_memory = |chunk: usize, layers: &[usize]| {
            (chunk * size.views) as u64 * (tensor + activations + row(layers))
        };

        let all: Vec<usize> = (0..size.layers.len()).collect();
        let mut left = all;
        let mut schedule = Schedule {
            passes: vec![],
            memory: 0,
            scratch: 0,
        };
        while !left.is_empty() {
            let mut best: Option<(Pass, u64, u64)> = None;
            'chunks: for chunk in [CHUNK, 4, 2, 1] {
                // Every subset in memory and, of the rest, every subset on disk; layers are few.
                for (memory, disk) in splits(&left) {
                    let taken: Vec<usize> = memory.iter().chain(&disk).copied().collect();
                    let during =
                        PROGRAM + network + images + chunk_memory(chunk, &taken) + train_and_test(&memory);
                    // Test rows of a layer on disk are read when it is its turn.
                    let of_disk = disk
                        .iter()
                        .map(|l| m * row(&[*l]) + (n + m) * PART_ON_DISK * 4)
                        .max()
                        .unwrap_or(0);
                    let after = PROGRAM + network + work + train_and_test(&memory) + of_disk;
                    let (peak, scratch) = (during.max(after), train_and_test(&disk));
                    if peak > bounds.memory.0 || scratch > bounds.scratch.0 {
                        continue;
                    }
                    // Fewest passes first, then the least on disk.
                    let better = best.as_ref().is_none_or(|(pass, _, found)| {
                        (taken.len(), std::cmp::Reverse(scratch))
                            > (pass.layers.len(), std::cmp::Reverse(*found))
                    });
                    if better {
                        let mut layers: Vec<(usize, Place)> = memory
                            .iter()
                            .map(|l| (*l, Place::Memory))
                            .chain(disk.iter().map(|l| (*l, Place::Disk)))
                            .collect();
                        layers.sort_by_key(|(l, _)| *l);
                        best = Some((Pass { layers, chunk }, peak, scratch));
                    }
                }
                if best
                    .as_ref()
                    .is_some_and(|(pass, ..)| pass.layers.len() == left.len())
                {
                    break 'chunks;
                }
            }
            let Some((pass, peak, scratch)) = best else {
                let smallest = left.iter().min_by_key(|l| size.layers[**l]).copied();
                let layer = smallest.map_or(0, |l| size.layers[l]) as u64;
                let least = PROGRAM
                    + network
                    + (images + chunk_memory(1, &left[..1]))
                        .max(work + m * layer * 4 + (n + m) * PART_ON_DISK * 4);
                return Err(Error::Config(format!(
                    "the rows of a layer of {layer} columns, {} of them, fit neither into {} of memory nor, with {} \
                     of memory, into {} of scratch space: raise --memory or --scratch-limit",
                    n + m,
                    bounds.memory,
                    Bytes(least),
                    bounds.scratch,
                )));
            };
            left.retain(|l| !pass.layers.iter().any(|(taken, _)| taken == l));
            schedule.memory = schedule.memory.max(peak);
            schedule.scratch = schedule.scratch.max(scratch);
            schedule.passes.push(pass);
        }
        Ok(schedule)
    }
}

/// Every way to put some of `layers` into memory, some on disk, and leave the rest: 3^n of them, for up to 8 layers;
/// of more, prefixes are taken.
fn splits(layers: &[usize]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let few = layers.len().min(8);
    let (chosen, rest) = layers.split_at(few);
    let mut out = vec![];
    for code in 1..3usize.pow(few as u32) {
        let (mut memory, mut disk) = (vec![], vec![]);
        let mut code = code;
        for layer in chosen {
            match code % 3 {
                1 => memory.push(*layer),
                2 => disk.push(*layer),
                _ => {}
            }
            code /= 3;
        }
        out.push((memory, disk));
    }
    if !rest.is_empty() {
        out.push((layers.to_vec(), vec![]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use blemish_backbones::Initialization;

    const RESNET50: Backbone = Backbone::Builtin {
        architecture: Architecture::Resnet50,
        initialization: Initialization::Random,
    };

    fn hazelnut() -> TaskSize {
        TaskSize {
            layers: vec![802_816, 401_408, 200_704, 100_352],
            train: 391,
            views: 6,
            test: 110,
        }
    }

    fn bounds(memory: &str, scratch: &str) -> Bounds {
        Bounds {
            memory: memory.parse().unwrap(),
            scratch: scratch.parse().unwrap(),
            threads: 2,
        }
    }

    #[test]
    fn everything_in_memory_where_it_fits() {
        let schedule = Schedule::new(&RESNET50, &hazelnut(), bounds("20G", "16G")).unwrap();
        assert_eq!(schedule.passes.len(), 1);
        assert!(schedule.passes[0].layers.iter().all(|(_, p)| *p == Place::Memory));
        assert_eq!(schedule.scratch, 0);
        assert!(schedule.memory < 20_000_000_000);
    }

    #[test]
    fn the_largest_task_of_the_study_fits_into_8_gigabytes_in_one_pass() {
        let schedule = Schedule::new(&RESNET50, &hazelnut(), bounds("8G", "16G")).unwrap();
        assert_eq!(schedule.passes.len(), 1);
        assert!(schedule.memory <= 8_000_000_000 && schedule.scratch <= 16_000_000_000);
        // With less scratch space it takes the images several times.
        let schedule = Schedule::new(&RESNET50, &hazelnut(), bounds("5G", "7.9G")).unwrap();
        assert_eq!(schedule.passes.len(), 2);
        let mut seen: Vec<usize> = schedule
            .passes
            .iter()
            .flat_map(|p| &p.layers)
            .map(|(l, _)| *l)
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
        // And with little memory smaller chunks.
        let few = TaskSize {
            train: 20,
            test: 10,
            ..hazelnut()
        };
        let schedule = Schedule::new(&RESNET50, &few, bounds("700M", "16G")).unwrap();
        assert!(schedule.passes[0].chunk < CHUNK);
        assert!(schedule.memory <= 700_000_000);
    }

    #[test]
    fn what_cannot_be_says_what_is_needed() {
        let error = Schedule::new(&RESNET50, &hazelnut(), bounds("8G", "1M")).unwrap_err();
        assert!(
            error.to_string().contains("raise --memory or --scratch-limit"),
            "{error}"
        );
        assert!(Schedule::new(&RESNET50, &hazelnut(), bounds("300M", "100G")).is_err());
    }
}
