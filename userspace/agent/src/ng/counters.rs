// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted since the front end started.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Requests that were carried out, or refused in words.
    pub requests: AtomicU64,
    /// Those of them that were answered with an error.
    pub errors: AtomicU64,
    /// Those of them that were refused for a limit, or because the front end drains.
    pub limited: AtomicU64,
    /// Requests that had been answered before, and got the same answer.
    pub repeated: AtomicU64,
    /// Keys and flags that nobody knows.
    pub unknown_options: AtomicU64,
    /// Keys and flags that this gateway leaves to others.
    pub unsupported_options: AtomicU64,
    /// Options with a value that they cannot have.
    pub bad_options: AtomicU64,
    /// Messages without a cookie, which cannot be answered.
    pub without_cookie: AtomicU64,
    /// Messages and connections of those who may not ask.
    pub strangers: AtomicU64,
    /// Messages and connections dropped because there were too many at once.
    pub overload: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
