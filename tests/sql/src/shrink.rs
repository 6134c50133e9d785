//! Makes a script that disagrees shorter: drops ever smaller runs of steps as long as the sides still disagree.

use crate::answer::shown_values;
use crate::world::{Action, Shape, Step, Subject, World};

/// Replays that are tried at most.
const REPLAYS_MAX: u32 = 250;

/// Steps that are shown of a script that cannot be shrunk.
const LAST_STEPS: usize = 60;

/// The shortest script found that disagrees, as text.
pub(crate) fn shrink(subject: Subject, shape: &Shape, script: &[Step]) -> String {
    let mut script = script.to_vec();
    let Some(mut last) = replay(subject, shape, &script) else {
        let lines: Vec<String> =
            script.iter().skip(script.len().saturating_sub(LAST_STEPS)).map(shown).collect();
        return format!(
            "the same steps did not disagree again: the answer depends on more than them. The last ones:\n{}",
            lines.join("\n")
        );
    };
    let mut replays = 0;
    let mut size = script.len().div_ceil(2);
    while size > 0 && replays < REPLAYS_MAX {
        let mut start = 0;
        while start < script.len() && replays < REPLAYS_MAX {
            let mut shorter = script.clone();
            shorter.drain(start..(start + size).min(script.len()));
            replays += 1;
            match replay(subject, shape, &shorter) {
                Some(found) => {
                    script = shorter;
                    script.truncate(found.0 + 1);
                    last = found;
                }
                None => start += size,
            }
        }
        size /= 2;
    }
    let mut lines: Vec<String> = script.iter().map(shown).collect();
    lines.push(format!("({} replays) {}", replays, last.1));
    lines.join("\n")
}

/// Where the script disagrees, and how.
fn replay(subject: Subject, shape: &Shape, script: &[Step]) -> Option<(usize, String)> {
    let mut world = World::new(subject, shape).ok()?;
    for (index, step) in script.iter().enumerate() {
        match world.run(step) {
            Ok((_, None)) => {}
            Ok((_, Some(found))) => {
                let name = subject.name();
                return Some((
                    index,
                    format!("{}\n  {name}: {}\n  oracle: {}", found.sql, found.subject, found.oracle),
                ));
            }
            Err(error) => return Some((index, format!("{error:#}"))),
        }
    }
    None
}

fn shown(step: &Step) -> String {
    let connection = step.connection;
    match &step.action {
        Action::Statement { sql, params } if params.is_empty() => format!("  {connection}> {sql};"),
        Action::Statement { sql, params } => format!("  {connection}> {sql};  -- {}", shown_values(params)),
        Action::Look => format!("  {connection}> -- read all schemas"),
        Action::Reconnect => format!("  {connection}> -- reconnect"),
        Action::Reopen => "  -- reopen all".to_owned(),
        Action::Check => "  -- compare all".to_owned(),
    }
}
