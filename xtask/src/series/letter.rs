// SPDX-License-Identifier: MIT OR Apache-2.0

//! The head of a patch in `patches/`: what a maintainer reads.
//!
//! ```text
//! # SPDX-License-Identifier: GPL-2.0
//! rust: sync: add RwSem
//!
//! Why there is such a change, and who uses it.
//! ---
//! A note that is not kept by `git am`.
//!
//! Adds: rust/kernel/sync/rwsem.rs
//!
//! --- a/rust/kernel/sync.rs
//! ```
//!
//! `Adds:` names files of the project that the patch carries, as [`Place`]s. The note is optional.

use anyhow::{Context, Result, ensure};

use crate::series::Identity;
use crate::series::place::Place;
use crate::source::begins_hunks;

/// Columns of a mail's text, so that quotes of it still fit a terminal.
const WIDTH: usize = 72;

/// The name of the lines about files of the project.
const ADDS: &str = "Adds:";

/// What ends the part of a mail that is kept.
const CUT: &str = "---";

/// The words of a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// `area: what is done`.
    pub(crate) subject: String,
    /// Why, with lines such as `Fixes:` at the end.
    body: String,
    /// What is not kept.
    note: String,
    /// Files of the project that belong to it.
    pub(crate) adds: Vec<Place>,
}

impl Letter {
    /// Reads the head of a patch.
    pub(crate) fn parse(patch: &str) -> Result<Self> {
        let head = patch.lines().take_while(|line| !begins_hunks(line));
        let mut adds = Vec::new();
        let mut words = Vec::new();
        for line in head.skip_while(|line| line.starts_with("# ")) {
            match line.strip_prefix(ADDS) {
                Some(place) => adds.push(Place::parse(place.trim())?),
                None => words.push(line.trim_end()),
            }
        }
        let words = words.join("\n");
        let (subject, rest) = words.split_once('\n').unwrap_or((&words, ""));
        let area = subject.split_once(": ").map_or("", |(area, _)| area);
        ensure!(
            !area.is_empty(),
            "the subject `{subject}` does not begin with an area, as in `kho: `"
        );
        ensure!(
            rest.is_empty() || rest.starts_with('\n'),
            "the line after the subject is not empty"
        );
        let (body, note) = match rest.split_once(&format!("\n{CUT}\n")) {
            Some((body, note)) => (body, note),
            None => (rest, ""),
        };
        ensure!(!body.trim().is_empty(), "the body is empty: it says why, and who uses it");
        // Lines of a note and of a quotation may be what they are.
        let long = Some(subject).filter(|subject| subject.chars().count() > WIDTH);
        let long = long.or_else(|| body.lines().find(|line| is_long(line)));
        ensure!(long.is_none(), "longer than {WIDTH} columns: `{}`", long.unwrap_or_default());
        let [subject, body, note] = [subject, body, note].map(|part| part.trim().to_owned());
        Ok(Self { subject, body, note, adds })
    }

    /// The message of the commit.
    pub(crate) fn message(&self, author: &Identity) -> String {
        let last = self.body.rsplit("\n\n").next().unwrap_or_default();
        let gap = if last.lines().all(is_trailer) { "\n" } else { "\n\n" };
        let note = match self.note.as_str() {
            "" => String::new(),
            note => format!("{CUT}\n{note}\n"),
        };
        let Self { subject, body, .. } = self;
        format!("{subject}\n\n{body}{gap}Signed-off-by: {author}\n{note}")
    }
}

/// A line of text that wants to be wrapped: not an indented one, and not a line such as `Fixes:`.
fn is_long(line: &str) -> bool {
    line.chars().count() > WIDTH && !line.starts_with(' ') && !is_trailer(line)
}

/// A line such as `Fixes: ` or `Link: `.
fn is_trailer(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(name, _)| {
        name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
    })
}

/// The letter in front of the series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cover {
    /// What the series is about.
    pub(crate) subject: String,
    /// The text.
    pub(crate) text: String,
}

impl Cover {
    /// Reads `patches/cover-letter.md`: a comment with the licence, the subject, the text.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = match text.strip_prefix("<!--") {
            Some(rest) => rest.split_once("-->").context("a comment does not end")?.1,
            None => text,
        };
        let (subject, text) =
            text.trim().split_once("\n\n").context("no text below the subject")?;
        ensure!(!subject.contains('\n'), "the subject has more than one line");
        Ok(Self { subject: subject.to_owned(), text: text.trim().to_owned() })
    }

    /// Puts the words into the empty letter that git makes.
    pub(crate) fn fill(&self, empty: &str) -> Result<String> {
        let mut letter = empty.to_owned();
        for (mark, words) in [(SUBJECT, &self.subject), (BLURB, &self.text)] {
            ensure!(letter.matches(mark).count() == 1, "git's cover letter has no `{mark}`");
            letter = letter.replace(mark, words);
        }
        Ok(letter)
    }
}

/// Where git's empty cover letter wants the subject and the text.
const SUBJECT: &str = "*** SUBJECT HERE ***";
const BLURB: &str = "*** BLURB HERE ***";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATCH: &str = "# SPDX-License-Identifier: GPL-2.0\nkho: mend it\n\nBecause.\n\n\
                         Fixes: 0123456789ab (\"kho: break it\")\n---\nA note.\n\nAdds: a/b.c\n\
                         Adds: a/d/\n\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-Adds: z\n+y\n";

    fn author() -> Identity {
        Identity { name: "A Person".into(), email: "a@example.org".into() }
    }

    #[test]
    fn a_head_has_words_and_places() {
        let letter = Letter::parse(PATCH).unwrap();
        assert_eq!(
            letter.adds.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a/b.c", "a/d/"]
        );
        insta::assert_snapshot!(letter.message(&author()), @r#"
        kho: mend it

        Because.

        Fixes: 0123456789ab ("kho: break it")
        Signed-off-by: A Person <a@example.org>
        ---
        A note.
        "#);
        let plain = Letter::parse("kho: mend it\n\nBecause.\n").unwrap();
        assert_eq!(
            plain.message(&author()),
            "kho: mend it\n\nBecause.\n\nSigned-off-by: A Person <a@example.org>\n"
        );
    }

    #[test]
    fn heads_that_maintainers_would_send_back_are_refused() {
        let error = |patch: &str| Letter::parse(patch).unwrap_err().to_string();
        assert!(error("mend it\n\nBecause.\n").contains("area"));
        assert!(error("kho: mend it\nBecause.\n").contains("not empty"));
        assert!(error("kho: mend it\n\nAdds: a\n").contains("says why"));
        let long = "x ".repeat(40);
        assert!(error(&format!("kho: mend it\n\n{long}\n")).contains("72 columns"));
        assert!(Letter::parse(&format!("kho: mend it\n\nThus:\n\n  {long}\n")).is_ok());
        assert!(error("kho: mend it\n\nBecause.\n\nAdds: /x\n").contains("no place"));
    }

    #[test]
    fn a_cover_letter_is_filled() {
        let cover = Cover::parse("<!-- SPDX -->\nthe subject\n\nThe text.\n\nMore.\n").unwrap();
        let empty = "Subject: [PATCH 0/2] *** SUBJECT HERE ***\n\n*** BLURB HERE ***\n\nstat\n";
        assert_eq!(
            cover.fill(empty).unwrap(),
            "Subject: [PATCH 0/2] the subject\n\nThe text.\n\nMore.\n\nstat\n"
        );
        assert!(cover.fill("Subject: x\n").is_err());
        assert!(Cover::parse("only a subject").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "(?s).*") {
            let _ = Letter::parse(&text);
            let _ = Cover::parse(&text);
        }
    }
}
