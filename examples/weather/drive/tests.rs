//! The account must be able to find a broken promise.

use std::time::Duration;

use rmcp::{ErrorData, ServiceError, model::CallToolResult};
use serde_json::json;

use super::{
    answer::Answer,
    ledger::{Claim, Ledger},
    series::Series,
    tally::{Kind, Tally},
};
use crate::open_meteo::Observation;

fn observations(notes: &[&String]) -> Vec<Observation> {
    let observation = |note: &&String| Observation { id: 0, city: String::new(), temperature_c: 0.0, note: (*note).clone() };
    notes.iter().map(observation).collect()
}

#[test]
fn each_claim_allows_its_effects_and_no_others() {
    for (claim, allowed) in [(Claim::Made, [1].as_slice()), (Claim::Refused, &[0]), (Claim::Unknown, &[0, 1])] {
        for effects in 0..3 {
            let ledger = Ledger::default();
            let note = ledger.open(1);
            ledger.close(&note, claim);
            let audit = ledger.audit(&observations(&vec![&note; effects]));
            assert_eq!(audit.is_kept(), allowed.contains(&effects), "{claim:?} with {effects} effects");
        }
    }
}

#[test]
fn an_effect_of_nobodys_is_found_and_other_runs_are_left_alone() {
    let ledger = Ledger::default();
    let note = ledger.open(1);
    assert!(ledger.audit(&observations(&[&note, &"a note of somebody else's".to_owned()])).is_kept());
    let stray = note.replace("agent 1", "agent 2");
    assert!(!ledger.audit(&observations(&[&stray])).is_kept());
}

#[test]
fn answers_are_read_by_class() {
    let error = |meta| {
        let mut result = CallToolResult::error(Vec::new());
        result.meta = serde_json::from_value(meta).unwrap();
        Answer::of_tool(Ok(result))
    };
    let unknown = error(json!({ "dev.buttress/outcome": { "class": "outcome_unknown" } }));
    assert_eq!((unknown.clone(), unknown.claim()), (Answer::Error("outcome_unknown".into()), Claim::Unknown));
    let plain = error(json!(null));
    assert_eq!((plain.clone(), plain.claim()), (Answer::Error("tool_error".into()), Claim::Refused));
    let internal = Answer::of::<()>(Err(ServiceError::McpError(ErrorData::internal_error("failed", None))));
    assert_eq!((internal.clone(), internal.claim()), (Answer::Error("ambiguous".into()), Claim::Unknown));
    assert_eq!(Answer::of::<()>(Err(ServiceError::TransportClosed)), Answer::None);
}

#[test]
fn percentiles_are_right_to_a_twentieth() {
    let tally = Tally::default();
    for millis in 1..=1000 {
        tally.count(Kind::Weather, &Answer::Ok, Duration::from_millis(millis));
    }
    let [row, ..] = tally.rows();
    for (share, millis) in [(0.5, 500.0), (0.95, 950.0)] {
        let found = row.latencies.percentile(share).unwrap().as_secs_f64() * 1e3;
        assert!((millis..=millis * 1.06).contains(&found), "{found}");
    }
    assert_eq!(Tally::default().rows()[0].latencies.percentile(0.5), None);
}

#[test]
fn samples_are_found_by_name_and_label() {
    let series = Series::new(
        "# HELP faults Faults.\nfaults{path=\"/a\",kind=\"reset\"} 2\nfaults{path=\"/b\",kind=\"reset\"} 3\n\
         faults_total{kind=\"hang\"} 9\nfaults{path=\"/a\",kind=\"hang\"} 0\n"
            .to_owned(),
    );
    assert_eq!(series.by("faults", "kind"), ["reset 5"]);
    assert_eq!(series.sum("faults", |labels| labels.get("path") == "/a"), 2.0);
}
