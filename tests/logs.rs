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
    call::{Caller, Method, Request, Response, TargetPolicy, Verdict},
    catalogue::Catalogue,
    concurrency::{AdaptiveLimit, ConcurrencyLayer, Sample},
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
        .fold(Catalogue::new("up"), |catalogue, tool| catalogue.tool(tool, TargetPolicy::default().idempotent(true)));
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

/// A limit that each good answer raises by one, and any other halves.
#[derive(Debug)]
struct Eager(u32);

impl AdaptiveLimit for Eager {
    fn limit(&self) -> NonZeroU32 {
        NonZeroU32::new(self.0).unwrap_or(NonZeroU32::MIN)
    }

    fn sample(&mut self, sample: &Sample) {
        self.0 = if sample.verdict == Verdict::Ok { self.0 + 1 } else { self.0 / 2 };
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_adapts_is_told_of_where_it_is_another_and_not_of_each_step() {
    let ear = Ear::default();
    let _listening = tracing::subscriber::set_default(ear.clone());
    let handler = service_fn(async |call: Request<&'static str>| match call.params {
        "good" => Ok(Response::new(())),
        _ => Err(BoxError::from(Transport::unknown("reset"))),
    });
    let slots = ConcurrencyLayer::adaptive_with(|_| Eager(4));
    let stack = Stack::new().concurrency(slots).retry(RetryLayer::off()).service(handler);
    let catalogue = Catalogue::new("up").tool("t", TargetPolicy::default());
    for params in std::iter::repeat_n("good", 508).chain(["bad"; 2]) {
        let target = catalogue.resolve(&Method::ToolsCall, Some("t"), None);
        stack.answer(Request::new(target, params)).await.unwrap();
        sleep(Duration::from_secs(10)).await;
    }
    let told = ear.of(Level::INFO, "the limit has at least doubled or halved");
    let steps: Vec<_> = told.iter().map(|line| (&*line["from"], &*line["limit"])).collect();
    let up = [("4", "8"), ("8", "16"), ("16", "32"), ("32", "64"), ("64", "128"), ("128", "256"), ("256", "512")];
    assert_eq!(steps, [&up[..], &[("512", "256"), ("256", "128")]].concat());
    let whose = ["upstream", "method", "tool"].map(|field| &*told[0][field]);
    assert_eq!(whose, ["\"up\"", "\"tools/call\"", "\"t\""]);
}

/// A disk that does not answer while it is told not to.
#[cfg(feature = "audit")]
#[derive(Clone, Default)]
struct Disk(Arc<(Mutex<bool>, std::sync::Condvar)>);

#[cfg(feature = "audit")]
impl Disk {
    fn hang(&self, hangs: bool) {
        *self.0.0.lock().unwrap() = hangs;
        self.0.1.notify_all();
    }
}

#[cfg(feature = "audit")]
impl std::io::Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let hangs = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(hangs, |hangs| *hangs).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "audit")]
impl buttress::audit::Sink for Disk {}

#[cfg(feature = "audit")]
#[tokio::test(start_paused = true)]
async fn a_trail_that_loses_records_says_when_it_begins_and_when_it_ends() {
    use buttress::audit::AuditLayer;

    let ear = Ear::default();
    let _listening = tracing::subscriber::set_default(ear.clone());
    let disk = Disk::default();
    let audit = AuditLayer::with_capacity(disk.clone(), 8.try_into().unwrap()).unwrap();
    let trail = audit.handle();
    let stack = Stack::new().audit(audit).service(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(()))));
    let catalogue = Catalogue::new("up").tool("t", TargetPolicy::default());
    let calls = async |many: usize| {
        for _ in 0..many {
            stack.answer(Request::new(catalogue.resolve(&Method::ToolsCall, Some("t"), None), ())).await.unwrap();
        }
    };
    // The second gap begins too soon after the first to be told of, the third does not.
    for (pause, gaps) in [(1, 1), (10, 1), (1, 2)] {
        disk.hang(true);
        calls(100).await;
        let begun = ear.of(Level::WARN, "audit records are lost: the queue is full");
        assert_eq!(begun.len(), gaps);
        assert_eq!(begun[0]["capacity"], "8");
        disk.hang(false);
        trail.flush().await;
        calls(1).await;
        let ended = ear.of(Level::INFO, "audit records are kept again");
        assert_eq!(ended.len(), gaps);
        sleep(Duration::from_secs(pause)).await;
    }
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
