// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a file differs from what should be in it.

/// `heading`, and the lines that only one of two texts has; nothing if they are the same.
pub(super) fn difference(heading: &str, there: &str, made: &str) -> Vec<String> {
    if there == made {
        return Vec::new();
    }
    let only = |mark: char, text: &str, other: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !other.lines().any(|there| there == *line));
        lines.map(|line| format!("{mark}{line}")).collect()
    };
    let mut findings = vec![heading.to_owned()];
    findings.extend(only('-', there, made));
    findings.extend(only('+', made, there));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_by_line() {
        assert!(difference("x", "a\n", "a\n").is_empty());
        assert_eq!(difference("x", "a\nb\n", "a\nc\n"), ["x", "-b", "+c"]);
        // The same lines in another order.
        assert_eq!(difference("x", "a\nb\n", "b\na\n"), ["x"]);
    }
}
