//! Sessions that open the log for writing.
//!
//! Invariants: every outcome is handed to the oracle, and asked for again before the session ends; a durable watermark is an
//! acknowledgement of everything below it.
//!
//! Crash: see [`super::actor`]. Refuses: nothing.

use futures_util::future::{self, Either};
use twill_commitlog_cas::retention::{Raise, raise};
use twill_commitlog_cas::{LogError, Opened, Opening, Outcome};
use twill_types::Lsn;
use twill_types::seeded::Chance;

use super::actor::Actor;
use super::oracle::Receipt;

/// Opens, appends for a while, and ends in one of several ways.
pub(super) async fn write(actor: &Actor, chance: &mut Chance) {
    let Some(opened) = open(actor, chance).await else { return };
    let Opened { log, driver, recovered } = opened;
    actor.remember_position(recovered.end);
    let (driver, abandon) = future::abortable(driver);
    actor.process.spawn(async move {
        let _ = driver.await;
    });
    let mut session = Session { actor, log, receipts: Vec::new() };
    let rounds = chance.range(1..=30_u64);
    let mut sealed = false;
    for _ in 0..rounds {
        if actor.cast.curtain() || session.log.failure().is_some() {
            break;
        }
        session.append_batch(chance).await;
        if chance.percent(actor.cast.plan.floor) {
            session.raise_floor(chance).await;
        }
        if chance.percent(10) {
            session.ask_after_earlier(chance).await;
        }
        if chance.below(10_000_u64) < actor.cast.plan.seal {
            session.seal().await;
            sealed = true;
            break;
        }
        if chance.percent(60) {
            actor.pause(chance).await;
        }
    }
    match chance.weighted(&[5, 3, 2]) {
        0 => session.close().await,
        1 => {}
        _ if sealed => {}
        _ => abandon.abort(),
    }
    session.ask_again().await;
}

/// Opens for writing; now and then lingers between the fence and the record.
pub(super) async fn open(actor: &Actor, chance: &mut Chance) -> Option<Opened> {
    let witness = actor.witness("opening");
    let due = actor.oracle().begin_reading();
    actor.note("open", "", due);
    let outcome = if chance.percent(30) {
        open_slowly(actor, chance).await
    } else {
        twill_commitlog_cas::Log::open(&actor.site).await
    };
    match outcome {
        Ok(opened) => {
            let recovered = &opened.recovered;
            actor.note("opened", "", opened.log.epoch().0);
            actor.oracle().count(|tally| tally.openings += 1);
            actor.oracle().read(recovered.state.floor.lsn, &recovered.commits, &witness);
            actor.oracle().end_reading(recovered.end.lsn, due, &witness);
            Some(opened)
        }
        Err(error) => {
            actor.oracle().count(|tally| tally.openings_failed += 1);
            actor.excuse(&error, "opening");
            None
        }
    }
}

async fn open_slowly(actor: &Actor, chance: &mut Chance) -> Result<Opened, LogError> {
    let opening = Opening::begin(&actor.site).await?;
    // Nothing confirms yet that this is the newest history, only that it is history.
    let recovered = opening.recovered();
    let witness = actor.witness("unconfirmed opening");
    actor.oracle().read(recovered.state.floor.lsn, &recovered.commits, &witness);
    actor.pause(chance).await;
    opening.confirm().await
}

struct Session<'a> {
    actor: &'a Actor,
    log: twill_commitlog_cas::Log,
    receipts: Vec<Receipt>,
}

impl Session<'_> {
    /// Hands in some commits, and waits for none, the last, or all of them.
    async fn append_batch(&mut self, chance: &mut Chance) {
        let actor = self.actor;
        let by = format!("{:?}", actor.process);
        let commits = chance.range(1..=actor.cast.plan.batch);
        let waiting = chance.weighted(&[2, 3, 2]);
        let mut batch = Vec::new();
        for _ in 0..commits {
            let large = chance.percent(actor.cast.plan.large);
            let bytes = if large { chance.range(200..=1500_usize) } else { chance.range(8..=80_usize) };
            let (number, commit) = actor.oracle().submit(&by, bytes);
            let outcome = self.log.append(commit);
            let (timeline, epoch) = (actor.cast.identity.timeline, self.log.epoch());
            let Some(receipt) = actor.oracle().appended(number, timeline, epoch, &outcome) else { break };
            actor.note("append", "", receipt.id.lsn.get());
            actor.remember_receipt(receipt);
            batch.push(receipt);
        }
        self.receipts.extend(&batch);
        for (index, receipt) in batch.iter().enumerate() {
            let last = index + 1 == batch.len();
            if waiting == 2 || (waiting == 1 && last) {
                self.wait(receipt).await;
            } else {
                let (log, actor, receipt) = (self.log.clone(), actor.clone(), *receipt);
                actor.process.clone().spawn(async move {
                    let outcome = log.wait_durable(receipt.id.lsn).await;
                    tell(&actor, &receipt, &outcome);
                });
            }
        }
        if chance.percent(20) {
            self.log.room().await;
        }
        self.watermark();
    }

    async fn wait(&self, receipt: &Receipt) {
        let outcome = self.log.wait_durable(receipt.id.lsn).await;
        tell(self.actor, receipt, &outcome);
    }

    /// Everything up to the watermark counts as acknowledged.
    fn watermark(&self) {
        let durable = self.log.durable_lsn();
        for receipt in self.receipts.iter().filter(|receipt| receipt.id.lsn <= durable) {
            tell(self.actor, receipt, &Outcome::Durable);
        }
        let position = self.log.durable_position();
        self.actor.remember_position(position);
    }

    async fn raise_floor(&self, chance: &mut Chance) {
        let durable = self.log.durable_lsn();
        let back = chance.below(10_u64);
        let lsn = Lsn::new(durable.get().saturating_sub(back));
        let Some(position) = self.log.boundary_at(lsn) else { return };
        if position.lsn > lsn {
            self.actor.oracle().accuse(format!("the boundary at {lsn} is after commit {}", position.lsn));
        }
        self.actor.oracle().raising(Some(position), None);
        self.actor.note("raise floor", "", position.lsn.get());
        let higher = Raise { floor: Some(position), horizon: None };
        let raised = if chance.percent(50) {
            self.log.raise(higher).await
        } else {
            raise(&self.actor.site, higher).await
        };
        match raised {
            Ok(_) => self.actor.oracle().count(|tally| tally.raises += 1),
            Err(error) => self.actor.excuse(&error, "raising the floor"),
        }
    }

    /// Asks what became of commits of earlier openings, by name and by token.
    async fn ask_after_earlier(&self, chance: &mut Chance) {
        let memory = self.actor.memory();
        let earlier: Vec<_> =
            memory.receipts.iter().filter(|receipt| receipt.id.epoch < self.log.epoch()).collect();
        let Some(receipt) = chance.among(&earlier) else { return };
        let witness = self.actor.witness("verdict");
        let (from, answer) = if chance.percent(50) {
            (receipt.id.lsn, self.log.verdict(receipt.id).await)
        } else {
            let since = Lsn::new(receipt.id.lsn.get().saturating_sub(1 + chance.below(5_u64)));
            (since.next(), self.log.find(receipt.token, since).await)
        };
        self.actor.note("verdict", "", receipt.id.lsn.get());
        match answer {
            Ok(verdict) => self.actor.oracle().verdict(receipt, from, verdict, &witness),
            Err(error) => self.actor.excuse(&error, "verdict"),
        }
    }

    async fn seal(&self) {
        self.actor.oracle().sealing();
        self.actor.note("seal", "", self.log.appended_lsn().get());
        let last = self.log.appended_lsn();
        match self.log.seal(None).await {
            Ok(()) => self.actor.oracle().sealed(last),
            Err(error) => self.actor.excuse(&error, "sealing"),
        }
    }

    async fn close(&self) {
        self.actor.note("close", "", self.log.appended_lsn().get());
        if let Err(error) = self.log.close().await {
            self.actor.excuse(&error, "closing");
        }
    }

    /// An outcome is told for ever.
    async fn ask_again(&self) {
        for receipt in &self.receipts {
            self.wait(receipt).await;
        }
    }
}

fn tell(actor: &Actor, receipt: &Receipt, outcome: &Outcome) {
    let outcome = &actor.cast.sabotage.believes(outcome);
    let told = match outcome {
        Outcome::Durable => "durable",
        Outcome::NotApplied(_) => "not applied",
        Outcome::Fenced(_) => "fenced",
        Outcome::Indeterminate(_) => "indeterminate",
    };
    actor.note("told", told, receipt.id.lsn.get());
    actor.oracle().told(receipt, outcome, &actor.witness("waiting"));
}

/// Appends `commits` commits one by one, for a judge who accepts nothing but success.
///
/// # Errors
/// The first outcome that is not durable.
pub(super) async fn append_surely(
    actor: &Actor,
    opened: Opened,
    commits: u64,
) -> Result<twill_commitlog_cas::Log, String> {
    let Opened { log, driver, .. } = opened;
    actor.process.spawn(driver);
    let session = Session { actor, log, receipts: Vec::new() };
    for _ in 0..commits {
        let (number, commit) = actor.oracle().submit("the judge", 30);
        let outcome = session.log.append(commit);
        let timeline = actor.cast.identity.timeline;
        let receipt = actor
            .oracle()
            .appended(number, timeline, session.log.epoch(), &outcome)
            .ok_or_else(|| format!("the judge may not append: {outcome:?}"))?;
        let asked = Box::pin(session.log.wait_durable(receipt.id.lsn));
        let patience = Box::pin(actor.process.sleep(super::PATIENCE));
        match future::select(asked, patience).await {
            Either::Left((Outcome::Durable, _)) => tell(actor, &receipt, &Outcome::Durable),
            Either::Left((outcome, _)) => return Err(format!("the judge's commit is {outcome:?}")),
            Either::Right(_) => return Err("the judge's commit is not settled in time".to_owned()),
        }
    }
    Ok(session.log)
}
