// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Calls as the manager carries them out: offers, answers, deletions, and the ends that nobody
//! asks for.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sallyport_flow::{FlowStatistics, Gate};
use sallyport_signalling::sdp::Sdp;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::call::{Answer, Call, Offer, Part, Passed, Wanted};
use crate::call_error::CallError;
use crate::data_plane::DataPlaneError;
use crate::manager::{Entry, Manager, ManagerError, Taken, lock};
use crate::quality::Qualities;
use crate::session::{Ends, SessionId};
use crate::state::State;
use crate::stream::Stream;
use crate::tally::Count;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How a client wants a session description to be finished.
pub(crate) trait Finish: Send {
    /// Whether it is a new version, though nothing has changed.
    fn is_always_new(&self) -> bool;

    /// Changes the lines that are to be ours.
    fn finish(&self, sdp: &mut Sdp, ours: Ours);
}

/// What a session description may say about us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ours {
    pub(crate) session: SessionId,
    /// How many versions there were before, and this one.
    pub(crate) version: u64,
    /// Where media goes.
    pub(crate) address: Option<IpAddr>,
}

/// What a call was, and what its flows did.
#[derive(Debug)]
pub(crate) struct Did {
    pub(crate) id: SessionId,
    pub(crate) state: Arc<State>,
    pub(crate) flows: Vec<FlowStatistics>,
    pub(crate) qualities: Qualities,
}

impl Manager {
    /// Rewrites an offer for who is to answer it.
    ///
    /// # Errors
    /// A [`CallError`]; the call is as it was then.
    pub(crate) async fn offer(
        &self,
        offer: &Offer,
        finish: &(dyn Finish + Sync),
    ) -> Result<Sdp, CallError> {
        let call_id = &offer.tags.call_id;
        loop {
            let (entry, new) = self.new_call(call_id).inspect_err(|error| {
                if matches!(error, ManagerError::TooMany | ManagerError::Draining) {
                    self.tally.rejected.add(1);
                }
            })?;
            let _turn = entry.turn().await;
            // Dropped before the turn: who waits for that must not meet what is about to go.
            let new = new;
            if !self.is_current(call_id, &entry) {
                continue;
            }
            let now = self.now();
            let before = entry.state();
            let mut call = match before.as_deref().and_then(State::call) {
                Some(call) => call.clone(),
                None => Call::new(call_id.clone(), now),
            };
            let mut taken = self.taken();
            let passed = call.offer(offer, now, &mut |realm, wanted| {
                take_ports(&mut taken, realm, wanted)
            })?;
            let sdp = self.carry_out(&entry, call, passed, taken, finish).await?;
            if before.is_none() {
                self.tally.managed.add(1);
                debug!(session = %entry.id, call = call_id, "offered");
            }
            if let Some(new) = new {
                new.keep();
            }
            return Ok(sdp);
        }
    }

    /// Rewrites an answer for who made the offer.
    ///
    /// # Errors
    /// A [`CallError`]; the call is as it was then.
    pub(crate) async fn answer(
        &self,
        answer: &Answer,
        finish: &(dyn Finish + Sync),
    ) -> Result<Sdp, CallError> {
        let (entry, _turn) = self.call(&answer.tags.call_id).await?;
        let state = entry.state();
        let call = state.as_deref().and_then(State::call);
        let mut call = call.ok_or(CallError::UnknownCall)?.clone();
        let mut taken = self.taken();
        let passed = call.answer(answer, self.now(), &mut |realm, wanted| {
            take_ports(&mut taken, realm, wanted)
        })?;
        self.carry_out(&entry, call, passed, taken, finish).await
    }

    /// Ends a call or a part of it, at once or after a while. Tells what it did until now.
    ///
    /// # Errors
    /// A [`CallError`]; the call goes on then.
    pub(crate) async fn end(
        &self,
        call_id: &str,
        part: &Part,
        delay: Duration,
    ) -> Result<Did, CallError> {
        let (entry, _turn) = self.call(call_id).await?;
        let state = entry.state().ok_or(CallError::UnknownCall)?;
        let call = state.call().ok_or(CallError::UnknownCall)?;
        let left = call.without(part)?;
        if !delay.is_zero() && left.is_none() {
            let did = self.did(&entry, Arc::clone(&state)).await;
            let mut ending = call.clone();
            ending.ends_at = Some(self.now() + delay);
            let ending = State::Call(Box::new(ending));
            self.change(&entry, Some(ending), self.taken()).await?;
            return Ok(did);
        }
        let is_over = left.is_none();
        let left = left.map(|left| State::Call(Box::new(left)));
        let flows = match self.change(&entry, left, self.taken()).await {
            // Its flows go when the data plane is back. A client does not ask twice.
            Err(
                ManagerError::NotConnected
                | ManagerError::DataPlane(
                    DataPlaneError::Lost(_) | DataPlaneError::Silent | DataPlaneError::Unexpected,
                ),
            ) if is_over => {
                self.forget(&entry).await;
                Vec::new()
            }
            other => other?,
        };
        if is_over {
            self.count_end(call, &self.tally.ended);
            info!(session = %entry.id, call = call_id, "ended");
        }
        Ok(self.did_by(&entry, state, flows))
    }

    /// What a call did until now.
    ///
    /// # Errors
    /// [`CallError::UnknownCall`].
    pub(crate) async fn ask(&self, call_id: &str) -> Result<Did, CallError> {
        let entry = self.entry_of_call(call_id).ok_or(CallError::UnknownCall)?;
        let state = entry.state().ok_or(CallError::UnknownCall)?;
        Ok(self.did(&entry, state).await)
    }

    async fn did(&self, entry: &Entry, state: Arc<State>) -> Did {
        let ids = lock(&entry.watch).flows.clone();
        let flows = match self.connection().await {
            Ok(data_plane) if !ids.is_empty() => {
                data_plane.flow_statistics(ids).await.unwrap_or_default()
            }
            _ => Vec::new(),
        };
        self.did_by(entry, state, flows)
    }

    fn did_by(&self, entry: &Entry, state: Arc<State>, mut flows: Vec<FlowStatistics>) -> Did {
        let watch = lock(&entry.watch);
        let mut qualities = watch.qualities.clone();
        qualities.finish(&flows, self.now());
        if let Some(call) = state.call() {
            watch.past.add_to(entry.id, call, &mut flows);
        }
        drop(watch);
        Did {
            id: entry.id,
            state,
            flows,
            qualities,
        }
    }

    /// Ends calls whose time has come, for ever.
    pub(crate) async fn watch_deadlines(&self) -> Infallible {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.now();
            while let Some(entry) = self.due(now) {
                self.expire(&entry).await;
            }
        }
    }

    /// Notes when a session is to be looked at again.
    pub(crate) fn schedule(&self, entry: &Entry) {
        let state = entry.state();
        let mut watch = lock(&entry.watch);
        let call = state.as_deref().and_then(State::call);
        let next = call.and_then(|call| self.deadline(call, watch.last_media));
        let next = next.map(|(at, _)| at);
        if next == watch.deadline {
            return;
        }
        let mut deadlines = lock(&self.deadlines);
        if let Some(before) = watch.deadline {
            deadlines.remove(&(before, entry.id));
        }
        if let Some(next) = next {
            deadlines.insert((next, entry.id));
        }
        watch.deadline = next;
    }

    /// Takes a session whose deadline has come.
    fn due(&self, now: Duration) -> Option<Arc<Entry>> {
        loop {
            let mut deadlines = lock(&self.deadlines);
            let (at, id) = *deadlines.first()?;
            if at > now {
                return None;
            }
            deadlines.pop_first();
            drop(deadlines);
            if let Some(entry) = self.entry(id) {
                lock(&entry.watch).deadline = None;
                return Some(entry);
            }
        }
    }

    async fn expire(&self, entry: &Arc<Entry>) {
        let _turn = entry.turn().await;
        let Some(state) = entry.state() else { return };
        let Some(call) = state.call() else { return };
        let last_media = lock(&entry.watch).last_media;
        // Media may have arrived since, of which only the data plane could tell.
        let is_due = self
            .deadline(call, last_media)
            .filter(|(at, _)| *at <= self.now());
        let Some((_, why)) = is_due else {
            return self.schedule(entry);
        };
        let left = matches!(why, Why::Crossed).then(|| {
            let mut call = call.clone();
            call.forget_crossed(self.now());
            State::Call(Box::new(call))
        });
        let goes_on = left.is_some();
        match self.change(entry, left, self.taken()).await {
            Ok(_) if goes_on => {}
            Ok(_) => {
                self.count_end(call, why.count(self));
                info!(session = %entry.id, call = call.call_id, "ended: {}", why.reason());
            }
            Err(error) => {
                // Without a data plane nobody can, which is no news.
                if !matches!(error, ManagerError::NotConnected) {
                    warn!(session = %entry.id, "change it because {}: {error}", why.reason());
                }
                // Again at the next tick.
                let at = self.now() + TICK;
                lock(&entry.watch).deadline = Some(at);
                lock(&self.deadlines).insert((at, entry.id));
            }
        }
    }

    /// When a call ends or loses something if nothing happens, and why.
    fn deadline(&self, call: &Call, last_media: Option<Duration>) -> Option<(Duration, Why)> {
        let timeouts = &self.timeouts;
        let mut deadlines = Vec::new();
        let mut add = |from: Duration, timeout: Option<Duration>, why| {
            deadlines.extend(timeout.map(|timeout| (from.saturating_add(timeout), why)));
        };
        add(call.created, timeouts.total, Why::Total);
        if call.is_unanswered() {
            add(call.last_signal, timeouts.unanswered, Why::Unanswered);
        } else {
            // An agent that has just started knows of no media yet.
            let active = call.last_signal.max(self.started());
            let active = active.max(last_media.unwrap_or_default());
            let streams = call.streams();
            let flows_both_ways =
                |stream: &Stream| stream.legs.iter().all(|leg| leg.gate == Gate::Open);
            if !streams.iter().any(flows_both_ways) {
                // Who is held may send neither RTP nor RTCP, and nobody plays music to it.
                add(active, timeouts.held, Why::Held);
            } else if last_media.is_none() && !call.is_final {
                // An answer without media may be that of a phone that rings.
                let both = timeouts.unanswered.zip(timeouts.inactive);
                let later = both.map(|(unanswered, inactive)| unanswered.max(inactive));
                add(active, later, Why::Inactive);
            } else {
                add(active, timeouts.inactive, Why::Inactive);
            }
        }
        deadlines.extend(call.ends_at.map(|at| (at, Why::Asked)));
        deadlines.extend(call.crossed_until().map(|at| (at, Why::Crossed)));
        deadlines.into_iter().min_by_key(|(at, _)| *at)
    }

    async fn carry_out(
        &self,
        entry: &Arc<Entry>,
        mut call: Call,
        passed: Passed,
        taken: Taken<'_>,
        finish: &(dyn Finish + Sync),
    ) -> Result<Sdp, CallError> {
        let address = passed.local;
        let sdp = call.write(passed, finish.is_always_new(), |sdp, version| {
            let session = entry.id;
            finish.finish(
                sdp,
                Ours {
                    session,
                    version,
                    address,
                },
            );
        });
        let before = entry.state();
        let call = State::Call(Box::new(call));
        let removed = self.change(entry, Some(call), taken).await?;
        if let Some(before) = before.as_deref().and_then(State::call) {
            lock(&entry.watch).past.learn(entry.id, before, removed);
        }
        Ok(sdp)
    }

    /// A call that exists, and the turn to change it.
    async fn call(&self, call_id: &str) -> Result<(Arc<Entry>, OwnedMutexGuard<()>), CallError> {
        let entry = self.entry_of_call(call_id).ok_or(CallError::UnknownCall)?;
        let turn = entry.turn().await;
        Ok((entry, turn))
    }

    fn is_current(&self, call_id: &str, entry: &Arc<Entry>) -> bool {
        let current = self.entry_of_call(call_id);
        current.is_some_and(|current| Arc::ptr_eq(&current, entry))
    }

    fn count_end(&self, call: &Call, why: &Count) {
        let lasted = self.now().saturating_sub(call.created);
        self.tally.end(why, lasted);
    }
}

/// Why a call ends that nobody ends, or an offer of it.
#[derive(Clone, Copy, Debug)]
enum Why {
    Unanswered,
    Inactive,
    Held,
    Total,
    Asked,
    /// The call goes on.
    Crossed,
}

impl Why {
    const fn count(self, manager: &Manager) -> &Count {
        let tally = &manager.tally;
        match self {
            Self::Unanswered => &tally.unanswered,
            Self::Inactive => &tally.inactive,
            Self::Held => &tally.held,
            Self::Total => &tally.total,
            Self::Asked | Self::Crossed => &tally.ended,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Unanswered => "nobody answered",
            Self::Inactive => "no media arrived any more",
            Self::Held => "it was on hold for too long",
            Self::Total => "it lasted too long",
            Self::Asked => "its delay is over",
            Self::Crossed => "an offer took the place of another",
        }
    }
}

fn take_ports(
    taken: &mut Taken<'_>,
    realm: sallyport_flow::Realm,
    wanted: Wanted,
) -> Result<Ends, CallError> {
    let ends = match wanted {
        Wanted::Exactly(version) => taken.any(realm, Some(version)),
        Wanted::Any => taken.any(realm, None),
        Wanted::Rather(version) => match taken.any(realm, Some(version)) {
            Some(Ok(ends)) => Some(Ok(ends)),
            _ => taken.any(realm, None),
        },
    };
    Ok(ends.ok_or(ManagerError::NoAddressOfFamily { realm })??)
}
