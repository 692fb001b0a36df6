//! Resource templates: listed by their text, found by the URIs that they stand for.

use std::sync::Arc;

use super::{
    lists::Lists,
    template::{Steps, Template, encoded},
};
use crate::call::{Digest, Target};

/// The templates of one upstream. A copy shares with the one that it was made from what neither changes.
#[derive(Clone, Default)]
pub(super) struct Resources {
    pub(super) lists: Lists,
    /// By rank.
    templates: Arc<Vec<Arc<Template>>>,
}

impl Resources {
    /// The entry of the first template that a URI may be of, among those that these callers see.
    pub(super) fn find(&self, uri: &str, audience: Option<Digest>) -> Option<&Arc<Target>> {
        if self.templates.is_empty() {
            return None;
        }
        let (uri, mut steps) = (encoded(uri), Steps::default());
        let of_it = self.templates.iter().filter(|template| template.matches(&uri, &mut steps));
        of_it.filter_map(|template| self.lists.find(template.text(), audience)).next()
    }

    /// Makes the entry of a template. Nobody sees it yet.
    pub(super) fn add(&mut self, template: Arc<Template>, target: Target) {
        self.lists.add(template.text(), target);
        let templates = Arc::make_mut(&mut self.templates);
        let place = templates.partition_point(|known| known.rank() < template.rank());
        templates.insert(place, template);
    }
}
