//! What happens to a call between its arrival and its handler.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    api::failure,
    deck::{Deck, Fault},
    wire::Line,
    world::{World, lock},
};

/// How long a hanging call is held: longer than anyone should wait, but not
/// for ever, in case a client never hangs up, or does so unnoticed behind a
/// request it had already sent after this one.
const HANG: Duration = Duration::from_secs(60);

/// Counts the call and lets some time pass.
pub async fn arrive(State(world): State<Arc<World>>, path: MatchedPath, request: Request, next: Next) -> Response {
    world.count_request(path.as_str());
    tokio::time::sleep(world.latency()).await;
    next.run(request).await
}

/// The deck of one path, and where to count what it deals.
#[derive(Clone)]
pub struct Dealer {
    pub world: Arc<World>,
    pub deck: Arc<Mutex<Deck>>,
}

/// Draws a card for the call and plays it.
///
/// It is drawn only now, after the latency, so that a caller who gave up by
/// then takes no card, and each fault counted is one that happened.
pub async fn deal(
    State(Dealer { world, deck }): State<Dealer>,
    path: MatchedPath,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
    next: Next,
) -> Response {
    let card = lock(&deck).draw();
    let Some(fault) = card else {
        return next.run(request).await;
    };
    world.count_fault(path.as_str(), fault);
    match fault {
        Fault::Throttled => {
            let answer = failure(StatusCode::TOO_MANY_REQUESTS, "Too many requests.");
            ([(RETRY_AFTER, "1")], answer).into_response()
        }
        Fault::Unavailable => failure(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable."),
        Fault::ResetBefore => reset(&line),
        Fault::ResetAfter => {
            next.run(request).await;
            reset(&line)
        }
        Fault::ErrorAfter => {
            next.run(request).await;
            failure(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error.")
        }
        Fault::Hang => {
            // Dropped with this future, as soon as the client hangs up.
            let _hanging = world.hang();
            // A stop ends it too, and time does, whichever is first.
            let _ = tokio::time::timeout(HANG, line.is_cut()).await;
            reset(&line)
        }
    }
}

/// Cuts the line. The response only makes the connection try to write, and
/// thereby notice.
fn reset(line: &Line) -> Response {
    line.cut();
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
