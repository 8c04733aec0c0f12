// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the image of a kernel says, and whether this kernel can take over: `target IMAGE [FORMAT]...`.

use std::error::Error;
use std::fs::File;

use luod::target::{self, Format, Limits, Source, Verdict};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path =
        arguments.next().ok_or("give the path of an image, and formats that are handed over")?;
    let handed_over = arguments.map(|name| name.parse()).collect::<Result<Vec<Format>, _>>()?;
    let limits = Limits::default();
    let image =
        target::load(&File::open(&path)?, &limits).map_err(|error| format!("{path}: {error}"))?;
    let facts = target::read(&image, &limits);
    println!("layers        {}", facts.layers);
    if let Some(architecture) = facts.architecture {
        println!("architecture  {architecture}");
    }
    println!("release       {}", facts.release.as_deref().unwrap_or("unknown"));
    if let Some(cmdline) = &facts.cmdline {
        println!("command line  {cmdline}");
    }
    println!(
        "configuration {}",
        if facts.config.is_some() { "in the image" } else { "not in the image" }
    );
    if let Some(unread) = &facts.unread {
        println!("not read      {unread}");
    }
    for (format, source) in facts.formats.iter() {
        println!(
            "format        {format}{}",
            if source == Source::Section { " (section)" } else { "" }
        );
    }
    match target::compare(&handed_over, &facts) {
        Verdict::Yes => println!("yes"),
        Verdict::No(refusals) => refusals.iter().for_each(|refusal| println!("no: {refusal}")),
        Verdict::Unknown(doubts) => doubts.iter().for_each(|doubt| println!("unknown: {doubt}")),
    }
    Ok(())
}
