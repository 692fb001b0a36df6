//! The guard's column of the verdict table.

use crate::{
    call::{CallResult, Digest, ErrorObject, Response, Verdict},
    error::BoxError,
};

/// An outcome that may be the same as the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Failure(Digest),
    Success(Digest),
}

/// What a call's end says about its loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Another of these.
    Outcome(Outcome),
    /// Something has moved: no loop so far.
    Moved,
    /// Nothing: the backend never executed it, or nobody waited for the answer.
    Nothing,
}

impl News {
    /// Where successes are not counted, one is not looked at any closer.
    pub(super) fn of<R: CallResult>(outcome: &Result<Response<R>, BoxError>, successes_count: bool) -> Self {
        let digest = || match outcome {
            Ok(Response { result: Ok(result), .. }) => result.digest(),
            Ok(Response { result: Err(error), .. }) => Some(digest_of(error)),
            // The words of an error are not for callers, so what sort of failure it is is all that an agent can see.
            Err(_) => Some(Digest::of(Verdict::of(outcome).as_str().as_bytes())),
        };
        match Verdict::of(outcome) {
            Verdict::Ok if !successes_count => Self::Moved,
            Verdict::Ok => digest().map_or(Self::Moved, |digest| Self::Outcome(Outcome::Success(digest))),
            Verdict::ToolError | Verdict::ClientFault | Verdict::Denied | Verdict::Ambiguous { .. } => {
                digest().map_or(Self::Moved, |digest| Self::Outcome(Outcome::Failure(digest)))
            }
            // An answer that asks for more is a step forward; and so is a task.
            Verdict::InputRequired | Verdict::Task => Self::Moved,
            Verdict::Throttled { .. } | Verdict::NotSent | Verdict::SessionLost | Verdict::LocalReject | Verdict::Cancelled => {
                Self::Nothing
            }
        }
    }
}

fn digest_of(ErrorObject { code, message, data }: &ErrorObject) -> Digest {
    let data = data.as_ref().map(ToString::to_string).unwrap_or_default();
    Digest::of(format!("{code} {} {message}{data}", message.len()).as_bytes())
}
