//! Networks from ONNX files, run by [rten](https://docs.rs/rten), a runtime in Rust alone.
//!
//! The runtime's graph optimisations stay off. They may remove an inner value that is a tap, and what
//! they fuse would depend on which other taps there are, and with it the last bits; on ResNet-18 and a
//! vision transformer they gained nothing measurable. Each image is computed alone and on one thread,
//! because the runtime cuts matrix products by the number of threads.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array2, Array4, ArrayView4, Axis};
use rten::{Dimension, LoadErrorKind, Model, ModelOptions, NodeId, RunOptions, ThreadPool, ValueView};
use rten_onnx::onnx::{DataType, GraphProto, ModelProto, TensorProto};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::error::BackbonesError;

/// What can go wrong with a network from an ONNX file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file is empty, truncated or of another format.
    #[error("it is not a whole ONNX file ({reason}): it may be truncated or of another format")]
    Format {
        /// What the parser said.
        reason: String,
    },
    /// Weights are stored beside the file in a place that is not read.
    #[error(
        "its weights are in \"{location}\", which is not a file beside or below it: export it with the weights inside"
    )]
    ExternalPath {
        /// The place as the file names it.
        location: String,
    },
    /// The network holds an operator, or a variant of one, that the runtime lacks.
    #[error("the runtime cannot compute operator {operator} (node \"{node}\"): {reason}")]
    Operator {
        /// The operator's type, or "?" where it is unknown.
        operator: String,
        /// The node's name; empty where it has none.
        node: String,
        /// What the runtime said.
        reason: String,
    },
    /// The runtime refused the network for another reason.
    #[error("the runtime refuses it: {reason}")]
    Refused {
        /// What the runtime said.
        reason: String,
    },
    /// A node is named like a value, which the runtime confuses.
    #[error("a node and a value are both named \"{name}\", which the runtime confuses: rename one of them")]
    SharedName {
        /// The name.
        name: String,
    },
    /// No tap was asked for.
    #[error("no tap was asked for: name an output or an inner value, such as {known}")]
    NoTaps {
        /// Names that would have done.
        known: String,
    },
    /// The network has no value or node of this name.
    #[error("it has no output, inner value or node \"{tap}\"; {known}")]
    UnknownTap {
        /// The name as given.
        tap: String,
        /// The nearest names, or all of them where there are few.
        known: String,
    },
    /// The network was loaded for other taps.
    #[error("it was loaded for {taps} and does not compute \"{tap}\"")]
    NotComputed {
        /// The name as given.
        tap: String,
        /// The taps it was loaded for.
        taps: String,
    },
    /// The network does not have one input of 32-bit floats.
    #[error("it must have one input, an f32 image tensor, and has {found}")]
    Inputs {
        /// The inputs there are.
        found: String,
    },
    /// The network's input is not (1, channels, height, width) as the images are.
    #[error(
        "it takes input {expected}, and images are [1, {channels}, {height}, {width}], one at a time: \
         change the input size, or export it for this one and a batch of 1 or of any size"
    )]
    InputShape {
        /// The shape that the file declares.
        expected: String,
        /// Channels of the images.
        channels: usize,
        /// Their height in pixels.
        height: usize,
        /// Their width in pixels.
        width: usize,
    },
    /// The runtime failed while computing.
    #[error("computing {taps} failed for images of {height} x {width} pixels: {reason}")]
    Run {
        /// The taps.
        taps: String,
        /// The images' height in pixels.
        height: usize,
        /// The images' width in pixels.
        width: usize,
        /// What the runtime said, with the node.
        reason: String,
    },
    /// A tap does not hold 32-bit floats.
    #[error("tap \"{tap}\" is no tensor of f32: name a value that is")]
    TapType {
        /// The tap.
        tap: String,
    },
    /// A tap's values are not numbers.
    #[error("tap \"{tap}\" of image {image} of the batch (counted from 0) is NaN or infinite")]
    FeatureValues {
        /// The tap.
        tap: String,
        /// The image's index in the batch.
        image: usize,
    },
}

/// A network from an ONNX file, which computes the features of some of its values.
///
/// ```no_run
/// use blemish_backbones::OnnxNetwork;
///
/// let network = OnnxNetwork::load("dinov2.onnx".as_ref(), &["tokens"])?;
/// let images = ndarray::Array4::<f32>::zeros((2, 3, 224, 224)); // normalised, (n, 3, height, width)
/// let features = network.forward(images.view())?;
/// assert_eq!(features[0].nrows(), 2);
/// # Ok::<(), blemish_backbones::BackbonesError>(())
/// ```
#[derive(Debug)]
pub struct OnnxNetwork {
    path: PathBuf,
    digest: blake3::Hash,
    model: Model,
    input: NodeId,
    /// As the file declares it, if it does.
    input_shape: Option<Vec<Dimension>>,
    taps: Vec<(String, NodeId)>,
}

impl OnnxNetwork {
    /// Reads the network in `path` for `taps`: names of outputs, of inner values, or of nodes, whose first
    /// output is then meant. What no tap needs is not computed, but the runtime must know its operators.
    ///
    /// Weights in files beside `path` (the format's "external data") are read too, from its folder and
    /// below only.
    ///
    /// # Errors
    /// [`BackbonesError::Read`] where a file cannot be read; [`BackbonesError::Onnx`] for everything else,
    /// with a reason of [`OnnxError`].
    pub fn load(path: &Path, taps: &[&str]) -> Result<OnnxNetwork, BackbonesError> {
        let bytes = read(path)?;
        let wrong = |source| BackbonesError::Onnx {
            path: path.to_owned(),
            source,
        };
        let graph = parse(&bytes).map_err(wrong)?;
        let input = graph.input().map_err(wrong)?;
        let values = graph.taps(taps).map_err(wrong)?;

        let mut hasher = blake3::Hasher::new();
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(&bytes);
        let mut options = ModelOptions::with_all_ops();
        options.enable_optimization(false).prepack_weights(true);
        let folder = path.parent().unwrap_or(Path::new(""));
        for location in &graph.external {
            let inside = Path::new(location)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            if !inside || location.is_empty() {
                return Err(wrong(OnnxError::ExternalPath {
                    location: location.clone(),
                }));
            }
            let data = read(&folder.join(location))?;
            hasher.update(&(data.len() as u64).to_le_bytes());
            hasher.update(&data);
            options.external_data(location, data);
        }

        let model = catch_unwind(AssertUnwindSafe(|| options.load(bytes)))
            .map_err(|panic| {
                wrong(OnnxError::Refused {
                    reason: panic_text(panic.as_ref()),
                })
            })?
            .map_err(|error| wrong(graph.refusal(&error)))?;
        let find = |name: &str| {
            model.find_node(name).ok_or_else(|| {
                wrong(OnnxError::Refused {
                    reason: format!("it lost the value \"{name}\""),
                })
            })
        };
        let input = find(&input)?;
        let taps = taps
            .iter()
            .zip(&values)
            .map(|(tap, value)| Ok(((*tap).to_owned(), find(value)?)))
            .collect::<Result<_, BackbonesError>>()?;
        Ok(OnnxNetwork {
            path: path.to_owned(),
            digest: hasher.finalize(),
            input_shape: model.node_info(input).and_then(|info| info.shape()),
            input,
            taps,
            model,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The taps that [`forward`](Self::forward) gives, in its order.
    pub fn taps(&self) -> Vec<&str> {
        self.taps.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// BLAKE3 of the file, of the weights beside it, and of the tap's name: what its features depend on
    /// besides the images and the runtime. 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`OnnxError::NotComputed`] for a name that is none of the taps.
    pub fn digest(&self, tap: &str) -> Result<String, BackbonesError> {
        self.tap(tap)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.digest.as_bytes());
        hasher.update(tap.as_bytes());
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The shape of `tap` for one image of 3 x `height` x `width` pixels, without the batch's axis: for
    /// example `[channels, rows, columns]`, or `[tokens, channels]`. Found by computing a black image.
    ///
    /// # Errors
    /// [`OnnxError::NotComputed`], and those of [`forward`](Self::forward).
    pub fn tap_shape(&self, tap: &str, height: usize, width: usize) -> Result<Vec<usize>, BackbonesError> {
        let tap = self.tap(tap)?;
        let shapes = self.shapes(&[tap], height, width)?;
        Ok(shapes.into_iter().next().unwrap_or_default())
    }

    /// [`tap_shape`](Self::tap_shape) of every tap at once.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn tap_shapes(&self, height: usize, width: usize) -> Result<Vec<Vec<usize>>, BackbonesError> {
        self.shapes(&self.taps.iter().collect::<Vec<_>>(), height, width)
    }

    /// The features of `images`: for each tap, in the order given to [`load`](Self::load), a matrix with
    /// one row for each image.
    ///
    /// `images` are (n, channels, height, width), preprocessed and normalised. A row holds the tap's values
    /// for one image in the order that the runtime gives them, last axis fastest: channels, rows, columns
    /// of a convolutional network (where [`Network`](crate::Network) puts channels last), tokens, channels
    /// of a transformer.
    ///
    /// Computed in parallel, one image on each of as many threads as rayon's current pool has. A row does
    /// not depend on the other images, on the number of threads or on the other taps.
    ///
    /// # Errors
    /// [`BackbonesError::ImageValues`]; [`OnnxError::InputShape`], [`OnnxError::Run`],
    /// [`OnnxError::TapType`], [`OnnxError::FeatureValues`].
    pub fn forward(&self, images: ArrayView4<'_, f32>) -> Result<Vec<Array2<f32>>, BackbonesError> {
        self.compute(images, &self.taps.iter().collect::<Vec<_>>())
    }

    /// [`forward`](Self::forward) for some of the taps.
    ///
    /// # Errors
    /// [`OnnxError::NotComputed`], and those of [`forward`](Self::forward).
    pub fn forward_taps(
        &self,
        images: ArrayView4<'_, f32>,
        taps: &[&str],
    ) -> Result<Vec<Array2<f32>>, BackbonesError> {
        let taps = taps
            .iter()
            .map(|tap| self.tap(tap))
            .collect::<Result<Vec<_>, _>>()?;
        self.compute(images, &taps)
    }

    fn compute(
        &self,
        images: ArrayView4<'_, f32>,
        taps: &[&(String, NodeId)],
    ) -> Result<Vec<Array2<f32>>, BackbonesError> {
        let (count, channels, height, width) = images.dim();
        self.check_input(channels, height, width)?;
        if count == 0 {
            let shapes = self.shapes(taps, height, width)?;
            return Ok(shapes
                .iter()
                .map(|shape| Array2::zeros((0, shape.iter().product())))
                .collect());
        }
        for (image, pixels) in images.axis_iter(Axis(0)).enumerate() {
            if pixels.iter().any(|v| !v.is_finite()) {
                return Err(BackbonesError::ImageValues { image });
            }
        }
        let next = AtomicUsize::new(0);
        // Threads of our own rather than rayon's: a rayon thread that waits for the runtime's pool would
        // meanwhile start another image, and another, on the same stack.
        let work = || {
            let pool = Arc::new(ThreadPool::with_num_threads(1));
            let mut done = vec![];
            loop {
                let image = next.fetch_add(1, Ordering::Relaxed);
                if image >= count {
                    return done;
                }
                let pixels = images.index_axis(Axis(0), image);
                let pixels = pixels.as_standard_layout();
                let shape = [1, channels, height, width];
                let values = self.run(shape, pixels.as_slice().unwrap_or_default(), taps, &pool);
                let failed = values.is_err();
                done.push((image, values));
                if failed {
                    next.store(count, Ordering::Relaxed);
                }
            }
        };
        let threads = rayon::current_num_threads().min(count);
        let mut computed: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .flat_map(|w| w.join().unwrap_or_default())
                .collect()
        });
        computed.sort_by_key(|(image, _)| *image);
        if computed.len() < count {
            let ended = self.failed(taps, height, width, "a thread ended early".into());
            return Err(computed
                .into_iter()
                .find_map(|(_, values)| values.err())
                .unwrap_or(ended));
        }

        let mut features: Vec<Array2<f32>> = vec![];
        for (image, values) in computed {
            for (t, (_, values)) in values?.into_iter().enumerate() {
                if values.iter().any(|v| !v.is_finite()) {
                    let tap = taps[t].0.clone();
                    return Err(self.wrong(OnnxError::FeatureValues { tap, image }));
                }
                if image == 0 {
                    features.push(Array2::zeros((count, values.len())));
                }
                let mut row = features[t].row_mut(image);
                if row.len() != values.len() {
                    return Err(self.failed(
                        taps,
                        height,
                        width,
                        "images give rows of different lengths".into(),
                    ));
                }
                row.assign(&ndarray::ArrayView1::from(&values));
            }
        }
        Ok(features)
    }

    /// Shapes and values of `taps` for one image.
    #[expect(clippy::type_complexity, reason = "named nowhere else")]
    fn run(
        &self,
        shape: [usize; 4],
        pixels: &[f32],
        taps: &[&(String, NodeId)],
        pool: &Arc<ThreadPool>,
    ) -> Result<Vec<(Vec<usize>, Vec<f32>)>, BackbonesError> {
        let [_, _, height, width] = shape;
        let failed = |reason| self.failed(taps, height, width, reason);
        let input = ValueView::from_shape(shape, pixels).map_err(|e| failed(e.to_string()))?;
        // The runtime wants each output once.
        let mut wanted: Vec<NodeId> = vec![];
        for (_, id) in taps {
            if !wanted.contains(id) {
                wanted.push(*id);
            }
        }
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(pool)));
        let run = || {
            self.model
                .run(vec![(self.input, input.into())], &wanted, Some(options))
        };
        let outputs = catch_unwind(AssertUnwindSafe(run))
            .map_err(|panic| failed(panic_text(panic.as_ref())))?
            .map_err(|error| failed(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (i, output) in outputs.into_iter().enumerate() {
            if let Ok(tensor) = Tensor::<f32>::try_from(output) {
                let shape = tensor.shape();
                let of_image = shape.strip_prefix(&[1]).unwrap_or(shape).to_vec();
                tensors.insert(i, (of_image, tensor.to_vec()));
            }
        }
        taps.iter()
            .map(|(tap, id)| {
                let output = wanted.iter().position(|w| w == id).and_then(|i| tensors.get(&i));
                let wrong = || self.wrong(OnnxError::TapType { tap: tap.clone() });
                output.cloned().ok_or_else(wrong)
            })
            .collect()
    }

    fn shapes(
        &self,
        taps: &[&(String, NodeId)],
        height: usize,
        width: usize,
    ) -> Result<Vec<Vec<usize>>, BackbonesError> {
        self.check_input(3, height, width)?;
        let black = Array4::<f32>::zeros((1, 3, height, width));
        let pool = Arc::new(ThreadPool::with_num_threads(1));
        let pixels = black.as_slice().unwrap_or_default();
        let run = self.run([1, 3, height, width], pixels, taps, &pool)?;
        Ok(run.into_iter().map(|(shape, _)| shape).collect())
    }

    fn check_input(&self, channels: usize, height: usize, width: usize) -> Result<(), BackbonesError> {
        let Some(declared) = &self.input_shape else {
            return Ok(());
        };
        let given = [1, channels, height, width];
        let fits = declared.len() == given.len()
            && declared
                .iter()
                .zip(given)
                .all(|(declared, given)| match declared {
                    Dimension::Fixed(side) => *side == given,
                    Dimension::Symbolic(_) => true,
                });
        if fits {
            return Ok(());
        }
        let axes: Vec<String> = declared
            .iter()
            .map(|axis| match axis {
                Dimension::Fixed(side) => side.to_string(),
                Dimension::Symbolic(name) => name.clone(),
            })
            .collect();
        Err(self.wrong(OnnxError::InputShape {
            expected: format!("[{}]", axes.join(", ")),
            channels,
            height,
            width,
        }))
    }

    fn tap(&self, name: &str) -> Result<&(String, NodeId), BackbonesError> {
        self.taps.iter().find(|(tap, _)| tap == name).ok_or_else(|| {
            self.wrong(OnnxError::NotComputed {
                tap: name.to_owned(),
                taps: self.taps().join(", "),
            })
        })
    }

    fn failed(
        &self,
        taps: &[&(String, NodeId)],
        height: usize,
        width: usize,
        reason: String,
    ) -> BackbonesError {
        let taps: Vec<&str> = taps.iter().map(|(tap, _)| tap.as_str()).collect();
        self.wrong(OnnxError::Run {
            taps: taps.join(", "),
            height,
            width,
            reason,
        })
    }

    fn wrong(&self, source: OnnxError) -> BackbonesError {
        BackbonesError::Onnx {
            path: self.path.clone(),
            source,
        }
    }
}

/// The names in a file, without its weights.
struct Names {
    /// Inputs that are no weights, and whether each holds 32-bit floats.
    inputs: Vec<(String, bool)>,
    /// Outputs of the network, then other values that a node computes.
    values: Vec<String>,
    /// Name, operator and first output of each node.
    nodes: Vec<(String, String, String)>,
    /// Files with weights.
    external: BTreeSet<String>,
}

fn parse(bytes: &[u8]) -> Result<Names, OnnxError> {
    let format = |reason: String| OnnxError::Format { reason };
    if !is_whole(bytes) {
        return Err(format("its parts do not add up to its length".into()));
    }
    let model = catch_unwind(|| ModelProto::parse_buf(bytes))
        .map_err(|panic| format(panic_text(panic.as_ref())))?
        .map_err(|error| format(error.to_string()))?;
    let Some(graph) = model.graph.filter(|graph| !graph.node.is_empty()) else {
        return Err(format("there is no network in it".into()));
    };
    let weights: BTreeSet<&str> = graph
        .initializer
        .iter()
        .filter_map(|t| t.name.as_deref())
        .collect();
    let inputs = graph
        .input
        .iter()
        .filter_map(|input| {
            let name = input.name.clone()?;
            let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
            let kind = tensor.and_then(|t| t.elem_type.as_ref());
            let float = kind.is_none_or(|kind| kind.0 == DataType::FLOAT.0);
            (!weights.contains(name.as_str())).then_some((name, float))
        })
        .collect();
    let mut nodes = vec![];
    let mut computed: Vec<String> = vec![];
    for node in &graph.node {
        let operator = node.op_type.clone().unwrap_or_default();
        if operator != "Constant" {
            let first = node.output.first().cloned().unwrap_or_default();
            nodes.push((node.name.clone().unwrap_or_default(), operator, first));
            computed.extend(node.output.iter().filter(|name| !name.is_empty()).cloned());
        }
    }
    let all: BTreeSet<&str> = computed.iter().map(String::as_str).chain(weights).collect();
    if let Some((name, ..)) = nodes.iter().find(|(name, ..)| all.contains(name.as_str())) {
        return Err(OnnxError::SharedName { name: name.clone() });
    }
    let outputs: Vec<String> = graph.output.iter().filter_map(|o| o.name.clone()).collect();
    computed.retain(|name| !outputs.contains(name));
    let mut external = BTreeSet::new();
    locations(&graph, &mut external);
    Ok(Names {
        inputs,
        values: outputs.into_iter().chain(computed).collect(),
        nodes,
        external,
    })
}

/// Whether the fields of the outermost Protocol Buffers message fill the file to its end. The parser takes
/// a message that ends early for one that has no more fields.
fn is_whole(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Some(key) = varint(&mut bytes) else {
            return false;
        };
        let length = match key & 7 {
            0 => varint(&mut bytes).map(|_| 0),
            1 => Some(8),
            2 => varint(&mut bytes),
            5 => Some(4),
            _ => None,
        };
        let rest = length
            .and_then(|length| usize::try_from(length).ok())
            .and_then(|length| bytes.get(length..));
        let Some(rest) = rest else {
            return false;
        };
        bytes = rest;
    }
    true
}

/// Takes a number off the front: seven bits a byte, the lowest first, the last byte below 128.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for i in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 127) << (7 * i);
        if *byte < 128 {
            return Some(value);
        }
    }
    None
}

/// The files that tensors of `graph` and of the graphs inside it lie in.
fn locations(graph: &GraphProto, found: &mut BTreeSet<String>) {
    let attributes = || graph.node.iter().flat_map(|node| &node.attribute);
    let constants = attributes().filter_map(|a| a.t.as_ref());
    for tensor in graph.initializer.iter().chain(constants) {
        found.extend(location(tensor));
    }
    for inner in attributes().filter_map(|a| a.g.as_ref()) {
        locations(inner, found);
    }
}

fn location(tensor: &TensorProto) -> Option<String> {
    let entry = tensor
        .external_data
        .iter()
        .find(|e| e.key.as_deref() == Some("location"));
    entry.and_then(|e| e.value.clone())
}

impl Names {
    fn input(&self) -> Result<String, OnnxError> {
        match &self.inputs[..] {
            [(name, true)] => Ok(name.clone()),
            [(name, false)] => Err(OnnxError::Inputs {
                found: format!("\"{name}\" of another type"),
            }),
            inputs => Err(OnnxError::Inputs {
                found: match inputs {
                    [] => "none".into(),
                    _ => inputs
                        .iter()
                        .map(|(n, _)| n.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                },
            }),
        }
    }

    /// The names of the values that `taps` mean.
    fn taps(&self, taps: &[&str]) -> Result<Vec<String>, OnnxError> {
        if taps.is_empty() {
            return Err(OnnxError::NoTaps { known: self.near("") });
        }
        let value = |tap: &&str| {
            let named = |(name, _, first): &&(String, String, String)| name == tap && !first.is_empty();
            if self.values.iter().any(|value| value == tap) {
                return Ok((*tap).to_owned());
            }
            let node = self.nodes.iter().find(named);
            node.map(|(.., first)| first.clone())
                .ok_or_else(|| OnnxError::UnknownTap {
                    tap: (*tap).to_owned(),
                    known: self.near(tap),
                })
        };
        taps.iter().map(value).collect()
    }

    /// The names most like `name`: those that share most of its runs of three letters, outputs first.
    fn near(&self, name: &str) -> String {
        let letters: Vec<char> = name.to_lowercase().chars().collect();
        let runs: BTreeSet<String> = letters.windows(3).map(|w| w.iter().collect()).collect();
        let mut names: Vec<&String> = self.values.iter().collect();
        names.sort_by_key(|value| {
            let value = value.to_lowercase();
            std::cmp::Reverse(runs.iter().filter(|run| value.contains(run.as_str())).count())
        });
        let shown: Vec<&str> = names.iter().take(SHOWN).map(|n| n.as_str()).collect();
        match names.len() {
            n if n > SHOWN => format!("the nearest of its {n} values: {}", shown.join(", ")),
            _ => format!("its values: {}", shown.join(", ")),
        }
    }

    fn refusal(&self, error: &rten::LoadError) -> OnnxError {
        let reason = error.to_string();
        match error.kind() {
            LoadErrorKind::OperatorInvalid => {
                let node = error.node().unwrap_or_default();
                let known = self
                    .nodes
                    .iter()
                    .find(|(name, ..)| !node.is_empty() && name == node);
                OnnxError::Operator {
                    operator: known.map_or("?", |(_, operator, _)| operator).to_owned(),
                    node: node.to_owned(),
                    reason,
                }
            }
            LoadErrorKind::ParseError | LoadErrorKind::UnknownFileType => OnnxError::Format { reason },
            _ => OnnxError::Refused { reason },
        }
    }
}

/// How many names a message lists.
const SHOWN: usize = 12;

fn read(path: &Path) -> Result<Vec<u8>, BackbonesError> {
    std::fs::read(path).map_err(|source| BackbonesError::Read {
        path: path.to_owned(),
        source,
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!(
        "it panicked: {}",
        text.unwrap_or_else(|| "without a message".into())
    )
}
