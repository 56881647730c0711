// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state of a call.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::answer::AnsweredLine;
use super::offer::OfferedLine;
use super::refusal::Fault;
use super::rewrite::rewrite;
use super::stream::{Offer, Stream};
use super::{
    Action, Context, Decision, Ends, Ports, Refusal, Setup, Side, StreamDecision, Treatment,
};
use crate::random::Random;
use crate::sdes::Crypto;
use crate::sdp::Sdp;

/// The state of a call, or of one early dialog of it. Holds keys, which are wiped when dropped and
/// never printed; serialised, they are in clear, for the caller to seal.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Call {
    /// Who made the latest offer.
    offerer: Option<Side>,
    /// Whether that has an answer.
    is_answered: bool,
    /// How many `m=` lines the call had before that.
    settled: usize,
    streams: Vec<Stream>,
}

impl Call {
    /// A call that nobody has made an offer for.
    pub fn new() -> Self {
        Self::default()
    }

    /// The `m=` lines of an offer, counted from 0 on, that need ports and have none yet: what the
    /// caller has to provide to [`Call::offer`].
    pub fn wanted_ports(&self, offer: &Sdp) -> Vec<usize> {
        let has_none = |i: usize| {
            self.streams
                .get(i)
                .is_none_or(|stream| stream.ports.is_none())
        };
        let media = offer.media().iter().enumerate();
        media
            .filter(|(i, media)| media.port() != 0 && media.profile().is_rtp() && has_none(*i))
            .map(|(i, _)| i)
            .collect()
    }

    /// How media flows by now, for each `m=` line; `None` where it does not come to us.
    pub fn setups(&self) -> impl Iterator<Item = Option<&Setup>> {
        self.streams.iter().map(|stream| stream.setup.as_ref())
    }

    /// The ports for RTP of all streams on both sides: those that the next answer leads media to, and
    /// those that it flows through by now.
    pub fn held(&self) -> impl Iterator<Item = (Side, SocketAddr)> {
        self.streams.iter().flat_map(|stream| {
            let next = stream.ports.map(|ports| [ports.access, ports.core]);
            let setup = stream.setup.as_ref();
            let now = setup.map(|setup| [setup.access.local, setup.core.local]);
            let both = next.into_iter().chain(now);
            both.flat_map(|[access, core]| [(Side::Access, access.rtp), (Side::Core, core.rtp)])
        })
    }

    /// The ports that each `m=` line has from the next answer on; `None` where it needs none.
    pub fn ports(&self) -> impl Iterator<Item = Option<Ports>> {
        self.streams.iter().map(|stream| stream.ports)
    }

    /// The ports that an offer leaves each `m=` line, unless it brings others; `None` where there are
    /// none yet.
    pub fn kept_ports(&self) -> impl Iterator<Item = Option<Ports>> {
        self.streams.iter().map(Stream::kept)
    }

    /// What the latest offer, which has no answer yet, makes us expect: for each `m=` line the side
    /// that may send under new keys already, and those.
    pub fn expected(&self) -> impl Iterator<Item = Option<(Side, &Crypto)>> {
        let from = self.offerer.filter(|_| !self.is_answered);
        self.streams
            .iter()
            .map(move |stream| Some((from?, stream.expected(from?)?)))
    }

    /// The medium and the profile of each `m=` line, as it was offered last.
    pub fn media(&self) -> impl Iterator<Item = (&str, &str)> {
        self.streams
            .iter()
            .map(|stream| (stream.medium.name(), stream.offer.profile().name()))
    }

    /// Who made the latest offer.
    pub const fn offerer(&self) -> Option<Side> {
        self.offerer
    }

    /// Whether the latest offer has no answer yet.
    pub const fn is_pending(&self) -> bool {
        self.offerer.is_some() && !self.is_answered
    }

    /// An offer has come. `ports` has at least what [`Call::wanted_ports`] asks for; those of
    /// streams that turn out not to need any are the ones whose action is [`Action::Nothing`].
    /// Where a stream has some already, these take their place from the answer on.
    pub fn offer(
        &self,
        from: Side,
        offer: &Sdp,
        ports: &BTreeMap<usize, Ports>,
        context: &Context<'_>,
        random: &mut impl Random,
    ) -> Result<(Self, Decision), Refusal> {
        let is_pending = self.is_pending();
        if is_pending && self.offerer != Some(from) {
            return Err(Refusal::Glare);
        }
        // An offer in place of one that has no answer, as after a challenge, counts as the first.
        let settled = if is_pending {
            self.settled
        } else {
            self.streams.len()
        };
        if offer.media().len() < settled {
            return Err(Refusal::MediaCount {
                expected: settled,
                found: offer.media().len(),
            });
        }
        let mut first_refusal = None;
        let mut is_alive = false;
        let mut streams = Vec::with_capacity(offer.media().len());
        let mut plans = Vec::new();
        let mut decisions = Vec::new();
        for (index, media) in offer.media().iter().enumerate() {
            let before = self.streams.get(index);
            let setup = before.and_then(|stream| stream.setup.clone());
            let ports = ports.get(&index).copied();
            let kept = before.and_then(Stream::kept);
            let line = OfferedLine {
                from,
                offer,
                media,
                setup: setup.as_ref(),
                context,
            };
            let mut refused = None;
            let offered = match line.examine(random) {
                Ok(offered) => offered,
                // The call can go on without a stream that is new.
                Err(Fault::Media(reason)) if setup.is_none() => {
                    refused = Some(Treatment::Refused(reason));
                    first_refusal.get_or_insert(Refusal::Media { index, reason });
                    Offer::Ended {
                        profile: media.profile().clone(),
                    }
                }
                Err(fault) => return Err(fault.at(index)),
            };
            is_alive |= !matches!(offered, Offer::Ended { .. });
            let stream = Stream {
                medium: media.medium().clone(),
                ports: match offered {
                    Offer::Anchored(_) => Some(ports.or(kept).ok_or(Refusal::NoPorts { index })?),
                    _ => kept,
                },
                flowing: before.and_then(|stream| stream.flowing),
                setup,
                offer: offered,
            };
            let handshakes = context.asked.map(|asked| &asked.handshakes);
            plans.push(stream.plan_offer(from.opposite(), handshakes));
            decisions.push(StreamDecision {
                medium: media.medium().clone(),
                treatment: refused.unwrap_or_else(|| stream.treatment()),
                action: stream.action_on_offer(from),
            });
            streams.push(stream);
        }
        // What an offer without an answer had more than the one in its place.
        for stream in self.streams.iter().skip(streams.len()) {
            decisions.push(StreamDecision {
                medium: stream.medium.clone(),
                treatment: Treatment::Ended,
                action: match stream.ports {
                    Some(_) => Action::Remove,
                    None => Action::Nothing,
                },
            });
        }
        if let Some(refusal) = first_refusal
            && !is_alive
        {
            return Err(refusal);
        }
        let call = Self {
            offerer: Some(from),
            is_answered: false,
            settled,
            streams,
        };
        let decision = Decision {
            sdp: rewrite(offer, &plans),
            streams: decisions,
        };
        Ok((call, decision))
    }

    /// The answer to the latest offer has come, or has come once more.
    pub fn answer(
        &self,
        answer: &Sdp,
        context: &Context<'_>,
        random: &mut impl Random,
    ) -> Result<(Self, Decision), Refusal> {
        let offerer = self.offerer.ok_or(Refusal::NoOffer)?;
        if answer.media().len() != self.streams.len() {
            return Err(Refusal::MediaCount {
                expected: self.streams.len(),
                found: answer.media().len(),
            });
        }
        let mut call = Self {
            is_answered: true,
            ..self.clone()
        };
        let mut plans = Vec::new();
        let mut decisions = Vec::new();
        for (index, (media, stream)) in answer.media().iter().zip(&mut call.streams).enumerate() {
            let line = AnsweredLine {
                offerer,
                answer,
                media,
                context,
            };
            let outcome = line.examine(stream, random);
            let (plan, setup) = outcome.map_err(|fault| fault.at(index))?;
            let action = match &setup {
                Some(setup) if stream.setup.as_ref() == Some(setup) => Action::Keep,
                Some(setup) => Action::Install(Box::new(setup.clone())),
                None if stream.ports.is_some() => Action::Remove,
                None => Action::Nothing,
            };
            if setup.is_none() {
                stream.ports = None;
            }
            stream.flowing = stream.ports;
            decisions.push(StreamDecision {
                medium: media.medium().clone(),
                treatment: match &setup {
                    Some(setup) => setup.treatment,
                    None if media.port() == 0 => Treatment::Ended,
                    None => stream.treatment(),
                },
                action,
            });
            stream.setup = setup;
            plans.push(plan);
        }
        let decision = Decision {
            sdp: rewrite(answer, &plans),
            streams: decisions,
        };
        Ok((call, decision))
    }

    /// The latest offer was refused: everything is as it was before it. Tells what each `m=` line
    /// of that offer needs.
    pub fn reject(&self) -> (Self, Vec<Action>) {
        let mut call = self.clone();
        let actions = call
            .streams
            .iter_mut()
            .map(|stream| match (&stream.setup, stream.ports.take()) {
                (Some(setup), _) => {
                    stream.ports = stream.flowing;
                    let from = self.offerer.unwrap_or(Side::Access);
                    match stream.action_on_offer(from) {
                        // What was expected beside it no longer is.
                        Action::Expect(..) => Action::Install(Box::new(setup.clone())),
                        _ => Action::Keep,
                    }
                }
                (None, Some(_)) => Action::Remove,
                (None, None) => Action::Nothing,
            })
            .collect();
        call.streams.truncate(call.settled);
        call.offerer = None;
        (call, actions)
    }

    /// Another early dialog of a call whose offer has forked: the state for it, from the state that
    /// [`Call::offer`] returned. Its answers get keys of their own, and lead the offerer to `ports`
    /// where there are some. The other side has seen one offer only, so the ports there are those
    /// of the other dialogs, too, until one of them is left.
    #[must_use = "the state of the other dialog"]
    pub fn fork(&self, ports: &BTreeMap<usize, Ends>) -> Self {
        let mut call = self.clone();
        for (index, ends) in ports {
            if let Some(offerer) = self.offerer
                && let Some(stream) = call.streams.get_mut(*index)
                && let Some(ports) = &mut stream.ports
            {
                match offerer {
                    Side::Access => ports.access = *ends,
                    Side::Core => ports.core = *ends,
                }
            }
        }
        call
    }
}
