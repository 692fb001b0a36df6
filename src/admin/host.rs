//! Whom a listener on loopback answers.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{StatusCode, header::HOST, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Answers requests only that name this machine. A page from anywhere can have its own name point here, and then its scripts may
/// read what they get (DNS rebinding); but they cannot leave that name out of their requests.
pub(super) async fn loopback_only(request: Request, next: Next) -> Response {
    let header = request.headers().get(HOST).map(|host| host.to_str().unwrap_or_default());
    // Absent only in requests that no browser sends.
    let named = request.uri().host().map_or_else(|| header.is_none_or(is_loopback), is_loopback);
    if named {
        return next.run(request).await;
    }
    let text = "This admin listener is bound to loopback and answers requests to localhost, 127.0.0.1 or [::1] only.\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// Whether a `Host` means the machine itself.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    !host.contains('@') && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for host in ["localhost", "LocalHost:9464", "127.0.0.1:1", "127.8.9.1", "[::1]:9464", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "10.0.0.1",
            "a@localhost",
            "::1:x",
            "[::2]",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
