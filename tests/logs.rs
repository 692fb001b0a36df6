//! What is logged: a line for each call at `debug`, and above that changes only, however many calls there are.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use buttress::{
    BoxError, Stack,
    call::{Caller, Method, Request, Response, TargetPolicy},
    catalogue::Catalogue,
    concurrency::ConcurrencyLayer,
    error::Transport,
    retry::{Budget, RetryLayer},
};
use tokio::time::sleep;
use tower::service_fn;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// By level and words.
type Lines = BTreeMap<(Level, String), Vec<Line>>;

/// Hears all events, by level and message.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Lines>>);

/// The fields of an event.
type Line = BTreeMap<&'static str, String>;

#[derive(Default)]
struct Fields(Line);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("buttress::")
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        self.0.lock().unwrap().entry((*event.metadata().level(), message)).or_default().push(fields.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Ear {
    fn of(&self, level: Level, message: &str) -> Vec<Line> {
        self.0.lock().unwrap().get(&(level, message.to_owned())).cloned().unwrap_or_default()
    }
}

/// For two minutes: one tool is called far beyond what it can take, one panics, one cannot be reached, and one is made up. Two
/// more are well, or the breaker of the whole upstream would stand before them all.
#[tokio::test(start_paused = true)]
async fn a_storm_of_calls_is_no_storm_of_lines() {
    const SECONDS: u64 = 120;
    const A_SECOND: u64 = 200;
    let ear = Ear::default();
    let _listening = tracing::subscriber::set_default(ear.clone());

    let handler = service_fn(async |call: Request<&'static str>| {
        match call.params {
            "slow" => sleep(Duration::from_millis(100)).await,
            // As a panic, but without a word on stderr.
            "sick" => std::panic::resume_unwind(Box::new("as always")),
            "away" => return Err(BoxError::from(Transport::not_sent("refused"))),
            _ => {}
        }
        Ok(Response::new("done"))
    });
    let slots = ConcurrencyLayer::new(NonZeroU32::new(2).unwrap()).queue(4);
    let retry = RetryLayer::default().budget(Arc::new(Budget::try_new(60).unwrap()));
    let stack = Stack::new().concurrency(slots).retry(retry).service(handler);
    let catalogue = ["slow", "sick", "away", "fine", "well"]
        .into_iter()
        .fold(Catalogue::new("up"), |catalogue, tool| catalogue.tool(tool, TargetPolicy::default().safe(true)));
    let call = |tool: &'static str| {
        let target = catalogue.resolve(&Method::ToolsCall, Some(tool), None);
        let mut request = Request::new(target, tool);
        request.head.caller = Caller::of_tenant("acme");
        stack.answer(request)
    };
    for n in 0..SECONDS * A_SECOND {
        // Every other second it has time to recover.
        let busy = if (n / A_SECOND).is_multiple_of(2) { "slow" } else { "made up" };
        let tool = [busy, "sick", "away", "made up", "fine", "well"][usize::try_from(n % 6).unwrap()];
        drop(tokio::spawn(call(tool)));
        sleep(Duration::from_secs(1) / u32::try_from(A_SECOND).unwrap()).await;
    }
    // Then there is calm, and the budget is earned back; slowly enough for a breaker that has just closed to let all pass again.
    sleep(Duration::from_secs(400)).await;
    for _ in 0..600 {
        sleep(Duration::from_millis(50)).await;
        call("made up").await.unwrap();
    }
    drop(call("slow"));

    let lines = ear.of(Level::DEBUG, "a call has ended");
    assert_eq!(lines.len() as u64, SECONDS * A_SECOND + 601, "one for each call, and for the one that was dropped");
    let last = |tool: &str| lines.iter().rfind(|line| line["tool"] == format!("{tool:?}")).unwrap();
    let ok = last("_OTHER");
    assert_eq!((&*ok["method"], &*ok["verdict"], &*ok["attempts"]), ("\"tools/call\"", "\"ok\"", "1"));
    assert!(ok["ms"].parse::<f64>().is_ok() && !ok.contains_key("layer"), "{ok:?}");
    assert_eq!(last("slow")["verdict"], "\"cancelled\"");
    let refused = last("away");
    let why = ["verdict", "layer", "reason"].map(|field| &*refused[field]);
    assert_eq!(why, ["\"local_reject\"", "\"breaker\"", "\"breaker_open\""]);

    // Two for each ten seconds, and not more.
    let most = usize::try_from(SECONDS).unwrap() / 10 + 1;
    for (level, message, count) in [
        (Level::WARN, "the queue for slots sheds calls", 2..=most),
        (Level::INFO, "the queue for slots is empty again", 2..=most),
        (Level::WARN, "the retry budget is spent: calls that fail are not repeated", 1..=1),
        (Level::INFO, "the retry budget is whole again", 1..=1),
        (Level::ERROR, "the handler panicked", 1..=most),
        (Level::INFO, "calls are recorded without their names, which are on no list or not fit for a label", 1..=1),
        (Level::WARN, "the circuit breaker opens", 2..=4 * most),
        (Level::INFO, "the circuit breaker probes", 1..=4 * most),
    ] {
        let told = ear.of(level, message);
        assert!(count.contains(&told.len()), "{}: {message}", told.len());
    }
    let opened = ear.of(Level::WARN, "the circuit breaker opens");
    assert!(
        opened.iter().any(|line| line["cause"] == "\"failures\"")
            && opened.iter().any(|line| line["cause"] == "\"probe_failed\"")
    );
    let heard = ear.0.lock().unwrap();
    heard.iter().for_each(|((level, message), lines)| println!("{} {level} {message}", lines.len()));
    let above: usize = heard.iter().filter(|((level, _), _)| *level < Level::DEBUG).map(|(_, lines)| lines.len()).sum();
    assert!(above < 150, "{above} lines of {} calls", lines.len());
}

fn sources(of: &Path, to: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(of).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, to);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            to.push(path);
        }
    }
}

/// The last text of a macro call: the message.
fn message(call: &str) -> &str {
    let (mut depth, mut began, mut message) = (0, None, "");
    for (at, c) in call.char_indices() {
        match (c, began) {
            ('"', Some(from)) => {
                message = &call[from + 1..at];
                began = None;
            }
            ('"', None) => began = Some(at),
            ('(', None) => depth += 1,
            (')', None) if depth == 1 => break,
            (')', None) => depth -= 1,
            _ => {}
        }
    }
    message
}

/// The table in the docs of `logs` has all lines of the sources, and no others.
#[test]
fn every_line_stands_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut said = BTreeSet::new();
    for file in files {
        let module =
            file.strip_prefix(&root).unwrap().iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        for level in ["error", "warn", "info", "debug"] {
            for (at, _) in text.match_indices(&format!("tracing::{level}!(")) {
                said.insert((module.clone(), level.to_owned(), message(&text[at..]).to_owned()));
            }
        }
    }
    let table = std::fs::read_to_string(root.join("logs.rs")).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let told: BTreeSet<_> = rows
        .map(|row| {
            let mut cells = row.split(" | ");
            let mut cell = || cells.next().unwrap().trim_end_matches('`').to_owned();
            (cell(), cell(), cell())
        })
        .collect();
    assert_eq!(said, told);
    assert!(said.len() > 25, "{}", said.len());
}
