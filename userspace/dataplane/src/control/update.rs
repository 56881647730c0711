// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Flows are installed, changed and removed, all at once or not at all.
//!
//! What may be refused comes first: all checks, then the XDP program's map. What workers are told
//! after that cannot fail, and each does all of it between two packets. For that moment the XDP
//! program may steer packets to workers that do not know their flow yet, or no longer: these
//! refuse them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::{HashMap, HashSet};
use sallyport_ebpf::FlowKey;
use sallyport_ebpf::layout::PortState;
use sallyport_flow::{
    Clock, Crypto, Flow, FlowId, FlowStatistics, Ingress, Latch, Mark, Realm, Refused, Remote,
    Request, Source, Update,
};
use sallyport_srtp::{
    ContextSet, KeyDerivationRate, KeySetError, MasterKey, Policy, ReplayWindow, Suite,
};
use tokio::sync::oneshot;
use tracing::warn;

use super::{Control, Installed, all, merge};
use crate::contexts::{Claim, ContextChange, Property, PropertyChange, Take};
use crate::flow_table::{FlowEntry, LatchOn, Latching, SourceFilter, Terms};
use crate::header::PathHeader;
use crate::observed::Observed;
use crate::reception::Clocks;
use crate::rekey::{Keys, SrtcpTurns};
use crate::worker::{self, Change, Command};
use crate::xdp::NicId;

/// A flow that passed all checks.
struct Checked {
    flow: Flow,
    keys: Keys,
    property: Box<PropertyChange>,
}

impl Control {
    /// Does what an agent asks for. Returns the last counters of the flows that were removed.
    pub(super) async fn update(&mut self, update: Update) -> Result<Vec<FlowStatistics>, Refused> {
        let now = Instant::now();
        self.check(&update)?;
        let Update {
            remove,
            change,
            install,
        } = update;
        let turns = self.srtcp_turns(&remove, &change);
        let change = self.checked(change, &turns, now)?;
        let install = self.checked(install, &turns, now)?;
        let closed = self.locals_of(&remove);
        let opened: Vec<_> = install
            .iter()
            .map(|checked| &checked.flow.ingress)
            .map(|ingress| (self.nic_of(ingress.realm), ingress.local))
            .collect();
        let told = install.iter().chain(&change);
        let told: Vec<_> = told
            .map(|checked| &checked.flow)
            .filter(|flow| self.steers_otherwise(flow))
            .map(|flow| &flow.ingress)
            .map(|ingress| {
                (
                    self.nic_of(ingress.realm),
                    ingress.local,
                    state(ingress.handshakes),
                )
            })
            .collect();
        self.steer_to_us(&told)?;

        // The workers use these until they have been told of the flows.
        let mut left = Vec::with_capacity(2 * (remove.len() + change.len()));
        for id in &remove {
            let flow = self.flows.take(*id);
            left.extend(flow.into_iter().flat_map(|flow| flow.far_ends()));
        }
        let changed: Vec<FlowId> = change.iter().map(|checked| checked.flow.id).collect();
        let installed: Vec<FlowId> = install.iter().map(|checked| checked.flow.id).collect();
        let mut properties = Vec::with_capacity(change.len());
        for checked in change {
            properties.push(checked.property);
            let old = self.put(&checked.flow, checked.keys, None, now);
            left.extend(old.into_iter().flat_map(|flow| flow.far_ends()));
        }
        for checked in install {
            let mut property = Property::default();
            drop(property.apply(*checked.property));
            let claim = Arc::new(Claim::new(property));
            self.put(&checked.flow, checked.keys, Some(claim), now);
        }
        // A flow may go to the peer of another one in the same request.
        for id in changed.iter().chain(&installed) {
            self.find_ways_out(*id).await;
        }

        let mut updates = self.updates();
        for update in &mut updates {
            update.remove.clone_from(&remove);
            let entries = installed.iter().filter_map(|id| self.entry(*id));
            update.install.extend(entries);
        }
        for (id, property) in changed.iter().zip(properties) {
            self.change(&mut updates, *id, true, property);
        }
        let removed = self.tell_updates(updates).await;
        for far_end in left {
            self.release(far_end);
        }
        let removed = removed?;
        for leader in &changed {
            self.redirect(*leader).await;
        }
        for (nic, local) in closed.iter().filter(|local| !opened.contains(local)) {
            if let Err(error) = self.steer.remove_flow(*nic, *local) {
                warn!(%local, %error, "remove from the XDP program");
            }
        }
        Ok(merge(&remove, removed.into_iter()))
    }

    /// Retires the keys that were replaced long enough ago.
    pub(super) async fn retire(&mut self) {
        let now = Instant::now();
        let mut updates = self.updates();
        while let Some((_, id)) = self.retiring.pop_front_if(|(time, _)| *time <= now) {
            let Some(flow) = self.flows.by_id.get_mut(&id) else {
                continue;
            };
            // Not when they were replaced once more in the meantime.
            let since = now.checked_sub(Flow::OVERLAP);
            let Some(keys) = since.and_then(|since| flow.keys.retire(since)) else {
                continue;
            };
            flow.keys = keys;
            let contexts = ContextChange {
                beside: Take::Nothing,
                ..ContextChange::default()
            };
            self.change(&mut updates, id, false, Box::new(contexts.into()));
        }
        if let Err(error) = self.tell_updates(updates).await {
            warn!(%error, "retire keys");
        }
    }

    /// Checks everything that can be without making crypto contexts.
    fn check(&self, update: &Update) -> Result<(), Refused> {
        let Update {
            remove,
            change,
            install,
        } = update;
        if remove.len() + change.len() + install.len() > Request::PAGE {
            return Err(Refused::PageTooLong);
        }
        let mut named = HashSet::new();
        let flows = change.iter().chain(install).map(|flow| &flow.id);
        for id in remove.iter().chain(flows) {
            if !named.insert(id) {
                return Err(Refused::NamedTwice(*id));
            }
        }
        for id in remove {
            self.installed(*id)?;
        }
        for flow in change {
            let installed = self.installed(flow.id)?;
            if flow.ingress.realm != installed.realm || flow.ingress.local != installed.local {
                return Err(out_of_range(flow.id, "ingress.local"));
            }
            self.check_flow(flow)?;
        }
        if self.flows.by_id.len() - remove.len() + install.len() > self.max_flows as usize {
            return Err(Refused::Full {
                limit: self.max_flows,
            });
        }
        let mut locals: HashMap<(NicId, SocketAddr), FlowId> = HashMap::new();
        for flow in install {
            let (id, ingress) = (flow.id, &flow.ingress);
            if self.flows.by_id.contains_key(&id) {
                return Err(Refused::FlowExists(id));
            }
            self.check_local(ingress.realm, ingress.local)?;
            let key = (self.nic_of(ingress.realm), ingress.local);
            let taken = self.flows.by_local.get(&key);
            let taken = taken.filter(|by| !remove.contains(by));
            if let Some(by) = taken.copied().or_else(|| locals.insert(key, id)) {
                return Err(Refused::AddressInUse {
                    local: ingress.local,
                    by,
                });
            }
            self.check_flow(flow)?;
        }
        Ok(())
    }

    fn check_flow(&self, flow: &Flow) -> Result<(), Refused> {
        let Flow {
            id,
            ingress,
            egress,
            ..
        } = flow;
        if let Source::Latch(Latch {
            signalled: Some(peer),
            ..
        }) = ingress.source
            && PathHeader::new(ingress.local, peer).is_none()
        {
            return Err(out_of_range(*id, "ingress.source"));
        }
        let is_clock = |clock: &Clock| clock.payload_type < 128 && clock.rate >= Clock::MIN_RATE;
        if ingress.clocks.len() > Ingress::MAX_CLOCKS || !ingress.clocks.iter().all(is_clock) {
            return Err(out_of_range(*id, "ingress.clocks"));
        }
        if ingress.expect.is_some() && ingress.unprotect.is_none() {
            return Err(out_of_range(*id, "ingress.expect"));
        }
        for (path, field) in [(egress.rtp, "egress.rtp"), (egress.rtcp, "egress.rtcp")] {
            self.check_local(egress.realm, path.local)?;
            if let Remote::Fixed(remote) = path.remote
                && PathHeader::new(path.local, remote).is_none()
            {
                return Err(out_of_range(*id, field));
            }
        }
        if egress.dscp.is_some_and(|dscp| dscp > 63) {
            return Err(out_of_range(*id, "egress.dscp"));
        }
        Ok(())
    }

    /// Checks that an address and port are the realm's.
    fn check_local(&self, realm: Realm, local: SocketAddr) -> Result<(), Refused> {
        let is_ours = self.realms.get(&realm).is_some_and(|config| {
            config.addresses.contains(&local.ip()) && config.ports.contains(&local.port())
        });
        if is_ours {
            Ok(())
        } else {
            Err(Refused::NotInRealm { realm, local })
        }
    }

    fn installed(&self, id: FlowId) -> Result<&Installed, Refused> {
        let flow = self.flows.by_id.get(&id).map(Box::as_ref);
        flow.ok_or(Refused::UnknownFlow(id))
    }

    /// Makes the crypto contexts and the room that flows do not have yet.
    fn checked(
        &self,
        flows: Vec<Flow>,
        turns: &SrtcpTurns,
        now: Instant,
    ) -> Result<Vec<Checked>, Refused> {
        let checked = |flow: Flow| {
            let (ingress, egress) = (&flow.ingress, &flow.egress);
            let old = self.flows.by_id.get(&flow.id);
            let old = old.map(|old| (old.keys, old.terms.carries));
            let wanted = self.fingerprints.of(&flow);
            let wanted = Keys {
                srtcp_turn: turns.of(wanted, ingress.carries, old),
                ..wanted
            };
            if wanted.srtcp_turn > SrtcpTurns::LAST {
                return Err(out_of_range(flow.id, "egress.protect"));
            }
            let (keys, plan) = old
                .map(|(keys, _)| keys)
                .unwrap_or_default()
                .change(wanted, now);
            let contexts = ContextChange {
                unprotect: take(
                    plan.unprotect,
                    flow.id,
                    ingress.unprotect.as_ref(),
                    RECEIVER,
                )?,
                beside: take(plan.beside, flow.id, ingress.expect.as_ref(), RECEIVER)?,
                protect: take(plan.protect, flow.id, egress.protect.as_ref(), SENDER)?,
                first_srtcp: plan.first_srtcp,
            };
            let before = old.map(|(_, carries)| carries);
            let property = PropertyChange {
                contexts,
                observed: Observed::room(ingress.carries, before),
            };
            Ok(Checked {
                flow,
                keys,
                property: Box::new(property),
            })
        };
        flows.into_iter().map(checked).collect()
    }

    fn srtcp_turns(&self, remove: &[FlowId], change: &[Flow]) -> SrtcpTurns {
        let mut turns = SrtcpTurns::default();
        let changed = change.iter().map(|flow| &flow.id);
        let flows = remove.iter().chain(changed);
        for flow in flows.filter_map(|id| self.flows.by_id.get(id)) {
            turns.add(flow.keys, flow.terms.carries);
        }
        turns
    }

    fn locals_of(&self, ids: &[FlowId]) -> Vec<(NicId, SocketAddr)> {
        let flows = ids.iter().filter_map(|id| self.flows.by_id.get(id));
        flows.map(|flow| (flow.nic, flow.local)).collect()
    }

    /// Whether the XDP program has to be told of a flow that is to be installed or changed.
    fn steers_otherwise(&self, flow: &Flow) -> bool {
        let installed = self.flows.by_id.get(&flow.id);
        installed.is_none_or(|installed| installed.handshakes != flow.ingress.handshakes)
    }

    /// Has the XDP program steer packets to us. Those of flows that are about to be replaced it
    /// steers already.
    fn steer_to_us(&mut self, locals: &[(NicId, SocketAddr, PortState)]) -> Result<(), Refused> {
        for (place, (nic, local, wanted)) in locals.iter().enumerate() {
            if let Err(error) = self.steer.insert_flow(*nic, *local, *wanted) {
                for (nic, local, _) in &locals[..place] {
                    // What is installed there stays, and is steered as before.
                    let id = self.flows.by_local.get(&(*nic, *local));
                    let installed = id.and_then(|id| self.flows.by_id.get(id));
                    let _ = match installed.map(|flow| state(flow.handshakes)) {
                        Some(state) => self.steer.insert_flow(*nic, *local, state),
                        None => self.steer.remove_flow(*nic, *local),
                    };
                }
                return Err(Refused::Failed(error.to_string()));
            }
        }
        Ok(())
    }

    /// Notes a flow that is to be installed, with its claim, or changed. Its ways out are still to
    /// be found.
    fn put(
        &mut self,
        flow: &Flow,
        keys: Keys,
        claim: Option<Arc<Claim>>,
        now: Instant,
    ) -> Option<Box<Installed>> {
        let (id, ingress, egress) = (flow.id, &flow.ingress, &flow.egress);
        let old = self.flows.by_id.get(&id);
        let claim = claim.or_else(|| old.map(|old| Arc::clone(&old.claim)))?;
        let terms = Terms {
            gate: flow.gate,
            carries: ingress.carries,
            source: source_filter(
                ingress.source,
                old.map(|old| (old.source, old.terms.source)),
                now,
            ),
            clocks: Clocks::new(&ingress.clocks),
            protected: ingress.unprotect.is_some(),
            protects: egress.protect.is_some(),
            egress: self.nic_of(egress.realm),
            rtp: None,
            rtcp: None,
            dscp: egress.dscp,
        };
        let installed = Installed {
            realm: ingress.realm,
            nic: self.nic_of(ingress.realm),
            local: ingress.local,
            handshakes: ingress.handshakes,
            source: ingress.source,
            egress: egress.realm,
            rtp: egress.rtp,
            rtcp: egress.rtcp,
            keys,
            claim,
            terms,
        };
        if keys.beside.and_then(|beside| beside.replaced) == Some(now) {
            self.retiring.push_back((now + Flow::OVERLAP, id));
        }
        self.flows.put(id, installed)
    }

    /// Finds out where a flow's packets leave.
    async fn find_ways_out(&mut self, id: FlowId) {
        let Some(flow) = self.flows.by_id.get(&id) else {
            return;
        };
        let (realm, rtp, rtcp) = (flow.egress, flow.rtp, flow.rtcp);
        let rtp = self.far_end(realm, rtp).await;
        let rtcp = self.far_end(realm, rtcp).await;
        if let Some(flow) = self.flows.by_id.get_mut(&id) {
            (flow.terms.rtp, flow.terms.rtcp) = (rtp, rtcp);
        }
    }

    /// A flow as a worker has it that knows nothing of it yet.
    fn entry(&self, id: FlowId) -> Option<Box<FlowEntry>> {
        let flow = self.flows.by_id.get(&id)?;
        let key = FlowKey::new(flow.nic.0, flow.local);
        let (terms, claim) = (flow.terms.clone(), Arc::clone(&flow.claim));
        Some(Box::new(FlowEntry::new(id, key, terms, claim)))
    }

    /// An update for each worker, of nothing yet.
    fn updates(&self) -> Vec<worker::Update> {
        let updates = self.workers.iter().map(|_| worker::Update::default());
        updates.collect()
    }

    /// Has all workers change a flow, and what only its owner has whoever has that.
    fn change(
        &self,
        updates: &mut [worker::Update],
        id: FlowId,
        has_new_terms: bool,
        property: Box<PropertyChange>,
    ) {
        let Some(flow) = self.flows.by_id.get(&id) else {
            return;
        };
        let mut elsewhere = flow.claim.change(property).err();
        for (worker, update) in (0..).zip(updates) {
            let property = elsewhere.take_if(|(owner, _)| *owner == worker);
            if has_new_terms || property.is_some() {
                update.change.push(Change {
                    id,
                    terms: has_new_terms.then(|| flow.terms.clone()),
                    property: property.map(|(_, property)| property),
                });
            }
        }
    }

    /// Tells all workers, and waits until they have done it. Returns what each has counted for the
    /// flows that were removed.
    async fn tell_updates(
        &self,
        updates: Vec<worker::Update>,
    ) -> Result<Vec<Vec<FlowStatistics>>, Refused> {
        let mut waits = Vec::with_capacity(updates.len());
        for (worker, update) in updates.into_iter().enumerate() {
            if update.is_empty() {
                continue;
            }
            let (done, wait) = oneshot::channel();
            self.tell(worker, Command::Update(Box::new(update), done))
                .await;
            waits.push(wait);
        }
        let outcomes = all(waits).await?.into_iter();
        Ok(outcomes.map(|left| left.statistics).collect())
    }
}

/// What a worker is to know of who may send. Who is latched stays if the peer is the same,
/// and so does the time within which another may be. `old` is what was asked for before, and what
/// became of it.
fn source_filter(
    source: Source,
    old: Option<(Source, SourceFilter)>,
    now: Instant,
) -> SourceFilter {
    let latch = match source {
        Source::Only(peer) => return SourceFilter::Only(peer),
        Source::Latch(latch) => latch,
    };
    let mut latching = Latching {
        latched: None,
        told: false,
        signalled: latch.signalled,
        former: None,
        from: latch.from,
        until: latch.window.and_then(|window| now.checked_add(window)),
        on: LatchOn::new(latch.on, now),
        round: 0,
    };
    if let Some((Source::Latch(before), SourceFilter::Latch(known))) = old {
        let is_same = before.signalled == latch.signalled;
        if is_same && before.on == latch.on {
            latching.on = known.on;
        }
        latching.round = known.round.wrapping_add(u32::from(!is_same));
        latching.keep(known);
    }
    SourceFilter::Latch(latching)
}

/// How contexts are made of keys.
type Make = fn(&[MasterKey], Policy) -> Result<ContextSet, KeySetError>;
const RECEIVER: Make = ContextSet::receiver_of;
const SENDER: Make = ContextSet::sender_of;

/// Makes the crypto contexts of one direction of a flow, if there are to be new ones.
fn take(
    plan: Take<()>,
    flow: FlowId,
    crypto: Option<&Crypto>,
    make: Make,
) -> Result<Take<Box<ContextSet>>, Refused> {
    Ok(match (plan, crypto) {
        (Take::New(()), Some(crypto)) => Take::New(Box::new(context_set(flow, crypto, make)?)),
        (Take::New(()), None) | (Take::Nothing, _) => Take::Nothing,
        (Take::Same, _) => Take::Same,
        (Take::Other, _) => Take::Other,
    })
}

fn context_set(flow: FlowId, crypto: &Crypto, make: Make) -> Result<ContextSet, Refused> {
    let suite = suite(crypto.suite).ok_or_else(|| out_of_range(flow, "suite"))?;
    let key = |key: &sallyport_flow::MasterKey| {
        let secret = key.secret.expose();
        let master = MasterKey::new(suite, secret).map_err(|_| Refused::KeyLength {
            flow,
            suite: crypto.suite,
            found: secret.len(),
        })?;
        if key.mki.is_empty() {
            return Ok(master);
        }
        let named = master.with_mki(&key.mki);
        named.map_err(|_| out_of_range(flow, "mki"))
    };
    let keys = crypto.keys.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let replay_window = match crypto.replay_window {
        0 => ReplayWindow::default(),
        packets => ReplayWindow::new(packets).map_err(|_| out_of_range(flow, "replay_window"))?,
    };
    let rate = crypto.key_derivation_rate.map(KeyDerivationRate::new);
    let policy = Policy {
        replay_window,
        lifetime: crypto.lifetime,
        key_derivation_rate: rate
            .transpose()
            .map_err(|_| out_of_range(flow, "key_derivation_rate"))?,
        unencrypted_srtcp: crypto.unencrypted_srtcp,
        ..Policy::default()
    };
    let mut set = make(&keys, policy).map_err(|_| out_of_range(flow, "keys"))?;
    let mark = |mark: &Mark| sallyport_srtp::Mark {
        ssrc: mark.ssrc,
        rtp: mark.rtp,
        rtcp: mark.rtcp,
    };
    let marks: Vec<_> = crypto.marks.iter().map(mark).collect();
    set.resume(&marks)
        .map_err(|_| out_of_range(flow, "marks"))?;
    Ok(set)
}

const fn suite(suite: sallyport_flow::Suite) -> Option<Suite> {
    Some(match suite {
        sallyport_flow::Suite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        sallyport_flow::Suite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        sallyport_flow::Suite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        sallyport_flow::Suite::AeadAes256Gcm => Suite::AeadAes256Gcm,
        sallyport_flow::Suite::Aes192CmHmacSha1_80 => Suite::Aes192CmHmacSha1_80,
        sallyport_flow::Suite::Aes192CmHmacSha1_32 => Suite::Aes192CmHmacSha1_32,
        sallyport_flow::Suite::Aes256CmHmacSha1_80 => Suite::Aes256CmHmacSha1_80,
        sallyport_flow::Suite::Aes256CmHmacSha1_32 => Suite::Aes256CmHmacSha1_32,
        sallyport_flow::Suite::F8128HmacSha1_80 => Suite::F8128HmacSha1_80,
        sallyport_flow::Suite::NullHmacSha1_80 => Suite::NullHmacSha1_80,
        sallyport_flow::Suite::NullHmacSha1_32 => Suite::NullHmacSha1_32,
        _ => return None,
    })
}

/// What the XDP program does with the packets of a flow.
const fn state(handshakes: bool) -> PortState {
    if handshakes {
        PortState::KernelDemux
    } else {
        PortState::Flow
    }
}

fn out_of_range(flow: FlowId, field: &str) -> Refused {
    Refused::OutOfRange {
        flow,
        field: field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sallyport_flow::LatchOn as On;

    use super::*;

    #[test]
    fn what_latches_is_timed_from_where_the_peer_says_that_it_is_not_from_other_changes() {
        let then = Instant::now();
        let now = then + Duration::from_mins(10);
        let time = Duration::from_secs(3);
        let (here, there) = ("192.0.2.7:5004", "192.0.2.8:5004");
        let latch = |signalled: &str, on| Latch {
            signalled: Some(signalled.parse().unwrap()),
            on,
            ..Latch::default()
        };
        let (best, late) = (On::Best(time), On::Late(time));
        for (before, after, expected) in [
            ((here, best), (here, best), LatchOn::Best(then + time)),
            ((here, late), (here, late), LatchOn::Late(then + time)),
            ((here, best), (there, best), LatchOn::Best(now + time)),
            ((here, best), (here, late), LatchOn::Late(now + time)),
        ] {
            let [before, after] = [before, after].map(|(at, on)| Source::Latch(latch(at, on)));
            let known = source_filter(before, None, then);
            let changed = source_filter(after, Some((before, known)), now);
            let SourceFilter::Latch(latching) = changed else {
                panic!("{changed:?}")
            };
            assert_eq!(latching.on, expected);
        }
    }
}
