//! A grid as a TOML file: read with the line of whatever is wrong, and written.
//!
//! Lists in one `[[detectors]]` table are multiplied: each value of one with each of the others.

mod write;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use blemish_backbones::{Architecture, Initialization};
use blemish_detectors::{
    Aggregate, Bandwidth, DensityKernel, DetectorKind, DetectorSpec, EllipticEnvelope, Gamma,
    IsolationForest, KNearestNeighbors, KernelDensity, LocalOutlierFactor, Mahalanobis, OneClassSvm,
    Shrinkage, SvmKernel,
};
use blemish_images::{Preset, View};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::backbone::OnnxBackbone;
use super::config::{Augmentation, GridConfig, NetworkConfig};
use crate::Error;
use write::write;

/// The longest list of detector settings that a file may stand for.
const MOST_SETTINGS: usize = 100_000;

impl GridConfig {
    /// Reads the grid in the TOML file `file` over the images in `data`. What the file leaves out is as in
    /// [`GridConfig::new`], except that the networks are all of the study's.
    ///
    /// # Errors
    /// [`Error::Table`] with the line of an unknown key or a wrong value, [`Error::Io`] where the file cannot be read.
    pub fn from_file(file: &Path, data: impl Into<PathBuf>) -> Result<GridConfig, Error> {
        let text = std::fs::read_to_string(file).map_err(|e| Error::io(file, e))?;
        read(file, &text, data.into())
    }

    /// The grid as a TOML file that [`from_file`](Self::from_file) reads. Data and weights are not part of it.
    pub fn to_toml(&self) -> String {
        write(self)
    }

    /// The study's whole grid: its four networks, each with random and the newest published weights.
    pub fn study(data: impl Into<PathBuf>) -> GridConfig {
        GridConfig {
            architectures: STUDY.to_vec(),
            ..GridConfig::new(data)
        }
    }
}

const STUDY: [Architecture; 4] = [
    Architecture::Resnet18,
    Architecture::Resnet50,
    Architecture::VitBase16,
    Architecture::VitBase32,
];

/// The file that is read, for errors.
#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, at: usize, reason: impl Into<String>) -> Error {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        Error::Table {
            path: self.path.into(),
            line: 1 + before.iter().filter(|b| **b == b'\n').count() as u64,
            reason: reason.into(),
        }
    }
}

type Value<'t, 'i> = &'t Spanned<DeValue<'i>>;

/// A table of the file: keys are taken one by one, and what is left over is unknown.
struct Section<'t, 'i> {
    source: Source<'t>,
    /// What it is, for errors.
    what: String,
    at: usize,
    left: BTreeMap<&'t str, (usize, Value<'t, 'i>)>,
    known: Vec<&'static str>,
}

impl<'t, 'i> Section<'t, 'i> {
    fn new(source: Source<'t>, what: impl Into<String>, at: usize, table: &'t DeTable<'i>) -> Self {
        let left = table
            .iter()
            .map(|(k, v)| (k.get_ref().as_ref(), (k.span().start, v)))
            .collect();
        Section {
            source,
            what: what.into(),
            at,
            left,
            known: vec![],
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value<'t, 'i>> {
        self.known.push(key);
        self.left.remove(key).map(|(_, v)| v)
    }

    fn finish(&self) -> Result<(), Error> {
        match self.left.iter().next() {
            None => Ok(()),
            Some((key, (at, _))) => Err(self.source.error(
                *at,
                format!(
                    "unknown key `{key}`: {} takes {}",
                    self.what,
                    self.known.join(", ")
                ),
            )),
        }
    }

    fn error(&self, value: Value<'t, 'i>, key: &str, expected: impl Display) -> Error {
        let shown = &self.source.text[value.span()];
        let shown: String = shown.chars().take(60).collect();
        self.source.error(
            value.span().start,
            format!("`{key}` is {shown} and must be {expected}"),
        )
    }

    /// One value, or each of a list.
    fn each(&self, key: &str, value: Value<'t, 'i>) -> Result<Vec<Value<'t, 'i>>, Error> {
        match value.get_ref().as_array() {
            None => Ok(vec![value]),
            Some(list) if list.is_empty() => Err(self.error(value, key, "a list that is not empty")),
            Some(list) => Ok(list.iter().collect()),
        }
    }

    /// Values of `key` by `parse`, or `default` where it is absent.
    fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: impl FnOnce() -> Option<Vec<T>>,
        expected: &str,
        parse: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let Some(value) = self.take(key) else {
            return default()
                .ok_or_else(|| self.source.error(self.at, format!("{} needs `{key}`", self.what)));
        };
        let mut out = vec![];
        for item in self.each(key, value)? {
            let parsed = parse(item.get_ref()).ok_or_else(|| self.error(item, key, expected))?;
            if out.contains(&parsed) {
                return Err(self.error(item, key, "there only once"));
            }
            out.push(parsed);
        }
        Ok(out)
    }

    /// As [`list`](Self::list), by names; the error lists those that there are.
    fn names<T: PartialEq + FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Vec<T>>, Error> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let mut out = vec![];
        for item in self.each(key, value)? {
            let text = item
                .get_ref()
                .as_str()
                .ok_or_else(|| self.error(item, key, "text in quotes"))?;
            let parsed = text
                .parse::<T>()
                .map_err(|e| self.source.error(item.span().start, format!("`{key}`: {e}")))?;
            if out.contains(&parsed) {
                return Err(self.error(item, key, "there only once"));
            }
            out.push(parsed);
        }
        Ok(Some(out))
    }
}

fn read(path: &Path, text: &str, data: PathBuf) -> Result<GridConfig, Error> {
    let source = Source { path, text };
    let table = DeTable::parse(text)
        .map_err(|e| source.error(e.span().map_or(0, |s| s.start), e.message().to_owned()))?;
    let mut top = Section::new(source, "a grid", 0, table.get_ref());
    let mut config = GridConfig::study(data);
    config.objects = top.names::<String>("objects")?;
    let augmented = top.list(
        "augmented",
        || Some(vec![false, true]),
        "true, false or a list of them",
        |v| v.as_bool(),
    )?;
    config.augmented = match augmented[..] {
        [true] => Augmentation::True,
        [false] => Augmentation::False,
        _ => Augmentation::Both,
    };
    let all_views = View::ALL.map(View::name).join(", ");
    let at = top.left.get("views").map_or(0, |(at, _)| *at);
    config.views = top.list(
        "views",
        || Some(View::ALL.to_vec()),
        &format!("one of {all_views}"),
        |v| View::ALL.into_iter().find(|view| v.as_str() == Some(view.name())),
    )?;
    if config.views[0] != View::Original {
        return Err(source.error(at, "the first of `views` must be \"original\""));
    }
    if let Some(value) = top.take("resize") {
        let text = value.get_ref().as_str().unwrap_or_default();
        config.resize = text
            .parse()
            .map_err(|_| top.error(value, "resize", "\"antialias\" or \"paper\""))?;
    }
    if let Some(value) = top.take("seed") {
        config.seed =
            integer(value.get_ref()).ok_or_else(|| top.error(value, "seed", "a whole number from 0"))?;
    }
    if let Some(value) = top.take("backbones") {
        let mut networks = vec![];
        for (at, table) in tables(&top, "backbones", value)? {
            networks.push(backbone(source, at, table)?);
        }
        config.networks = Some(networks);
    }
    if let Some(value) = top.take("detectors") {
        let mut settings: Vec<DetectorSpec> = vec![];
        for (at, table) in tables(&top, "detectors", value)? {
            for spec in detectors(source, at, table)? {
                if settings.contains(&spec) {
                    let setting = spec.hyperparameter_json();
                    return Err(source.error(at, format!("{} {setting} is there twice", spec.model_name())));
                }
                settings.push(spec);
            }
            if settings.len() > MOST_SETTINGS {
                return Err(source.error(at, format!("more than {MOST_SETTINGS} detector settings")));
            }
        }
        config.settings = Some(settings);
    }
    top.finish()?;
    Ok(config)
}

/// The tables of an array of tables.
fn tables<'t, 'i>(
    top: &Section<'t, 'i>,
    key: &str,
    value: Value<'t, 'i>,
) -> Result<Vec<(usize, &'t DeTable<'i>)>, Error> {
    let each = top.each(key, value)?.into_iter();
    each.map(|item| match item.get_ref().as_table() {
        Some(table) => Ok((item.span().start, table)),
        None => Err(top.error(item, key, format!("a table: [[{key}]]"))),
    })
    .collect()
}

fn integer<T: FromStr>(value: &DeValue<'_>) -> Option<T> {
    let integer = value.as_integer()?;
    (integer.radix() == 10)
        .then(|| integer.as_str().parse().ok())
        .flatten()
}

fn at_least_1(value: &DeValue<'_>) -> Option<usize> {
    integer(value).filter(|n: &usize| (1..=1_000_000).contains(n))
}

/// A number, whole or not.
fn number(value: &DeValue<'_>) -> Option<f64> {
    let text = match value {
        DeValue::Float(float) => float.as_str(),
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
        _ => return None,
    };
    text.parse().ok().filter(|v: &f64| v.is_finite())
}

fn positive(value: &DeValue<'_>) -> Option<f64> {
    number(value).filter(|v| *v > 0.0)
}

fn backbone(source: Source<'_>, at: usize, table: &DeTable<'_>) -> Result<NetworkConfig, Error> {
    let mut section = Section::new(source, "a backbone", at, table);
    let Some(file) = section.take("onnx") else {
        let Some(architecture) = section.names::<Architecture>("architecture")? else {
            return Err(source.error(at, "a backbone needs `architecture`, or `onnx` with a file"));
        };
        let [architecture] = architecture[..] else {
            return Err(source.error(
                at,
                "a backbone has one `architecture`: give each a table of its own",
            ));
        };
        let initializations = section.names::<Initialization>("initializations")?;
        let layers_at = section.left.get("layers").map_or(at, |(at, _)| *at);
        let layers = section.names::<String>("layers")?;
        for layer in layers.iter().flatten() {
            architecture
                .layer(layer)
                .map_err(|e| source.error(layers_at, e.to_string()))?;
        }
        section.finish()?;
        return Ok(NetworkConfig::Builtin {
            architecture,
            initializations,
            layers,
        });
    };
    section.what = "an ONNX backbone".into();
    section.known.clear();
    section.known.push("onnx");
    let Some(name) = file.get_ref().as_str() else {
        return Err(section.error(file, "onnx", "a file's name in quotes"));
    };
    // Beside the file that names it, wherever the program is started.
    let folder = source.path.parent().unwrap_or(Path::new(""));
    let taps = section.list(
        "taps",
        || None,
        "text in quotes",
        |v| v.as_str().map(str::to_owned),
    )?;
    let taps: Vec<&str> = taps.iter().map(String::as_str).collect();
    let mut onnx = OnnxBackbone::new(folder.join(name), &taps);
    let side = |v: &DeValue<'_>| integer(v).filter(|n: &u32| (1..=4096).contains(n));
    let Preset { crop, mean, std, .. } = onnx.preset;
    let crop = section.list(
        "crop",
        || Some(vec![crop]),
        "a number of pixels from 1 to 4096",
        side,
    )?[0];
    let resize = (crop * 8).div_ceil(7);
    let resize = section.list(
        "resize",
        || Some(vec![resize]),
        "a number of pixels from 1 to 4096",
        side,
    )?[0];
    let mean = rgb(&mut section, "mean", mean, number)?;
    let std = rgb(&mut section, "std", std, positive)?;
    onnx.preset = Preset {
        resize,
        crop,
        mean,
        std,
    };
    section.finish()?;
    Ok(NetworkConfig::Onnx(onnx))
}

fn rgb(
    section: &mut Section<'_, '_>,
    key: &'static str,
    default: [f32; 3],
    parse: fn(&DeValue<'_>) -> Option<f64>,
) -> Result<[f32; 3], Error> {
    let Some(value) = section.take(key) else {
        return Ok(default);
    };
    let items = section.each(key, value)?;
    let numbers: Option<Vec<f32>> = items
        .iter()
        .map(|v| parse(v.get_ref()).map(|n| n as f32))
        .collect();
    numbers
        .and_then(|n| n.try_into().ok())
        .ok_or_else(|| section.error(value, key, "three numbers, for red, green and blue"))
}

/// The settings that one table stands for: all combinations, the first key's values outermost.
fn detectors(source: Source<'_>, at: usize, table: &DeTable<'_>) -> Result<Vec<DetectorSpec>, Error> {
    let mut section = Section::new(source, "a detector", at, table);
    let model = section.names::<DetectorKind>("model")?;
    let Some(&[model]) = model.as_deref() else {
        return Err(source.error(
            at,
            format!(
                "a detector has one `model`, of {}",
                DetectorKind::ALL.map(DetectorKind::name).join(", ")
            ),
        ));
    };
    section.what = model.name().into();
    let s = &mut section;
    let specs = match model {
        DetectorKind::OneClassSvm => one_class_svms(s)?,
        DetectorKind::IsolationForest => {
            let usual = IsolationForest::default();
            let sizes = s.list("n_estimators", || None, "a number of trees from 1", at_least_1)?;
            let samples = s.list(
                "max_samples",
                || Some(vec![usual.max_samples]),
                "a number of rows from 1",
                at_least_1,
            )?;
            product(&samples, &sizes, |&max_samples, &n_estimators| {
                DetectorSpec::IsolationForest(IsolationForest {
                    n_estimators,
                    max_samples,
                })
            })
        }
        DetectorKind::KernelDensity => {
            let bandwidths = s.list(
                "bandwidth",
                || None,
                "a number above 0, \"scott\" or \"silverman\"",
                |v| match v.as_str() {
                    Some("scott") => Some(Bandwidth::Scott),
                    Some("silverman") => Some(Bandwidth::Silverman),
                    Some(_) => None,
                    None => positive(v).map(Bandwidth::Value),
                },
            )?;
            let names = format!(
                "one of {}",
                DensityKernel::ALL.map(DensityKernel::name).join(", ")
            );
            let kernels = s.list(
                "kernel",
                || None,
                &names,
                |v| {
                    DensityKernel::ALL
                        .into_iter()
                        .find(|k| v.as_str() == Some(k.name()))
                },
            )?;
            product(&bandwidths, &kernels, |&bandwidth, &kernel| {
                DetectorSpec::KernelDensity(KernelDensity { kernel, bandwidth })
            })
        }
        DetectorKind::LocalOutlierFactor => s
            .list("n_neighbors", || None, "a number from 1", at_least_1)?
            .into_iter()
            .map(|n_neighbors| DetectorSpec::LocalOutlierFactor(LocalOutlierFactor { n_neighbors }))
            .collect(),
        DetectorKind::EllipticEnvelope => {
            let components = s.list("components", || None, "a number of components from 1", at_least_1)?;
            let fractions = s.list(
                "support_fraction",
                || Some(vec![None]),
                "a number above 0 and at most 1",
                |v| positive(v).filter(|f| *f <= 1.0).map(Some),
            )?;
            product(&fractions, &components, |&support_fraction, &components| {
                DetectorSpec::EllipticEnvelope {
                    envelope: EllipticEnvelope {
                        support_fraction,
                        ..EllipticEnvelope::default()
                    },
                    components: Some(components),
                }
            })
        }
        DetectorKind::KNearestNeighbors => {
            let neighbors = s.list("n_neighbors", || None, "a number from 1", at_least_1)?;
            let names = format!("one of {}", Aggregate::ALL.map(Aggregate::name).join(", "));
            let aggregates = s.list(
                "aggregate",
                || None,
                &names,
                |v| Aggregate::ALL.into_iter().find(|a| v.as_str() == Some(a.name())),
            )?;
            product(&neighbors, &aggregates, |&n_neighbors, &aggregate| {
                DetectorSpec::KNearestNeighbors(KNearestNeighbors {
                    n_neighbors,
                    aggregate,
                })
            })
        }
        DetectorKind::Mahalanobis => s
            .list(
                "shrinkage",
                || None,
                "\"ledoit_wolf\" or a number from 0 to 1",
                |v| match v.as_str() {
                    Some("ledoit_wolf") => Some(Shrinkage::LedoitWolf),
                    Some(_) => None,
                    None => number(v)
                        .filter(|s| (0.0..=1.0).contains(s))
                        .map(Shrinkage::Fixed),
                },
            )?
            .into_iter()
            .map(|shrinkage| DetectorSpec::Mahalanobis(Mahalanobis { shrinkage }))
            .collect(),
    };
    section.finish()?;
    Ok(specs)
}

fn product<A, B>(outer: &[A], inner: &[B], make: impl Fn(&A, &B) -> DetectorSpec) -> Vec<DetectorSpec> {
    outer
        .iter()
        .flat_map(|a| inner.iter().map(|b| make(a, b)).collect::<Vec<_>>())
        .collect()
}

fn one_class_svms(s: &mut Section<'_, '_>) -> Result<Vec<DetectorSpec>, Error> {
    let usual = OneClassSvm::new(SvmKernel::Linear);
    let degree_at = s.left.get("degree").map(|(at, _)| *at);
    let degrees = s.list(
        "degree",
        || Some(vec![]),
        "a whole number from 1",
        |v| integer(v).filter(|d: &u32| *d >= 1),
    )?;
    let names = s.list(
        "kernel",
        || None,
        "one of linear, poly, rbf, sigmoid",
        |v| {
            ["linear", "poly", "rbf", "sigmoid"]
                .into_iter()
                .find(|k| v.as_str() == Some(k))
        },
    )?;
    let poly = names.contains(&"poly");
    if poly && degrees.is_empty() {
        return Err(s
            .source
            .error(s.at, "OneClassSVM with kernel \"poly\" needs `degree`"));
    }
    if let (false, Some(at)) = (poly, degree_at) {
        return Err(s.source.error(at, "only the kernel \"poly\" has a `degree`"));
    }
    let gammas = s.list(
        "gamma",
        || Some(vec![usual.gamma]),
        "a number above 0, \"scale\" or \"auto\"",
        |v| match v.as_str() {
            Some("scale") => Some(Gamma::Scale),
            Some("auto") => Some(Gamma::Auto),
            Some(_) => None,
            None => positive(v).map(Gamma::Value),
        },
    )?;
    let coef0s = s.list("coef0", || Some(vec![usual.coef0]), "a number", number)?;
    let nus = s.list(
        "nu",
        || Some(vec![usual.nu]),
        "a number above 0 and at most 1",
        |v| positive(v).filter(|nu| *nu <= 1.0),
    )?;
    let tols = s.list("tol", || Some(vec![usual.tol]), "a number above 0", positive)?;
    let limits = s.list(
        "max_iter",
        || Some(vec![usual.max_iter]),
        "a whole number from 1, or -1 for no limit",
        |v| match integer::<i64>(v)? {
            -1 => Some(None),
            n @ 1.. => Some(Some(n as u64)),
            _ => None,
        },
    )?;
    let mut kernels = vec![];
    for name in names {
        match name {
            "linear" => kernels.push(SvmKernel::Linear),
            "rbf" => kernels.push(SvmKernel::Rbf),
            "sigmoid" => kernels.push(SvmKernel::Sigmoid),
            _ => kernels.extend(degrees.iter().map(|&degree| SvmKernel::Poly { degree })),
        }
    }
    let mut settings = vec![OneClassSvm::new(SvmKernel::Linear)];
    settings = multiply(&settings, &limits, |svm, &max_iter| OneClassSvm {
        max_iter,
        ..svm
    });
    settings = multiply(&settings, &tols, |svm, &tol| OneClassSvm { tol, ..svm });
    settings = multiply(&settings, &nus, |svm, &nu| OneClassSvm { nu, ..svm });
    settings = multiply(&settings, &coef0s, |svm, &coef0| OneClassSvm { coef0, ..svm });
    settings = multiply(&settings, &gammas, |svm, &gamma| OneClassSvm { gamma, ..svm });
    settings = multiply(&settings, &kernels, |svm, &kernel| OneClassSvm { kernel, ..svm });
    Ok(settings.into_iter().map(DetectorSpec::OneClassSvm).collect())
}

fn multiply<T>(
    settings: &[OneClassSvm],
    values: &[T],
    set: impl Fn(OneClassSvm, &T) -> OneClassSvm,
) -> Vec<OneClassSvm> {
    let of = |svm: &OneClassSvm| values.iter().map(|v| set(*svm, v)).collect::<Vec<_>>();
    settings.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use blemish_detectors::{further_grid, study_grid};

    fn parse(text: &str) -> Result<GridConfig, String> {
        read(Path::new("grid.toml"), text, "data".into()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_study_is_printed_and_read_as_it_is() {
        let text = GridConfig::study("data").to_toml();
        let config = parse(&text).unwrap();
        assert_eq!(config.settings.unwrap(), study_grid());
        let networks = config.networks.unwrap();
        assert_eq!(networks.len(), 4);
        let NetworkConfig::Builtin {
            architecture,
            initializations,
            layers,
        } = &networks[1]
        else {
            panic!("{networks:?}")
        };
        assert_eq!(*architecture, Architecture::Resnet50);
        let expected = [Initialization::Random, Initialization::Imagenet1kV2];
        assert_eq!(initializations.as_deref(), Some(&expected[..]));
        assert_eq!(layers.as_ref().unwrap().len(), 4);
        // One table for each detector, but for the SVM's two kinds of kernel.
        assert_eq!(text.matches("[[detectors]]").count(), 6, "{text}");
    }

    #[test]
    fn unusual_settings_are_printed_and_read_as_they_are() {
        let mut settings = further_grid();
        settings.reverse();
        settings.push(DetectorSpec::OneClassSvm(OneClassSvm {
            nu: 0.1,
            gamma: Gamma::Value(1e-5),
            max_iter: None,
            coef0: 1.0,
            tol: 1e-4,
            ..OneClassSvm::new(SvmKernel::Poly { degree: 4 })
        }));
        settings.push(DetectorSpec::IsolationForest(IsolationForest {
            n_estimators: 7,
            max_samples: 64,
        }));
        settings.extend(study_grid().into_iter().rev());
        let mut config = GridConfig::study("data");
        config.settings = Some(settings.clone());
        config.objects = Some(vec!["a \"b\"".into(), "c".into()]);
        config.augmented = Augmentation::True;
        config.views = vec![View::Original, View::Rotate90];
        let mut onnx = OnnxBackbone::new("net.onnx", &["t", "u"]);
        onnx.preset.crop = 96;
        config.networks = Some(vec![NetworkConfig::Onnx(onnx)]);
        let text = config.to_toml();
        let read = parse(&text).unwrap();
        assert_eq!(read.settings.unwrap(), settings, "{text}");
        assert_eq!(read.objects, config.objects);
        assert_eq!(read.augmented, Augmentation::True);
        assert_eq!(read.views, config.views);
        assert_eq!(read.networks, config.networks);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            (
                "seed = 1\nsedd = 2",
                "grid.toml, line 2: unknown key `sedd`: a grid takes objects, augmented, views",
            ),
            (
                "seed = -1",
                "line 1: `seed` is -1 and must be a whole number from 0",
            ),
            (
                "\n\nresize = \"best\"",
                "line 3: `resize` is \"best\" and must be \"antialias\" or \"paper\"",
            ),
            ("objects = [1]", "line 1: `objects` is 1 and must be text"),
            (
                "views = [\"rotate_90\"]",
                "line 1: the first of `views` must be \"original\"",
            ),
            (
                "views = [\"original\",\n \"rotate\"]",
                "line 2: `views` is \"rotate\" and must be one of original",
            ),
            ("augmented = [true, true]", "must be there only once"),
            (
                "detectors = []",
                "`detectors` is [] and must be a list that is not empty",
            ),
            ("detectors = [3]", "must be a table: [[detectors]]"),
            (
                "[[detectors]]\nmodel = \"LOF\"",
                "line 2: `model`: `LOF` is none of OneClassSVM",
            ),
            (
                "[[detectors]]\nn_neighbors = 3",
                "line 1: a detector has one `model`, of OneClassSVM",
            ),
            (
                "[[detectors]]\nmodel = \"LocalOutlierFactor\"\nn_neighbors = [3, 0]",
                "line 3: `n_neighbors` is 0 and must be a number from 1",
            ),
            (
                "[[detectors]]\nmodel = \"LocalOutlierFactor\"\nneighbors = 3\nn_neighbors = 3",
                "line 3: unknown key `neighbors`: LocalOutlierFactor takes model, n_neighbors",
            ),
            (
                "[[detectors]]\nmodel = \"LocalOutlierFactor\"\nn_neighbors = 3\n\
                 [[detectors]]\nmodel = \"LocalOutlierFactor\"\nn_neighbors = 3",
                "line 4: LocalOutlierFactor {\"n_neighbors\": 3} is there twice",
            ),
            (
                "[[detectors]]\nmodel = \"OneClassSVM\"\nkernel = \"poly\"",
                "needs `degree`",
            ),
            (
                "[[detectors]]\nmodel = \"OneClassSVM\"\nkernel = \"rbf\"\ndegree = 3",
                "line 4: only the kernel \"poly\" has a `degree`",
            ),
            (
                "[[detectors]]\nmodel = \"OneClassSVM\"\nkernel = \"rbf\"\nnu = 1.5",
                "`nu` is 1.5 and must be a number above 0 and at most 1",
            ),
            (
                "[[backbones]]\narchitecture = \"resnet19\"",
                "line 2: `architecture`: unknown network \"resnet19\"",
            ),
            (
                "[[backbones]]\narchitecture = \"resnet18\"\nlayers = [\"layer9\"]",
                "line 3: resnet18 has no layer \"layer9\"",
            ),
            (
                "[[backbones]]\nonnx = \"a.onnx\"",
                "an ONNX backbone needs `taps`",
            ),
            ("seed = 1\nseed = 2", "line 2: duplicate key"),
            ("seed =\n", "line 1: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}\n{error}\n{expected}");
        }
    }
}
