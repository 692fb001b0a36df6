//! What an expression of PromQL speaks of: series with their matchers, and the labels that it groups by.

use std::collections::BTreeSet;

/// A series that is selected.
#[derive(Debug, PartialEq, Eq)]
pub struct Selector<'a> {
    pub name: &'a str,
    /// Label, operator, value.
    pub matchers: Vec<(&'a str, &'a str, &'a str)>,
}

#[derive(Debug, Default)]
pub struct Expression<'a> {
    pub selectors: Vec<Selector<'a>>,
    /// The labels of each `by (..)`, `on (..)` and the like.
    pub groupings: Vec<BTreeSet<&'a str>>,
}

impl<'a> Expression<'a> {
    /// All labels that it groups by.
    pub fn grouped(&self) -> BTreeSet<&'a str> {
        self.groupings.iter().flatten().copied().collect()
    }
}

const QUOTES: [char; 2] = ['"', '`'];

const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$')
}

/// Reads an expression. It need not be a valid one: other tools see to that.
pub fn read(mut rest: &str) -> Expression<'_> {
    let mut found = Expression::default();
    while let Some(start) = rest.find(|c: char| is_word(c) || c == '[' || QUOTES.contains(&c)) {
        rest = &rest[start..];
        if let Some(open) = rest.chars().next().filter(|c| !is_word(*c)) {
            let close = if open == '[' { ']' } else { open };
            rest = rest[1..].split_once(close).map_or("", |(_, rest)| rest);
            continue;
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let next = after.trim_start();
        rest = after;
        if GROUPING.contains(&word) && next.starts_with('(') {
            let (labels, after) = next[1..].split_once(')').unwrap_or((next, ""));
            found.groupings.push(labels.split(',').map(str::trim).filter(|label| !label.is_empty()).collect());
            rest = after;
        } else if let Some(matchers) = next.strip_prefix('{') {
            let (matchers, after) = read_matchers(matchers);
            found.selectors.push(Selector { name: word, matchers });
            rest = after;
        } else if !next.starts_with('(') && !word.starts_with('$') && word.contains(['_', ':']) {
            found.selectors.push(Selector { name: word, matchers: Vec::new() });
        }
    }
    found
}

fn read_matchers(mut rest: &str) -> (Vec<(&str, &str, &str)>, &str) {
    let mut matchers = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ', '\n']);
        if let Some(after) = rest.strip_prefix('}') {
            return (matchers, after);
        }
        let Some(open) = rest.find(QUOTES) else { return (matchers, "") };
        let (left, quoted) = rest.split_at(open);
        let Some((value, after)) = quoted[1..].split_once(&quoted[..1]) else { return (matchers, "") };
        let operator = left.find(['=', '!']).unwrap_or(left.len());
        matchers.push((left[..operator].trim(), left[operator..].trim(), value));
        rest = after;
    }
}

#[test]
fn an_expression_is_read() {
    let text = r#"histogram_quantile(0.5, sum by (le, tool) (rate(a_bucket{job=~"$job", tool!="x|y", of=~`"}`}[5m]))) / on (job) b:c_d > 2 and up_x"#;
    let found = read(text);
    let names: Vec<_> = found.selectors.iter().map(|selector| selector.name).collect();
    assert_eq!(names, ["a_bucket", "b:c_d", "up_x"]);
    assert_eq!(found.selectors[0].matchers, [("job", "=~", "$job"), ("tool", "!=", "x|y"), ("of", "=~", "\"}")]);
    assert_eq!(found.groupings, [BTreeSet::from(["le", "tool"]), BTreeSet::from(["job"])]);
    assert_eq!(found.grouped(), BTreeSet::from(["job", "le", "tool"]));
}
