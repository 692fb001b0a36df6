//! What the scripted client does, step by step: every method of the protocol, in either era.

use std::future::{Future, ready};

use rmcp::{model::*, service::PeerRequestOptions};
use serde_json::{Value, json};

use crate::{
    rich::{ENDLESS, NOTES, SKILL, TOOLS},
    road::{Client, Era, Road},
    tape::{Line, Tape, Who},
};

/// One step, as seen from the client and from the handler.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub name: String,
    pub sent: Vec<Value>,
    pub received: Vec<Value>,
    pub handled: Vec<Value>,
}

/// Runs steps and cuts the tape after each.
struct Script<'a> {
    client: &'a Client,
    era: Era,
    road: Road,
    tape: &'a Tape,
    read: usize,
    steps: Vec<Step>,
}

impl Script<'_> {
    /// Whether the client's notifications reach the handler: a modern server has no session that one could belong to, and
    /// over HTTP it takes and drops them.
    fn notified<'m>(&self, method: &'m str) -> Vec<&'m str> {
        if (self.era, self.road) == (Era::Modern, Road::Http) { vec![] } else { vec![method] }
    }

    /// A method that only one era has.
    fn only<'m>(&self, era: Era, method: &'m str) -> Vec<&'m str> {
        if self.era == era { vec![method] } else { vec![] }
    }

    /// Runs `action`, then waits for what it sets off: the handler's methods that are to be called, and the requests and
    /// notifications that are to reach the client. Whatever is late turns up in the next step and fails that one.
    async fn step(&mut self, name: &str, handled: &[&str], heard: &[&str], action: impl Future) {
        action.await;
        let count = |lines: &[Line], who| lines.iter().filter(|line| line.who == who && !line.method().is_empty()).count();
        let enough = |lines: &[Line]| count(lines, Who::Handler) >= handled.len() && count(lines, Who::Server) >= heard.len();
        let lines = self.tape.wait(self.read, enough).await;
        self.read += lines.len();
        // Messages that come on several streams, and notifications that are handled on tasks of their own, have an order
        // only among their like.
        let track = |who| {
            let mut track: Vec<_> = lines.iter().filter(|line| line.who == who).collect();
            track.sort_by_key(|line| line.method());
            track
        };
        let methods = |who| track(who).iter().map(|line| line.method()).filter(|method| !method.is_empty()).collect::<Vec<_>>();
        let sorted = |mut methods: Vec<_>| {
            methods.sort_unstable();
            methods
        };
        assert_eq!(methods(Who::Handler), sorted(handled.to_vec()), "{name}: the handler's part");
        assert_eq!(methods(Who::Server), sorted(heard.to_vec()), "{name}: what the client heard");
        let whole = |who| track(who).into_iter().map(|line| line.what.clone()).collect();
        let (sent, received, handled) = (whole(Who::Client), whole(Who::Server), whole(Who::Handler));
        self.steps.push(Step { name: name.to_owned(), sent, received, handled });
    }
}

fn tool(name: &'static str) -> CallToolRequestParams {
    CallToolRequestParams::new(name).with_arguments(object(json!({ "city": "Oslo", "days": 2 })))
}

/// Drives a rich server through everything.
pub async fn drive(client: &Client, era: Era, road: Road, tape: &Tape) -> Vec<Step> {
    let mut script = Script { client, era, road, tape, read: 0, steps: Vec::new() };
    let hello: &[_] = if era == Era::Legacy { &["initialize", "on_initialized"] } else { &["discover"] };
    script.step("connect", hello, &[], ready(())).await;
    let ping = client.send_request(ClientRequest::PingRequest(PingRequest::default()));
    script.step("ping", &script.only(Era::Legacy, "ping"), &[], ping).await;
    let meta = RequestMetaObject::with_client_context(
        ProtocolVersion::V_2026_07_28,
        Implementation::new("caller", "0.9"),
        ClientCapabilities::default(),
    );
    if era == Era::Modern {
        script.step("server/discover", &["discover"], &[], client.discover(meta)).await;
    }

    lists_and_reads(&mut script).await;
    for name in TOOLS.into_iter().filter(|name| *name != "waits") {
        script.step(&format!("tools/call {name}"), &["call_tool"], hears(name, era), client.call_tool_once(tool(name))).await;
    }
    script.step("tools/call unknown", &["call_tool"], &[], client.call_tool_once(tool("none such"))).await;
    round_trips(&mut script).await;
    subscriptions(&mut script).await;
    cancelled_call(&mut script).await;
    extensions(&mut script).await;
    notifications(&mut script).await;
    script.steps
}

/// What a tool makes the client hear besides its answer. A modern server may not ask its client anything.
fn hears(tool: &str, era: Era) -> &'static [&'static str] {
    match (tool, era) {
        ("progress", _) => &["notifications/progress"; 2],
        ("logs", _) => &["notifications/message"; 2],
        ("changes", _) => &[
            "notifications/tools/list_changed",
            "notifications/prompts/list_changed",
            "notifications/resources/list_changed",
            "notifications/tasks",
            "notifications/rich/own",
        ],
        ("samples", Era::Legacy) => &["sampling/createMessage"],
        ("elicits", Era::Legacy) => &["elicitation/create"],
        ("roots", Era::Legacy) => &["roots/list"],
        ("calls_back", Era::Legacy) => &["ping", "client/own"],
        _ => &[],
    }
}

async fn lists_and_reads(script: &mut Script<'_>) {
    let client = script.client;
    script.step("tools/list", &["list_tools"], &[], client.list_tools(None)).await;
    script.step("prompts/list", &["list_prompts"], &[], client.list_prompts(None)).await;
    script.step("resources/list", &["list_resources"], &[], client.list_resources(None)).await;
    let page = PaginatedRequestParams::default().with_cursor(Some("page 2".into()));
    script.step("resources/list, page 2", &["list_resources"], &[], client.list_resources(Some(page))).await;
    let templates = client.list_resource_templates(None);
    script.step("resources/templates/list", &["list_resource_templates"], &[], templates).await;
    for uri in [NOTES, "rich://nowhere"] {
        let read = client.read_resource(ReadResourceRequestParams::new(uri));
        script.step(&format!("resources/read {uri}"), &["read_resource"], &[], read).await;
    }
    for name in ["greet", "nobody"] {
        let params = GetPromptRequestParams::new(name).with_arguments(object(json!({ "city": "Oslo" })));
        script.step(&format!("prompts/get {name}"), &["get_prompt"], &[], client.get_prompt(params)).await;
    }
    let complete = CompleteRequestParams::new(Reference::for_prompt("greet"), ArgumentInfo::new("city", "bo"));
    script.step("completion/complete", &["complete"], &[], client.complete(complete)).await;
    let level = client.set_level(SetLevelRequestParams::new(LoggingLevel::Warning));
    script.step("logging/setLevel", &["set_level"], &["notifications/message"], level).await;
}

/// Multi round-trip requests: the client answers what is asked and sends the call again. Older clients get an error.
async fn round_trips(script: &mut Script<'_>) {
    let client = script.client;
    let rounds = if script.era == Era::Modern { 2 } else { 1 };
    script.step("tools/call in rounds", &vec!["call_tool"; rounds], &[], client.call_tool(tool("ask"))).await;
    let prompt = client.get_prompt(GetPromptRequestParams::new("ask"));
    script.step("prompts/get in rounds", &vec!["get_prompt"; rounds], &[], prompt).await;
    let read = client.read_resource(ReadResourceRequestParams::new("rich://ask"));
    script.step("resources/read in rounds", &vec!["read_resource"; rounds], &[], read).await;
}

/// Both kinds of subscription in both eras: where one does not exist, both servers have to say so alike.
async fn subscriptions(script: &mut Script<'_>) {
    const ACK: &str = "notifications/subscriptions/acknowledged";
    const TOOLS: &str = "notifications/tools/list_changed";
    const RESOURCES: &str = "notifications/resources/list_changed";
    const UPDATED: &str = "notifications/resources/updated";
    let client = script.client;
    let (handled, updated) = (script.only(Era::Legacy, "subscribe"), script.only(Era::Legacy, UPDATED));
    script.step("resources/subscribe", &handled, &updated, client.subscribe(SubscribeRequestParams::new(NOTES))).await;
    let handled = script.only(Era::Legacy, "unsubscribe");
    script.step("resources/unsubscribe", &handled, &[], client.unsubscribe(UnsubscribeRequestParams::new(NOTES))).await;

    let all = || SubscriptionFilter::builder().tools_list_changed().prompts_list_changed().resources_list_changed();
    if script.era == Era::Legacy {
        script.step("subscriptions/listen", &[], &[], client.listen(all().build())).await;
        return;
    }
    let to_the_end = async {
        let mut subscription = client.listen(all().build()).await.unwrap();
        while subscription.next().await.unwrap().is_some() {}
    };
    script.step("subscriptions/listen, to its end", &["listen"], &[ACK, TOOLS, RESOURCES], to_the_end).await;
    let left_early = async {
        let mut subscription = client.listen(all().resource_subscription(ENDLESS).build()).await.unwrap();
        for _ in 0..3 {
            subscription.next().await.unwrap().unwrap();
        }
        subscription.cancel().await.unwrap();
    };
    let mut handled = vec!["listen", "listen_cancelled"];
    handled.extend(script.notified("on_cancelled"));
    script.step("subscriptions/listen, left early", &handled, &[ACK, TOOLS, RESOURCES, UPDATED], left_early).await;
}

/// A call that its client takes back: no answer, and the handler learns of it.
async fn cancelled_call(script: &mut Script<'_>) {
    let (client, tape, read) = (script.client, script.tape, script.read);
    let taken_back = async {
        let call = ClientRequest::CallToolRequest(CallToolRequest::new(tool("waits")));
        let call = client.send_request_with_option(call, PeerRequestOptions::no_options()).await.unwrap();
        tape.wait(read, |lines| lines.iter().any(|line| line.who == Who::Handler)).await;
        call.cancel(Some("never mind".into())).await.unwrap();
    };
    let mut handled = vec!["call_tool", "left"];
    handled.extend(script.notified("on_cancelled"));
    script.step("tools/call, taken back", &handled, &[], taken_back).await;
}

/// Tasks, skills, and methods that only this server has.
async fn extensions(script: &mut Script<'_>) {
    let client = script.client;
    script.step("tasks/get", &["get_task"], &[], client.get_task(GetTaskParams::new("task-1"))).await;
    let inputs = [("form".to_owned(), json!({ "action": "decline" }))].into();
    script.step("tasks/update", &["update_task"], &[], client.update_task(UpdateTaskParams::new("task-1", inputs))).await;
    script.step("tasks/cancel", &["cancel_task"], &[], client.cancel_task(CancelTaskParams::new("task-1"))).await;
    script.step("skills/list", &["list_skills"], &[], client.list_skills(None)).await;
    script.step("skills/get", &["get_skill"], &[], client.get_skill(GetSkillRequestParams::new(SKILL))).await;
    let read = client.read_resource_directory(ReadResourceDirectoryRequestParams::new("skill://knots"));
    script.step("resources/directory/read", &["read_resource_directory"], &[], read).await;
    for method in ["rich/echo", "rich/other"] {
        let request = ClientRequest::CustomRequest(CustomRequest::new(method, Some(json!({ "n": 1 }))));
        script.step(method, &["on_custom_request"], &[], client.send_request(request)).await;
    }
}

/// Notifications from the client.
async fn notifications(script: &mut Script<'_>) {
    let client = script.client;
    let own = CustomNotification::new("notifications/caller/own", Some(json!({ "n": 3 })));
    let own = client.send_notification(ClientNotification::CustomNotification(own));
    script.step("notifications/caller/own", &script.notified("on_custom_notification"), &[], own).await;
    let param = ProgressNotificationParam::new(ProgressToken(NumberOrString::Number(7)), 0.5);
    script.step("notifications/progress", &script.notified("on_progress"), &[], client.notify_progress(param)).await;
    let roots = client.notify_roots_list_changed();
    script.step("notifications/roots/list_changed", &script.notified("on_roots_list_changed"), &[], roots).await;
    let stranger = CancelledNotificationParam::new(Some(NumberOrString::Number(9999)), None);
    script.step("notifications/cancelled", &script.notified("on_cancelled"), &[], client.notify_cancelled(stranger)).await;
}
