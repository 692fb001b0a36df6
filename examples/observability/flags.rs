//! What can be asked of the example on its command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;

/// Prometheus beside a weather server in trouble.
#[derive(Debug, Parser)]
pub struct Flags {
    /// Stop after that many seconds. The troubles come round every forty.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 120)]
    pub seconds: u64,

    /// Where Prometheus listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub prometheus: SocketAddr,

    /// Where the server's own metrics are: port 0 stands for any that is free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    pub admin: SocketAddr,

    /// Where the last traces are shown, unless OTEL_EXPORTER_OTLP_ENDPOINT names a collector to send them to.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4318")]
    pub traces: SocketAddr,

    /// Where Prometheus' data and the audit trail are left.
    #[arg(long, value_name = "DIRECTORY", default_value = "target/observability")]
    pub directory: PathBuf,
}

impl Flags {
    /// How long it goes on.
    pub const fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
