//! What callers and a server may make up, as Prometheus reads it.

use buttress::admin::Metrics;

use crate::{
    script,
    server::{Server, hostile, invented},
};

const INVENTED: u32 = 1_000_000;

#[tokio::test]
#[ignore = "interop: needs promtool"]
async fn prometheus_finds_no_fault_with_what_was_made_up() {
    let metrics = Metrics::install().expect("no other test of this process has a recorder");
    let names = hostile();
    let server = Server::new("hostile", &names);
    assert!(server.call("tools/list", "").await);
    for name in &names {
        assert!(server.call("tools/call", name).await, "{name:?}");
    }
    for n in 0..INVENTED {
        let method = if n % 50 == 0 { format!("{}/method", invented(n)) } else { "tools/call".to_owned() };
        assert!(server.call(&method, &invented(n)).await, "call {n}");
        // As often as a process scrapes and drains, if it makes some thousand calls a second.
        if n % 20_000 == 0 {
            drop(metrics.render());
        }
    }
    let scrape = metrics.render();
    println!("{} bytes of scrape", scrape.len());
    assert!(scrape.len() < 1 << 20);
    assert_eq!(script::promtool(&["check", "metrics"], &scrape).await, "");
}
