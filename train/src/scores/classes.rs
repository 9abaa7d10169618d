//! Scores of predicted classes. Classes are numbered from 0; in a task of two classes, class 1 is the positive one.

/// How often each pair (label, prediction) occurred.
#[derive(Clone, Debug)]
pub struct Confusion {
    /// `counts[label * classes + prediction]`.
    counts: Vec<u64>,
    classes: usize,
}

impl Confusion {
    /// Counts pairs of labels and predictions, one an example.
    ///
    /// # Panics
    /// If the two lists have different lengths.
    pub fn new(labels: &[u32], predictions: &[u32]) -> Self {
        assert_eq!(labels.len(), predictions.len(), "every example has one label and one prediction");
        let classes = labels.iter().chain(predictions).map(|&class| class as usize + 1).max().unwrap_or(0);
        let mut counts = vec![0; classes * classes];
        for (&label, &prediction) in labels.iter().zip(predictions) {
            counts[label as usize * classes + prediction as usize] += 1;
        }
        Self { counts, classes }
    }

    fn count(&self, label: usize, prediction: usize) -> u64 {
        if label < self.classes && prediction < self.classes {
            self.counts[label * self.classes + prediction]
        } else {
            0
        }
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn right(&self) -> u64 {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    /// The share of examples whose class was predicted; NaN where there are none.
    pub fn accuracy(&self) -> f64 {
        self.right() as f64 / self.total() as f64
    }

    /// The harmonic mean of precision and recall of class 1; 0 where class 1 neither occurred nor was predicted.
    pub fn f1(&self) -> f64 {
        let hits = self.count(1, 1);
        let labelled: u64 = (0..self.classes).map(|class| self.count(1, class)).sum();
        let predicted: u64 = (0..self.classes).map(|class| self.count(class, 1)).sum();
        if labelled + predicted == 0 { 0.0 } else { 2.0 * hits as f64 / (labelled + predicted) as f64 }
    }

    /// Matthews' correlation of labels and predictions, between -1 and 1; 0 where either is constant.
    ///
    /// For any number of classes as R_K of Gorodkin, "Comparing two K-category assignments by a K-category correlation
    /// coefficient" (2004); for two classes it is the phi coefficient.
    pub fn matthews(&self) -> f64 {
        let (n, right) = (self.total() as f64, self.right() as f64);
        let mut dot = 0.0;
        let mut labelled_squares = 0.0;
        let mut predicted_squares = 0.0;
        for class in 0..self.classes {
            let labelled: u64 = (0..self.classes).map(|other| self.count(class, other)).sum();
            let predicted: u64 = (0..self.classes).map(|other| self.count(other, class)).sum();
            dot += labelled as f64 * predicted as f64;
            labelled_squares += (labelled as f64).powi(2);
            predicted_squares += (predicted as f64).powi(2);
        }
        let scale = (n * n - labelled_squares) * (n * n - predicted_squares);
        if scale > 0.0 { (right * n - dot) / scale.sqrt() } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_counted_table() {
        // Two true positives, one false positive, one false negative, one true negative.
        let confusion = Confusion::new(&[1, 1, 0, 1, 0], &[1, 1, 1, 0, 0]);
        assert_eq!(confusion.accuracy(), 3.0 / 5.0);
        assert_eq!(confusion.f1(), 4.0 / 6.0);
        assert!(
            (confusion.matthews() - (2.0 * 1.0 - 1.0 * 1.0) / (3.0f64 * 3.0 * 2.0 * 2.0).sqrt()).abs()
                < 1e-15
        );
    }

    #[test]
    fn constants_and_nothing_have_no_correlation() {
        assert_eq!(Confusion::new(&[0, 1, 1], &[1, 1, 1]).matthews(), 0.0);
        assert_eq!(Confusion::new(&[1, 1], &[0, 1]).matthews(), 0.0);
        let nothing = Confusion::new(&[], &[]);
        assert!(nothing.accuracy().is_nan());
        assert_eq!((nothing.f1(), nothing.matthews()), (0.0, 0.0));
    }

    #[test]
    fn the_positive_class_may_be_missing() {
        assert_eq!(Confusion::new(&[0, 0], &[0, 0]).f1(), 0.0);
        assert_eq!(Confusion::new(&[0, 0], &[0, 1]).f1(), 0.0);
    }
}
