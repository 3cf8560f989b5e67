//! Carrying out a plan.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use blemish_detectors::{InnerProducts, ProductsView};
use ndarray::Array2;

use super::evaluate::{SetData, evaluate, failed};
use super::extract::{Extraction, labels};
use super::folder::RunFolder;
use super::kept::{Keep, Kept};
use super::memory::{self, Bytes, available_memory, free_disk};
use super::merge::{MergeSummary, take_over_tasks};
use super::plan::{Experiment, FeatureSet, Plan, Task};
use super::prepared::Prepared;
use super::record;
use super::rows::{LayerRows, RowsOf, Spare, TrainRows, inner_products};
use super::schedule::{Bounds, Place, Schedule};
use super::scratch::ScratchFile;
use super::stats::{Prediction, StageTimes, TaskStats};
use super::store::Outcome;
use super::work::{LayerWork, size, work};
use crate::Error;

/// How to run: nothing here changes a result.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Threads; `None` takes one for each core.
    pub threads: Option<usize>,
    /// Try failed experiments again.
    pub retry_failed: bool,
    /// Only these of [`Plan::tasks`], by index; `None` runs all.
    pub tasks: Option<Vec<usize>>,
    /// Memory that is not to be exceeded; `None` takes four fifths of what is free. Rows that do not fit go to a file
    /// without a name in `scratch`, and what does not fit there is had by another pass over the images.
    pub memory: Option<Bytes>,
    /// Folder for rows that do not fit into memory; `None` takes the run folder.
    pub scratch: Option<PathBuf>,
    /// Most bytes of such rows at a time; `None` takes 16 GB, or nine tenths of what is free on that disk if that is less.
    pub scratch_limit: Option<Bytes>,
    /// What is left behind besides results.
    pub keep: Keep,
    /// Set by someone else, such as a signal handler, to stop: what is being computed is finished and stored.
    pub stop: Option<Arc<AtomicBool>>,
}

/// The scratch space that is used unless another bound is given.
const SCRATCH: u64 = 16_000_000_000;

impl RunOptions {
    /// The tasks to run, in the plan's order.
    pub(crate) fn chosen(&self, plan: &Plan) -> Result<Vec<usize>, Error> {
        let all = 0..plan.tasks.len();
        let Some(wanted) = &self.tasks else {
            return Ok(all.collect());
        };
        if let Some(beyond) = wanted.iter().find(|i| !all.contains(i)) {
            return Err(Error::Config(format!(
                "there is no task {beyond}: the plan has {} tasks, counted from 0",
                plan.tasks.len()
            )));
        }
        Ok(all.filter(|i| wanted.contains(i)).collect())
    }

    /// The folder for scratch files of a run in `run`.
    pub(crate) fn scratch_folder(&self, run: &std::path::Path) -> PathBuf {
        self.scratch.clone().unwrap_or_else(|| run.to_owned())
    }

    /// Bounds of a run in the folder `run` with so many threads.
    pub(crate) fn bounds(&self, run: &std::path::Path, threads: usize) -> Bounds {
        let part = |bytes: Bytes, tenths: u64| Bytes(bytes.0 / 10 * tenths);
        // Predictions err on the safe side: nothing is refused for them that was not asked for.
        let least = Bytes(1_000_000_000);
        let free = || available_memory().map_or(Bytes(8_000_000_000), |free| part(free, 8).max(least));
        let disk = || {
            let free = free_disk(&self.scratch_folder(run)).map_or(Bytes(SCRATCH), |free| part(free, 9));
            free.min(Bytes(SCRATCH))
        };
        Bounds {
            memory: self.memory.unwrap_or_else(free),
            scratch: self.scratch_limit.unwrap_or_else(disk),
            threads,
        }
    }
}

/// What happens during a run, for a progress bar.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Results that other processes published ([`run_shard`](super::run_shard)) were put into the store.
    Merged {
        /// How many, and what cannot be used.
        summary: &'a MergeSummary,
    },
    /// The run starts: experiments in all, and how many of them have a result already.
    Started {
        /// Experiments in the tasks that were chosen.
        total: usize,
        /// With a result from before.
        finished: usize,
        /// Images, counting views, that will go through a network.
        images: usize,
    },
    /// A task starts.
    Task {
        /// Its index in the plan.
        index: usize,
        /// What it is, in words.
        name: String,
        /// Experiments of it that are to be computed.
        experiments: usize,
    },
    /// Images of the task went through the network; views count as images.
    Images {
        /// Object name.
        object: &'a str,
        /// Images done.
        done: usize,
        /// Images of the task.
        total: usize,
    },
    /// Inner products of a layer are being computed.
    Products {
        /// Layer name.
        layer: &'a str,
    },
    /// A task has ended: to its end, or because it was stopped.
    TaskEnded {
        /// What it cost.
        stats: &'a TaskStats,
    },
    /// An experiment has been stored.
    Stored {
        /// The experiment.
        experiment: &'a Experiment,
        /// Its outcome.
        outcome: &'a Outcome,
    },
}

/// Receives events on the thread that called [`run`].
pub(crate) type OnEvent<'a> = &'a dyn Fn(Event<'_>);

/// What a call of [`run`] did. Counts are of the tasks that were chosen.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunSummary {
    /// Experiments with a result, now.
    pub done: usize,
    /// Failed experiments, now.
    pub failed: usize,
    /// Experiments in the plan.
    pub total: usize,
    /// Results stored by this call.
    pub computed: usize,
    /// Feature sets whose products were computed by this call.
    pub feature_sets: usize,
    /// Time of decoding, preprocessing and forward passes.
    pub features_time: Duration,
    /// Time of inner products.
    pub products_time: Duration,
    /// Time of all detectors, wall clock.
    pub detectors_time: Duration,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// Computes what is left of `plan` and stores each result as soon as it is there. What other processes published
/// ([`run_shard`](super::run_shard)) is taken over rather than computed, also while this goes on.
///
/// An error of one experiment is its result; an error of a task's images or network is the result of
/// all experiments of that task. Killing the process at any moment loses only what was not yet
/// stored.
///
/// # Errors
/// If results cannot be stored, the disk is full, memory and scratch space are too small for some task (before
/// anything is computed), or the thread pool cannot be made.
pub fn run(
    plan: &Plan,
    folder: &mut RunFolder,
    options: &RunOptions,
    on_event: &dyn Fn(Event<'_>),
) -> Result<RunSummary, Error> {
    let mut pool = rayon::ThreadPoolBuilder::new();
    if let Some(threads) = options.threads {
        pool = pool.num_threads(threads);
    }
    let pool = pool
        .build()
        .map_err(|e| Error::Config(format!("the threads could not be started: {e}")))?;

    let tasks = options.chosen(plan)?;
    let experiments = || tasks.iter().flat_map(|i| plan.task_experiments(&plan.tasks[*i]));
    let merged = take_over_tasks(plan, folder, tasks.iter().copied(), !options.retry_failed)?;
    merged.tell(on_event);
    if options.retry_failed {
        match &options.tasks {
            None => folder.store_mut().forget_failures()?,
            Some(_) => folder.store_mut().forget_failures_of(experiments())?,
        };
    }
    record::data(folder.store_mut(), plan)?;
    let finished = folder.store().finished()?;
    let bounds = options.bounds(folder.path(), pool.current_num_threads());
    let mut runner = Runner {
        plan,
        options,
        bounds,
        kept: Kept::in_run(folder.path()),
        folder,
        pool,
        finished,
        to_come: vec![],
        prepared: vec![],
        spare: Spare::default(),
        on_event,
        summary: RunSummary::default(),
    };
    let mut images = 0;
    // All that cannot be is found before anything is computed.
    for task in &tasks {
        images += runner.images(&plan.tasks[*task])?;
    }
    on_event(Event::Started {
        total: experiments().count(),
        finished: experiments()
            .filter(|e| runner.finished.contains_key(&e.key))
            .count(),
        images,
    });
    for (i, task) in tasks.iter().enumerate() {
        if runner.stopped() {
            break;
        }
        runner.to_come = tasks[i + 1..].to_vec();
        runner.task(*task)?;
    }
    let mut summary = runner.summary;
    summary.stopped = runner.stopped();
    let threads = runner.pool.current_num_threads();
    record::session(folder.store_mut(), &summary, threads)?;
    folder.store().fold()?;
    let finished = folder.store().finished()?;
    for experiment in experiments() {
        summary.total += 1;
        match finished.get(&experiment.key) {
            Some(true) => summary.done += 1,
            Some(false) => summary.failed += 1,
            None => {}
        }
    }
    // Stopped after the last one was stored is not stopped.
    summary.stopped &= summary.done + summary.failed < summary.total;
    Ok(summary)
}

struct Runner<'a> {
    plan: &'a Plan,
    options: &'a RunOptions,
    bounds: Bounds,
    kept: Kept,
    folder: &'a mut RunFolder,
    pool: rayon::ThreadPool,
    finished: HashMap<String, bool>,
    /// Tasks that follow.
    to_come: Vec<usize>,
    /// Images of the object that is computed.
    prepared: Vec<Prepared>,
    /// Memory of rows, from task to task.
    spare: Spare,
    on_event: OnEvent<'a>,
    summary: RunSummary,
}

impl<'a> Runner<'a> {
    fn stopped(&self) -> bool {
        self.options
            .stop
            .as_ref()
            .is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    fn work_of(&self, task: &Task) -> Vec<LayerWork<'a>> {
        work(self.plan, task, &self.finished, &self.kept)
    }

    /// How many images will go through the network for a task.
    fn images(&self, task: &Task) -> Result<usize, Error> {
        let layers = self.work_of(task);
        let layers: Vec<&LayerWork<'_>> = layers.iter().filter(|l| l.needs_images()).collect();
        if layers.is_empty() {
            return Ok(0);
        }
        let size = size(self.plan, task, &layers);
        let schedule = Schedule::new(&task.backbone, &size, self.bounds)?;
        Ok(schedule.passes.len() * (size.train * size.views + size.test))
    }

    fn task(&mut self, index: usize) -> Result<(), Error> {
        let plan = self.plan;
        let task = &plan.tasks[index];
        // Others may have published some of it since the run began.
        if !self.work_of(task).is_empty() {
            let failures = !self.options.retry_failed;
            let merged = take_over_tasks(plan, self.folder, [index], failures)?;
            if merged.merged > 0 {
                self.finished = self.folder.store().finished()?;
            }
            merged.tell(self.on_event);
        }
        let layers = self.work_of(task);
        if layers.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let mut job = Job {
            stats: TaskStats {
                task: index,
                key: task.key.clone(),
                name: plan.task_name(task),
                threads: self.pool.current_num_threads(),
                peak_is_own: memory::reset_peak(),
                ..TaskStats::default()
            },
            times: StageTimes::default(),
            defective: labels(&plan.objects[task.object]),
            features_share: Duration::ZERO,
        };
        (self.on_event)(Event::Task {
            index,
            name: job.stats.name.clone(),
            experiments: layers.iter().flat_map(|l| l.experiments()).count(),
        });
        let ended = self.layers(task, layers, &mut job);
        job.stats.complete = ended.is_ok() && !self.stopped();
        job.stats.seconds = start.elapsed().as_secs_f64();
        job.stats.peak_memory = memory::peak();
        job.stats.take(&job.times);
        self.summary.features_time += job.times.features();
        self.summary.products_time += job.times.products;
        self.summary.detectors_time += job.times.detectors;
        ended?;
        self.folder.store_mut().put_stats(&job.stats)?;
        (self.on_event)(Event::TaskEnded { stats: &job.stats });
        Ok(())
    }

    /// First the layers whose products are kept and suffice; then the others, pass by pass over the images.
    fn layers(&mut self, task: &Task, layers: Vec<LayerWork<'a>>, job: &mut Job) -> Result<(), Error> {
        let mut left = vec![];
        for mut layer in layers {
            if layer.needs_images() {
                left.push(layer);
                continue;
            }
            match self.load_kept(&layer, job) {
                Some(products) => self.layer(&layer, None, Some(products), job)?,
                None => {
                    layer.has_kept = false;
                    left.push(layer);
                }
            }
            if self.stopped() {
                return Ok(());
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let size = size(self.plan, task, &left.iter().collect::<Vec<_>>());
        let schedule = Schedule::new(&task.backbone, &size, self.bounds)?;
        job.stats.passes = schedule.passes.len();
        job.stats.predicted = Some(Prediction {
            memory: schedule.memory,
            scratch: schedule.scratch,
            ..Prediction::default()
        });
        let experiments: usize = left.iter().map(|l| l.experiments().count()).sum();
        let mut taken = vec![];
        for pass in &schedule.passes {
            let mut scratch = match pass.layers.iter().any(|(_, place)| *place == Place::Disk) {
                true => Some(ScratchFile::new(
                    &self.options.scratch_folder(self.folder.path()),
                )?),
                false => None,
            };
            let places: Vec<(&str, Place)> = pass
                .layers
                .iter()
                .map(|(l, place)| (left[*l].name, *place))
                .collect();
            let stop = self.options.stop.clone();
            let stop = move || stop.as_ref().is_some_and(|s| s.load(Ordering::Relaxed));
            let extraction = Extraction {
                plan: self.plan,
                task,
                layers: &places,
                augmented: size.views > 1,
                chunk: pass.chunk,
                stop: &stop,
            };
            let mut prepared = self.prepared(task, size.views, schedule.scratch)?;
            let (times, file, tensors) = (&mut job.times, scratch.as_mut(), prepared.as_mut());
            let (plan, spare) = (self.plan, &mut self.spare);
            let extracted = on_pool(&self.pool, self.on_event, |events| {
                plan.check_images(task.object)?;
                extraction.run(file, tensors, spare, times, events)
            });
            self.prepared.extend(prepared.filter(Prepared::is_complete));
            job.stats.scratch = job
                .stats
                .scratch
                .max(scratch.as_ref().map_or(0, ScratchFile::used));
            let rows = match extracted {
                Ok(Some(rows)) => rows,
                Ok(None) => return Ok(()),
                // A full disk is not the task's fault, and will be there for the next one as well.
                Err(error @ Error::DiskFull { .. }) => return Err(error),
                // The images or the network of this task fail: say so in each of its experiments, and
                // go on with the others. A store that fails is another matter.
                Err(error) => {
                    let outcome = failed(&error);
                    for (i, layer) in left.iter().enumerate() {
                        if taken.contains(&i) {
                            continue;
                        }
                        for experiment in layer.experiments() {
                            self.put(experiment, &outcome, job)?;
                        }
                    }
                    return Ok(());
                }
            };
            // The file lives on in the rows that lie in it, and goes with the last of them.
            drop(scratch);
            job.features_share = job.times.features() / experiments.max(1) as u32;
            for ((l, _), rows) in pass.layers.iter().zip(rows) {
                taken.push(*l);
                self.layer(&left[*l], Some(rows), None, job)?;
                if self.stopped() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Preprocessed images that serve this task and another one of the same object after it, or room for them, if there is
    /// as much; taken out of those that are there.
    fn prepared(&mut self, task: &Task, views: usize, scratch: u64) -> Result<Option<Prepared>, Error> {
        self.prepared.retain(|p| p.is_of(task.object));
        let prepare = task.backbone.preprocess(self.plan.resize);
        let views = &self.plan.views[..views];
        if let Some(i) = self
            .prepared
            .iter()
            .position(|p| p.serves(task.object, &prepare, views))
        {
            return Ok(Some(self.prepared.swap_remove(i)));
        }
        let again = |later: &usize| {
            let later = &self.plan.tasks[*later];
            later.object == task.object && later.backbone.preprocess(self.plan.resize) == prepare
        };
        if !self.to_come.iter().any(again) {
            return Ok(None);
        }
        let object = &self.plan.objects[task.object];
        let images = object.train.len() * views.len() + object.test.len();
        let there: u64 = self.prepared.iter().map(|p| p.bytes().0).sum();
        if scratch + there + Prepared::bytes_of(&prepare, images) > self.bounds.scratch.0 {
            return Ok(None);
        }
        let folder = self.options.scratch_folder(self.folder.path());
        Prepared::new(task.object, prepare, views, images, &folder).map(Some)
    }

    fn load_kept(&self, layer: &LayerWork<'_>, job: &mut Job) -> Option<InnerProducts> {
        let start = Instant::now();
        let products = self.kept.load(&layer.sets, layer.rows(), job.defective.len());
        job.times.products += start.elapsed();
        products
    }

    /// Both training sets of one layer, from one matrix of inner products.
    fn layer(
        &mut self,
        layer: &LayerWork<'_>,
        rows: Option<LayerRows>,
        products: Option<InnerProducts>,
        job: &mut Job,
    ) -> Result<(), Error> {
        let result = self.products_and_detectors(layer, rows, products, job);
        match result {
            Ok(()) => Ok(()),
            Err(Stopped::ByStore(error)) => Err(error),
            Err(Stopped::ByLayer(error)) => {
                let outcome = failed(&error);
                for experiment in layer.experiments() {
                    self.put(experiment, &outcome, job)?;
                }
                Ok(())
            }
        }
    }

    fn products_and_detectors(
        &mut self,
        layer: &LayerWork<'_>,
        rows: Option<LayerRows>,
        mut products: Option<InnerProducts>,
        job: &mut Job,
    ) -> Result<(), Stopped> {
        let (train, test) = match rows {
            Some(rows) => {
                let test = self.pool.install(|| rows.test.into_memory());
                (Some(rows.train), Some(test.map_err(Stopped::ByLayer)?))
            }
            None => (None, None),
        };
        let before = job.times.products;
        if layer.needs_products && products.is_none() && layer.has_kept {
            products = self.load_kept(layer, job);
        }
        if layer.needs_products && products.is_none() {
            let (Some(train), Some(test)) = (&train, &test) else {
                return Err(Stopped::ByLayer(Error::Panic("rows were not extracted".into())));
            };
            (self.on_event)(Event::Products { layer: layer.name });
            let start = Instant::now();
            let stop = self.options.stop.clone();
            let stop = move || stop.as_ref().is_some_and(|s| s.load(Ordering::Relaxed));
            let computed = on_pool(&self.pool, self.on_event, |_| {
                inner_products(train, test.view(), &stop)
            });
            job.times.products += start.elapsed();
            let Some(computed) = computed.map_err(Stopped::ByLayer)? else {
                return Ok(());
            };
            if self.options.keep == Keep::Products {
                let largest = layer
                    .pending
                    .iter()
                    .map(|(s, _)| *s)
                    .max_by_key(|s| s.train_samples);
                if let Some(set) = largest {
                    job.stats.kept += self.kept.save(set, &computed).map_err(Stopped::ByStore)?;
                }
            }
            products = Some(computed);
        }
        self.summary.feature_sets += layer.pending.len();
        let experiments = layer.experiments().count().max(1) as u32;
        let shared_time = job.features_share + (job.times.products - before) / experiments;

        let start = Instant::now();
        for (set, pending) in &layer.pending {
            let view = match &products {
                Some(products) => Some(
                    products
                        .leading(set.train_samples)
                        .map_err(|e| Stopped::ByLayer(e.into()))?,
                ),
                None => None,
            };
            self.detectors(
                set,
                pending,
                view,
                train.as_ref(),
                test.as_ref(),
                shared_time,
                job,
            )
            .map_err(Stopped::ByStore)?;
        }
        job.times.detectors += start.elapsed();
        // Test rows that were read from a disk are not among what the next task may count on.
        if let (Some(TrainRows::Memory { originals, augmented }), Some(test)) = (train, test) {
            for rows in [originals, augmented, test] {
                self.spare.give(rows);
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what a set is made of, and no more")]
    fn detectors(
        &mut self,
        set: &FeatureSet,
        pending: &[Experiment],
        products: Option<ProductsView<'_>>,
        train: Option<&TrainRows>,
        test: Option<&Array2<f32>>,
        shared_time: Duration,
        job: &mut Job,
    ) -> Result<(), Error> {
        let mut groups = vec![];
        if let Some(TrainRows::Memory { originals, augmented }) = train {
            groups.push(originals.view());
            if set.augmented {
                groups.push(augmented.view());
            }
        }
        let of = match train {
            Some(TrainRows::Disk { rows, .. }) => RowsOf::Disk(rows, set.train_samples),
            _ => RowsOf::Memory(&groups),
        };
        let defective = std::mem::take(&mut job.defective);
        let data = SetData {
            products,
            rows: test.map(|test| (of, test.view())),
            defective: &defective,
            shared_time,
        };
        let stored = self.evaluate(data, pending, job);
        job.defective = defective;
        stored
    }

    /// Computes on the pool and stores on this thread, so that results are safe while others run.
    fn evaluate(&mut self, data: SetData<'_>, pending: &[Experiment], job: &mut Job) -> Result<(), Error> {
        let broken = AtomicBool::new(false);
        let wanted = self.options.stop.clone();
        let (sender, receiver) = mpsc::channel();
        let todo: Vec<&Experiment> = pending.iter().collect();
        let mut stored = Ok(());
        let (pool, store) = (&self.pool, self.folder.store_mut());
        let (summary, on_event) = (&mut self.summary, self.on_event);
        std::thread::scope(|scope| {
            let (broken, todo) = (&broken, &todo);
            scope.spawn(move || {
                let go_on = || {
                    !broken.load(Ordering::Relaxed)
                        && !wanted.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
                };
                pool.install(|| {
                    evaluate(data, todo, &go_on, &|e, outcome| {
                        sender.send((e, outcome)).is_ok() && go_on()
                    });
                });
            });
            for (experiment, outcome) in receiver {
                if stored.is_err() {
                    continue;
                }
                stored = store.put(&experiment.key, &outcome);
                if stored.is_err() {
                    broken.store(true, Ordering::Relaxed);
                    continue;
                }
                summary.computed += 1;
                job.count(experiment, &outcome);
                on_event(Event::Stored {
                    experiment,
                    outcome: &outcome,
                });
            }
        });
        stored
    }

    fn put(&mut self, experiment: &Experiment, outcome: &Outcome, job: &mut Job) -> Result<(), Error> {
        self.folder.store_mut().put(&experiment.key, outcome)?;
        self.summary.computed += 1;
        job.count(experiment, outcome);
        (self.on_event)(Event::Stored { experiment, outcome });
        Ok(())
    }
}

/// Why a layer was not carried out to its end.
enum Stopped {
    /// Results cannot be stored: the run ends.
    ByStore(Error),
    /// The layer's experiments fail.
    ByLayer(Error),
}

/// A task while it is carried out.
struct Job {
    stats: TaskStats,
    times: StageTimes,
    /// Which test images are defective.
    defective: Vec<bool>,
    /// Time of the features, for each experiment.
    features_share: Duration,
}

impl Job {
    fn count(&mut self, experiment: &Experiment, outcome: &Outcome) {
        self.stats.experiments += 1;
        match outcome {
            Outcome::Done {
                train_time,
                test_time,
                ..
            } => {
                let model = experiment.spec.model_name().to_owned();
                let total = self.stats.by_detector_s.entry(model).or_default();
                *total += (*train_time + *test_time).as_secs_f64();
            }
            Outcome::Failed { .. } => self.stats.failed += 1,
        }
    }
}

/// Runs `work` on the pool; its image events reach `on_event` on this thread.
fn on_pool<T: Send>(
    pool: &rayon::ThreadPool,
    on_event: OnEvent<'_>,
    work: impl FnOnce(OnEvent<'_>) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            pool.install(move || {
                work(&|event| {
                    if let Event::Images { object, done, total } = event {
                        // The receiver outlives this thread, so this cannot fail.
                        let _ = sender.send((object.to_owned(), done, total));
                    }
                })
            })
        });
        for (object, done, total) in receiver {
            on_event(Event::Images {
                object: &object,
                done,
                total,
            });
        }
        worker
            .join()
            .unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref())))
    })
}
