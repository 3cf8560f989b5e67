//! The connected regions of a mask.

use ndarray::{Array2, ArrayView2};

/// The regions of a mask: pixels that are connected by a side or a corner (8-neighbourhood) are of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// h x w: the region of each pixel, from 1 in the order of their first pixels, row by row; 0 where the mask is
    /// not set.
    pub labels: Array2<u32>,
    /// The number of pixels of each region.
    pub areas: Vec<usize>,
}

impl Regions {
    /// The regions of `mask`, h x w, in one pass with a union-find and one to number them.
    ///
    /// ```
    /// use blemish_detectors::Regions;
    /// use ndarray::array;
    ///
    /// let regions = Regions::of(array![[true, false, false], [false, true, false], [false, false, false]].view());
    /// assert_eq!(regions.areas, [2]);
    /// ```
    pub fn of(mask: ArrayView2<'_, bool>) -> Regions {
        let (height, width) = mask.dim();
        // A provisional label for each pixel; the parent of a label is not above it.
        let mut labels = Array2::<u32>::zeros((height, width));
        let mut parents: Vec<u32> = vec![0];
        for ((y, x), set) in mask.indexed_iter() {
            if !set {
                continue;
            }
            let mut label = 0;
            let above = (y > 0).then(|| y - 1);
            let neighbours = [
                above.filter(|_| x > 0).map(|y| (y, x.wrapping_sub(1))),
                above.map(|y| (y, x)),
                above.filter(|_| x + 1 < width).map(|y| (y, x + 1)),
                (x > 0).then(|| (y, x - 1)),
            ];
            for other in neighbours.into_iter().flatten().map(|at| labels[at]) {
                label = match (label, other) {
                    (label, 0) => label,
                    (0, other) => other,
                    (label, other) => union(&mut parents, label, other),
                };
            }
            if label == 0 {
                label = parents.len() as u32;
                parents.push(label);
            }
            labels[[y, x]] = label;
        }
        let mut numbers = vec![0; parents.len()];
        let mut areas: Vec<usize> = vec![];
        for label in labels.iter_mut().filter(|l| **l > 0) {
            let root = root(&mut parents, *label) as usize;
            if numbers[root] == 0 {
                areas.push(0);
                numbers[root] = areas.len() as u32;
            }
            *label = numbers[root];
            areas[*label as usize - 1] += 1;
        }
        Regions { labels, areas }
    }
}

fn root(parents: &mut [u32], mut label: u32) -> u32 {
    while parents[label as usize] != label {
        // Halving the path keeps it short.
        parents[label as usize] = parents[parents[label as usize] as usize];
        label = parents[label as usize];
    }
    label
}

fn union(parents: &mut [u32], a: u32, b: u32) -> u32 {
    let (a, b) = (root(parents, a), root(parents, b));
    let (low, high) = (a.min(b), a.max(b));
    parents[high as usize] = low;
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[&str]) -> Regions {
        let width = rows.first().map_or(0, |r| r.len());
        let set = rows.iter().flat_map(|r| r.bytes()).map(|b| b == b'#').collect();
        Regions::of(Array2::from_shape_vec((rows.len(), width), set).unwrap().view())
    }

    #[test]
    fn arms_that_meet_late_are_one_region() {
        let regions = of(&["#.#.#", "#.#.#", "#.###", "#....", "#####"]);
        assert_eq!(regions.areas, [9, 7]);
        assert_eq!(of(&["..#", "#.#", ".#."]).areas, [4]);
        assert_eq!(of(&["#.#", "...", "#.#"]).areas, [1, 1, 1, 1]);
    }

    #[test]
    fn regions_are_numbered_in_reading_order() {
        // The first pixels of two provisional labels that turn out to be one region.
        let regions = of(&["..#..#", ".#...#", "#....."]);
        assert_eq!(regions.areas, [3, 2]);
        assert_eq!(regions.labels[[0, 2]], 1);
        assert_eq!(regions.labels[[2, 0]], 1);
        assert_eq!(regions.labels[[1, 5]], 2);
    }

    #[test]
    fn nothing_has_no_region() {
        assert_eq!(of(&["...", "..."]).areas, [0usize; 0]);
        assert_eq!(of(&[]).areas, [0usize; 0]);
        assert_eq!(of(&["#"]).areas, [1]);
    }
}
