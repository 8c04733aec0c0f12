// SPDX-License-Identifier: MIT OR Apache-2.0

//! From files to one policy.

use std::io;
use std::time::Duration;

use toml::Spanned;

use super::file::{self, Content, wrong};
use super::rule::{Rule, Settings, Subject};
use super::value::{Account, Timespan};
use super::warning::{self, Marks, RuleMarks};
use super::{Fault, File, Names, Place, Policy, PolicyError, Warning};

/// The most rules. Each is looked at for each client, and against each other when files are read.
const MAX_RULES: usize = 1000;

/// The policy of `files`, of which later ones count more, and what is unwise in it.
pub(super) fn merge(
    files: &[File],
    names: &dyn Names,
) -> Result<(Policy, Vec<Warning>), PolicyError> {
    let mut policy = Policy::default();
    let mut marks = Marks::default();
    for file in files {
        let content = Content::parse(file)?;
        let reader = Reader { file, names };
        if let Some(group) = &content.administrators {
            policy.administrators = reader.administrators(group)?;
        }
        let file::Update { default_deadline, longest_prepare, longest_freeze, longest_leave } =
            content.update;
        reader.time(default_deadline, &mut policy.default_deadline, &mut marks.default_deadline);
        reader.time(longest_prepare, &mut policy.limits.prepare, &mut marks.longest_prepare);
        reader.time(longest_freeze, &mut policy.limits.freeze, &mut None);
        reader.time(longest_leave, &mut policy.limits.leave, &mut None);
        if let Some(extra) = content.rule.0.get(MAX_RULES.saturating_sub(policy.rules.len())) {
            let fault = Fault::TooManyRules(MAX_RULES);
            return Err(wrong(file, &extra.span(), "rule".into(), fault));
        }
        // Before those of earlier files.
        for (index, rule) in content.rule.0.into_iter().enumerate() {
            let (rule, rule_marks) = reader.rule(index, rule)?;
            policy.rules.insert(index, rule);
            marks.rules.insert(index, rule_marks);
        }
    }
    let warnings = warning::all(&policy, &marks, files);
    Ok((policy, warnings))
}

/// A file that is being read.
struct Reader<'a> {
    file: &'a File,
    names: &'a dyn Names,
}

impl Reader<'_> {
    fn place<T>(&self, value: &Spanned<T>) -> Place {
        Place::of(self.file, &value.span())
    }

    /// The group whose members are administrators; none for an empty name.
    fn administrators(&self, group: &Spanned<Account>) -> Result<Option<u32>, PolicyError> {
        match group.get_ref() {
            Account::Name(name) if name.is_empty() => Ok(None),
            _ => self.group(group, "administrators".into()).map(Some),
        }
    }

    /// A setting replaces that of an earlier file.
    fn time(
        &self,
        value: Option<Spanned<Timespan>>,
        setting: &mut Duration,
        mark: &mut Option<Place>,
    ) {
        if let Some(value) = value {
            *mark = Some(self.place(&value));
            *setting = value.into_inner().0;
        }
    }

    fn rule(
        &self,
        index: usize,
        rule: Spanned<file::Rule>,
    ) -> Result<(Rule, RuleMarks), PolicyError> {
        let place = self.place(&rule);
        let rule = rule.into_inner();
        let settings = Settings {
            participate: rule.participate,
            sessions: rule.sessions.as_ref().map(|sessions| sessions.get_ref().0),
            required: rule.required.as_ref().map(|required| *required.get_ref()),
            longest_deadline: rule.longest_deadline.as_ref().map(|time| time.get_ref().0),
            on_failure: rule.on_failure.map(Into::into),
            keep: rule.keep,
            carry: rule.carry,
        };
        let marks = RuleMarks {
            sessions: rule.sessions.as_ref().map(|value| self.place(value)),
            required: rule.required.as_ref().map(|value| self.place(value)),
            longest_deadline: rule.longest_deadline.as_ref().map(|value| self.place(value)),
            index,
        };
        let subject = self.subject(index, rule)?;
        Ok((Rule { place, subject, settings }, marks))
    }

    /// The one subject of a rule.
    fn subject(&self, index: usize, rule: file::Rule) -> Result<Subject, PolicyError> {
        let key = |name| format!("rule[{index}].{name}");
        let second = |span, name, first| {
            Err(wrong(self.file, &span, key(name), Fault::SecondSubject(first)))
        };
        match (rule.unit, rule.user, rule.group) {
            (None, None, None) => Ok(Subject::All),
            (Some(unit), None, None) => Ok(Subject::Unit(unit.into_inner())),
            (None, Some(user), None) => self.user(&user, key("user")).map(Subject::User),
            (None, None, Some(group)) => self.group(&group, key("group")).map(Subject::Group),
            (Some(_), Some(user), _) => second(user.span(), "user", "unit"),
            (Some(_), None, Some(group)) => second(group.span(), "group", "unit"),
            (None, Some(_), Some(group)) => second(group.span(), "group", "user"),
        }
    }

    fn user(&self, user: &Spanned<Account>, key: String) -> Result<u32, PolicyError> {
        self.resolve(user, key, |name| self.names.user(name), Fault::NoSuchUser)
    }

    fn group(&self, group: &Spanned<Account>, key: String) -> Result<u32, PolicyError> {
        self.resolve(group, key, |name| self.names.group(name), Fault::NoSuchGroup)
    }

    /// The number of a user or a group.
    fn resolve(
        &self,
        account: &Spanned<Account>,
        key: String,
        find: impl Fn(&str) -> io::Result<Option<u32>>,
        fault: impl Fn(String) -> Fault,
    ) -> Result<u32, PolicyError> {
        let name = match account.get_ref() {
            Account::Number(number) => return Ok(*number),
            Account::Name(name) => name,
        };
        match find(name) {
            Ok(Some(number)) => Ok(number),
            Ok(None) => Err(wrong(self.file, &account.span(), key, fault(name.clone()))),
            Err(source) => {
                let (place, name) = (self.place(account), name.clone());
                Err(PolicyError::Names { place, key, name, source })
            }
        }
    }
}
