//! The table that an experiment prints, and the line that says whether it holds.

use std::fmt::{self, Write};

/// The unit that a figure is told in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Share,
    Ratio,
    Seconds,
    Count,
}

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// One cell of a table: a number in its unit, with or without a bound.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    value: f64,
    unit: Unit,
    bound: Option<Bound>,
    /// As far as a miss is known.
    known: Option<f64>,
}

/// A part of the whole, told in per cent.
pub fn share(value: f64) -> Figure {
    Figure::new(value, Unit::Share)
}

/// How many times as much.
pub fn ratio(value: f64) -> Figure {
    Figure::new(value, Unit::Ratio)
}

/// A time; infinity is told as "never".
pub fn seconds(value: f64) -> Figure {
    Figure::new(value, Unit::Seconds)
}

/// A number of things.
#[expect(clippy::cast_precision_loss, reason = "no experiment counts to 2^52")]
pub fn count(value: usize) -> Figure {
    Figure::new(value as f64, Unit::Count)
}

impl Figure {
    const fn new(value: f64, unit: Unit) -> Self {
        Self { value, unit, bound: None, known: None }
    }

    /// Missed where the value is below `least`.
    pub fn at_least(self, least: f64) -> Self {
        Self { bound: Some(Bound::AtLeast(least)), ..self }
    }

    /// Missed where the value is above `most`.
    pub fn at_most(self, most: f64) -> Self {
        Self { bound: Some(Bound::AtMost(most)), ..self }
    }

    /// A miss that is known, up to this value: it is printed as missed all the same, and does not fail the test. The README says
    /// what was tried.
    pub fn known_miss(self, up_to: f64) -> Self {
        Self { known: Some(up_to), ..self }
    }

    /// Whether the bound is held, or missed no further than is known.
    fn is_known(&self) -> bool {
        match (self.bound, self.known) {
            (Some(Bound::AtLeast(_)), Some(least)) => self.value >= least,
            (Some(Bound::AtMost(_)), Some(most)) => self.value <= most,
            _ => false,
        }
    }

    /// By how much the bound is missed, if it is. A value that is no number holds nothing.
    fn missed(&self) -> Option<f64> {
        let by = match self.bound? {
            Bound::AtLeast(least) => least - self.value,
            Bound::AtMost(most) => self.value - most,
        };
        (by > 0.0 || by.is_nan()).then_some(by)
    }

    fn told(&self, value: f64) -> String {
        match self.unit {
            _ if value.is_infinite() => "never".to_owned(),
            Unit::Share => format!("{:.2} %", value * 100.0),
            Unit::Ratio => format!("{value:.3}"),
            Unit::Seconds => format!("{value:.3} s"),
            Unit::Count => format!("{value:.0}"),
        }
    }
}

/// The value, and what it must be.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(self.value))?;
        match self.bound {
            Some(Bound::AtLeast(least)) => write!(f, " (>= {})", self.told(least)),
            Some(Bound::AtMost(most)) => write!(f, " (<= {})", self.told(most)),
            None => Ok(()),
        }
    }
}

/// Which of an experiment's three tests a table is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Seconds, even in debug: `short T3: ...`.
    Short,
    /// All of it: `T3: ...`.
    Whole,
    /// With a planted defect, which must come out as missed: `planted T3: missed (...)`.
    Planted,
}

/// What an experiment measured.
pub struct Table {
    name: &'static str,
    run: Run,
    title: String,
    columns: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    figures: Vec<Figure>,
}

impl Table {
    /// An empty table of experiment `name` ("T3").
    pub fn new(run: Run, name: &'static str, title: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { name, run, title: title.into(), columns, rows: Vec::new() }
    }

    /// Adds a row: a figure per column, or fewer where the last columns do not apply.
    pub fn row(&mut self, name: impl Into<String>, figures: impl IntoIterator<Item = Figure>) {
        let row = Row { name: name.into(), figures: figures.into_iter().collect() };
        assert!(row.figures.len() <= self.columns.len(), "{}: more figures than columns", row.name);
        self.rows.push(row);
    }

    /// Each bound that was missed: where, by how much, and whether that was known.
    fn misses(&self) -> Vec<(String, bool)> {
        let missed = |row: &Row, column: &String, figure: &Figure| {
            let by = figure.told(figure.missed()?);
            Some((format!("{}: {column} {figure}, by {by}", row.name), figure.is_known()))
        };
        let of_row = |row| Row::named(row, &self.columns).filter_map(move |(column, figure)| missed(row, column, figure));
        self.rows.iter().flat_map(of_row).collect()
    }

    /// The table as it is printed. It begins with a newline, since libtest may have begun a line of its own.
    fn text(&self) -> String {
        let bounded = self.rows.iter().flat_map(|row| &row.figures).any(|figure| figure.bound.is_some());
        let head = std::iter::once(String::new()).chain(self.columns.iter().cloned()).chain([String::new()]).collect();
        let mut lines: Vec<Vec<String>> = vec![head];
        for row in &self.rows {
            let mut line = vec![row.name.clone()];
            line.extend(row.figures.iter().map(Figure::to_string));
            line.resize(self.columns.len() + 1, String::new());
            line.push(row.outcome().to_owned());
            lines.push(line);
        }
        let width = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len() + 2).map(width).collect();
        let mut text = format!("\n{} {}\n", self.label(), self.title);
        for line in lines {
            let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        let misses: Vec<String> = self.misses().into_iter().map(|(miss, _)| miss).collect();
        let _ = match misses.as_slice() {
            _ if !bounded => writeln!(text, "{}: missed (nothing was bounded)", self.label()),
            [] => writeln!(text, "{}: holds", self.label()),
            misses => writeln!(text, "{}: missed ({})", self.label(), misses.join("; ")),
        };
        text
    }

    fn label(&self) -> String {
        match self.run {
            Run::Short => format!("short {}", self.name),
            Run::Whole => self.name.to_owned(),
            Run::Planted => format!("planted {}", self.name),
        }
    }

    /// Prints the table in one go. Fails the test where a bound is missed that is not known to be, or where a planted defect
    /// went unnoticed: a miss that is known is no sign of it.
    #[track_caller]
    pub fn finish(self) {
        print!("{}", self.text());
        self.judge();
    }

    #[track_caller]
    fn judge(&self) {
        let misses = self.misses();
        let unknown: Vec<&String> = misses.iter().filter(|(_, known)| !known).map(|(miss, _)| miss).collect();
        match self.run {
            Run::Planted => assert!(!unknown.is_empty(), "{}: the planted defect was not noticed", self.name),
            Run::Short | Run::Whole => {
                assert!(unknown.is_empty(), "{}: missed {unknown:?}", self.name);
                let bounded = self.rows.iter().flat_map(|row| &row.figures).any(|figure| figure.bound.is_some());
                assert!(bounded, "{}: a table without a bound cannot fail", self.name);
            }
        }
    }
}

impl Row {
    fn named<'a>(row: &'a Self, columns: &'a [String]) -> impl Iterator<Item = (&'a String, &'a Figure)> {
        columns.iter().zip(&row.figures)
    }

    fn outcome(&self) -> &'static str {
        let missed: Vec<&Figure> = self.figures.iter().filter(|figure| figure.missed().is_some()).collect();
        match missed.as_slice() {
            [] if self.figures.iter().all(|figure| figure.bound.is_none()) => "",
            [] => "held",
            missed if missed.iter().all(|figure| figure.is_known()) => "missed (known)",
            _ => "missed",
        }
    }
}

mod tests {
    use super::*;

    fn table(run: Run, figure: Figure) -> Table {
        let mut table = Table::new(run, "sample", "the table itself", &["share", "time"]);
        table.row("free", [share(0.5)]);
        table.row("bounded", [share(1.0), figure]);
        table
    }

    #[test]
    fn the_last_line_says_what_was_missed_and_by_how_much() {
        let line = |run, figure| table(run, figure).text().lines().last().unwrap().to_owned();
        assert_eq!(line(Run::Whole, seconds(5.0).at_most(5.0)), "sample: holds");
        assert_eq!(
            line(Run::Whole, seconds(6.5).at_most(5.0)),
            "sample: missed (bounded: time 6.500 s (<= 5.000 s), by 1.500 s)"
        );
        assert!(
            line(Run::Short, share(0.9).at_least(0.95)).starts_with("short sample: missed (bounded: time 90.00 % (>= 95.00 %)")
        );
        assert!(
            line(Run::Planted, seconds(f64::INFINITY).at_most(5.0)).starts_with("planted sample: missed (bounded: time never")
        );
        assert!(line(Run::Whole, ratio(f64::NAN).at_most(1.0)).starts_with("sample: missed"));
        assert_eq!(line(Run::Whole, count(3)), "sample: missed (nothing was bounded)");
    }

    #[test]
    fn a_known_miss_is_told_and_does_not_fail() {
        let table = table(Run::Whole, count(7).at_most(6.0).known_miss(7.0));
        assert!(table.text().contains("missed (known)") && table.text().lines().last().unwrap().starts_with("sample: missed"));
        assert!(table.text().starts_with('\n'));
        table.judge();
    }

    #[test]
    #[should_panic(expected = "missed")]
    fn a_known_miss_that_has_grown_fails() {
        table(Run::Whole, count(8).at_most(6.0).known_miss(7.0)).judge();
    }

    #[test]
    #[should_panic(expected = "missed")]
    fn a_known_share_that_has_shrunk_fails() {
        table(Run::Whole, share(0.8).at_least(0.95).known_miss(0.9)).judge();
    }

    #[test]
    #[should_panic(expected = "not noticed")]
    fn a_known_miss_is_no_sign_of_a_planted_defect() {
        table(Run::Planted, count(7).at_most(6.0).known_miss(7.0)).judge();
    }

    #[test]
    #[should_panic(expected = "missed")]
    fn a_miss_fails() {
        table(Run::Short, count(7).at_most(6.0)).judge();
    }

    #[test]
    #[should_panic(expected = "not noticed")]
    fn a_planted_defect_that_holds_fails() {
        table(Run::Planted, count(6).at_most(6.0)).judge();
    }
}
