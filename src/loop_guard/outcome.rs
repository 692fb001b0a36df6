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
            // Another token would make it another call.
            Verdict::ToolError | Verdict::ClientFault | Verdict::Denied | Verdict::Ambiguous { .. } | Verdict::Hurried => {
                digest().map_or(Self::Moved, |digest| Self::Outcome(Outcome::Failure(digest)))
            }
            // An answer that asks for more is a step forward; and so is a task.
            Verdict::InputRequired | Verdict::Task => Self::Moved,
            Verdict::Throttled { .. }
            | Verdict::NotSent
            | Verdict::SessionLost
            | Verdict::LocalReject
            | Verdict::RemoteReject { .. }
            | Verdict::Cancelled => Self::Nothing,
        }
    }

    /// The same of an attempt that the client makes after a failed one: if it fails too, that is still the same call in vain.
    pub(super) const fn of_retry(self) -> Self {
        match self {
            Self::Outcome(Outcome::Failure(_)) => Self::Nothing,
            Self::Outcome(Outcome::Success(_)) => Self::Moved,
            Self::Moved | Self::Nothing => self,
        }
    }
}

fn digest_of(ErrorObject { code, message, data }: &ErrorObject) -> Digest {
    let data = data.as_ref().map(ToString::to_string).unwrap_or_default();
    Digest::of(format!("{code} {} {message}{data}", message.len()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{HttpStatus, Transport};

    fn of(result: Result<&'static str, ErrorObject>, verdict: Verdict, successes_count: bool) -> News {
        let mut response = Response::from_result(result);
        response.verdict = Some(verdict);
        News::of(&Ok(response), successes_count)
    }

    #[test]
    fn successes_are_told_apart_only_where_they_count() {
        let digest = Digest::of(b"done");
        assert_eq!(of(Ok("done"), Verdict::Ok, false), News::Moved);
        assert_eq!(of(Ok("done"), Verdict::Ok, true), News::Outcome(Outcome::Success(digest)));
        assert_eq!(of(Ok("done"), Verdict::ToolError, false), News::Outcome(Outcome::Failure(digest)));
    }

    #[test]
    fn an_attempt_after_a_failed_one_matters_only_where_it_goes_better() {
        let digest = Digest::of(b"done");
        assert_eq!(News::Outcome(Outcome::Failure(digest)).of_retry(), News::Nothing);
        assert_eq!(News::Outcome(Outcome::Success(digest)).of_retry(), News::Moved);
        assert_eq!([News::Moved, News::Nothing].map(News::of_retry), [News::Moved, News::Nothing]);
    }

    #[test]
    fn errors_are_the_same_if_code_message_and_data_are() {
        let failed = |code, message: &'static str, data: Option<&str>| {
            let error = ErrorObject { code, message: message.into(), data: data.map(Into::into) };
            of(Err(error), Verdict::ClientFault, false)
        };
        let one = failed(-32602, "bad", None);
        assert!(matches!(one, News::Outcome(Outcome::Failure(_))) && one == failed(-32602, "bad", None));
        for other in [failed(-32601, "bad", None), failed(-32602, "worse", None), failed(-32602, "bad", Some("x"))] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn of_an_error_that_callers_cannot_read_its_kind_counts() {
        let of = |error: BoxError| News::of::<&'static str>(&Err(error), false);
        assert!(matches!(of(Transport::unknown("reset").into()), News::Outcome(Outcome::Failure(_))));
        assert_eq!(of(Transport::unknown("reset").into()), of("panicked".into()));
        assert_eq!(of(Transport::not_sent("refused").into()), News::Nothing);
        let denied = [401, 403].map(|code| of(HttpStatus::new(code).into()));
        assert!(denied[0] == denied[1] && matches!(denied[0], News::Outcome(Outcome::Failure(_))));
    }
}
