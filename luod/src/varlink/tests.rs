// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::BTreeMap;

use zlink::idl::{Interface, Type as Idl};
use zlink::introspect::{CustomType as _, ReplyError as _, Type as _};

use super::*;

/// The methods of an interface, with the types of their parameters and replies.
type Methods<'a> = [(&'a str, &'a Idl<'a>, &'a Idl<'a>)];

fn text(value: impl std::fmt::Display) -> String {
    // Comments are in the file alone.
    let text = value.to_string();
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.collect::<Vec<_>>().join("").replace(", ", ",").replace("( ", "(")
}

/// A type without the comments of its fields.
fn plain(ty: &Idl<'_>) -> String {
    text(ty)
}

fn compare(
    source: &'static str,
    methods: &Methods<'_>,
    types: &[String],
    errors: &[(String, String)],
) {
    let interface = Interface::try_from(source).unwrap();
    let mut expected = BTreeMap::new();
    for method in interface.methods() {
        let fields = |fields: Vec<String>| format!("({})", fields.join(","));
        let inputs = fields(method.inputs().map(text).collect());
        let outputs = fields(method.outputs().map(text).collect());
        expected.insert(method.name().to_string(), (inputs, outputs));
    }
    let ours = methods
        .iter()
        .map(|(name, inputs, outputs)| ((*name).to_owned(), (plain(inputs), plain(outputs))));
    assert_eq!(ours.collect::<BTreeMap<_, _>>(), expected);
    let mut expected: Vec<_> = interface.custom_types().map(text).collect();
    let mut ours: Vec<_> = types.to_vec();
    expected.sort();
    ours.sort();
    assert_eq!(ours, expected);
    let expected = interface.errors().map(|error| (error.name().to_string(), text(error)));
    let ours = errors.iter().cloned();
    assert_eq!(ours.collect::<BTreeMap<_, _>>(), expected.collect::<BTreeMap<_, _>>());
}

macro_rules! types {
    ($($name:ty),* $(,)?) => { [$(text(<$name>::CUSTOM_TYPE)),*] };
}

#[test]
fn types_of_the_agent_are_those_of_the_file() {
    use agent::*;
    let label = Labelled::TYPE;
    let none = Nothing::TYPE;
    let methods = [
        ("Open", label, Opened::TYPE),
        ("Claim", label, Claimed::TYPE),
        ("Restored", label, none),
        ("Discard", label, none),
        ("Keep", label, none),
        ("Participate", Participate::TYPE, Event::TYPE),
        ("Ready", Ready::TYPE, none),
        ("Refuse", Refuse::TYPE, none),
        ("Extend", Extend::TYPE, Extended::TYPE),
        ("List", none, List::TYPE),
    ];
    let types = types![Direction, State, Session, Prepare, Abort, Commit];
    let errors: Vec<_> =
        Error::VARIANTS.iter().map(|it| (it.name().to_string(), text(it))).collect();
    compare(TEXT, &methods, &types, &errors);
}

#[test]
fn types_of_the_manager_are_those_of_the_file() {
    use manager::*;
    let none = agent::Nothing::TYPE;
    let methods = [
        ("Status", none, Status::TYPE),
        ("List", none, List::TYPE),
        ("Check", Check::TYPE, Findings::TYPE),
        ("Load", Load::TYPE, Findings::TYPE),
        ("Unload", none, none),
        ("Update", Update::TYPE, Progress::TYPE),
        ("Cancel", none, none),
        ("Discard", Discard::TYPE, none),
        ("Reload", none, Reloaded::TYPE),
        ("Metrics", none, Metrics::TYPE),
    ];
    let types = types![Phase, Mode, Method, Severity, Finding, Awaited, File, Session, Target];
    let errors: Vec<_> =
        Error::VARIANTS.iter().map(|it| (it.name().to_string(), text(it))).collect();
    compare(TEXT, &methods, &types, &errors);
}

#[test]
fn parameters_are_checked_strictly() {
    let call: Call<Request> =
        serde_json::from_str(r#"{"method":"io.liveupdate.Agent.Open","parameters":{"label":7}}"#)
            .unwrap();
    let error = call.method().parameters::<agent::Labelled>().unwrap_err();
    assert_eq!(json(error)["parameters"]["parameter"], "label");
}
