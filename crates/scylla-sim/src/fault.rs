//! Faults to strike chosen requests with, before or after they have done their work.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The method by which rules for statements of CQL are told from those for the REST API.
pub(crate) const CQL: &str = "CQL";

/// When a fault strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum When {
    /// The request has no effect (unless it is only delayed).
    #[default]
    Before,
    /// The work is done, the answer is another or none.
    After,
}

/// What happens to a struck request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub(crate) enum Action {
    Delay {
        ms: u64,
    },
    Status {
        status: u16,
        message: String,
    },
    /// The connection is closed without an answer.
    Reset,
    /// Never answered.
    Hang,
}

/// Which requests are struck, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    #[serde(default, skip_deserializing)]
    id: u64,
    /// Number or address; none: any.
    #[serde(default)]
    pub(crate) node: Option<String>,
    /// None: any but [`CQL`].
    #[serde(default)]
    method: Option<String>,
    /// How the path begins.
    #[serde(default)]
    path: String,
    /// Text the query string, or the CQL statement, contains.
    #[serde(default)]
    query: String,
    /// Requests to let pass first.
    #[serde(default)]
    skip: u64,
    /// Requests to strike; none: all.
    #[serde(default)]
    times: Option<u64>,
    #[serde(default)]
    when: When,
    action: Action,
}

/// What to do to one request.
#[derive(Debug, Default)]
pub(crate) struct Strike {
    pub(crate) before: Duration,
    pub(crate) instead: Option<Action>,
    pub(crate) after: Duration,
    pub(crate) finally: Option<Action>,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Mutex<(u64, Vec<(Rule, usize)>)>,
}

impl Faults {
    fn rules(&self) -> MutexGuard<'_, (u64, Vec<(Rule, usize)>)> {
        self.rules.lock().expect("no panic while held")
    }

    /// Adds a rule for node `index` (`usize::MAX`: all); returns its id.
    pub(crate) fn add(&self, mut rule: Rule, index: usize) -> u64 {
        let mut rules = self.rules();
        rules.0 += 1;
        rule.id = rules.0;
        rules.1.push((rule, index));
        rules.0
    }

    pub(crate) fn remove(&self, id: Option<u64>) {
        self.rules()
            .1
            .retain(|(rule, _)| id.is_some_and(|id| rule.id != id));
    }

    pub(crate) fn list(&self) -> Vec<Rule> {
        self.rules()
            .1
            .iter()
            .map(|(rule, _)| rule.clone())
            .collect()
    }

    /// Uses up the rules that match a request.
    pub(crate) fn strike(&self, node: usize, method: &str, path: &str, query: &str) -> Strike {
        let mut strike = Strike::default();
        for (rule, index) in &mut self.rules().1 {
            let matches = (*index == node || *index == usize::MAX)
                && match &rule.method {
                    None => method != CQL,
                    Some(wanted) => wanted.eq_ignore_ascii_case(method),
                }
                && path.starts_with(&rule.path)
                && query.contains(&rule.query);
            if !matches || rule.times == Some(0) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if let Some(times) = &mut rule.times {
                *times -= 1;
            }
            match (rule.when, &rule.action) {
                (When::Before, Action::Delay { ms }) => strike.before += Duration::from_millis(*ms),
                (When::After, Action::Delay { ms }) => strike.after += Duration::from_millis(*ms),
                (When::Before, other) => {
                    strike.instead = strike.instead.or_else(|| Some(other.clone()))
                }
                (When::After, other) => {
                    strike.finally = strike.finally.or_else(|| Some(other.clone()))
                }
            }
        }
        strike
    }
}
