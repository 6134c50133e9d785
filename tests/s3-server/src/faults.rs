//! What goes wrong, and when: rules that pick requests and say what happens to them.
//!
//! Invariants:
//! 1. A rule matches by kind, bucket and part of the key; it lets `skip` matching requests pass, then fires for `times`
//!    of them (or for ever), each with its probability, drawn from the server's seed.
//! 2. Every rule that matches a request sees it, in the order in which they were added; all that fire apply.
//! 3. A request that was lost before the store saw it changes nothing; one whose reply was lost has taken effect.
//!
//! Rules are not kept over a restart: a store that comes back is well.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use twill_types::seeded::Chance;

use crate::request::{Kind, Target};

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The connection breaks before the store saw the request.
    DropRequest,
    /// The request takes effect, then the connection breaks without a reply.
    DropReply,
    /// The request takes effect so much later, and its reply leaves so much later again. A client that gives up
    /// meanwhile does not call it back.
    Delay {
        /// Milliseconds before it takes effect.
        #[serde(default)]
        before_ms: u64,
        /// Milliseconds between effect and reply.
        #[serde(default)]
        after_ms: u64,
    },
    /// The request takes effect a second time, so much later, as when something between retries it.
    Duplicate {
        /// Milliseconds between the two.
        #[serde(default)]
        later_ms: u64,
        /// Which reply the client gets.
        #[serde(default)]
        reply: Replied,
    },
    /// An error instead of the store's own answer.
    Answer {
        /// The HTTP status.
        status: u16,
        /// S3's name for it; the usual one for the status if not given.
        #[serde(default)]
        code: Option<String>,
        /// Whether the request takes effect all the same.
        #[serde(default)]
        applied: bool,
    },
    /// The reply's body arrives so slowly.
    SlowBody {
        /// Bytes each second, at least one.
        bytes_per_second: u64,
    },
    /// The connection breaks inside the reply's body.
    CutBody {
        /// Bytes that still arrive.
        after_bytes: u64,
    },
}

/// Which of two replies a client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replied {
    /// That of the request itself; the second effect comes after it.
    #[default]
    First,
    /// That of the repetition.
    Second,
}

/// Which requests meet an [`Action`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Of these kinds; of any kind if empty.
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// About this bucket; about any if `None`.
    #[serde(default)]
    pub bucket: Option<String>,
    /// Whose key (for a list: prefix) contains this.
    #[serde(default)]
    pub key_contains: String,
    /// So many matching requests pass first.
    #[serde(default)]
    pub skip: u64,
    /// For so many matching requests after those; for ever if `None`.
    #[serde(default)]
    pub times: Option<u64>,
    /// In so many of a hundred cases.
    #[serde(default = "always")]
    pub percent: u64,
    /// What happens.
    pub action: Action,
}

fn always() -> u64 {
    100
}

impl Rule {
    /// Every request, always.
    #[must_use]
    pub fn every(action: Action) -> Self {
        Self {
            kinds: Vec::new(),
            bucket: None,
            key_contains: String::new(),
            skip: 0,
            times: None,
            percent: 100,
            action,
        }
    }

    /// The next request of one kind.
    #[must_use]
    pub fn next(kind: Kind, action: Action) -> Self {
        Self { kinds: vec![kind], times: Some(1), ..Self::every(action) }
    }

    fn matches(&self, target: &Target) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&target.kind))
            && self.bucket.as_ref().is_none_or(|bucket| *bucket == target.bucket)
            && target.key.contains(&self.key_contains)
    }
}

/// A rule and what it has seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleState {
    /// The rule.
    pub rule: Rule,
    /// Matching requests so far.
    pub seen: u64,
    /// Requests it fired for.
    pub fired: u64,
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Mutex<Vec<RuleState>>,
}

impl Faults {
    pub(crate) fn add(&self, rule: Rule) {
        self.rules().push(RuleState { rule, seen: 0, fired: 0 });
    }

    pub(crate) fn clear(&self) {
        self.rules().clear();
    }

    pub(crate) fn states(&self) -> Vec<RuleState> {
        self.rules().clone()
    }

    /// What happens to this request.
    pub(crate) fn strike(&self, target: &Target, chance: &mut Chance) -> Vec<Action> {
        let mut actions = Vec::new();
        for state in self.rules().iter_mut().filter(|state| state.rule.matches(target)) {
            state.seen += 1;
            let spent = state.rule.times.is_some_and(|times| state.fired >= times);
            if state.seen > state.rule.skip && !spent && chance.percent(state.rule.percent) {
                state.fired += 1;
                actions.push(state.rule.action.clone());
            }
        }
        actions
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<RuleState>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// S3's usual name for a status.
pub(crate) fn usual_code(status: u16) -> &'static str {
    match status {
        403 => "AccessDenied",
        404 => "NoSuchKey",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "SlowDown",
        _ => "InjectedFault",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: Kind, key: &str) -> Target {
        Target { kind, bucket: "b".to_owned(), key: key.to_owned(), precondition: None }
    }

    #[test]
    fn a_rule_skips_fires_and_is_spent() {
        let faults = Faults::default();
        faults.add(Rule { skip: 1, times: Some(2), ..Rule::next(Kind::Put, Action::DropReply) });
        let mut chance = Chance::from_seed(1);
        let struck: Vec<usize> =
            (0..5).map(|_| faults.strike(&target(Kind::Put, "k"), &mut chance).len()).collect();
        assert_eq!(struck, [0, 1, 1, 0, 0]);
        assert_eq!((faults.states()[0].seen, faults.states()[0].fired), (5, 2));
        faults.clear();
        assert!(faults.states().is_empty());
    }

    #[test]
    fn rules_choose_by_kind_bucket_and_key() {
        let faults = Faults::default();
        faults.add(Rule { key_contains: "log/".to_owned(), ..Rule::next(Kind::Get, Action::DropRequest) });
        faults.add(Rule { bucket: Some("other".to_owned()), ..Rule::every(Action::DropReply) });
        let mut chance = Chance::from_seed(1);
        assert!(faults.strike(&target(Kind::Get, "pages/1"), &mut chance).is_empty());
        assert!(faults.strike(&target(Kind::Put, "log/1"), &mut chance).is_empty());
        assert_eq!(faults.strike(&target(Kind::Get, "log/1"), &mut chance), [Action::DropRequest]);
    }

    #[test]
    fn rules_are_read_from_json() {
        let rule: Rule = serde_json::from_str(
            r#"{"kinds":["put"],"percent":30,"action":{"answer":{"status":503,"applied":true}}}"#,
        )
        .unwrap();
        assert_eq!((rule.kinds.as_slice(), rule.percent, rule.times), ([Kind::Put].as_slice(), 30, None));
        assert_eq!(rule.action, Action::Answer { status: 503, code: None, applied: true });
    }
}
