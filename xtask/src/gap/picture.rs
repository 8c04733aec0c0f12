// SPDX-License-Identifier: MIT OR Apache-2.0

//! The gaps as a picture: a bar for each guest, with a colour for each phase.

use super::Gap;
use crate::drawing::{COLOURS, document, part, sheet, square, text};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 140.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 60.0;
const BAR: f64 = 26.0;
const ROW: f64 = 40.0;

/// The picture, as SVG.
pub(crate) fn picture(gaps: &[Gap], title: &str) -> String {
    let longest = gaps.iter().map(|gap| gap.whole().as_secs_f64()).fold(0.001, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / longest;
    let mut all = sheet(13);
    all = all.add(text(title.to_owned(), LEFT, 24.0, "start").set("font-weight", "bold"));
    let mut y = TOP - 14.0;
    for gap in gaps {
        all = all.add(text(gap.guest.to_owned(), LEFT - 10.0, y + 18.0, "end"));
        let mut x = LEFT;
        for (phase, colour) in gap.phases.iter().zip(COLOURS) {
            let width = phase.took.as_secs_f64() * scale;
            let label = format!("{}: {} ms", phase.name, phase.took.as_millis());
            all = all.add(part(x, y, [width, BAR], colour, label));
            x += width;
        }
        all = all.add(text(
            format!("{:.1} s", gap.whole().as_secs_f64()),
            x + 8.0,
            y + 18.0,
            "start",
        ));
        y += ROW;
    }
    let names = gaps.first().map(|gap| gap.phases.iter().map(|phase| phase.name));
    let mut x = LEFT;
    for (name, colour) in names.into_iter().flatten().zip(COLOURS) {
        all = all.add(square(x, y + 4.0, colour));
        all = all.add(text(name.to_owned(), x + 17.0, y + 15.0, "start"));
        x += 17.0 + 7.5 * f64::from(u8::try_from(name.len()).unwrap_or(u8::MAX)) + 12.0;
    }
    document(all, WIDTH, y + 32.0)
}
