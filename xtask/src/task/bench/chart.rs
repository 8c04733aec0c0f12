// SPDX-License-Identifier: MIT OR Apache-2.0

//! A picture of bars, one below the other, each with parts.

use crate::drawing::{COLOURS, document, part, round, sheet, square, text};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 80.0;
const BAR: f64 = 18.0;
const ROW: f64 = 24.0;

/// A bar.
pub(super) struct Bar {
    /// Its name.
    pub(super) label: String,
    /// The lengths of its parts, in the order of [`Chart::parts`].
    pub(super) parts: Vec<u64>,
    /// The number that is shown at its end.
    pub(super) whole: u64,
}

/// A picture of bars.
pub(super) struct Chart<'c> {
    /// The line above.
    pub(super) title: &'c str,
    /// The names of the parts.
    pub(super) parts: Vec<&'c str>,
    /// A bar is cut here: the others would not be seen beside it.
    pub(super) longest: u64,
    /// A length as text.
    pub(super) text: fn(u64) -> String,
    /// Bars that belong together.
    pub(super) groups: Vec<Vec<Bar>>,
}

impl Chart<'_> {
    /// The picture, as SVG.
    #[expect(clippy::cast_precision_loss, reason = "tenths of a point are drawn")]
    pub(super) fn render(&self) -> String {
        let scale = (WIDTH - LEFT - RIGHT) / self.longest as f64;
        let title = text(self.title, 10.0, 22.0, "start").set("font-weight", "bold");
        let mut all = sheet(12).add(title);
        let mut y = 40.0;
        for group in self.groups.iter().filter(|group| !group.is_empty()) {
            for bar in group {
                all = all.add(text(&*bar.label, LEFT - 8.0, y + 13.0, "end"));
                let mut done = 0;
                for ((length, name), colour) in bar.parts.iter().zip(&self.parts).zip(COLOURS) {
                    let shown = (*length).min(self.longest.saturating_sub(done));
                    let x = LEFT + done as f64 * scale;
                    let label = format!("{name}: {}", (self.text)(*length));
                    all = all.add(part(x, y, [shown as f64 * scale, BAR], colour, label));
                    done += shown;
                }
                let is_cut = bar.parts.iter().sum::<u64>() > self.longest;
                let end = LEFT + done as f64 * scale + 6.0;
                let number =
                    format!("{}{}", if is_cut { "… " } else { "" }, (self.text)(bar.whole));
                all = all.add(text(number, round(end), y + 13.0, "start"));
                y += ROW;
            }
            y += 6.0;
        }
        for (number, (name, colour)) in (0_u8..).zip(self.parts.iter().zip(COLOURS)) {
            let x = LEFT + 80.0 * f64::from(number);
            all = all.add(square(x, y, colour)).add(text(*name, x + 16.0, y + 11.0, "start"));
        }
        document(all, WIDTH, y + 24.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_that_is_too_long_is_cut() {
        let bar = |label: &str, parts: &[u64]| Bar {
            label: label.into(),
            parts: parts.into(),
            whole: parts.iter().sum(),
        };
        let groups = vec![vec![bar("long", &[70, 40]), bar("short", &[1, 2])], Vec::new()];
        let text = |length: u64| format!("{length} m");
        let chart =
            Chart { title: "Of all", parts: vec!["one", "two"], longest: 100, text, groups };
        let picture = chart.render();
        assert!(picture.contains("… 110 m") && picture.contains("two: 40 m"), "{picture}");
        assert!(picture.contains("3 m") && !picture.contains("… 3 m"), "{picture}");
        let (whole, shown) = (WIDTH - LEFT - RIGHT, [0.7, 0.3]);
        for part in shown {
            let width = format!("width=\"{}\"", round(whole * part));
            assert!(picture.contains(&width), "{width} in {picture}");
        }
    }
}
