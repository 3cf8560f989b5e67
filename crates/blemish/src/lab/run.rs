//! Carrying out a plan.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use blemish_detectors::InnerProducts;

use super::evaluate::{SetData, evaluate, failed, needs_products};
use super::extract::{LayerRows, extract, labels};
use super::folder::RunFolder;
use super::plan::{Experiment, FeatureSet, Plan, Task};
use super::store::Outcome;
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
}

impl RunOptions {
    /// The tasks to run, in the plan's order.
    fn chosen<'p>(&self, plan: &'p Plan) -> Result<Vec<&'p Task>, Error> {
        let Some(wanted) = &self.tasks else {
            return Ok(plan.tasks.iter().collect());
        };
        if let Some(beyond) = wanted.iter().find(|i| **i >= plan.tasks.len()) {
            return Err(Error::Config(format!(
                "there is no task {beyond}: the plan has {} tasks, counted from 0",
                plan.tasks.len()
            )));
        }
        let tasks = plan.tasks.iter().enumerate();
        Ok(tasks
            .filter(|(i, _)| wanted.contains(i))
            .map(|(_, t)| t)
            .collect())
    }
}

/// What happens during a run, for a progress bar.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
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
        /// What it is, in words.
        name: String,
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
}

/// Computes what is left of `plan` and stores each result as soon as it is there.
///
/// An error of one experiment is its result; an error of a task's images or network is the result of
/// all experiments of that task. Killing the process at any moment loses only what was not yet
/// stored.
///
/// # Errors
/// If results cannot be stored, or the thread pool cannot be made.
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
    let experiments = || tasks.iter().flat_map(|task| plan.task_experiments(task));
    if options.retry_failed {
        match &options.tasks {
            None => folder.store_mut().forget_failures()?,
            Some(_) => folder.store_mut().forget_failures_of(experiments())?,
        };
    }
    let finished = folder.store().finished()?;
    let mut runner = Runner {
        plan,
        folder,
        pool,
        finished,
        on_event,
        summary: RunSummary::default(),
    };
    let images = tasks.iter().map(|t| runner.images(t)).sum();
    on_event(Event::Started {
        total: experiments().count(),
        finished: experiments()
            .filter(|e| runner.finished.contains_key(&e.key))
            .count(),
        images,
    });
    for task in &tasks {
        runner.task(task)?;
    }
    let mut summary = runner.summary;
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
    Ok(summary)
}

struct Runner<'a> {
    plan: &'a Plan,
    folder: &'a mut RunFolder,
    pool: rayon::ThreadPool,
    finished: HashMap<String, bool>,
    on_event: OnEvent<'a>,
    summary: RunSummary,
}

impl<'a> Runner<'a> {
    fn pending(&self, set: &FeatureSet) -> Vec<&'_ Experiment> {
        self.plan.experiments[set.experiments.clone()]
            .iter()
            .filter(|e| !self.finished.contains_key(&e.key))
            .collect()
    }

    /// The feature sets of a task that lack results.
    fn unfinished(&self, task: &Task) -> Vec<&'a FeatureSet> {
        let plan: &'a Plan = self.plan;
        let sets = plan.feature_sets[task.feature_sets.clone()].iter();
        sets.filter(|s| !self.pending(s).is_empty()).collect()
    }

    /// How many images will go through the network for a task.
    fn images(&self, task: &Task) -> usize {
        let train = self.unfinished(task).iter().map(|s| s.train_samples).max();
        train.map_or(0, |n| n + self.plan.objects[task.object].test.len())
    }

    fn task(&mut self, task: &Task) -> Result<(), Error> {
        let plan = self.plan;
        let sets = self.unfinished(task);
        if sets.is_empty() {
            return Ok(());
        }
        let object = &plan.objects[task.object];
        (self.on_event)(Event::Task {
            name: plan.task_name(task),
        });
        let mut layers: Vec<&str> = sets.iter().map(|s| s.layer.as_str()).collect();
        layers.dedup();
        let augmented = sets.iter().any(|s| s.augmented);

        let extracted = on_pool(&self.pool, self.on_event, |events| {
            plan.check_images(task.object)?;
            extract(plan, task, &layers, augmented, events)
        });
        let (rows, features_time) = match extracted {
            Ok(extracted) => extracted,
            // The images or the network of this task fail: say so in each of its experiments, and
            // go on with the others. A store that fails is another matter.
            Err(error) => {
                for set in &sets {
                    for e in self.pending(set).into_iter().cloned().collect::<Vec<_>>() {
                        self.put(&e, &failed(&error))?;
                    }
                }
                return Ok(());
            }
        };
        self.summary.features_time += features_time;
        let defective = labels(object);
        let experiments: usize = sets.iter().map(|s| s.experiments.len()).sum();
        let features_share = features_time / experiments.max(1) as u32;
        for (layer, rows) in layers.iter().zip(rows) {
            let of_layer: Vec<&FeatureSet> = sets.iter().copied().filter(|s| s.layer == *layer).collect();
            self.layer(&of_layer, &rows, &defective, features_share)?;
        }
        Ok(())
    }

    /// Both training sets of one layer, from one matrix of inner products.
    fn layer(
        &mut self,
        sets: &[&FeatureSet],
        rows: &LayerRows,
        defective: &[bool],
        features_share: Duration,
    ) -> Result<(), Error> {
        let pending: Vec<Vec<Experiment>> = sets
            .iter()
            .map(|s| self.pending(s).into_iter().cloned().collect())
            .collect();
        let all: Vec<&Experiment> = pending.iter().flatten().collect();
        let mut groups = vec![rows.originals.view()];
        if rows.augmented.nrows() > 0 {
            groups.push(rows.augmented.view());
        }

        let start = Instant::now();
        let mut products = None;
        if needs_products(&all) {
            if let Some(set) = sets.first() {
                (self.on_event)(Event::Products { layer: &set.layer });
            }
            match self
                .pool
                .install(|| InnerProducts::from_rows(&groups, rows.test.view()))
            {
                Ok(p) => products = Some(p),
                Err(error) => {
                    let outcome = failed(&error.into());
                    for e in pending.iter().flatten() {
                        self.put(e, &outcome)?;
                    }
                    return Ok(());
                }
            }
        }
        let products_time = start.elapsed();
        self.summary.products_time += products_time;
        self.summary.feature_sets += sets.len();
        let shared_time = features_share + products_time / all.len().max(1) as u32;

        let start = Instant::now();
        for (set, pending) in sets.iter().zip(&pending) {
            let train = if set.augmented { &groups[..] } else { &groups[..1] };
            let view = match &products {
                Some(p) => Some(p.leading(set.train_samples)?),
                None => None,
            };
            let data = SetData {
                products: view,
                train,
                test: rows.test.view(),
                defective,
                shared_time,
            };
            self.evaluate(data, pending)?;
        }
        self.summary.detectors_time += start.elapsed();
        Ok(())
    }

    /// Computes on the pool and stores on this thread, so that results are safe while others run.
    fn evaluate(&mut self, data: SetData<'_>, pending: &[Experiment]) -> Result<(), Error> {
        let stop = AtomicBool::new(false);
        let (sender, receiver) = mpsc::channel();
        let todo: Vec<&Experiment> = pending.iter().collect();
        let mut stored = Ok(());
        let (pool, store) = (&self.pool, self.folder.store_mut());
        let (summary, on_event) = (&mut self.summary, self.on_event);
        std::thread::scope(|scope| {
            let (stop, todo) = (&stop, &todo);
            scope.spawn(move || {
                pool.install(|| {
                    evaluate(data, todo, &|e, outcome| {
                        !stop.load(Ordering::Relaxed) && sender.send((e, outcome)).is_ok()
                    });
                });
            });
            for (experiment, outcome) in receiver {
                if stored.is_err() {
                    continue;
                }
                stored = store.put(&experiment.key, &outcome);
                if stored.is_err() {
                    stop.store(true, Ordering::Relaxed);
                    continue;
                }
                summary.computed += 1;
                on_event(Event::Stored {
                    experiment,
                    outcome: &outcome,
                });
            }
        });
        stored
    }

    fn put(&mut self, experiment: &Experiment, outcome: &Outcome) -> Result<(), Error> {
        self.folder.store_mut().put(&experiment.key, outcome)?;
        self.summary.computed += 1;
        (self.on_event)(Event::Stored { experiment, outcome });
        Ok(())
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
