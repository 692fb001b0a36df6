//! What can be asked of the example on its command line.

use std::{fmt, io, net::SocketAddr, num::NonZeroUsize, time::Duration};

use clap::Parser;

use crate::open_meteo::Endpoints;

/// An MCP weather server behind the buttress stack, with a backend that fails as real ones do.
#[derive(Debug, Parser)]
pub struct Flags {
    /// Where MCP is served, at /mcp. rmcp answers only requests that name a loopback host.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", conflicts_with = "stdio")]
    pub listen: SocketAddr,

    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    pub admin: SocketAddr,

    /// Serve MCP on stdin and stdout instead of HTTP.
    #[arg(long)]
    pub stdio: bool,

    /// Let that many agents call the server at once, and show what becomes of their calls.
    #[arg(long, value_name = "AGENTS", conflicts_with = "stdio")]
    pub drive: Option<NonZeroUsize>,

    /// Stop after that many seconds. Otherwise ctrl-c does.
    #[arg(long = "for", value_name = "SECONDS")]
    pub seconds: Option<u64>,

    /// Ask this service instead of the built-in stand-in, such as https://api.open-meteo.com.
    #[arg(long, value_name = "URL", value_parser = base_url)]
    pub api: Option<String>,

    /// No faults in the stand-in.
    #[arg(long, conflicts_with = "api")]
    pub calm: bool,

    /// Decides the stand-in's faults and what the agents ask.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The public service's hosts: https://api.open-meteo.com and its kin.
const PUBLIC: &str = "open-meteo.com";

impl Flags {
    /// How long to go on, if not for ever.
    pub fn time(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs)
    }

    /// Whether the backend is everybody's.
    pub fn is_public(&self) -> bool {
        self.api.as_deref().is_some_and(|url| url.ends_with(PUBLIC))
    }

    /// The backend's addresses; `stand_in` where there is one.
    pub fn endpoints(&self, stand_in: Option<String>) -> Endpoints {
        match stand_in.or_else(|| self.api.clone()) {
            Some(url) if !self.is_public() => Endpoints::single(url),
            _ => Endpoints::open_meteo(),
        }
    }
}

fn base_url(url: &str) -> Result<String, &'static str> {
    if url.starts_with("http://") || url.starts_with("https://") {
        Ok(url.trim_end_matches('/').to_owned())
    } else {
        Err("a URL begins with http:// or https://")
    }
}

/// A request that cannot be met as it is, told to the operator in one sentence.
#[derive(Debug)]
pub struct Unmet(String);

impl Unmet {
    /// An address that cannot be listened on.
    pub fn address(flag: &str, address: SocketAddr, error: &io::Error) -> Self {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => "is taken".to_owned(),
            _ => format!("cannot be listened on ({error})"),
        };
        Self(format!("{address} {why}: choose another address with {flag}."))
    }

    /// A load test of a service that others pay for.
    pub fn driving_the_public() -> Self {
        Self("--drive would burden the public service: leave --api out, or name a service of your own.".to_owned())
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unmet {}
