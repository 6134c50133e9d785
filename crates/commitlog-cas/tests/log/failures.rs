//! Each failure has its own error and message, and none loses what was acknowledged.

use twill_commitlog_cas::{LogError, NewCommit, Outcome, recover};

use crate::world::{Fault, Kind, MS, World};

#[test]
fn opening_names_what_is_wrong_with_the_store() {
    let cases: [(u16, &str); 5] = [
        (401, "the credentials are not valid"),
        (403, "permission denied"),
        (1, "cannot be reached"),
        (500, "did not settle"),
        (400, "refuses"),
    ];
    for (status, expect) in cases {
        for kind in [Kind::Get, Kind::List, Kind::Put] {
            let world = World::with_timeline();
            world.spoil(kind, "", 9999, Fault::Status(status));
            let error = world.open(&world.site()).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains(expect), "{kind:?} {status}: {error}");
            assert!(
                error.to_string().contains(&format!("{kind:?}").to_uppercase()),
                "it names the request: {error}"
            );
        }
    }
    let world = World::new();
    let error = world.open(&world.site()).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "there is no branch record at branches/main");
    let world = World::with_timeline();
    world.spoil(Kind::List, "", 9999, Fault::Status(404));
    assert!(matches!(world.open(&world.site()), Err(LogError::BucketGone { .. })));
}

#[test]
fn a_store_that_turns_against_a_running_log_is_named_and_what_was_acknowledged_stays() {
    type Is = fn(&LogError) -> bool;
    let cases: [(u16, Is, bool); 5] = [
        (403, |error| matches!(error, LogError::Denied { .. }), true),
        (401, |error| matches!(error, LogError::Unauthenticated { .. }), true),
        (404, |error| matches!(error, LogError::BucketGone { .. }), true),
        (1, |error| matches!(error, LogError::Unreachable { .. }), true),
        (0, |error| matches!(error, LogError::Unsettled { .. }), false),
    ];
    for (status, is, definite) in cases {
        let world = World::with_timeline();
        let (log, _) = world.open(&world.site()).unwrap();
        world.commit(&log, &["a", "b"]);
        world.spoil(Kind::Put, "", 9999, Fault::Status(status));
        let lsn = log.append(NewCommit::new("c")).unwrap();
        let outcome = world.run(log.wait_durable(lsn));
        assert!(is(outcome.error().unwrap()), "{status}: {outcome:?}");
        assert_eq!(outcome.is_not_applied(), definite, "{status}");
        let refused = log.append(NewCommit::new("d")).unwrap_err();
        assert!(matches!(&refused, LogError::Poisoned { cause } if is(cause)), "{refused:?}");
        // Reading what is durable goes on; so does everything, once the store is well again.
        assert_eq!(world.run(recover(&world.site())).unwrap().commits.len(), 2);
        world.heal();
        let (log, recovered) = world.open(&world.site()).unwrap();
        assert_eq!(recovered.commits.len(), 2);
        world.commit(&log, &["c"]);
    }
}

#[test]
fn no_network_is_told_by_the_deadline_and_not_before() {
    use twill_commitlog_cas::Environment;
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.spoil(Kind::Put, "", 9999, Fault::Lost);
    let before = world.now();
    let lsn = log.append(NewCommit::new("a")).unwrap();
    let outcome = world.run(log.wait_durable(lsn));
    assert!(matches!(outcome, Outcome::Indeterminate(_)));
    let waited = world.now() - before;
    assert!(waited > 20_000 * MS && waited <= 31_000 * MS, "{waited:?}");
}
