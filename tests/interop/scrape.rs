//! One answer of `/metrics`.

/// The text, and a way to read it.
pub struct Scrape(String);

impl Scrape {
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// The sum of all series with that name and these labels, which must be whole.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        self.0
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "))
            .filter(|(labels, _)| wanted.iter().all(|label| labels.split(',').any(|has| has == label)))
            .map(|(_, value)| value.parse::<u64>().expect("counts are whole"))
            .sum()
    }
}
