// SPDX-License-Identifier: MIT OR Apache-2.0

//! The decisions of policies, and the files of `testdata/policy`: all messages, as people read them.

use std::error::Error as _;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::update::{self, OnFailure};

mod folders;

/// A machine with few users.
struct Few;

impl Names for Few {
    fn user(&self, name: &str) -> io::Result<Option<u32>> {
        match name {
            "root" => Ok(Some(0)),
            "alice" => Ok(Some(1000)),
            "remote" => Err(io::Error::other("the directory does not answer")),
            _ => Ok(None),
        }
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        Ok([("kvm", 36), ("operators", 27)]
            .into_iter()
            .find(|(it, _)| *it == name)
            .map(|(_, id)| id))
    }
}

/// The policy of these texts, which are `0.toml` and so on.
fn parse(texts: &[&str]) -> Result<(Policy, Vec<Warning>), PolicyError> {
    let files = texts.iter().enumerate();
    let files = files.map(|(at, text)| File::new(format!("{at}.toml"), (*text).into()).unwrap());
    Policy::parse(&files.collect::<Vec<_>>(), &Few)
}

fn policy(texts: &[&str]) -> Policy {
    parse(texts).unwrap().0
}

/// The decision on an owner, who is a member of these groups.
fn of(policy: &Policy, owner: &str, gids: &[u32]) -> Decision {
    let credentials = Credentials { uid: 1000, gids: gids.into() };
    policy.of(&owner.parse().unwrap(), &credentials)
}

fn admits(policy: &Policy, owner: &str, gids: &[u32]) -> bool {
    of(policy, owner, gids).admission == Admission::Admitted
}

/// All messages of the files of a folder in `testdata/policy`.
fn messages(folder: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/policy").join(folder);
    let mut names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let mut all = String::new();
    for name in names {
        let file = File::new(&name, fs::read(folder.join(&name)).unwrap()).unwrap();
        match Policy::parse(&[file], &Few) {
            Ok((_, warnings)) if warnings.is_empty() => {
                writeln!(all, "{}: good", name.display()).unwrap();
            }
            Ok((_, warnings)) => {
                for warning in warnings {
                    writeln!(all, "{warning}").unwrap();
                }
            }
            Err(error) => {
                let source = error.source().map(|source| format!(": {source}"));
                writeln!(all, "{error}{}", source.unwrap_or_default()).unwrap();
            }
        }
    }
    all
}

#[test]
fn good_files_have_no_messages() {
    insta::assert_snapshot!(messages("good"), @r"
    all.toml: good
    closed.toml: good
    empty.toml: good
    hypervisor.toml: good
    ");
}

#[test]
fn errors_name_the_line_and_the_key_and_what_is_allowed() {
    insta::assert_snapshot!(messages("bad"), @r#"
    duplicate.toml:4: duplicate key: "sessions"
    names-fail.toml:3: rule[0].user: cannot find out whether "remote" exists: the directory does not answer
    negative.toml:3: rule[0].sessions: invalid value: integer `-1`, expected a number of sessions from 0 to 4096
    no-boolean.toml:3: rule[0].participate: invalid type: string "yes", expected a boolean
    no-number.toml:3: rule[0].sessions: invalid type: string "many", expected a number of sessions from 0 to 4096
    no-such-administrators.toml:2: administrators: there is no group "wheel"; give the name of a group, or a number without quotation marks
    no-such-group.toml:3: rule[0].group: there is no group ""; give the name of a group, or a number without quotation marks
    no-such-user.toml:5: rule[0].user: there is no user "mallory"; give the name of a user, or a number without quotation marks
    no-time.toml:3: update.longest-leave: "0s": a time is such as "90s" or "1h 30min", from 1ms to 24h
    no-word.toml:3: rule[0].on-failure: unknown variant `ignore`, expected `fail` or `drop`
    rule-is-table.toml:2: rule: invalid type: map, expected tables, each with the head `[[rule]]`
    snake-case.toml:3: rule[0].on_failure: unknown field `on_failure`, expected one of `unit`, `user`, `group`, `participate`, `sessions`, `required`, `longest-deadline`, `on-failure`, `keep`, `carry`
    syntax.toml:2: unclosed array table, expected `]`
    time-as-number.toml:3: rule[0].longest-deadline: invalid type: integer `60`, expected a time as text, such as "90s" or "1h 30min", from 1ms to 24h
    time-without-unit.toml:3: update.longest-freeze: "60": a time is such as "90s" or "1h 30min", from 1ms to 24h
    too-many-sessions.toml:3: rule[0].sessions: invalid value: integer `4097`, expected a number of sessions from 0 to 4096
    two-words.toml:3: string values must be quoted, expected literal string: "60s"
    unit-and-user.toml:3: rule[0].user: the rule has `unit` already; give one of `unit`, `user` and `group`, or none for all owners
    unit-is-list.toml:3: rule[0].unit: invalid type: sequence, expected a pattern of services such as "vmm@*.service"
    unit-is-path.toml:3: rule[0].unit: "system.slice/*.service": '/' is in the name of no service; letters, digits, `:-_.\@` and the wildcards `*`, `?`, `[...]` and `[!...]` are allowed
    unit-is-scope.toml:3: rule[0].unit: "machine-*.scope": no service has such a name; write all of it, such as `vmm.service` or `vmm@*.service`
    unit-with-open-set.toml:3: rule[0].unit: "vmm@[0-9.service": a set of characters is `[...]` or `[!...]`, with at least one letter, digit or `:-_.\@`
    unit-without-suffix.toml:3: rule[0].unit: "vmm": no service has such a name; write all of it, such as `vmm.service` or `vmm@*.service`
    unknown-key.toml:7: rule[1].sesions: unknown field `sesions`, expected one of `unit`, `user`, `group`, `participate`, `sessions`, `required`, `longest-deadline`, `on-failure`, `keep`, `carry`
    unknown-setting.toml:3: update.default-dedline: unknown field `default-dedline`, expected one of `default-deadline`, `longest-prepare`, `longest-freeze`, `longest-leave`
    unknown-table.toml:2: rules: unknown field `rules`, expected one of `administrators`, `update`, `rule`
    user-and-group.toml:4: rule[0].group: the rule has `user` already; give one of `unit`, `user` and `group`, or none for all owners
    user-is-boolean.toml:3: rule[0].user: invalid type: boolean `true`, expected a name in quotation marks, or a number from 0 to 4294967294
    user-is-nobody.toml:3: rule[0].user: invalid value: integer `4294967295`, expected a name in quotation marks, or a number from 0 to 4294967294
    user-number-as-text.toml:3: rule[0].user: there is no user "1000"; give the name of a user, or a number without quotation marks
    "#);
}

#[test]
fn messages_do_not_control_the_terminal() {
    for text in [
        "\"\\u001b[2J\" = 1",
        "[[rule]]\nuser = \"\\u001b[2J\"",
        "a = \"\u{1b}\"",
        "[[rule]]\nunit = \"\\u009b\"",
    ] {
        let error = parse(&[text]).unwrap_err().to_string();
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
}

#[test]
fn unwise_rules_are_warnings() {
    insta::assert_snapshot!(messages("unwise"), @r#"
    nothing.toml:4: rule[0].sessions: a client without sessions hands nothing over; `participate = false` keeps it out
    nothing.toml:6: rule[1]: users other than root take part only with `participate = true`; if they must not, write `participate = false`
    nothing.toml:10: rule[2]: users other than root take part only with `participate = true`; if they must not, write `participate = false`
    required.toml:5: rule[0].required: no update can begin, since `participate = false` keeps out what is required
    required.toml:9: rule[1].required: a failure stops the update all the same, in spite of `on-failure = "drop"`, unless another client of the owner is ready
    shadowed.toml:5: rule[1]: the rule never matches, since that of shadowed.toml:2 matches first
    shadowed.toml:12: rule[3]: the rule never matches, since that of shadowed.toml:9 matches first
    shadowed.toml:18: rule[5]: the rule never matches, since that of shadowed.toml:15 matches first
    times.toml:3: update.default-deadline: clients get no more time than `longest-prepare`, 5m
    times.toml:7: rule[0].longest-deadline: clients get less time than `default-deadline`, 10m
    times.toml:11: rule[1].longest-deadline: clients get no more time than `longest-prepare`, 5m
    "#);
}

#[test]
fn without_a_file_services_and_root_take_part() {
    let (policy, warnings) = parse(&[]).unwrap();
    assert!(warnings.is_empty());
    let decision = of(&policy, "unit:vmm@17.service", &[]);
    let expected = Decision {
        admission: Admission::Admitted,
        sessions: 16,
        presence: Presence::Optional,
        longest_deadline: Duration::from_mins(2),
        on_failure: OnFailure::Fail,
        unready: Unready::Close,
        unclaimed: Unclaimed::Leave,
        by: None,
    };
    assert_eq!(decision, expected);
    assert!(admits(&policy, "user:0", &[]));
    assert!(!admits(&policy, "user:1000", &[0, 36]) && !admits(&policy, "user:65534", &[]));
    assert_eq!(policy.required().count(), 0);
    let rule = update::Rule::from(&decision);
    assert_eq!((rule.on_failure, rule.longest), (OnFailure::Fail, Duration::from_mins(2)));
    assert_eq!(policy.default_deadline(), Duration::from_mins(1));
}

#[test]
fn the_first_rule_that_matches_decides_alone() {
    let rules = "[[rule]]\nunit = 'vmm@1.service'\nkeep = true\n\
                 [[rule]]\nunit = 'vmm@*.service'\nsessions = 2\ncarry = true\nrequired = true\n\
                 [[rule]]\nparticipate = false\n";
    let policy = policy(&[rules]);
    let one = of(&policy, "unit:vmm@1.service", &[]);
    assert_eq!((one.unready, one.sessions, one.unclaimed), (Unready::Keep, 16, Unclaimed::Leave));
    let two = of(&policy, "unit:vmm@2.service", &[]);
    assert_eq!((two.unready, two.sessions, two.unclaimed), (Unready::Close, 2, Unclaimed::Carry));
    assert_eq!(two.presence, Presence::Required);
    assert_eq!(two.by.unwrap().to_string(), "0.toml:4");
    assert!(!admits(&policy, "unit:db.service", &[]) && !admits(&policy, "user:0", &[]));
}

#[test]
fn later_files_count_more() {
    let early = "administrators = 'kvm'\n[update]\ndefault-deadline = '30s'\nlongest-freeze = '1s'\n\
                 [[rule]]\nunit = 'a*.service'\nsessions = 1\n[[rule]]\nunit = 'b.service'\nsessions = 2\n";
    let late = "[update]\ndefault-deadline = '40s'\n\
                [[rule]]\nunit = 'ab.service'\nsessions = 3\n[[rule]]\nunit = 'b.service'\nsessions = 4\n";
    let policy = policy(&[early, late]);
    let sessions = |owner: &str| of(&policy, owner, &[]).sessions;
    assert_eq!(sessions("unit:ab.service"), 3);
    assert_eq!(sessions("unit:a.service"), 1);
    assert_eq!(sessions("unit:b.service"), 4);
    assert_eq!(policy.default_deadline(), Duration::from_secs(40));
    assert_eq!(policy.limits().freeze, Duration::from_secs(1));
    assert_eq!(of(&policy, "unit:c.service", &[]).longest_deadline, Duration::from_secs(80));
    let warnings = parse(&[early, late]).unwrap().1;
    let shown: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    let expected =
        "0.toml:8: rule[1]: the rule never matches, since that of 1.toml:6 matches first";
    assert_eq!(shown, [expected]);
}

#[test]
fn users_and_units_have_rules_of_their_own() {
    let policy = policy(&["[[rule]]\nuser = 'alice'\nparticipate = true\nsessions = 1\n\
                           [[rule]]\ngroup = 'kvm'\nparticipate = true\nsessions = 2\n\
                           [[rule]]\nunit = '*'\nparticipate = false\n"]);
    assert_eq!(of(&policy, "user:1000", &[36]).sessions, 1);
    assert_eq!(of(&policy, "user:1001", &[5, 36]).sessions, 2);
    assert!(!admits(&policy, "user:1001", &[5]) && admits(&policy, "user:0", &[]));
    // The user of a service, and its groups, decide nothing.
    assert!(!admits(&policy, "unit:vmm.service", &[36]));
}

#[test]
fn required_owners_are_known_before_they_come() {
    let policy = policy(&["[[rule]]\nunit = 'c.service'\n\
                           [[rule]]\nunit = 'b.service'\nrequired = true\n\
                           [[rule]]\nuser = 'root'\nrequired = true\n\
                           [[rule]]\nunit = 'c.service'\nrequired = true\n\
                           [[rule]]\nunit = '*.service'\nrequired = true\n"]);
    let required: Vec<_> = policy.required().map(|owner| owner.to_string()).collect();
    assert_eq!(required, ["unit:b.service", "user:0"]);
    assert_eq!(of(&policy, "unit:d.service", &[]).presence, Presence::Required);
}

#[test]
fn root_and_the_group_are_administrators() {
    let credentials = |uid, gids: &[u32]| Credentials { uid, gids: gids.into() };
    let is = |policy: &Policy, uid, gids: &[u32]| policy.is_administrator(&credentials(uid, gids));
    let group = policy(&["administrators = 'operators'"]);
    assert!(is(&group, 0, &[]) && is(&group, 1000, &[5, 27]) && !is(&group, 1000, &[0, 36]));
    for nobody in [policy(&[]), policy(&["administrators = 'operators'", "administrators = ''"])] {
        assert!(is(&nobody, 0, &[]) && !is(&nobody, 1000, &[0, 27]));
    }
}

#[test]
fn rules_are_bounded() {
    let many = "[[rule]]\nunit = 'a.service'\n".repeat(1000);
    assert!(parse(&[&many]).is_ok());
    for texts in [vec![&many[..], "[[rule]]"], vec![&many[..], "\n[[rule]]\n[[rule]]"]] {
        let error = parse(&texts).unwrap_err().to_string();
        assert!(error.contains("1.toml:") && error.contains("at most 1000"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in "([a-z\\[\\]='\". 0-9#\n-]|\\[\\[rule\\]\\]\n|unit = '|sessions = ){0,60}") {
        if let Err(error) = parse(&[&text]) {
            prop_assert!(error.to_string().starts_with("0.toml:"), "{}", error);
        }
    }

    #[test]
    fn all_before_the_first_match_does_not_matter(
        units in proptest::collection::vec("[abc?*]{1,2}\\.service", 1..6),
        name in "[abc]{1,2}",
    ) {
        let rule = |(at, unit): (usize, &String)| format!("[[rule]]\nunit = '{unit}'\nsessions = {at}\n");
        let text: String = units.iter().enumerate().map(rule).collect();
        let decision = of(&policy(&[&text]), &format!("unit:{name}.service"), &[]);
        let matches = |unit: &&String| {
            glob::Pattern::new(&unit.replace("**", "*")).unwrap().matches(&format!("{name}.service"))
        };
        let first = units.iter().position(|unit| matches(&unit));
        prop_assert_eq!(decision.sessions, first.map_or(16, |at| u32::try_from(at).unwrap()));
    }
}
