//! A fitted detector that stands alone: rows in, scores out.

use ndarray::{ArrayView2, CowArray, Ix2};
use serde::{Deserialize, Serialize};

use crate::forest::IsolationForestModel;
use crate::kde::KernelDensityModel;
use crate::knn::KNearestNeighborsModel;
use crate::lof::LocalOutlierFactorModel;
use crate::mahalanobis::MahalanobisModel;
use crate::products::StoredRows;
use crate::svm::OneClassSvmModel;
use crate::threshold::{by_contamination, check_contamination};
use crate::{DetectorError, DetectorSpec, Element, EllipticEnvelopeModel, NeighborTable, Pca};

/// The part of the training rows that is declared anomalous by detectors that have no threshold of their own.
const CONTAMINATION: f64 = 0.1;
/// What a saved model begins with.
const MAGIC: &[u8; 8] = b"blemish\0";
/// Version of what follows. To be raised whenever a saved model of before would be read wrongly.
const VERSION: u32 = 1;

/// What a fit may be told besides the detector's own parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FitOptions {
    /// Seeds isolation forests and elliptic envelopes; the others use no random numbers.
    pub seed: u64,
    /// The part of the training rows, above 0 and at most 0.5, that the threshold is to declare anomalous; `None`
    /// leaves it to the detector: see [`Model::threshold`].
    pub contamination: Option<f64>,
}

impl DetectorSpec {
    /// Fits `rows`, n x d, of `f32` or `f64`.
    ///
    /// Every detector but the isolation forest and the elliptic envelope without principal components works on the
    /// n x n inner products of the rows, and its model keeps a copy of the rows: time grows with n^2 d, memory with
    /// n^2 + n d. To fit many detectors to the same rows, compute [`InnerProducts`](crate::InnerProducts) once and
    /// use the detectors' own `fit`.
    ///
    /// # Errors
    /// If there are too few rows or no columns, a value is not finite, or a parameter is out of range; and what the
    /// detector's own `fit` says.
    pub fn fit<T: Element>(
        &self,
        rows: ArrayView2<'_, T>,
        options: &FitOptions,
    ) -> Result<Model, DetectorError> {
        if let Some(contamination) = options.contamination {
            check_contamination(contamination)?;
        }
        let (state, train_scores) = State::fit(self, rows, options.seed)?;
        let own = match self {
            DetectorSpec::OneClassSvm(_) => Some(0.0),
            DetectorSpec::IsolationForest(_) => Some(0.5),
            DetectorSpec::LocalOutlierFactor(_) => Some(1.5),
            DetectorSpec::EllipticEnvelope { .. }
            | DetectorSpec::KernelDensity(_)
            | DetectorSpec::KNearestNeighbors(_)
            | DetectorSpec::Mahalanobis(_) => None,
        };
        let threshold = match (options.contamination, own) {
            (None, Some(threshold)) => threshold,
            (contamination, _) => by_contamination(&train_scores, contamination.unwrap_or(CONTAMINATION))?,
        };
        Ok(Model {
            spec: *self,
            seed: options.seed,
            columns: rows.ncols(),
            threshold,
            train_scores,
            state,
        })
    }
}

/// A fitted detector, with what it needs of its training rows and its decision threshold.
///
/// ```
/// use blemish_detectors::{DetectorSpec, FitOptions, KNearestNeighbors, Model};
/// use ndarray::array;
///
/// # fn main() -> Result<(), blemish_detectors::DetectorError> {
/// let good = array![[0.0, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.05]];
/// let detector = DetectorSpec::from(KNearestNeighbors { n_neighbors: 2, ..Default::default() });
/// let model = detector.fit(good.view(), &FitOptions::default())?;
/// let new = array![[0.05, 0.0], [3.0, -2.0]];
/// assert_eq!(model.predict(new.view())?, [false, true]);
///
/// let again = Model::from_bytes(&model.to_bytes()?)?;
/// assert_eq!(again.score(new.view())?, model.score(new.view())?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Model {
    spec: DetectorSpec,
    seed: u64,
    columns: usize,
    threshold: f64,
    train_scores: Vec<f64>,
    state: State,
}

/// What each detector keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum State {
    Products(StoredRows, Box<Fitted>),
    IsolationForest(IsolationForestModel),
    EllipticEnvelope(EllipticEnvelopeModel),
}

/// A model of a detector that works on inner products.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Fitted {
    OneClassSvm(OneClassSvmModel),
    KernelDensity(KernelDensityModel),
    LocalOutlierFactor(LocalOutlierFactorModel),
    KNearestNeighbors(KNearestNeighborsModel),
    Mahalanobis(MahalanobisModel),
    EllipticEnvelope {
        components: usize,
        pca: Pca,
        model: EllipticEnvelopeModel,
    },
}

impl State {
    fn fit<T: Element>(
        spec: &DetectorSpec,
        rows: ArrayView2<'_, T>,
        seed: u64,
    ) -> Result<(State, Vec<f64>), DetectorError> {
        match spec {
            DetectorSpec::IsolationForest(forest) => {
                let rows = single(rows);
                let model = forest.fit(rows.view(), seed)?;
                let scores = model.score(rows.view())?;
                return Ok((State::IsolationForest(model), scores));
            }
            DetectorSpec::EllipticEnvelope {
                envelope,
                components: None,
            } => {
                let model = envelope.fit(double(rows).view(), seed)?;
                let scores = model.train_scores().to_vec();
                return Ok((State::EllipticEnvelope(model), scores));
            }
            _ => {}
        }
        let rows = StoredRows::new(rows)?;
        let products = rows.products()?;
        let products = products.view();
        let (fitted, scores) = match *spec {
            DetectorSpec::OneClassSvm(svm) => {
                let model = svm.fit(products)?;
                let scores = model.train_scores(products)?;
                (Fitted::OneClassSvm(model), scores)
            }
            DetectorSpec::KernelDensity(density) => {
                let model = density.fit(products)?;
                (Fitted::KernelDensity(model), model.train_scores(products)?)
            }
            DetectorSpec::LocalOutlierFactor(lof) => {
                let table = NeighborTable::new(products, lof.n_neighbors)?;
                let model = lof.fit(&table)?;
                let scores = model.train_scores(&table)?;
                (Fitted::LocalOutlierFactor(model), scores)
            }
            DetectorSpec::KNearestNeighbors(knn) => {
                let table = NeighborTable::new(products, knn.n_neighbors)?;
                let model = knn.fit(&table)?;
                (Fitted::KNearestNeighbors(model), model.train_scores(&table)?)
            }
            DetectorSpec::Mahalanobis(mahalanobis) => {
                let model = mahalanobis.fit(products)?;
                let scores = model.train_scores(products)?;
                (Fitted::Mahalanobis(model), scores)
            }
            DetectorSpec::EllipticEnvelope { envelope, components } => {
                let pca = Pca::fit(products)?;
                let components = components.unwrap_or(usize::MAX);
                let model = envelope.fit(pca.train_scores(components).view(), seed)?;
                let scores = model.train_scores().to_vec();
                let fitted = Fitted::EllipticEnvelope {
                    components,
                    pca,
                    model,
                };
                (fitted, scores)
            }
            DetectorSpec::IsolationForest(_) => {
                // Returned above.
                return Err(DetectorError::Parameter {
                    name: "detector",
                    value: spec.model_name().to_owned(),
                    expected: "one that works on inner products",
                });
            }
        };
        Ok((State::Products(rows, Box::new(fitted)), scores))
    }
}

impl Model {
    /// Scores of m `rows`, m x d: higher = more anomalous. A row's score does not depend on the other rows.
    ///
    /// # Errors
    /// If the number of columns is not the training rows', a value is not finite, or a score leaves the range of
    /// f64.
    pub fn score<T: Element>(&self, rows: ArrayView2<'_, T>) -> Result<Vec<f64>, DetectorError> {
        let (stored, fitted) = match &self.state {
            State::IsolationForest(model) => return model.score(single(rows).view()),
            State::EllipticEnvelope(model) => return model.score(double(rows).view()),
            State::Products(stored, fitted) => (stored, fitted),
        };
        let products = stored.with_query(rows)?;
        let products = products.view();
        match &**fitted {
            Fitted::OneClassSvm(model) => model.score(products),
            Fitted::KernelDensity(model) => model.score(products),
            Fitted::LocalOutlierFactor(model) => {
                model.score(&NeighborTable::of_query(products, model.n_neighbors()))
            }
            Fitted::KNearestNeighbors(model) => {
                model.score(&NeighborTable::of_query(products, model.n_neighbors()))
            }
            Fitted::Mahalanobis(model) => model.score(products),
            Fitted::EllipticEnvelope {
                components,
                pca,
                model,
            } => model.score(pca.query_scores(products, *components)?.view()),
        }
    }

    /// Which of m `rows`, m x d, are anomalous: those that score above the threshold.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn predict<T: Element>(&self, rows: ArrayView2<'_, T>) -> Result<Vec<bool>, DetectorError> {
        let scores = self.score(rows)?;
        Ok(scores.into_iter().map(|s| s > self.threshold).collect())
    }

    /// The decision threshold: scores above it are anomalous.
    ///
    /// With a contamination it is that percentile of the [training scores](Self::train_scores). Without, it is
    /// scikit-learn's: 0 for the one-class SVM, 0.5 for the isolation forest, 1.5 for the local outlier factor; for
    /// the others, as for its elliptic envelope, the percentile of a contamination of 0.1.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The same model with another threshold.
    ///
    /// # Errors
    /// If it is NaN.
    pub fn with_threshold(self, threshold: f64) -> Result<Model, DetectorError> {
        if threshold.is_nan() {
            return Err(DetectorError::Parameter {
                name: "threshold",
                value: threshold.to_string(),
                expected: "a number",
            });
        }
        Ok(Model { threshold, ..self })
    }

    /// Scores of the training rows, in their order: each without the row itself where
    /// [`leaves_one_out`](Self::leaves_one_out), else by the model that the row is part of.
    pub fn train_scores(&self) -> &[f64] {
        &self.train_scores
    }

    /// Whether training scores are what new rows like them would get: kernel density, nearest-neighbour distance and
    /// Mahalanobis distance leave the row out exactly, local outlier factor from its own neighbours. One-class SVM,
    /// isolation forest and elliptic envelope do not, and thresholds from their training scores are too low for new
    /// rows, the more so the more columns there are.
    pub fn leaves_one_out(&self) -> bool {
        matches!(
            self.spec,
            DetectorSpec::KernelDensity(_)
                | DetectorSpec::LocalOutlierFactor(_)
                | DetectorSpec::KNearestNeighbors(_)
                | DetectorSpec::Mahalanobis(_)
        )
    }

    /// The detector with its setting.
    pub fn spec(&self) -> &DetectorSpec {
        &self.spec
    }

    /// The seed that it was fitted with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of columns d.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of training rows n.
    pub fn train_len(&self) -> usize {
        self.train_scores.len()
    }

    /// What limits the trust in the fit, in words: iterations that ran out, covariances that are singular.
    pub fn warning(&self) -> Option<String> {
        match &self.state {
            State::IsolationForest(_) => None,
            State::EllipticEnvelope(model) => model.warnings().in_words(),
            State::Products(_, fitted) => match &**fitted {
                Fitted::OneClassSvm(model) => model.warning(),
                Fitted::EllipticEnvelope { model, .. } => model.warnings().in_words(),
                _ => None,
            },
        }
    }

    /// The model as bytes, to be kept in a file: `blemish\0`, a version (u32, little-endian), the CRC-32 of the
    /// rest (the same), and the rest, in the `postcard` format.
    ///
    /// The model also implements serde's traits for other formats; they must keep every bit of an `f64`.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DetectorError> {
        let rest = postcard::to_stdvec(self).map_err(|error| bad_file(error.to_string()))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(crc32fast::hash(&rest).to_le_bytes());
        bytes.extend(rest);
        Ok(bytes)
    }

    /// A model from the bytes that [`to_bytes`](Self::to_bytes) made. It scores the same bytes.
    ///
    /// # Errors
    /// [`DetectorError::ModelFile`] if they are not of a model, of another version, damaged, or of a model that
    /// cannot be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Model, DetectorError> {
        let header = bytes.split_first_chunk::<8>();
        let Some((_, rest)) = header.filter(|(magic, _)| *magic == MAGIC) else {
            return Err(bad_file("it does not begin as a model does".into()));
        };
        let numbers = rest.split_first_chunk::<4>().and_then(|(version, rest)| {
            let (sum, rest) = rest.split_first_chunk::<4>()?;
            Some((u32::from_le_bytes(*version), u32::from_le_bytes(*sum), rest))
        });
        let Some((version, sum, rest)) = numbers else {
            return Err(bad_file("it is cut off".into()));
        };
        if version != VERSION {
            return Err(bad_file(format!(
                "it is of version {version}, and this program reads version {VERSION}: fit the model again"
            )));
        }
        if crc32fast::hash(rest) != sum {
            return Err(bad_file("its checksum is wrong: it is cut off or damaged".into()));
        }
        let model: Model = postcard::from_bytes(rest).map_err(|error| bad_file(error.to_string()))?;
        if !model.is_sound() {
            return Err(bad_file("its parts do not fit each other".into()));
        }
        Ok(model)
    }

    /// Whether scoring cannot meet an index out of range. What was fitted is; what was read may not be.
    fn is_sound(&self) -> bool {
        let n = self.train_scores.len();
        let fits = match &self.state {
            State::IsolationForest(model) => model.is_sound(self.columns),
            State::EllipticEnvelope(model) => model.is_sound(self.columns),
            State::Products(rows, fitted) => {
                rows.len() == n
                    && rows.columns() == self.columns
                    && match &**fitted {
                        Fitted::OneClassSvm(model) => model.is_sound(n),
                        Fitted::KernelDensity(model) => model.is_sound(n),
                        Fitted::LocalOutlierFactor(model) => model.is_sound(n),
                        Fitted::KNearestNeighbors(model) => model.is_sound(n),
                        Fitted::Mahalanobis(model) => model.is_sound(n, self.columns),
                        Fitted::EllipticEnvelope {
                            components,
                            pca,
                            model,
                        } => {
                            pca.is_sound(n, self.columns)
                                && model.is_sound((*components).min(pca.max_components()))
                        }
                    }
            }
        };
        fits && !self.threshold.is_nan()
    }
}

fn bad_file(what: String) -> DetectorError {
    DetectorError::ModelFile { what }
}

/// Rows in single precision, which isolation forests work in, as scikit-learn's do.
fn single<T: Element>(rows: ArrayView2<'_, T>) -> CowArray<'_, f32, Ix2> {
    rows.mapv(T::to_f32).into()
}

/// Rows in double precision.
fn double<T: Element>(rows: ArrayView2<'_, T>) -> CowArray<'_, f64, Ix2> {
    rows.mapv(Into::into).into()
}
