//! What machines may read of a call that did not simply succeed.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{OUTCOME_KEY, Verdict, response::RETRY_AFTER};
use crate::error::{Reason, Scope};

/// What became of a call, for machines: made by [`rescue`](crate::rescue), and written under [`OUTCOME_KEY`] by adapters, in
/// camel case and without what is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Facts {
    /// The verdict's name, or `outcome_unknown` where the call may have happened and must not be repeated.
    pub class: &'static str,
    /// Whether the same call may be sent again.
    pub retryable: bool,
    /// When, if it is known; whole milliseconds in JSON, rounded up.
    #[serde(rename = "retryAfterMs", skip_serializing_if = "Option::is_none", serialize_with = "whole_milliseconds")]
    pub retry_after: Option<Duration>,
    /// The layer that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<&'static str>,
    /// Why it did.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "reason")]
    pub reason: Option<Reason>,
    /// Whose limit it was.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "scope")]
    pub scope: Option<Scope>,
    /// How old the answer is, where it is past its time; whole milliseconds in JSON, rounded up.
    #[serde(rename = "ageMs", skip_serializing_if = "Option::is_none", serialize_with = "whole_milliseconds")]
    pub age: Option<Duration>,
    /// Whether it was given up before it had had a fair time, at an end that its sender had set:
    /// [`Hurried`](super::Verdict::Hurried).
    #[serde(skip_serializing_if = "is_false")]
    pub hurried: bool,
    /// How many attempts were made; 1 goes without saying.
    #[serde(skip_serializing_if = "is_one")]
    pub attempts: u32,
}

/// The class of a call that may have happened and must not be repeated.
pub(crate) const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// What other classes there are of calls that failed.
const CLASSES: [Verdict; 7] = [
    Verdict::AMBIGUOUS,
    Verdict::Throttled { retry_after: None },
    Verdict::NotSent,
    Verdict::LocalReject,
    Verdict::Denied,
    Verdict::SessionLost,
    Verdict::ClientFault,
];

impl Facts {
    pub(crate) const fn new(class: &'static str, retryable: bool) -> Self {
        Self {
            class,
            retryable,
            retry_after: None,
            layer: None,
            reason: None,
            scope: None,
            age: None,
            hurried: false,
            attempts: 1,
        }
    }

    /// What a stack like this one has written of a call that failed: the verdict that its class names, and what is said beside it.
    /// `None`: no such class is known here. Any other word that is not known is as if it were not there.
    pub(crate) fn read(said: &Value) -> Option<(Verdict, Self)> {
        let text = |name| said.get(name).and_then(Value::as_str);
        let is = |name, value: bool| said.get(name) == Some(&Value::Bool(value));
        let class = text("class")?;
        let known = CLASSES.into_iter().find(|known| known.as_str() == class);
        let (verdict, class) = match known {
            Some(verdict) => (verdict, verdict.as_str()),
            None if class == OUTCOME_UNKNOWN => (Verdict::AMBIGUOUS, OUTCOME_UNKNOWN),
            None => return None,
        };
        let facts = Self {
            retry_after: said.get(RETRY_AFTER).and_then(Value::as_u64).map(Duration::from_millis),
            reason: text("reason").and_then(Reason::read),
            scope: text("scope").and_then(Scope::read),
            hurried: is("hurried", true),
            ..Self::new(class, !is("retryable", false))
        };
        Some((verdict, facts))
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// As the `data` of a JSON-RPC error: an object that holds them under [`OUTCOME_KEY`].
    pub fn to_data(&self) -> Value {
        json!({ OUTCOME_KEY: self })
    }

    /// Adds them to the `data` that a JSON-RPC error has: where that is an object, under [`OUTCOME_KEY`], unless somebody who is
    /// believed has said something there. Anything else that a handler put there is its own, and stays as it is.
    pub fn add_to(&self, data: &mut Option<Value>) {
        match data {
            None => *data = Some(self.to_data()),
            Some(Value::Object(members)) => {
                members.entry(OUTCOME_KEY).or_insert_with(|| self.to_json());
            }
            Some(_) => {}
        }
    }
}

fn whole_milliseconds<S: Serializer>(delay: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let milliseconds = delay.unwrap_or_default().as_nanos().div_ceil(1_000_000);
    serializer.serialize_u64(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

fn reason<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.map_or("", Reason::as_str))
}

fn scope<S: Serializer>(scope: &Option<Scope>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(scope.map_or("", Scope::as_str))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(said: &bool) -> bool {
    !*said
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_one(attempts: &u32) -> bool {
    *attempts == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_join_what_a_handler_has_to_say_and_never_replace_it() {
        let facts = Facts::new("throttled", true);
        let joined = |mut data: Option<Value>| {
            facts.add_to(&mut data);
            data.unwrap_or_default()
        };
        assert_eq!(joined(None), facts.to_data());
        assert_eq!(joined(Some(json!({ "trace": "abc" }))), json!({ "trace": "abc", OUTCOME_KEY: facts }));
        for said in [json!({ OUTCOME_KEY: { "class": "not_sent" } }), json!("in words"), json!([1]), Value::Null] {
            assert_eq!(joined(Some(said.clone())), said);
        }
    }

    #[test]
    fn what_is_known_is_said_and_nothing_else() {
        let facts = Facts::new("throttled", true);
        assert_eq!(facts.to_data(), json!({ OUTCOME_KEY: { "class": "throttled", "retryable": true } }));
        let facts = Facts {
            retry_after: Some(Duration::from_micros(1500)),
            layer: Some("quota"),
            reason: Some(Reason::Quota),
            scope: Some(Scope::Tenant),
            age: Some(Duration::from_nanos(1)),
            hurried: true,
            attempts: 2,
            ..facts
        };
        let said = json!({
            "class": "throttled", "retryable": true, "retryAfterMs": 2, "layer": "quota", "reason": "quota", "scope": "tenant",
            "ageMs": 1, "hurried": true, "attempts": 2,
        });
        assert_eq!(facts.to_json(), said);
        let read = Facts { layer: None, age: None, attempts: 1, retry_after: Some(Duration::from_millis(2)), ..facts };
        assert_eq!(
            Facts::read(&said),
            Some((Verdict::Throttled { retry_after: None }, read)),
            "what says nothing of the outcome"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        for reason in Reason::ALL {
            assert_eq!(Reason::read(reason.as_str()), Some(*reason));
        }
        let classes = [Verdict::AMBIGUOUS, Verdict::NotSent, Verdict::LocalReject, Verdict::Denied, Verdict::ClientFault];
        let classes = classes.map(|verdict| (verdict.as_str(), verdict));
        for (class, verdict) in classes.into_iter().chain([(OUTCOME_UNKNOWN, Verdict::AMBIGUOUS)]) {
            for retryable in [true, false] {
                let facts = Facts { scope: Some(Scope::OwnAndTarget), ..Facts::new(class, retryable) };
                assert_eq!(Facts::read(&facts.to_json()), Some((verdict, facts)));
            }
        }
        for odd in [json!(null), json!({}), json!({ "class": "ok" }), json!({ "class": 7 }), json!(["class"])] {
            assert_eq!(Facts::read(&odd), None, "{odd}");
        }
        let odd =
            json!({ "class": "not_sent", "retryable": 1, "reason": "moon", "scope": [], "retryAfterMs": -1, "hurried": "yes" });
        assert_eq!(Facts::read(&odd), Some((Verdict::NotSent, Facts::new("not_sent", true))));
    }
}
