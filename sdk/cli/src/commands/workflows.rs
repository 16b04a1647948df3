//! `brink workflows`.

use crate::{
    args::{WorkflowState, WorkflowsAction, WorkflowsList},
    client::{Client, encoded},
    error::Error,
    moment::time,
    output::{Output, pairs, table},
};
use brink_protocol::{
    ModuleName,
    control::{
        CancelWorkflow, NewWorkflow, ShownBytes, ShownStep, ShownWorkflow, StartedWorkflow,
        WorkflowPage, WorkflowPhase, WorkflowRow,
    },
};
use http::Method;
use serde_json::value::RawValue;

/// Starts, shows, retries and cancels workflows.
pub(super) async fn run(
    action: WorkflowsAction,
    client: impl FnOnce() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    match action {
        WorkflowsAction::Start {
            name,
            id,
            input,
            input_file,
        } => {
            let text = match input_file {
                Some(path) => Some(std::fs::read_to_string(&path).map_err(|error| {
                    Error::failed(format!("{} was not read", path.display()), error)
                })?),
                None => input,
            };
            let new = NewWorkflow {
                id,
                input: text.map(json).transpose()?,
                base64: None,
            };
            let path = format!("/v1/workflows/{name}");
            let started: StartedWorkflow = client()?.send_json(Method::POST, &path, &new).await?;
            output.result(&started, |started| match started.is_new {
                true => format!("{name}/{} is started.\n", started.id),
                false => format!("{name}/{} was there already.\n", started.id),
            })
        }
        WorkflowsAction::Get { name, id } => {
            let shown: ShownWorkflow = client()?.get(&path(&name, &id, "")).await?;
            output.result(&shown, whole)
        }
        WorkflowsAction::List(args) => {
            let page: WorkflowPage = client()?.get(&listed(&args)).await?;
            output.result(&page, list)
        }
        WorkflowsAction::Retry { name, id } => {
            let path = path(&name, &id, "/retry");
            let nothing = serde_json::json!({});
            let done: StartedWorkflow = client()?.send_json(Method::POST, &path, &nothing).await?;
            output.result(&done, |_| format!("{name}/{id} is tried again.\n"))
        }
        WorkflowsAction::Cancel { name, id, reason } => {
            let path = path(&name, &id, "/cancel");
            let asked = CancelWorkflow { reason };
            let done: StartedWorkflow = client()?.send_json(Method::POST, &path, &asked).await?;
            output.result(&done, |_| {
                format!("{name}/{id} is cancelled; what was done is being compensated.\n")
            })
        }
    }
}

fn json(text: String) -> Result<Box<RawValue>, Error> {
    RawValue::from_string(text).map_err(|error| Error::failed("the input is not JSON", error))
}

fn path(name: &ModuleName, id: &str, then: &str) -> String {
    format!("/v1/workflows/{name}/{}{then}", encoded(id))
}

fn listed(args: &WorkflowsList) -> String {
    let mut path = format!("/v1/workflows?limit={}", args.limit);
    if let Some(name) = &args.name {
        path.push_str(&format!("&name={name}"));
    }
    if let Some(state) = args.state {
        let state = match state {
            WorkflowState::Running => WorkflowPhase::Running,
            WorkflowState::Compensating => WorkflowPhase::Compensating,
            WorkflowState::Stuck => WorkflowPhase::Stuck,
            WorkflowState::Completed => WorkflowPhase::Completed,
            WorkflowState::Failed => WorkflowPhase::Failed,
        };
        path.push_str(&format!("&state={}", state.as_str()));
    }
    if let Some(before) = &args.before {
        path.push_str(&format!("&before={}", encoded(before)));
    }
    path
}

fn list(page: &WorkflowPage) -> String {
    let row = |row: &WorkflowRow| {
        vec![
            row.name.to_string(),
            row.id.clone(),
            row.state.as_str().to_owned(),
            row.steps.to_string(),
            time(row.started_at_ms),
            row.ended_at_ms.map_or_else(|| "-".into(), time),
            row.trouble.clone().unwrap_or_else(|| "-".into()),
        ]
    };
    let rows: Vec<_> = page.workflows.iter().map(row).collect();
    let headings = [
        "WORKFLOW", "ID", "STATE", "STEPS", "STARTED", "ENDED", "TROUBLE",
    ];
    let mut text = match rows.is_empty() {
        true => "No workflow fits.\n".to_owned(),
        false => table(&headings, &rows),
    };
    if let Some(next) = &page.next {
        text.push_str(&format!("There may be older ones: --before {next}\n"));
    }
    text
}

/// Bytes as people read them.
fn text(bytes: &ShownBytes) -> String {
    match (&bytes.json, &bytes.base64) {
        (Some(json), _) => json.get().to_owned(),
        (None, Some(base64)) if !base64.is_empty() => format!("base64 {base64}"),
        _ => "-".into(),
    }
}

fn whole(shown: &ShownWorkflow) -> String {
    let row = &shown.row;
    let mut about = vec![
        ("workflow", format!("{}/{}", row.name, row.id)),
        ("state", row.state.as_str().to_owned()),
        ("version", shown.version.to_string()),
        ("started", time(row.started_at_ms)),
    ];
    let caller = shown.caller.as_ref().map(ToString::to_string);
    for (name, value) in [
        ("by", caller),
        ("for", shown.subject.clone()),
        ("ended", row.ended_at_ms.map(time)),
        ("next look", shown.due_at_ms.map(time)),
        ("at work", shown.at_work.clone()),
        ("trouble", row.trouble.clone()),
        ("result", shown.result.as_ref().map(text)),
    ] {
        about.extend(value.map(|value| (name, value)));
    }
    let step = |(number, step): (usize, &ShownStep)| {
        let place = match (&step.collection, &step.partition) {
            (Some(collection), Some(partition)) => format!("{collection}/{partition}"),
            _ => "-".into(),
        };
        let undone = match (&step.compensation, step.compensated_at_ms) {
            (_, Some(at_ms)) => time(at_ms),
            (Some(command), None) => format!("by {command}"),
            (None, None) => "-".into(),
        };
        vec![
            (number + 1).to_string(),
            step.command
                .as_ref()
                .map_or("wait", ModuleName::as_str)
                .to_owned(),
            place,
            step.state.clone(),
            step.ended_at_ms.map_or_else(|| "-".into(), time),
            undone,
            step.answer.as_ref().map_or_else(|| "-".into(), text),
        ]
    };
    let rows: Vec<_> = shown.decisions.iter().enumerate().map(step).collect();
    let headings = [
        "STEP",
        "COMMAND",
        "PARTITION",
        "STATE",
        "AT",
        "UNDONE",
        "ANSWER",
    ];
    match rows.is_empty() {
        true => pairs(&about),
        false => format!("{}\n{}", pairs(&about), table(&headings, &rows)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser as _;

    #[test]
    fn what_is_asked_for() {
        for (line, expected) in [
            ("", "/v1/workflows?limit=50"),
            (
                "--name fulfil --state stuck --limit 5 --before 01/a",
                "/v1/workflows?limit=5&name=fulfil&state=stuck&before=01%2Fa",
            ),
        ] {
            let words = ["brink", "workflows", "list"];
            let words = words.into_iter().chain(line.split_whitespace());
            let Command::Workflows(args) = Cli::try_parse_from(words).unwrap().command else {
                panic!("{line}")
            };
            let WorkflowsAction::List(args) = args.action else {
                panic!("{line}")
            };
            assert_eq!(listed(&args), expected);
        }
        let name = "fulfil".parse().unwrap();
        assert_eq!(
            path(&name, "a/b", "/retry"),
            "/v1/workflows/fulfil/a%2Fb/retry"
        );
        assert!(json("{".into()).is_err());
    }

    #[test]
    fn as_people_read_it() {
        let row = WorkflowRow {
            name: "fulfil".parse().unwrap(),
            id: "o-1".into(),
            state: WorkflowPhase::Compensating,
            steps: 1,
            started_at_ms: 0,
            ended_at_ms: None,
            trouble: Some("it is away".into()),
        };
        let shown = ShownWorkflow {
            row: row.clone(),
            version: 2,
            caller: None,
            subject: None,
            input: ShownBytes {
                json: None,
                base64: None,
            },
            result: None,
            due_at_ms: None,
            at_work: None,
            decisions: vec![ShownStep {
                command: Some("pay".parse().unwrap()),
                collection: Some("accounts".into()),
                partition: Some("ada".into()),
                state: "done".into(),
                answer: None,
                began_at_ms: 0,
                ended_at_ms: None,
                compensation: Some("refund".parse().unwrap()),
                compensated_at_ms: None,
            }],
        };
        assert!(
            whole(&shown).ends_with(
                "\nSTEP  COMMAND  PARTITION     STATE  AT  UNDONE     ANSWER\n\
             1     pay      accounts/ada  done   -   by refund  -\n"
            ),
            "{}",
            whole(&shown)
        );
        let page = WorkflowPage {
            workflows: vec![row],
            next: None,
        };
        assert_eq!(
            list(&page),
            "WORKFLOW  ID   STATE         STEPS  STARTED                   ENDED  TROUBLE\n\
             fulfil    o-1  compensating  1      1970-01-01T00:00:00.000Z  -      it is away\n"
        );
        let none = WorkflowPage {
            workflows: Vec::new(),
            next: None,
        };
        assert_eq!(list(&none), "No workflow fits.\n");
    }
}
