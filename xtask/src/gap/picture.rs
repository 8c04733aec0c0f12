// SPDX-License-Identifier: MIT OR Apache-2.0

//! The gaps as a picture: a bar for each guest, with a colour for each phase.

use svg::Document;
use svg::node::Comment;
use svg::node::element::{Group, Rectangle, Text, Title};

use super::Gap;

/// Colours of the phases, in order; all can be told apart by people who see few colours.
const COLOURS: [&str; 6] = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"];

const WIDTH: f64 = 900.0;
const LEFT: f64 = 140.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 60.0;
const BAR: f64 = 26.0;
const ROW: f64 = 40.0;

fn text(content: String, x: f64, y: f64, anchor: &str) -> Text {
    Text::new(content).set("x", x).set("y", y).set("text-anchor", anchor)
}

/// The picture, as SVG.
pub(crate) fn picture(gaps: &[Gap], title: &str) -> String {
    let longest = gaps.iter().map(|gap| gap.whole().as_secs_f64()).fold(0.001, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / longest;
    let mut all = Group::new().set("font-family", "sans-serif").set("font-size", 13);
    all = all.add(Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "white"));
    all = all.add(text(title.to_owned(), LEFT, 24.0, "start").set("font-weight", "bold"));
    let mut y = TOP - 14.0;
    for gap in gaps {
        all = all.add(text(gap.guest.to_owned(), LEFT - 10.0, y + 18.0, "end"));
        let mut x = LEFT;
        for (phase, colour) in gap.phases.iter().zip(COLOURS) {
            let width = phase.took.as_secs_f64() * scale;
            let label = format!("{}: {} ms", phase.name, phase.took.as_millis());
            let bar = Rectangle::new()
                .set("x", round(x))
                .set("y", y)
                .set("width", round(width))
                .set("height", BAR)
                .set("fill", colour);
            all = all.add(bar.add(Title::new(label)));
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
        let square =
            Rectangle::new().set("x", x).set("y", y + 4.0).set("width", 12).set("height", 12);
        all = all.add(square.set("fill", colour));
        all = all.add(text(name.to_owned(), x + 17.0, y + 15.0, "start"));
        x += 17.0 + 7.5 * f64::from(u8::try_from(name.len()).unwrap_or(u8::MAX)) + 12.0;
    }
    let height = y + 32.0;
    let document = Document::new()
        .add(Comment::new("SPDX-License-Identifier: MIT OR Apache-2.0"))
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .add(all);
    format!("{document}\n")
}

/// Tenths are enough, and equal runs give equal files.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
