// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the packets of a flow's peer tell, and the memory for it.

use sallyport_flow::Carries;

use crate::reception::Receptions;
use crate::reports::Reports;

/// What the packets of a flow's peer tell. In boxes, which are made before any packet comes: only
/// the worker that owns the flow has them, and only for what may arrive.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// How its RTP packets arrived.
    pub receptions: Option<Box<Receptions>>,
    /// What its RTCP packets reported.
    pub reports: Option<Box<Reports>>,
}

impl Observed {
    /// Room for what may arrive now and could not `before`.
    pub fn room(carries: Carries, before: Option<Carries>) -> Self {
        let is_new = |other| carries != other && before.is_none_or(|before| before == other);
        Self {
            receptions: is_new(Carries::Rtcp).then(Box::default),
            reports: is_new(Carries::Rtp).then(Box::default),
        }
    }

    /// Takes the room that is missing here.
    pub fn take_room(&mut self, room: &mut Self) {
        if self.receptions.is_none() {
            self.receptions = room.receptions.take();
        }
        if self.reports.is_none() {
            self.reports = room.reports.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_what_may_arrive_and_what_was_told_stays() {
        use Carries::{Muxed, Rtcp, Rtp};
        for (before, carries, expected) in [
            (None, Rtp, (true, false)),
            (None, Rtcp, (false, true)),
            (None, Muxed, (true, true)),
            (Some(Rtp), Rtp, (false, false)),
            (Some(Rtp), Muxed, (false, true)),
            (Some(Rtcp), Muxed, (true, false)),
            (Some(Rtp), Rtcp, (false, true)),
            (Some(Muxed), Rtp, (false, false)),
        ] {
            let mut room = Observed::room(carries, before);
            let found = (room.receptions.is_some(), room.reports.is_some());
            assert_eq!(found, expected, "{before:?} to {carries:?}");
            let mut observed = before.map_or_else(Observed::default, |it| Observed::room(it, None));
            observed.take_room(&mut room);
            assert_eq!(
                observed.receptions.is_none(),
                carries == Rtcp && before.is_none()
            );
        }
    }
}
