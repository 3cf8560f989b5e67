//! All networks: what must not change a feature, and what is refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::LazyLock;

use blemish_backbones::{Architecture, BackbonesError, InstructionSet, Network, Weights};
use common::{Raw, State, images, reload};
use ndarray::{Array2, Axis, concatenate, s};

/// Values of a given spread from the index alone.
fn tensor(shape: &[usize], spread: f32, salt: usize) -> Raw {
    let len: usize = shape.iter().product();
    let values: Vec<f32> = (0..len)
        .map(|i| {
            let hashed = ((i * 7 + salt) as u32).wrapping_mul(2_654_435_761) >> 8;
            (hashed as f32 / 8_388_608.0 - 1.0) * spread
        })
        .collect();
    Raw::f32(shape, &values)
}

/// A transformer of two blocks, with the names of torchvision's state dict.
fn transformer(patch: usize) -> Weights {
    let tokens = (224 / patch).pow(2) + 1;
    let mut state = State::new();
    let mut add = |name: String, shape: &[usize], spread: f32| {
        let salt = state.len();
        state.insert(name, tensor(shape, spread, salt));
    };
    add("conv_proj.weight".to_owned(), &[768, 3, patch, patch], 0.02);
    add("conv_proj.bias".to_owned(), &[768], 0.1);
    add("class_token".to_owned(), &[1, 1, 768], 1.0);
    add("encoder.pos_embedding".to_owned(), &[1, tokens, 768], 0.5);
    for block in 0..2 {
        for (part, shape, spread) in [
            ("ln_1.weight", &[768][..], 1.0),
            ("ln_1.bias", &[768], 0.2),
            ("self_attention.in_proj_weight", &[2304, 768], 0.1),
            ("self_attention.in_proj_bias", &[2304], 0.1),
            ("self_attention.out_proj.weight", &[768, 768], 0.05),
            ("self_attention.out_proj.bias", &[768], 0.1),
            ("ln_2.weight", &[768], 1.0),
            ("ln_2.bias", &[768], 0.2),
            ("mlp.0.weight", &[3072, 768], 0.05),
            ("mlp.0.bias", &[3072], 0.1),
            ("mlp.3.weight", &[768, 3072], 0.05),
            ("mlp.3.bias", &[768], 0.1),
        ] {
            add(
                format!("encoder.layers.encoder_layer_{block}.{part}"),
                shape,
                spread,
            );
        }
    }
    reload(&state)
}

type Deep = (Architecture, Weights, Vec<&'static str>);

/// Networks as deep as tests have the time for; drawn once.
fn networks() -> &'static [Deep] {
    use Architecture::{Resnet18, Resnet50, VitBase16, VitBase32};
    static NETWORKS: LazyLock<Vec<Deep>> = LazyLock::new(|| {
        let residual = |a: Architecture| (a, Weights::random(a, 4), a.layers().to_vec());
        vec![
            residual(Resnet18),
            residual(Resnet50),
            (VitBase16, transformer(16), vec!["layer0"]),
            (VitBase32, transformer(32), vec!["layer0", "layer1"]),
        ]
    });
    &NETWORKS
}

fn side(architecture: Architecture) -> [usize; 2] {
    match architecture {
        Architecture::VitBase16 | Architecture::VitBase32 => [224, 224],
        _ => [64, 81],
    }
}

fn bits(features: &[Array2<f32>]) -> Vec<Vec<u32>> {
    features
        .iter()
        .map(|m| m.iter().map(|v| v.to_bits()).collect())
        .collect()
}

#[test]
fn bytes_do_not_depend_on_batches_or_threads() {
    for (architecture, weights, taps) in networks() {
        let network = Network::new(*architecture, weights, taps).unwrap();
        let [height, width] = side(*architecture);
        let images = images(5, height, width);
        let pool = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
        };
        let whole = pool(1).install(|| network.forward(images.view()).unwrap());
        for threads in [2, 3, 7] {
            let found = pool(threads).install(|| network.forward(images.view()).unwrap());
            assert_eq!(bits(&whole), bits(&found), "{architecture}, {threads} threads");
        }
        for (cut, threads) in [(1, 1), (2, 3), (4, 2)] {
            let part = |images| pool(threads).install(|| network.forward(images).unwrap());
            let first = part(images.slice(s![..cut, .., .., ..]));
            let second = part(images.slice(s![cut.., .., .., ..]));
            let joined: Vec<_> = first
                .iter()
                .zip(&second)
                .map(|(a, b)| concatenate(Axis(0), &[a.view(), b.view()]).unwrap())
                .collect();
            assert_eq!(bits(&whole), bits(&joined), "{architecture}, cut at {cut}");
        }
    }
}

/// The last bits may differ, by the contract's hundredth part.
#[test]
fn instruction_sets_agree() {
    for (architecture, weights, taps) in networks() {
        let [height, width] = side(*architecture);
        let images = images(1, height, width);
        let of = |set| {
            let network = Network::with_instruction_set(*architecture, weights, taps, set).unwrap();
            assert_eq!(network.instruction_set(), set);
            network.forward(images.view()).unwrap()
        };
        let scalar = of(InstructionSet::Scalar);
        for set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
            for (found, expected) in of(set).iter().zip(&scalar) {
                let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                let worst = found
                    .iter()
                    .zip(expected)
                    .fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(
                    worst <= 1e-5 * largest,
                    "{architecture} {set}: {worst:e} of {largest}"
                );
            }
        }
    }
}

/// Matrices that are there are written to, whatever they held and however deep the network is.
#[test]
fn features_go_into_matrices_that_are_there() {
    for (architecture, weights, taps) in networks() {
        let mut taps = taps.clone();
        taps.reverse();
        let network = Network::new(*architecture, weights, &taps).unwrap();
        let [height, width] = side(*architecture);
        let images = images(2, height, width);
        let expected = network.forward(images.view()).unwrap();
        let mut features: Vec<Array2<f32>> = expected
            .iter()
            .map(|m| Array2::from_elem(m.dim(), f32::NAN))
            .collect();
        let places: Vec<*const f32> = features.iter().map(|m| m.as_ptr()).collect();
        network.forward_into(images.view(), &mut features).unwrap();
        assert_eq!(bits(&features), bits(&expected));
        assert_eq!(places, features.iter().map(|m| m.as_ptr()).collect::<Vec<_>>());
        // And others are replaced.
        let mut others = vec![Array2::zeros((7, 3)); 20];
        network.forward_into(images.view(), &mut others).unwrap();
        assert_eq!(bits(&others), bits(&expected));
        let (profiled, profile) = network.profile(images.view()).unwrap();
        assert_eq!(bits(&profiled), bits(&expected));
        assert!(profile.entries.iter().any(|e| e.operations > 0));
        assert!(profile.to_string().contains("GFLOP/s"));
    }
}

/// A layer alone has the bytes that it has beside all others.
#[test]
fn taps_do_not_change_one_another() {
    let (architecture, weights, layers) = &networks()[1];
    let architecture = *architecture;
    let images = images(3, 48, 32);
    let all = Network::new(architecture, weights, layers).unwrap();
    let all = all.forward(images.view()).unwrap();
    let some = Network::new(architecture, weights, &["layer3", "layer1", "layer3"]).unwrap();
    let found = some.forward(images.view()).unwrap();
    assert_eq!(
        bits(&found),
        bits(&[all[2].clone(), all[0].clone(), all[2].clone()])
    );
}

#[test]
fn transformers_read_what_is_tapped_and_one_size() {
    let (architecture, weights, _) = &networks()[3];
    let architecture = *architecture;
    assert_eq!(weights.layers(architecture), ["layer0", "layer1"]);
    let network = Network::new(architecture, weights, &["encoder_layer_1"]).unwrap();
    assert_eq!(network.taps(), ["layer1"]);
    for (height, width) in [(224, 256), (256, 224), (32, 32)] {
        let error = network.forward(images(1, height, width).view()).unwrap_err();
        assert!(
            matches!(
                error,
                BackbonesError::ImageSize {
                    minimum: 224,
                    maximum: 224,
                    ..
                }
            ),
            "{error}"
        );
    }
    let error = Network::new(architecture, weights, &["layer2"]).unwrap_err();
    assert!(error.to_string().contains("encoder_layer_2"), "{error}");
}

#[test]
fn what_a_processor_lacks_is_an_error() {
    let (architecture, weights, _) = &networks()[0];
    for set in InstructionSet::ALL.into_iter().filter(|set| !set.is_available()) {
        let error = Network::with_instruction_set(*architecture, weights, &["layer1"], set).unwrap_err();
        assert!(matches!(error, BackbonesError::NoInstructionSet { .. }));
    }
}
