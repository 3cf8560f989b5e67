//! One-class support vector machine (Schölkopf et al., 2001), solved as libsvm solves it (Chang and Lin, 2011;
//! working sets by second-order information: Fan, Chen and Lin, 2005).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{DetectorError, ProductsView};

/// Stands in for a curvature that is not positive.
const TAU: f64 = 1e-12;
/// Pair updates of a solver that is given no limit.
const MOST_ITERATIONS: u64 = 10_000_000;
/// Values whose powers are computed side by side.
const PART: usize = 64;

/// Kernel of a [`OneClassSvm`], with its `gamma` and `coef0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SvmKernel {
    /// `<x, y>`
    Linear,
    /// `exp(-gamma |x - y|^2)`
    Rbf,
    /// `tanh(gamma <x, y> + coef0)`; not positive semidefinite, so that there may be several solutions
    Sigmoid,
    /// `(gamma <x, y> + coef0)^degree`
    Poly {
        /// The degree, at least 1.
        degree: u32,
    },
}

/// Scale of the rows in a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gamma {
    /// `1 / (d * variance of all entries)`, or 1 if the variance is 0.
    #[default]
    Scale,
    /// `1 / d`
    Auto,
    /// A positive number.
    Value(f64),
}

/// Parameters of a one-class SVM; the score is minus scikit-learn's `decision_function`.
///
/// ```
/// use blemish_detectors::{InnerProducts, OneClassSvm, SvmKernel};
/// use ndarray::array;
///
/// # fn main() -> Result<(), blemish_detectors::DetectorError> {
/// let good = array![[0.0, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.05], [0.1, 0.04]];
/// let new = array![[0.05, 0.06], [3.0, -2.0]];
/// let products = InnerProducts::from_rows(&[good.view()], new.view())?;
/// let svm = OneClassSvm { nu: 0.2, ..OneClassSvm::new(SvmKernel::Rbf) };
/// let scores = svm.fit(products.view())?.score(products.view())?;
/// assert!(scores[1] > scores[0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneClassSvm {
    /// The kernel.
    pub kernel: SvmKernel,
    /// Scale of the rows; the linear kernel has none.
    pub gamma: Gamma,
    /// What the polynomial and the sigmoid kernel add, finite.
    pub coef0: f64,
    /// Upper bound of the fraction of training errors, between 0 and 1.
    pub nu: f64,
    /// Tolerance of the stopping condition, positive.
    pub tol: f64,
    /// Pair updates after which the solver stops without having converged; `None` is libsvm's own limit, ten million
    /// (scikit-learn's -1 has none, and where rounding is coarser than `tol`, no end).
    pub max_iter: Option<u64>,
}

impl OneClassSvm {
    /// The kernel with the study's parameters: gamma `scale`, coef0 0, nu 0.5, tol 1e-3, at most 1000 iterations.
    pub fn new(kernel: SvmKernel) -> OneClassSvm {
        OneClassSvm {
            kernel,
            gamma: Gamma::Scale,
            coef0: 0.0,
            nu: 0.5,
            tol: 1e-3,
            max_iter: Some(1000),
        }
    }

    /// Fits the training rows. The order of rows matters if the iterations run out.
    ///
    /// # Errors
    /// If a parameter is out of range, or the kernel's values leave the range of f64 (high degrees on rows far from
    /// the origin).
    pub fn fit(&self, products: ProductsView<'_>) -> Result<OneClassSvmModel, DetectorError> {
        // At nu = 1 all rows are at their bound and the offset is not determined (infinite in libsvm).
        if !(self.nu > 0.0 && self.nu < 1.0) {
            return Err(parameter("nu", self.nu, "between 0 and 1"));
        }
        if !(self.tol > 0.0 && self.tol.is_finite()) {
            return Err(parameter("tol", self.tol, "positive"));
        }
        if !self.coef0.is_finite() {
            return Err(parameter("coef0", self.coef0, "a finite number"));
        }
        let gamma = self.gamma.of(products)?;
        let n = products.train_len();
        let kernel = self.kernel;
        let mut diagonal = vec![0.0; n];
        // libsvm keeps kernel rows in f32, and so does what its iterations do.
        let mut matrix = vec![0.0f32; n * n];
        matrix
            .par_chunks_mut(n)
            .zip(&mut diagonal)
            .enumerate()
            .with_min_len(16)
            .for_each_init(
                || vec![0.0; n],
                |values, (i, (row, diagonal))| {
                    let values = &mut values[..=i];
                    match kernel {
                        SvmKernel::Rbf => products.train_sq_distance_row(i, values),
                        _ => products.train_inner_row(i, values),
                    }
                    kernel.apply(gamma, self.coef0, values);
                    *diagonal = values[i];
                    for (entry, value) in row.iter_mut().zip(values.iter()) {
                        *entry = *value as f32;
                    }
                },
            );
        mirror(&mut matrix, n);
        // A high degree may leave the range of f32. libsvm goes on, and its result may yet be finite: so do we where
        // the number of iterations is limited. Without a limit there would be no promise to end.
        if self.max_iter.is_none() && !matrix.iter().all(|v| v.is_finite()) {
            return Err(overflow("a kernel value"));
        }
        let solution =
            Solver::new(matrix, diagonal, self.nu, self.tol).solve(self.max_iter.unwrap_or(MOST_ITERATIONS));
        let support: Vec<usize> = (0..n).filter(|i| solution.alpha[*i] > 0.0).collect();
        let dual_coef: Vec<f64> = support.iter().map(|i| solution.alpha[*i]).collect();
        if !solution.rho.is_finite() || !dual_coef.iter().all(|a| a.is_finite()) {
            return Err(overflow("the solution"));
        }
        Ok(OneClassSvmModel {
            kernel,
            gamma,
            coef0: self.coef0,
            n,
            support,
            dual_coef,
            rho: solution.rho,
            iterations: solution.iterations,
            converged: solution.converged,
        })
    }
}

impl Gamma {
    fn of(self, products: ProductsView<'_>) -> Result<f64, DetectorError> {
        let dimensions = products.dimensions() as f64;
        match self {
            Gamma::Value(gamma) if gamma > 0.0 && gamma.is_finite() => Ok(gamma),
            Gamma::Value(gamma) => Err(parameter("gamma", gamma, "a positive number")),
            Gamma::Auto => Ok(1.0 / dimensions),
            Gamma::Scale => match products.variance() {
                0.0 => Ok(1.0),
                variance => Ok(1.0 / (dimensions * variance)),
            },
        }
    }
}

fn parameter(name: &'static str, value: f64, expected: &'static str) -> DetectorError {
    DetectorError::Parameter {
        name,
        value: value.to_string(),
        expected,
    }
}

fn overflow(what: &'static str) -> DetectorError {
    DetectorError::Overflow {
        detector: "OneClassSVM",
        what,
        hint: "choose a lower degree, or centre and scale the rows",
    }
}

impl SvmKernel {
    /// The name in scikit-learn.
    pub fn name(self) -> &'static str {
        match self {
            SvmKernel::Linear => "linear",
            SvmKernel::Rbf => "rbf",
            SvmKernel::Sigmoid => "sigmoid",
            SvmKernel::Poly { .. } => "poly",
        }
    }

    /// Turns squared distances (rbf) or inner products (the others) into kernel values.
    fn apply(self, gamma: f64, coef0: f64, values: &mut [f64]) {
        match self {
            SvmKernel::Linear => {}
            SvmKernel::Rbf => values.iter_mut().for_each(|v| *v = (-gamma * *v).exp()),
            SvmKernel::Sigmoid => values.iter_mut().for_each(|v| *v = (gamma * *v + coef0).tanh()),
            SvmKernel::Poly { degree } => pulp::Arch::new().dispatch(|| {
                for values in values.chunks_mut(PART) {
                    values.iter_mut().for_each(|v| *v = gamma * *v + coef0);
                    power(values, degree);
                }
            }),
        }
    }
}

/// Powers by squaring, in the order of operations that libsvm has, of at most [`PART`] values.
#[inline(always)]
fn power(values: &mut [f64], times: u32) {
    let mut squares = [1.0; PART];
    for (square, value) in squares.iter_mut().zip(values.iter_mut()) {
        *square = *value;
        *value = 1.0;
    }
    let mut t = times;
    while t > 0 {
        if t % 2 == 1 {
            for (value, square) in values.iter_mut().zip(&squares) {
                *value *= square;
            }
        }
        for square in &mut squares {
            *square *= *square;
        }
        t /= 2;
    }
}

/// Copies the lower triangle of an n x n matrix to the upper one, in blocks, as one of the two is read across rows.
fn mirror(matrix: &mut [f32], n: usize) {
    const BLOCK: usize = 32;
    for top in (0..n).step_by(BLOCK) {
        for left in (0..=top).step_by(BLOCK) {
            for i in top..(top + BLOCK).min(n) {
                for j in left..(left + BLOCK).min(i) {
                    matrix[j * n + i] = matrix[i * n + j];
                }
            }
        }
    }
}

/// A fitted one-class SVM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneClassSvmModel {
    kernel: SvmKernel,
    gamma: f64,
    coef0: f64,
    n: usize,
    support: Vec<usize>,
    dual_coef: Vec<f64>,
    rho: f64,
    iterations: u64,
    converged: bool,
}

impl OneClassSvmModel {
    /// Scores of the query rows: `rho - sum_i alpha_i K(x_i, q)`; above 0 is outside.
    ///
    /// # Errors
    /// If the products are of another number of training rows, or a kernel value leaves the range of f64.
    pub fn score(&self, products: ProductsView<'_>) -> Result<Vec<f64>, DetectorError> {
        self.check(products)?;
        self.decide(
            products.query_len(),
            |q, row| products.query_inner_row(q, row),
            |q, row| products.query_sq_distance_row(q, row),
        )
    }

    /// Scores of the training rows, by the model that they are part of.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn train_scores(&self, products: ProductsView<'_>) -> Result<Vec<f64>, DetectorError> {
        self.check(products)?;
        self.decide(
            self.n,
            |i, row| products.train_inner_row(i, row),
            |i, row| products.train_sq_distance_row(i, row),
        )
    }

    fn check(&self, products: ProductsView<'_>) -> Result<(), DetectorError> {
        if products.train_len() == self.n {
            return Ok(());
        }
        Err(DetectorError::Shape {
            what: "training rows of the products".into(),
            found: products.train_len(),
            expected: self.n,
        })
    }

    /// Scores of so many rows, from what writes a row's products or squared distances with all training rows.
    fn decide(
        &self,
        rows: usize,
        inner: impl Fn(usize, &mut [f64]),
        sq_distance: impl Fn(usize, &mut [f64]),
    ) -> Result<Vec<f64>, DetectorError> {
        let mut all = vec![0.0; self.n];
        let mut values = vec![0.0; self.support.len()];
        let score = |q: usize| {
            match self.kernel {
                SvmKernel::Rbf => sq_distance(q, &mut all),
                _ => inner(q, &mut all),
            }
            for (value, i) in values.iter_mut().zip(&self.support) {
                *value = all[*i];
            }
            self.kernel.apply(self.gamma, self.coef0, &mut values);
            let mut sum = 0.0;
            for (value, alpha) in values.iter().zip(&self.dual_coef) {
                sum += alpha * value;
            }
            self.rho - sum
        };
        let scores: Vec<f64> = (0..rows).map(score).collect();
        if !scores.iter().all(|s| s.is_finite()) {
            return Err(overflow("a score"));
        }
        Ok(scores)
    }

    /// Whether it can be of n training rows.
    pub(crate) fn is_sound(&self, n: usize) -> bool {
        let below = |i: &usize| *i < n;
        self.n == n && self.support.len() == self.dual_coef.len() && self.support.iter().all(below)
    }

    /// The scale of the rows in use.
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    /// Indices of the support vectors among the training rows, ascending.
    pub fn support(&self) -> &[usize] {
        &self.support
    }

    /// Their coefficients, in (0, 1].
    pub fn dual_coef(&self) -> &[f64] {
        &self.dual_coef
    }

    /// The offset rho: scikit-learn's `offset_`.
    pub fn rho(&self) -> f64 {
        self.rho
    }

    /// Pair updates made.
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// Whether the stopping condition was met before the iterations ran out.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// That it did not converge, in words.
    pub fn warning(&self) -> Option<String> {
        (!self.converged).then(|| format!("stopped after {} iterations, not converged", self.iterations))
    }
}

/// Where a variable stands in its range.
#[derive(Clone, Copy, PartialEq)]
enum Bound {
    Lower,
    Upper,
    Free,
}

struct Solution {
    alpha: Vec<f64>,
    rho: f64,
    iterations: u64,
    converged: bool,
}

/// Sequential minimal optimisation of `1/2 a'Ka` subject to `0 <= a <= 1` and `sum a = nu n`.
///
/// Variables are kept in positions that shrinking permutes; `row[p]` is the training row at position p. Ties between
/// candidates go to the later position, so positions are part of the result.
struct Solver {
    matrix: Vec<f32>,
    tol: f64,
    row: Vec<usize>,
    diagonal: Vec<f64>,
    alpha: Vec<f64>,
    bound: Vec<Bound>,
    gradient: Vec<f64>,
    /// Part of the gradient that variables at their upper bound make.
    gradient_upper: Vec<f64>,
    /// Positions below this one take part; the others are shrunk away.
    active: usize,
    unshrunk: bool,
}

fn bound(alpha: f64) -> Bound {
    if alpha >= 1.0 {
        Bound::Upper
    } else if alpha <= 0.0 {
        Bound::Lower
    } else {
        Bound::Free
    }
}

impl Solver {
    fn new(matrix: Vec<f32>, diagonal: Vec<f64>, nu: f64, tol: f64) -> Solver {
        let n = diagonal.len();
        let mut alpha = vec![0.0; n];
        // Summed up as scikit-learn sums weights: the last bit decides whether a tiny fraction is left over.
        let mut left = (0..n).fold(0.0, |sum, _| sum + nu);
        for a in &mut alpha {
            if left <= 0.0 {
                break;
            }
            *a = left.min(1.0);
            left -= *a;
        }
        let bounds: Vec<Bound> = alpha.iter().map(|a| bound(*a)).collect();
        let (mut gradient, mut gradient_upper) = (vec![0.0; n], vec![0.0; n]);
        for i in 0..n {
            if bounds[i] == Bound::Lower {
                continue;
            }
            for (j, k) in matrix[i * n..][..n].iter().enumerate() {
                gradient[j] += alpha[i] * f64::from(*k);
                if bounds[i] == Bound::Upper {
                    gradient_upper[j] += f64::from(*k);
                }
            }
        }
        Solver {
            matrix,
            tol,
            row: (0..n).collect(),
            diagonal,
            alpha,
            bound: bounds,
            gradient,
            gradient_upper,
            active: n,
            unshrunk: false,
        }
    }

    fn len(&self) -> usize {
        self.row.len()
    }

    fn kernel(&self, p: usize, q: usize) -> f64 {
        f64::from(self.matrix[self.row[p] * self.len() + self.row[q]])
    }

    fn solve(mut self, max_iter: u64) -> Solution {
        let period = self.len().min(1000);
        let mut until_shrinking = period + 1;
        let mut iterations = 0;
        let converged = loop {
            if iterations >= max_iter {
                break false;
            }
            until_shrinking -= 1;
            if until_shrinking == 0 {
                until_shrinking = period;
                self.shrink();
            }
            let (i, j) = match self.working_set() {
                Some(pair) => pair,
                None => {
                    // Nothing to do among the active ones: look at all before believing it.
                    self.reconstruct();
                    self.active = self.len();
                    match self.working_set() {
                        Some(pair) => {
                            until_shrinking = 1;
                            pair
                        }
                        None => break true,
                    }
                }
            };
            iterations += 1;
            self.update(i, j);
        };
        let rho = self.rho();
        let mut alpha = vec![0.0; self.len()];
        for (p, &row) in self.row.iter().enumerate() {
            alpha[row] = self.alpha[p];
        }
        Solution {
            alpha,
            rho,
            iterations,
            converged,
        }
    }

    /// The pair that violates optimality most, by second-order information; `None` within the tolerance.
    fn working_set(&self) -> Option<(usize, usize)> {
        let mut highest = f64::NEG_INFINITY;
        let mut first = None;
        for p in 0..self.active {
            if self.bound[p] != Bound::Upper && -self.gradient[p] >= highest {
                highest = -self.gradient[p];
                first = Some(p);
            }
        }
        let i = first?;
        let mut lowest = f64::NEG_INFINITY;
        let mut best = f64::INFINITY;
        let mut second = None;
        for p in 0..self.active {
            if self.bound[p] == Bound::Lower {
                continue;
            }
            lowest = lowest.max(self.gradient[p]);
            let difference = highest + self.gradient[p];
            if difference > 0.0 {
                let curvature = self.diagonal[i] + self.diagonal[p] - 2.0 * self.kernel(i, p);
                let curvature = if curvature > 0.0 { curvature } else { TAU };
                let gain = -(difference * difference) / curvature;
                if gain <= best {
                    best = gain;
                    second = Some(p);
                }
            }
        }
        if highest + lowest < self.tol {
            return None;
        }
        second.map(|j| (i, j))
    }

    /// Moves weight from i to j, or back, to the optimum of the two.
    fn update(&mut self, i: usize, j: usize) {
        let curvature = self.diagonal[i] + self.diagonal[j] - 2.0 * self.kernel(i, j);
        let curvature = if curvature > 0.0 { curvature } else { TAU };
        let (old_i, old_j) = (self.alpha[i], self.alpha[j]);
        let delta = (self.gradient[i] - self.gradient[j]) / curvature;
        let sum = old_i + old_j;
        let (mut a, mut b) = (old_i - delta, old_j + delta);
        if sum > 1.0 {
            if a > 1.0 {
                (a, b) = (1.0, sum - 1.0);
            }
        } else if b < 0.0 {
            (a, b) = (sum, 0.0);
        }
        if sum > 1.0 {
            if b > 1.0 {
                (a, b) = (sum - 1.0, 1.0);
            }
        } else if a < 0.0 {
            (a, b) = (0.0, sum);
        }
        (self.alpha[i], self.alpha[j]) = (a, b);
        let (delta_i, delta_j) = (a - old_i, b - old_j);
        let n = self.len();
        let (row_i, row_j) = (self.row[i] * n, self.row[j] * n);
        for p in 0..self.active {
            let column = self.row[p];
            self.gradient[p] += f64::from(self.matrix[row_i + column]) * delta_i
                + f64::from(self.matrix[row_j + column]) * delta_j;
        }
        for (p, start) in [(i, row_i), (j, row_j)] {
            let was_upper = self.bound[p] == Bound::Upper;
            self.bound[p] = bound(self.alpha[p]);
            let is_upper = self.bound[p] == Bound::Upper;
            if was_upper != is_upper {
                for q in 0..n {
                    let k = f64::from(self.matrix[start + self.row[q]]);
                    self.gradient_upper[q] += if is_upper { k } else { -k };
                }
            }
        }
    }

    fn shrink(&mut self) {
        let (mut up, mut down) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for p in 0..self.active {
            if self.bound[p] != Bound::Upper {
                up = up.max(-self.gradient[p]);
            }
            if self.bound[p] != Bound::Lower {
                down = down.max(self.gradient[p]);
            }
        }
        if !self.unshrunk && up + down <= self.tol * 10.0 {
            self.unshrunk = true;
            self.reconstruct();
            self.active = self.len();
        }
        let settled = |this: &Solver, p: usize| match this.bound[p] {
            Bound::Upper => -this.gradient[p] > up,
            Bound::Lower => this.gradient[p] > down,
            Bound::Free => false,
        };
        let mut p = 0;
        while p < self.active {
            if settled(self, p) {
                self.active -= 1;
                while self.active > p {
                    if !settled(self, self.active) {
                        self.swap(p, self.active);
                        break;
                    }
                    self.active -= 1;
                }
            }
            p += 1;
        }
    }

    fn swap(&mut self, p: usize, q: usize) {
        self.row.swap(p, q);
        self.diagonal.swap(p, q);
        self.alpha.swap(p, q);
        self.bound.swap(p, q);
        self.gradient.swap(p, q);
        self.gradient_upper.swap(p, q);
    }

    /// Computes the gradient of the variables that were shrunk away.
    fn reconstruct(&mut self) {
        let (n, active) = (self.len(), self.active);
        if active == n {
            return;
        }
        self.gradient[active..].copy_from_slice(&self.gradient_upper[active..]);
        let free = (0..active).filter(|p| self.bound[*p] == Bound::Free).count();
        // Two ways to the same sums; libsvm takes the one that computes fewer kernel rows, which fixes the order of
        // additions.
        if free * n > 2 * active * (n - active) {
            for p in active..n {
                for q in 0..active {
                    if self.bound[q] == Bound::Free {
                        self.gradient[p] += self.alpha[q] * self.kernel(p, q);
                    }
                }
            }
        } else {
            for q in 0..active {
                if self.bound[q] == Bound::Free {
                    for p in active..n {
                        self.gradient[p] += self.alpha[q] * self.kernel(q, p);
                    }
                }
            }
        }
    }

    /// The offset: mean gradient of the free variables, else the middle of what the bounds allow.
    fn rho(&self) -> f64 {
        let (mut upper, mut lower) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut sum, mut free) = (0.0, 0u32);
        for p in 0..self.active {
            let g = self.gradient[p];
            match self.bound[p] {
                Bound::Upper => lower = lower.max(g),
                Bound::Lower => upper = upper.min(g),
                Bound::Free => {
                    free += 1;
                    sum += g;
                }
            }
        }
        if free > 0 {
            sum / f64::from(free)
        } else {
            (upper + lower) / 2.0
        }
    }
}
