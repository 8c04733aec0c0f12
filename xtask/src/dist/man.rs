// SPDX-License-Identifier: MIT OR Apache-2.0

//! Manual pages: one for each function of the header, made from what it says there.

use std::fmt::Write as _;

/// A function of the header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Its declaration, in lines, behind those of the structures that it fills.
    prototype: String,
    /// Paragraphs of its description.
    paragraphs: Vec<String>,
}

/// The text before the duties of the caller.
const NEEDED: &str = "Needed:";

/// The functions of a header, in its order.
pub(super) fn functions(header: &str) -> Vec<Function> {
    // Behind each comment follows what it describes; only functions end with `);`.
    let described = header.split("/**\n").skip(1).filter_map(|rest| rest.split_once(" */\n"));
    let function = |(comment, rest): (&str, &str)| {
        let prototype = &rest[..rest.find(");")? + 2];
        let name = prototype.split('(').next()?.rsplit([' ', '*']).next()?;
        let is_function = !prototype.contains(['{', '#']) && !prototype.starts_with("typedef");
        is_function.then(|| Function {
            name: name.into(),
            // The comment explains the meaning of an integer.
            prototype: definitions(header, &format!("{prototype}{comment}")) + prototype,
            paragraphs: paragraphs(comment),
        })
    };
    described.filter_map(function).collect()
}

/// The definitions of all types that `text` names, and of those that these name, if the header has
/// them.
fn definitions(header: &str, text: &str) -> String {
    let mut all = String::new();
    for kind in ["struct ", "enum "] {
        for (at, _) in text.match_indices(kind) {
            let rest = text.get(at..).unwrap_or_default();
            let name = rest.get(kind.len()..).unwrap_or_default();
            let name = name.split(|c: char| !(c.is_alphanumeric() || c == '_')).next();
            let begin = format!("\n{kind}{} {{\n", name.unwrap_or_default());
            let Some(definition) = header.find(&begin).and_then(|at| header.get(at + 1..)) else {
                continue;
            };
            let body = definition.split_inclusive("};\n").next().unwrap_or_default();
            let is_code = |line: &&str| !line.trim_start().starts_with(['/', '*']);
            let code: Vec<&str> = body.lines().filter(is_code).collect();
            let code = code.join("\n");
            // Behind the first line, which names the type itself.
            let inner = code.split_once('\n').map_or("", |(_, inner)| inner);
            for part in [definitions(header, inner), format!("{code}\n\n")] {
                if !all.contains(&part) {
                    all += &part;
                }
            }
        }
    }
    all
}

/// The text of the header before its first declaration, as list items.
pub(super) fn rules(header: &str) -> String {
    let comment = header.split("/**\n").nth(1).and_then(|rest| rest.split_once(" */\n"));
    let text = comment.map(|(text, _)| paragraphs(text)).unwrap_or_default();
    let items = text.iter().filter_map(|paragraph| paragraph.strip_prefix("- "));
    let items = items.flat_map(|list| list.split(" - "));
    let mut page = String::new();
    for item in items {
        let _ = writeln!(page, ".IP \\(bu 3\n{}", inline(item));
    }
    page.trim_end().into()
}

/// All functions, with what they are for.
pub(super) fn list(functions: &[Function]) -> String {
    let mut page = String::new();
    for function in functions {
        let _ = writeln!(page, ".TP\n.BR {} (3)\n{}", function.name, inline(&function.about()));
    }
    page.trim_end().into()
}

/// The paragraphs of a comment, each in one line.
fn paragraphs(comment: &str) -> Vec<String> {
    let lines = comment.lines().map(|line| line.trim_start_matches(" *").trim());
    let text = lines.collect::<Vec<_>>().join("\n");
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.trim().replace('\n', " "));
    paragraphs.filter(|paragraph| !paragraph.is_empty()).collect()
}

impl Function {
    /// The first sentence, without its full stop.
    fn about(&self) -> String {
        let first = self.paragraphs.first().map(String::as_str).unwrap_or_default();
        first.split(". ").next().unwrap_or_default().trim_end_matches('.').into()
    }

    /// The manual page.
    pub(super) fn page(&self, version: &str) -> String {
        let name = &self.name;
        let about = inline(&self.about());
        let mut page = format!(
            ".\\\" SPDX-License-Identifier: MIT OR Apache-2.0\n\
             .TH {} 3 \"\" \"liblu {version}\" \"Live updates\"\n\
             .SH NAME\n{name} \\- {about}\n\
             .SH SYNOPSIS\n.nf\n.B #include <liblu.h>\n.PP\n{}\n.fi\n",
            name.to_uppercase(),
            self.prototype.replace('\\', "\\e"),
        );
        let (mut errors, mut needed) = (String::new(), String::new());
        let mut is_needed = false;
        page += ".SH DESCRIPTION\n";
        for (index, paragraph) in self.paragraphs.iter().enumerate() {
            if paragraph == NEEDED {
                is_needed = true;
            } else if is_needed {
                let _ = writeln!(needed, "{}", inline(paragraph));
            } else if paragraph.starts_with("-E") {
                errors += &terms(paragraph);
            } else {
                let gap = if index == 0 { "" } else { ".PP\n" };
                let _ = writeln!(page, "{gap}{}", inline(paragraph));
            }
        }
        for (title, text) in [("ERRORS", errors), ("CAVEATS", needed)] {
            if !text.is_empty() {
                let _ = write!(page, ".SH {title}\n{text}");
            }
        }
        page + ".SH SEE ALSO\n.BR liblu (7)\n"
    }
}

/// `-EBUSY: held. -EIO: lost. The rest is known.` as a list of terms, and a paragraph.
fn terms(paragraph: &str) -> String {
    let mut page = String::new();
    let mut is_term = false;
    for sentence in paragraph.split_inclusive(". ") {
        let sentence = sentence.trim();
        let term = sentence.strip_prefix("-E").and_then(|_| sentence.split_once(": "));
        match term {
            Some((numbers, meaning)) => {
                let _ = writeln!(page, ".TP\n.B {}\n{}", escape(numbers), inline(meaning));
                is_term = true;
            }
            None if is_term => {
                let _ = writeln!(page, ".PP\n{}", inline(sentence));
                is_term = false;
            }
            None => {
                let _ = writeln!(page, "{}", inline(sentence));
            }
        }
    }
    page
}

/// Text of a paragraph: code is bold.
fn inline(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(index, part)| match index % 2 {
        0 => escape(part),
        _ => match part.strip_suffix("()").filter(|name| name.starts_with("liblu_")) {
            Some(name) => format!("\\fB{}\\fP(3)", escape(name)),
            None => format!("\\fB{}\\fP", escape(part)),
        },
    });
    let line = parts.collect::<String>();
    // These would begin a request.
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "/**
 * The interface.
 *
 * Rules:
 *
 * - One, with
 *   two lines.
 * - Two.
 */
#ifndef X
/**
 * A thing.
 */
struct liblu_x;

/**
 * A hook.
 */
typedef void (*liblu_hook)(int x);

/**
 * Gets a `thing`. It is
 * new.
 *
 * -EBUSY: held. -EIO, -EPERM: lost. The rest as `x()`.
 *
 * Needed:
 *
 * `x` must be open.
 */
struct liblu_x *liblu_get(int x,
                    int y);
";

    #[test]
    fn a_page_has_what_the_header_says() {
        let functions = functions(HEADER);
        assert_eq!(functions.len(), 1);
        assert_eq!(functions[0].name, "liblu_get");
        let page = functions[0].page("1.2.3");
        insta::assert_snapshot!(page, @r#"
        .\" SPDX-License-Identifier: MIT OR Apache-2.0
        .TH LIBLU_GET 3 "" "liblu 1.2.3" "Live updates"
        .SH NAME
        liblu_get \- Gets a \fBthing\fP
        .SH SYNOPSIS
        .nf
        .B #include <liblu.h>
        .PP
        struct liblu_x *liblu_get(int x,
                            int y);
        .fi
        .SH DESCRIPTION
        Gets a \fBthing\fP. It is new.
        .SH ERRORS
        .TP
        .B \-EBUSY
        held.
        .TP
        .B \-EIO, \-EPERM
        lost.
        .PP
        The rest as \fBx()\fP.
        .SH CAVEATS
        \fBx\fP must be open.
        .SH SEE ALSO
        .BR liblu (7)
        "#);
    }

    #[test]
    fn types_are_shown_where_they_are_used() {
        let header = "/**\n * One.\n */\nenum liblu_a {\n  /**\n   * X.\n   */\n  LIBLU_A_X,\n};\n\
                      /**\n * Two.\n */\nstruct liblu_b {\n  enum liblu_a a;\n  enum liblu_a b;\n};\n\
                      /**\n * Three, as `liblu_f()`.\n */\nint liblu_c(struct liblu_b *b, struct liblu_d *d);\n";
        let functions = functions(header);
        assert_eq!(
            functions[0].prototype,
            "enum liblu_a {\n  LIBLU_A_X,\n};\n\nstruct liblu_b {\n  enum liblu_a a;\n  enum liblu_a b;\n};\n\n\
             int liblu_c(struct liblu_b *b, struct liblu_d *d);"
        );
        assert!(functions[0].page("1").contains("Three, as \\fBliblu_f\\fP(3)."));
    }

    #[test]
    fn the_overview_has_rules_and_functions() {
        assert_eq!(rules(HEADER), ".IP \\(bu 3\nOne, with two lines.\n.IP \\(bu 3\nTwo.");
        assert_eq!(list(&functions(HEADER)), ".TP\n.BR liblu_get (3)\nGets a \\fBthing\\fP");
    }
}
