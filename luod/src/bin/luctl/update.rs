// SPDX-License-Identifier: MIT OR Apache-2.0

//! Updates, and who is awaited.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use luod::varlink::agent::Nothing;
use luod::varlink::manager::{Finding, Method, Phase, Progress, Status, Update};
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Order;
use crate::client::{Client, Part};
use crate::failure::{Exit, Failure};
use crate::list::{awaited, phase};
use crate::output::{GREEN, Output};

pub(crate) async fn update(
    client: &mut Client,
    folder: &Path,
    order: &Order,
    output: Output,
) -> Result<ExitCode, Failure> {
    let update = Update {
        method: match order {
            Order { now: true, .. } => Some(Method::Now),
            Order { systemctl: true, .. } => Some(Method::Systemctl),
            Order { .. } => None,
        },
        deadline: order.deadline.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
        dry_run: Some(order.dry_run),
        accept_unknown: Some(order.accept_unknown),
        r#override: Some(order.overridden.clone()),
    };
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|error| Failure::new(error.to_string()))?;
    client.begin("Update", update).await?;
    let mut shown = Shown::default();
    loop {
        let part = tokio::select! {
            part = client.next::<Progress>() => part,
            _ = interrupt.recv() => {
                cancel(folder).await?;
                continue;
            }
        };
        let Part { value: progress, is_last } =
            part.map_err(|failure| with_findings(failure, output))?;
        show(&progress, &mut shown, output);
        if is_last {
            if !output.is_json {
                println!("{}", output.style(GREEN, "the update could begin"));
            }
            return Ok(Exit::Done.into());
        }
    }
}

/// Calls the update off on a connection of its own. The update's own connection tells its end.
async fn cancel(folder: &Path) -> Result<(), Failure> {
    eprintln!("luctl: calling the update off");
    let cancelled: Result<Nothing, _> =
        Client::manager(folder).await?.call("Cancel", Nothing {}).await;
    // It may be too late; then there is nothing to do but to go on.
    if let Err(failure) = cancelled {
        eprintln!("luctl: {}", failure.message);
    }
    Ok(())
}

/// Shows findings that have stopped an update.
fn with_findings(failure: Failure, output: Output) -> Failure {
    let findings = failure.parameters.get("findings").cloned().unwrap_or_default();
    if let Ok(findings) = serde_json::from_value::<Vec<Finding>>(findings) {
        if output.is_json {
            Output::json(&serde_json::json!({ "findings": findings }));
        } else {
            output.findings(&findings);
        }
    }
    failure
}

/// What was shown last, so that nothing is shown twice.
#[derive(Debug, Default)]
struct Shown {
    phase: Option<Phase>,
    awaited: Vec<String>,
}

fn show(progress: &Progress, shown: &mut Shown, output: Output) {
    if output.is_json {
        Output::json(progress);
        return;
    }
    if let Some(findings) = &progress.findings {
        output.findings(findings);
    }
    if shown.phase != Some(progress.phase) {
        shown.phase = Some(progress.phase);
        println!("{}", phase(progress.phase));
    }
    let Some(clients) = &progress.awaited else { return };
    // The time that is left changes all the time.
    let names: Vec<_> = clients.iter().map(|it| format!("{}{:?}", it.owner, it.labels)).collect();
    if names != shown.awaited && !names.is_empty() {
        for line in awaited(clients, progress.unnamed) {
            println!("  waiting for {line}");
        }
    }
    shown.awaited = names;
}

/// Looks at updates as they happen.
pub(crate) async fn watch(folder: &Path, output: Output) -> Result<(), Failure> {
    let mut client = Client::manager(folder).await?;
    let mut last = None;
    loop {
        let status: Status = client.call("Status", Nothing {}).await?;
        let now = (status.phase, status.generation, status.awaited.len(), status.participants);
        if last.as_ref() != Some(&now) {
            if output.is_json {
                Output::json(&status);
            } else {
                println!("{}", phase(status.phase));
                for line in awaited(&status.awaited, status.unnamed) {
                    println!("  waiting for {line}");
                }
            }
            last = Some(now);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
