//! A grid as the text of a TOML file.

use std::fmt::{Display, Write};

use blemish_backbones::Architecture;
use blemish_detectors::{Bandwidth, DetectorSpec, Gamma, OneClassSvm, Shrinkage, SvmKernel};

use crate::lab::backbone::OnnxBackbone;
use crate::lab::config::{GridConfig, NetworkConfig};

fn quoted(text: impl Display) -> String {
    // A JSON string is a TOML string.
    serde_json::Value::from(text.to_string()).to_string()
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    match &items[..] {
        [one] => one.clone(),
        _ => format!("[{}]", items.join(", ")),
    }
}

/// A number as TOML has it: with a decimal point.
fn float(value: f64) -> String {
    format!("{value:?}")
}

pub(super) fn write(config: &GridConfig) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = match &config.objects {
        Some(names) => writeln!(
            out,
            "objects = [{}]",
            names.iter().map(quoted).collect::<Vec<_>>().join(", ")
        ),
        None => writeln!(
            out,
            "# objects = [\"bottle\"]   # all that are found, if this is left out"
        ),
    };
    let augmented: Vec<String> = config
        .augmented
        .values()
        .iter()
        .map(ToString::to_string)
        .collect();
    let _ = writeln!(out, "augmented = [{}]", augmented.join(", "));
    let views: Vec<String> = config.views.iter().map(quoted).collect();
    let _ = writeln!(
        out,
        "# What an augmented training set is made of.\nviews = [{}]\nresize = {}\nseed = {}",
        views.join(", "),
        quoted(config.resize),
        config.seed
    );
    let networks = config.networks.clone().unwrap_or_else(|| match &config.onnx {
        Some(onnx) => vec![NetworkConfig::Onnx(onnx.clone())],
        None => {
            let network = |&architecture: &Architecture| NetworkConfig::Builtin {
                architecture,
                initializations: config.initializations.clone(),
                layers: config.layers.clone(),
            };
            config.architectures.iter().map(network).collect()
        }
    });
    for network in networks {
        let _ = match network {
            NetworkConfig::Builtin {
                architecture,
                initializations,
                layers,
            } => {
                let initializations =
                    initializations.unwrap_or_else(|| architecture.study_initializations().to_vec());
                let layers: Vec<String> = match layers {
                    Some(layers) => {
                        let known = layers.iter().filter_map(|l| architecture.layer(l).ok());
                        known.map(quoted).collect()
                    }
                    None => architecture.study_layers().iter().map(quoted).collect(),
                };
                writeln!(
                    out,
                    "\n[[backbones]]\narchitecture = {}\ninitializations = [{}]\nlayers = [{}]",
                    quoted(architecture),
                    initializations.iter().map(quoted).collect::<Vec<_>>().join(", "),
                    layers.join(", ")
                )
            }
            NetworkConfig::Onnx(OnnxBackbone { file, taps, preset }) => writeln!(
                out,
                "\n[[backbones]]\nonnx = {}\ntaps = [{}]\ncrop = {}\nresize = {}\nmean = {:?}\nstd = {:?}",
                quoted(file.display()),
                taps.iter().map(quoted).collect::<Vec<_>>().join(", "),
                preset.crop,
                preset.resize,
                preset.mean,
                preset.std
            ),
        };
    }
    let settings = config.settings.clone().unwrap_or_else(|| {
        let all = blemish_detectors::study_grid().into_iter();
        let all = all.chain(blemish_detectors::further_grid());
        all.filter(|s| config.detectors.contains(&s.kind())).collect()
    });
    let fields: Vec<_> = settings.iter().map(fields).collect();
    let mut rest = &fields[..];
    while !rest.is_empty() {
        let n = (1..=rest.len())
            .rev()
            .find(|n| columns(&rest[..*n]).is_some())
            .unwrap_or(1);
        let (head, tail) = rest.split_at(n);
        let _ = writeln!(out, "\n[[detectors]]");
        for (name, values) in columns(head).unwrap_or_default() {
            let _ = writeln!(out, "{name} = {}", list(values));
        }
        rest = tail;
    }
    out
}

type Fields = Vec<(&'static str, String)>;

/// The values of each key, if `settings` are all combinations of them in the order in which a table stands for them.
fn columns(settings: &[Fields]) -> Option<Vec<(&'static str, Vec<String>)>> {
    let mut columns: Vec<(&'static str, Vec<String>)> = vec![];
    for (i, (name, _)) in settings.first()?.iter().enumerate() {
        let mut values: Vec<String> = vec![];
        for setting in settings {
            let (found, value) = setting.get(i)?;
            if found != name {
                return None;
            }
            if !values.contains(value) {
                values.push(value.clone());
            }
        }
        columns.push((name, values));
    }
    if columns.iter().map(|(_, v)| v.len()).product::<usize>() != settings.len() {
        return None;
    }
    let all_fit = settings.iter().enumerate().all(|(i, setting)| {
        let mut place = i;
        // The last key varies fastest.
        setting.len() == columns.len()
            && setting
                .iter()
                .zip(&columns)
                .rev()
                .all(|((_, value), (_, values))| {
                    let expected = &values[place % values.len()];
                    place /= values.len();
                    value == expected
                })
    });
    all_fit.then_some(columns)
}

/// The keys of a table for one setting, the outermost first.
fn fields(spec: &DetectorSpec) -> Fields {
    let mut out: Fields = vec![("model", quoted(spec.model_name()))];
    match spec {
        DetectorSpec::OneClassSvm(svm) => {
            let usual = OneClassSvm::new(svm.kernel);
            if svm.max_iter != usual.max_iter {
                out.push(("max_iter", svm.max_iter.map_or("-1".into(), |n| n.to_string())));
            }
            for (name, value, usual) in [
                ("tol", svm.tol, usual.tol),
                ("nu", svm.nu, usual.nu),
                ("coef0", svm.coef0, usual.coef0),
            ] {
                if value != usual {
                    out.push((name, float(value)));
                }
            }
            match svm.gamma {
                Gamma::Scale => {}
                Gamma::Auto => out.push(("gamma", quoted("auto"))),
                Gamma::Value(gamma) => out.push(("gamma", float(gamma))),
            }
            out.push(("kernel", quoted(svm.kernel.name())));
            if let SvmKernel::Poly { degree } = svm.kernel {
                out.push(("degree", degree.to_string()));
            }
        }
        DetectorSpec::IsolationForest(forest) => {
            out.push(("max_samples", forest.max_samples.to_string()));
            out.push(("n_estimators", forest.n_estimators.to_string()));
        }
        DetectorSpec::KernelDensity(density) => {
            let bandwidth = match density.bandwidth {
                Bandwidth::Value(h) => float(h),
                Bandwidth::Scott => quoted("scott"),
                Bandwidth::Silverman => quoted("silverman"),
            };
            out.push(("bandwidth", bandwidth));
            out.push(("kernel", quoted(density.kernel.name())));
        }
        DetectorSpec::LocalOutlierFactor(lof) => out.push(("n_neighbors", lof.n_neighbors.to_string())),
        DetectorSpec::EllipticEnvelope { envelope, components } => {
            out.extend(envelope.support_fraction.map(|f| ("support_fraction", float(f))));
            out.extend(components.map(|c| ("components", c.to_string())));
        }
        DetectorSpec::KNearestNeighbors(knn) => {
            out.push(("n_neighbors", knn.n_neighbors.to_string()));
            out.push(("aggregate", quoted(knn.aggregate.name())));
        }
        DetectorSpec::Mahalanobis(mahalanobis) => out.push((
            "shrinkage",
            match mahalanobis.shrinkage {
                Shrinkage::LedoitWolf => quoted("ledoit_wolf"),
                Shrinkage::Fixed(s) => float(s),
            },
        )),
    }
    out
}
