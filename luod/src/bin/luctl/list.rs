// SPDX-License-Identifier: MIT OR Apache-2.0

//! The state, sessions and figures.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use luod::varlink::agent::{self, Nothing};
use luod::varlink::manager::{Awaited, Discard, List, Metrics, Mode, Phase, Session, Status};

use crate::arguments;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{BOLD, Output};

pub(crate) async fn status(client: &mut Client, output: Output) -> Result<(), Failure> {
    let status: Status = client.call("Status", Nothing {}).await?;
    if output.is_json {
        Output::json(&status);
        return Ok(());
    }
    let mode = match status.mode {
        Mode::Systemd => "systemd holds the sessions",
        Mode::Standalone => "standalone: luod alone holds the sessions",
    };
    let target = match &status.target {
        Some(target) => {
            let release = target.release.as_deref().unwrap_or("unknown release");
            format!("{release} ({})", target.container)
        }
        None => "none that luod has loaded".into(),
    };
    let mut lines = vec![
        ("luod", format!("{} ({mode})", status.version)),
        ("phase", phase(status.phase).into()),
        ("kernel", target),
        ("sessions", status.sessions.to_string()),
        ("clients", format!("{} take part in updates", status.participants)),
    ];
    if let Some(generation) = status.generation {
        lines.insert(2, ("update", generation.to_string()));
    }
    if let Some(failure) = &status.last_failure {
        lines.push(("last update", format!("off: {failure}")));
    }
    for (name, value) in lines {
        println!("{} {value}", output.style(BOLD, &format!("{name:<12}")));
    }
    for line in awaited(&status.awaited, status.unnamed) {
        println!("{} {line}", output.style(BOLD, "awaited     "));
    }
    Ok(())
}

/// Lines of those who are awaited.
pub(crate) fn awaited(awaited: &[Awaited], unnamed: Option<u32>) -> Vec<String> {
    let line = |it: &Awaited| {
        let labels = it.labels.join(", ");
        let left = Duration::from_secs(it.left.div_ceil(1000));
        format!("{} ({labels}), {} left", it.owner, humantime::format_duration(left))
    };
    let mut lines: Vec<_> = awaited.iter().map(line).collect();
    lines.extend(unnamed.map(|unnamed| format!("and {unnamed} others")));
    lines
}

pub(crate) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle: no kernel is loaded",
        Phase::Loaded => "loaded: ready for an update",
        Phase::Checking => "checking this machine and the next kernel",
        Phase::Preparing => "preparing: clients are asked",
        Phase::Freezing => "freezing sessions",
        Phase::Committing => "leaving this kernel",
    }
}

pub(crate) async fn sessions(folder: &Path, all: bool, output: Output) -> Result<(), Failure> {
    let (sessions, counts) =
        if all { (of_all(folder).await?, Counts::new()) } else { own(folder).await? };
    if output.is_json {
        Output::json(&List { sessions });
        return Ok(());
    }
    if sessions.is_empty() {
        println!("{}", if all { "no sessions" } else { "no sessions of yours; `--all` shows all" });
        return Ok(());
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
    let rows = sessions.iter().map(|it| {
        let files = match (&it.files, counts.get(&it.session_name)) {
            (Some(files), _) => files.len().to_string(),
            (None, Some(count)) => count.to_string(),
            (None, None) => "?".into(),
        };
        // A session that luod does not know has nothing but its name in the kernel.
        let label = it.label.clone().unwrap_or_else(|| it.session_name.clone());
        [text(&it.owner), label, it.direction.clone(), it.state.clone(), files]
    });
    output.table(["OWNER", "LABEL", "DIRECTION", "STATE", "FILES"], rows.collect());
    Ok(())
}

async fn of_all(folder: &Path) -> Result<Vec<Session>, Failure> {
    let parts: Vec<List> = Client::manager(folder).await?.all("List").await?;
    Ok(parts.into_iter().flat_map(|part| part.sessions).collect())
}

/// The number of files by the name of a session.
type Counts = BTreeMap<String, i64>;

/// The sessions of the caller's owner, which everybody may see, and how many files they have.
async fn own(folder: &Path) -> Result<(Vec<Session>, Counts), Failure> {
    let parts: Vec<agent::List> = Client::agent(folder).await?.all("List").await?;
    let all = || parts.iter().flat_map(|part| &part.sessions);
    let counts = all().filter_map(|it| Some((it.session_name.clone(), it.files?))).collect();
    let session = |it: agent::Session| Session {
        owner: Some("you".into()),
        label: Some(it.label),
        session_name: it.session_name,
        direction: it.direction.as_str().into(),
        state: it.state.as_str().into(),
        files: None,
    };
    Ok((parts.into_iter().flat_map(|part| part.sessions).map(session).collect(), counts))
}

pub(crate) async fn discard(
    client: &mut Client,
    session: arguments::Session,
    output: Output,
) -> Result<(), Failure> {
    let direction = if session.incoming { "incoming" } else { "outgoing" }.to_owned();
    let discard = Discard { owner: session.owner, label: session.label, direction };
    let _: Nothing = client.call("Discard", discard).await?;
    output.done("the session is given up");
    Ok(())
}

pub(crate) async fn metrics(client: &mut Client) -> Result<(), Failure> {
    let Metrics { text } = client.call("Metrics", Nothing {}).await?;
    print!("{text}");
    Ok(())
}
