// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Those who know the calls.

use std::future::Future;

use sallyport_signalling::ng::{
    Answer, Delete, Offer, Query, Refusal, Report, SdpBody, Statistics,
};

use super::front::Control;

/// Those who know the calls: what requests are handed to, many at a time and in no order.
///
/// Clients wait for a second and then ask again, or elsewhere: whatever takes longer than that
/// should be refused. A request that has begun is never cut off, not even when its client is gone.
pub trait Calls: Send + Sync + 'static {
    /// Where they note options that turn out to be in vain; the front end counts there, too.
    fn control(&self) -> Control {
        Control::default()
    }

    /// Whether calls can be made at all. A client that is refused here leaves this gateway alone
    /// until it is not.
    fn ping(&self) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Whether there is a call of this id: offers for it are served while the front end drains.
    fn has(&self, call_id: &str) -> impl Future<Output = bool> + Send;

    /// Rewrites an offer for who is to answer it.
    fn offer(&self, offer: Offer) -> impl Future<Output = Result<SdpBody, Refusal>> + Send;

    /// Rewrites an answer for who made the offer.
    fn answer(&self, answer: Answer) -> impl Future<Output = Result<SdpBody, Refusal>> + Send;

    /// Ends a call or a branch of it, and says what it did. [`Refusal::UnknownCall`] and
    /// [`Refusal::Dialogue`] when there is none.
    fn delete(&self, delete: Delete) -> impl Future<Output = Result<Report, Refusal>> + Send;

    /// Says what a call did.
    fn query(&self, query: Query) -> impl Future<Output = Result<Report, Refusal>> + Send;

    /// The ids of calls, `limit` at most.
    fn list(&self, limit: usize) -> impl Future<Output = Vec<String>> + Send;

    /// What all calls did.
    fn statistics(&self) -> impl Future<Output = Statistics> + Send;
}
