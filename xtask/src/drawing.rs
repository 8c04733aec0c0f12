// SPDX-License-Identifier: MIT OR Apache-2.0

//! What pictures of bars share.

use svg::Document;
use svg::node::Comment;
use svg::node::element::{Group, Rectangle, Text, Title};

/// Colours of the parts of a bar, in order; all can be told apart by people who see few colours.
pub(crate) const COLOURS: [&str; 6] =
    ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"];

/// An empty picture, in which text has this size.
pub(crate) fn sheet(font_size: u32) -> Group {
    let sheet = Group::new().set("font-family", "sans-serif").set("font-size", font_size);
    sheet.add(Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "white"))
}

/// A line of text, of which `anchor` is at this place.
pub(crate) fn text(content: impl Into<String>, x: f64, y: f64, anchor: &str) -> Text {
    Text::new(content.into()).set("x", x).set("y", y).set("text-anchor", anchor)
}

/// A part of a bar, from `x` on, with what is shown of it under the pointer.
pub(crate) fn part(
    x: f64,
    y: f64,
    [width, height]: [f64; 2],
    colour: &str,
    label: String,
) -> Rectangle {
    let part = Rectangle::new()
        .set("x", round(x))
        .set("y", y)
        .set("width", round(width))
        .set("height", height)
        .set("fill", colour);
    part.add(Title::new(label))
}

/// The square of a colour in the legend.
pub(crate) fn square(x: f64, y: f64, colour: &str) -> Rectangle {
    let square = Rectangle::new().set("x", x).set("y", y).set("width", 12).set("height", 12);
    square.set("fill", colour)
}

/// The whole picture, as SVG.
pub(crate) fn document(sheet: Group, width: f64, height: f64) -> String {
    let document = Document::new()
        .add(Comment::new("SPDX-License-Identifier: MIT OR Apache-2.0"))
        .set("viewBox", (0.0, 0.0, width, height))
        .add(sheet);
    format!("{document}\n")
}

/// Tenths are enough, and equal runs give equal files.
pub(crate) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
