//! Hidden-layer features of image networks on the CPU, in Rust alone. The principal type is
//! [`Network`]: [`Weights`] from a file or from a seed make one, and its [`forward`](Network::forward)
//! turns images into one matrix of features for each wanted layer.
//!
//! ```
//! use blemish_backbones::{Architecture, Network, Weights};
//!
//! let architecture: Architecture = "resnet18".parse()?;
//! let weights = Weights::random(architecture, 0);
//! let network = Network::new(architecture, &weights, &["layer1", "layer2"])?;
//! let images = ndarray::Array4::<f32>::zeros((2, 3, 64, 64)); // normalised, (n, 3, height, width)
//! let features = network.forward(images.view())?;
//! assert_eq!(features[1].dim(), (2, 8 * 8 * 128));
//! # Ok::<(), blemish_backbones::BackbonesError>(())
//! ```
//!
//! # The parts
//! - A **description** says which convolutions a network has, in which order, under which names
//!   (`description`, `resnet`). It knows nothing of numbers.
//! - **Weights** are named tensors, from safetensors files or PyTorch's own (`tensors`, `pytorch`,
//!   `pickle`: nothing in them is executed), or drawn from a seed as PyTorch draws them (`random`,
//!   `twister`). [`Weights::digest`] identifies what a layer depends on by content, so a file that holds
//!   only the first layers and the full file are the same thing to those layers.
//! - **Kernels** work on NHWC activations. Nearly all time goes to one matrix product over packed
//!   weights (`product`); around it are fast 3x3 convolutions (`winograd`), products by seven
//!   multiplications (`strassen`), the stem, and the parts of a transformer. Each is written once over
//!   vectors (`simd`) and compiled for AVX-512, AVX2, NEON and plain Rust; the best that the processor
//!   has is chosen when the program runs ([`InstructionSet`]). Tests compare all of them with safe twins
//!   (`reference`).
//! - The **network** joins the three: images side by side where activations are large, all threads at one
//!   layer where weights are. Batch normalisation is folded into the convolutions, in f64 (`prepare`).
//!   Memory for activations is kept from call to call (`buffer`); [`Profile`] says where time goes.
//! - A network from an **ONNX** file (`onnx`, behind the feature of that name) is run by another runtime, with the
//!   same seam: taps in, matrices out.
//!
//! # Determinism
//! The bytes of a feature do not depend on how images are cut into batches or on the number of threads:
//! a number is always the same sums in the same order, chosen by the shapes of one image. Between
//! instruction sets they differ in the last bits.
#![deny(missing_docs)]

mod activation;
mod architecture;
mod buffer;
mod conv;
mod description;
mod error;
mod find;
mod network;
#[cfg(feature = "onnx")]
mod onnx;
mod pickle;
mod prepare;
mod product;
mod profile;
mod published;
mod pytorch;
mod random;
#[cfg(test)]
mod reference;
mod resnet;
mod rows;
mod simd;
mod stem;
mod strassen;
mod tensors;
mod transformer;
mod twister;
mod vit;
mod weights;
mod winograd;

pub use architecture::{Architecture, Initialization, InputSpec};
pub use description::TapShape;
pub use error::BackbonesError;
pub use network::Network;
#[cfg(feature = "onnx")]
pub use onnx::{OnnxError, OnnxNetwork};
pub use profile::{Profile, ProfileEntry};
pub use published::PublishedWeights;
pub use pytorch::PytorchError;
pub use rows::PackedRows;
pub use simd::InstructionSet;
pub use weights::Weights;
