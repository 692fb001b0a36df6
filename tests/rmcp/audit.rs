//! What stands on record of calls that rmcp brings.

use buttress::{
    Stack,
    audit::{AuditLayer, FileSink},
    rmcp::ServerLayer,
};
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use tower::Layer;

use crate::{
    probe::{Probe, TOOL, good},
    road::{Era, over_duplex},
    tape::Tape,
};

#[tokio::test]
async fn a_call_is_on_record_with_what_rmcp_knows_of_it() {
    for era in [Era::Legacy, Era::Modern] {
        let path = std::env::temp_dir().join(format!("buttress-audit-{:x}.jsonl", fastrand::u64(..)));
        let layer = AuditLayer::new(FileSink::open(&path).unwrap()).unwrap();
        let (trail, stack) = (layer.handle(), Stack::new().audit(layer));
        let server = ServerLayer::new("probe", &stack).layer(Probe::new(async |_, _| good()));
        let client = over_duplex(era, server, &Tape::default()).await;
        let arguments = json!({ "city": "Oslo" }).as_object().cloned().unwrap();
        client.call_tool(CallToolRequestParams::new(TOOL).with_arguments(arguments)).await.unwrap();
        trail.flush().await;
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        let said = ["tool", "known", "protocol", "outcome"].map(|name| line[name].clone());
        assert_eq!(json!(said), json!([TOOL, true, era.version().as_str(), "success"]), "{text}");
        assert!(line["request_id"].as_str().unwrap().parse::<u64>().is_ok());
        assert_eq!(line["arguments"], json!({ "mode": "names", "bytes": 15, "count": 1, "names": ["city"], "sizes": [6] }));
        assert!(line["actor"]["client"].is_string());
    }
}
