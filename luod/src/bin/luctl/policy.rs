// SPDX-License-Identifier: MIT OR Apache-2.0

//! The policy: checked, and read again.

use std::path::Path;
use std::process::ExitCode;

use luod::agent::sentence;
use luod::policy::{File, Policy, PolicyError, Sources, Warning};
use luod::system::names::MachineNames;
use luod::varlink::agent::Nothing;
use luod::varlink::manager::Reloaded;
use serde_json::json;

use crate::arguments;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::Output;

pub(crate) async fn reload(client: &mut Client, output: Output) -> Result<(), Failure> {
    let reloaded: Reloaded = client.call("Reload", Nothing {}).await?;
    if output.is_json {
        Output::json(&reloaded);
    } else {
        for warning in &reloaded.warnings {
            println!("warning: {warning}");
        }
        println!("the policy was read again");
    }
    Ok(())
}

pub(crate) fn run(command: &arguments::Policy, output: Output) -> Result<ExitCode, Failure> {
    let arguments::Policy::Check { file, root } = command;
    let warnings = check(file.as_deref(), root).map_err(|error| Failure::new(sentence(&error)))?;
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    if output.is_json {
        Output::json(&json!({ "warnings": warnings }));
    } else {
        for warning in &warnings {
            println!("warning: {warning}");
        }
        match warnings.len() {
            0 => println!("the policy is good"),
            1 => println!("the policy is valid, with a warning"),
            count => println!("the policy is valid, with {count} warnings"),
        }
    }
    Ok(Exit::Done.into())
}

fn check(file: Option<&Path>, root: &Path) -> Result<Vec<Warning>, PolicyError> {
    let (_, warnings) = match file {
        Some(path) => {
            let file = File::read(path)?;
            Policy::parse(file.as_slice(), &MachineNames)?
        }
        None => Policy::load(&Sources::beneath(root), &MachineNames)?,
    };
    Ok(warnings)
}
