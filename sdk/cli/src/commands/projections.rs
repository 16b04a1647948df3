//! `brink projections`.

use super::events::payload;
use crate::{
    args::ProjectionsAction,
    client::{Client, Content, REQUEST_TIME_MAX, encoded},
    error::Error,
    moment::time,
    output::{Output, table},
};
use brink_protocol::{
    ModuleName,
    control::{
        DeadLetter, DeadLetters, DropTarget, DroppedTarget, ProjectionStatus, Replay, Replayed,
        RetriedLetter,
    },
};
use http::Method;
use std::time::Duration;

/// Longest time for deleting a target: it may have many records.
const DROP_TIME_MAX: Duration = Duration::from_secs(600);

/// Shows and operates projections.
pub(super) async fn run(
    action: ProjectionsAction,
    client: &Client,
    output: Output,
) -> Result<(), Error> {
    match action {
        ProjectionsAction::List => {
            let all: Vec<ProjectionStatus> = client.get("/v1/projections").await?;
            output.result(&all, |all| list(all))
        }
        ProjectionsAction::DeadLetters { name, after, limit } => {
            let mut path = format!("{}?limit={limit}", letters_path(&name));
            if let Some(after) = after {
                path.push_str(&format!("&after={}", encoded(&after)));
            }
            let letters: DeadLetters = client.get(&path).await?;
            output.result(&letters, letters_as_text)
        }
        ProjectionsAction::Retry { name, id } => {
            let path = format!("{}/{}/retry", letters_path(&name), encoded(&id));
            let answer =
                client.send::<RetriedLetter>(Method::POST, &path, Content::Empty, REQUEST_TIME_MAX);
            output.result(&answer.await?.body, |retried| {
                let text = if retried.applied {
                    "It is applied."
                } else {
                    "There was nothing to apply any more; the letter is gone."
                };
                format!("{text}\n")
            })
        }
        ProjectionsAction::Drop { name, id } => {
            let path = format!("{}/{}", letters_path(&name), encoded(&id));
            client.delete(&path).await?;
            output.result(&serde_json::json!({ "id": id }), |_| {
                format!("{id} is dropped\n")
            })
        }
        ProjectionsAction::Replay {
            name,
            from,
            partition,
        } => {
            let path = format!("/v1/projections/{}/replay", encoded(name.as_str()));
            let replay = Replay { from, partition };
            let answer: Replayed = client.send_json(Method::POST, &path, &replay).await?;
            output.result(&answer, |_| {
                format!(
                    "{name} applies events again; `brink projections list` shows how far it is\n"
                )
            })
        }
        ProjectionsAction::DropTarget {
            name,
            source,
            target,
            yes: _,
        } => {
            let path = format!("/v1/projections/{}/drop-target", encoded(name.as_str()));
            let what = Content::json(&DropTarget { source, target })?;
            let answer = client
                .send::<DroppedTarget>(Method::POST, &path, what, DROP_TIME_MAX)
                .await?;
            output.result(&answer.body, |dropped| {
                format!("{} records are deleted\n", dropped.records)
            })
        }
    }
}

fn letters_path(name: &ModuleName) -> String {
    format!("/v1/projections/{}/dead-letters", encoded(name.as_str()))
}

fn list(all: &[ProjectionStatus]) -> String {
    if all.is_empty() {
        return "No projection is deployed.\n".to_owned();
    }
    let row = |status: &ProjectionStatus| {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        vec![
            status.name.to_string(),
            status.version.to_string(),
            or_none(&status.source),
            or_none(&status.target),
            status.streams.to_string(),
            status.lag.to_string(),
            status.dead_letters.to_string(),
            status.problem.clone().unwrap_or_default(),
        ]
    };
    let headings = [
        "NAME", "VERSION", "SOURCE", "TARGET", "STREAMS", "LAG", "DEAD", "PROBLEM",
    ];
    table(&headings, &all.iter().map(row).collect::<Vec<_>>())
}

fn letters_as_text(page: &DeadLetters) -> String {
    let mut text = String::new();
    for letter in &page.letters {
        let DeadLetter { event, target, .. } = letter;
        text.push_str(&format!(
            "{}\n  event {} of {}, {}, for {}: {} {}\n  given up {} after {} attempts: {}\n",
            letter.id,
            event.number,
            letter.partition,
            time(event.at_ms),
            target
                .as_deref()
                .unwrap_or("a target that it could not name"),
            event.kind,
            payload(event),
            time(letter.at_ms),
            letter.attempts,
            letter.error,
        ));
    }
    if text.is_empty() {
        text.push_str("No dead letters.\n");
    }
    if let (true, Some(last)) = (page.more, page.letters.last()) {
        text.push_str(&format!("There are more: --after {}\n", last.id));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::control::ShownEvent;

    #[test]
    fn as_people_read_it() {
        let status = ProjectionStatus {
            name: "by-customer".parse().unwrap(),
            version: 3,
            source: Some("orders".into()),
            target: Some("by-customer".into()),
            problem: None,
            streams: 12,
            streams_behind: 1,
            lag: 4,
            dead_letters: 1200,
            replays: 0,
        };
        assert_eq!(
            list(&[status]),
            "NAME         VERSION  SOURCE  TARGET       STREAMS  LAG  DEAD  PROBLEM\n\
             by-customer  3        orders  by-customer  12       4    1200\n"
        );
        let letter = DeadLetter {
            id: "a-1".into(),
            partition: "o-1".into(),
            target: None,
            event: ShownEvent {
                number: 7,
                kind: "order.placed".into(),
                at_ms: 0,
                payload: None,
                base64: None,
            },
            error: "no customer".into(),
            attempts: 8,
            at_ms: 1000,
        };
        let page = DeadLetters {
            letters: vec![letter],
            more: true,
        };
        assert_eq!(
            letters_as_text(&page),
            "a-1\n  event 7 of o-1, 1970-01-01T00:00:00.000Z, for a target that it could not name: order.placed \n  \
             given up 1970-01-01T00:00:01.000Z after 8 attempts: no customer\nThere are more: --after a-1\n"
        );
    }
}
