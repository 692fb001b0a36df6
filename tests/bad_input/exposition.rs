//! Prometheus's text format, read as strictly as it is written down.

use std::collections::{BTreeMap, BTreeSet};

/// All samples of a scrape, by name and labels.
pub type Samples = BTreeMap<String, BTreeMap<Vec<(String, String)>, f64>>;

/// Reads a whole scrape.
///
/// An error is anything that is not of the format: a line that cannot be read, a name or an escape that may not be, a label or a
/// series that is there twice, a sample that comes before its type, a type that comes twice, a label that is empty, or a value
/// with a control character in it.
pub fn parse(text: &str) -> Result<Samples, String> {
    let (mut samples, mut types) = (Samples::new(), BTreeMap::new());
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    for line in text.lines().filter(|line| !line.is_empty()) {
        read(line, &mut samples, &mut types).map_err(|why| format!("{why}: {line:.200}"))?;
    }
    Ok(samples)
}

fn read(line: &str, samples: &mut Samples, types: &mut BTreeMap<String, String>) -> Result<(), String> {
    if let Some(comment) = line.strip_prefix("# ") {
        if let Some((name, kind)) = comment.strip_prefix("TYPE ").and_then(|rest| rest.split_once(' ')) {
            if !["counter", "gauge", "histogram"].contains(&kind) || types.insert(name.to_owned(), kind.to_owned()).is_some() {
                return Err("a type that may not be".to_owned());
            }
        }
        return Ok(());
    }
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    let family = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    if !types.contains_key(family) && !types.contains_key(name) {
        return Err("a sample before its type".to_owned());
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.strip_prefix(' ').ok_or("no blank before the value")?.parse().map_err(|_| "no number")?;
    let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
    if names.len() < labels.len() {
        return Err("a label twice".to_owned());
    }
    match samples.entry(name.to_owned()).or_default().insert(labels, value) {
        None => Ok(()),
        Some(_) => Err("a series twice".to_owned()),
    }
}

type Labels = Vec<(String, String)>;

/// Labels up to their closing brace, sorted, and what comes after it.
fn labels(mut rest: &str) -> Result<(Labels, &str), String> {
    let mut labels = Vec::new();
    loop {
        let (name, quoted) = rest.split_once("=\"").ok_or("a label without a value")?;
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err("a label's name".to_owned());
        }
        let (value, after) = value(quoted)?;
        if value.is_empty() {
            return Err("an empty label".to_owned());
        }
        labels.push((name.to_owned(), value));
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None => {
                labels.sort();
                return Ok((labels, after.strip_prefix('}').ok_or("no end of the labels")?));
            }
        }
    }
}

/// A value up to its closing quote, and what comes after it.
fn value(quoted: &str) -> Result<(String, &str), String> {
    let (mut value, mut chars) = (String::new(), quoted.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"'))) => value.push(c),
                _ => return Err("an escape".to_owned()),
            },
            c if c.is_control() => return Err("a control character".to_owned()),
            c => value.push(c),
        }
    }
    Err("a value without an end".to_owned())
}

#[test]
fn what_is_not_of_the_format_is_refused() {
    let head = "# HELP a_total Some.\n# TYPE a_total counter\n";
    let whole = |lines: &str| parse(&format!("{head}{lines}"));
    assert_eq!(whole("a_total{x=\"a\\\"b\\n\",y=\"c\"} 1\na_total 2\n").unwrap()["a_total"].len(), 2);
    for bad in [
        "a_total{x=\"1\"} 1\na_total{x=\"1\"} 2\n",
        "a_total{x=\"1\",y=\"2\"} 1\na_total{y=\"2\",x=\"1\"} 2\n",
        "a_total{x=\"1\",x=\"2\"} 1\n",
        "a_total{x=\"a\nb\"} 1\n",
        "a_total{x=\"a\\tb\"} 1\n",
        "a_total{x=\"a\"b\"} 1\n",
        "a_total{x=\"\"} 1\n",
        "a_total{a.b=\"1\"} 1\n",
        "a_total{x=\"1\"}1\n",
        "a_total one\n",
        "b_total 1\n",
        "a_total 1",
        "# TYPE a_total gauge\n",
    ] {
        assert!(whole(bad).is_err(), "{bad:?}");
    }
}
