//! A logarithmic axis, from left to right.

use super::drawing::{Anchor, Drawing};

pub(super) struct Axis {
    left: f64,
    width: f64,
    low: i32,
    high: i32,
}

impl Axis {
    /// Whole powers of ten around all figures.
    pub(super) fn around(left: f64, width: f64, figures: impl Iterator<Item = f64>) -> Self {
        let (least, most) = figures
            .filter(|figure| *figure > 0.0)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(l, m), figure| (l.min(figure), m.max(figure)));
        let low = least.min(most).log10().floor() as i32;
        let high = most.log10().ceil() as i32;
        Self { left, width, low, high: high.max(low + 1) }
    }

    pub(super) fn place(&self, figure: f64) -> f64 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let share = (figure.max(f64::MIN_POSITIVE).log10() - low) / (high - low);
        self.left + share.clamp(0.0, 1.0) * self.width
    }

    /// A line for each power of ten.
    pub(super) fn draw(
        &self,
        drawing: &mut Drawing,
        top: f64,
        bottom: f64,
        label: impl Fn(f64) -> String,
    ) {
        for power in self.low..=self.high {
            let x = self.place(10_f64.powi(power));
            drawing.rule(x, top, bottom);
            let label = label(10_f64.powi(power));
            drawing.text(x, bottom + 14.0, Anchor::Middle, 11, &label);
        }
    }
}
