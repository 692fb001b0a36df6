use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::text::object;
use crate::call::{Annotations, Method};

#[derive(Deserialize)]
struct ListView<'a> {
    #[serde(borrow, default)]
    tools: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    prompts: Vec<&'a RawValue>,
    #[serde(borrow, default, rename = "resourceTemplates")]
    templates: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct ListedView<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TemplateView<'a> {
    #[serde(borrow)]
    uri_template: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HintsView {
    read_only_hint: Option<bool>,
    idempotent_hint: Option<bool>,
}

/// A result that lists what may be asked for by name.
pub(super) struct List<'a> {
    /// The method by which it is asked for.
    pub(super) method: Method,
    listed: Vec<&'a RawValue>,
}

impl<'a> List<'a> {
    /// The list in an answer to `method`. `None`: it is none, or cannot be read.
    pub(super) fn read(method: &Method, result: &'a str) -> Option<Self> {
        let view = || object::<ListView<'_>>(result);
        match method {
            Method::ToolsList => Some(Self { method: Method::ToolsCall, listed: view()?.tools }),
            Method::PromptsList => Some(Self { method: Method::PromptsGet, listed: view()?.prompts }),
            Method::ResourcesTemplatesList => Some(Self { method: Method::ResourcesRead, listed: view()?.templates }),
            _ => None,
        }
    }

    /// The names, or templates, with what they say about themselves. One that cannot be read hides no other, and hints that
    /// cannot are none.
    pub(super) fn names(&self) -> Vec<(Cow<'a, str>, Annotations)> {
        if self.method == Method::ResourcesRead {
            let listed = self.listed.iter().filter_map(|listed| object::<TemplateView<'_>>(listed.get()));
            return listed.map(|TemplateView { uri_template }| (uri_template, Annotations::default())).collect();
        }
        let listed = self.listed.iter().filter_map(|listed| object::<ListedView<'_>>(listed.get()));
        let said = |ListedView { name, annotations }| {
            let hints: HintsView = annotations.and_then(|hints| object(hints.get())).unwrap_or_default();
            (name, Annotations { read_only: hints.read_only_hint, idempotent: hints.idempotent_hint })
        };
        listed.map(said).collect()
    }
}
