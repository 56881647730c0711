// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A list that is never empty and nearly always has one element, which then costs no allocation
//! and no further line of the cache.

use core::ops::{Index, IndexMut};

/// At least one element.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
#[repr(C)]
pub(crate) struct OneOrMore<T> {
    first: T,
    rest: Box<[T]>,
}

impl<T> OneOrMore<T> {
    pub(crate) fn new(first: T, rest: impl IntoIterator<Item = T>) -> Self {
        Self {
            first,
            rest: rest.into_iter().collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        1 + self.rest.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        core::iter::once(&self.first).chain(&self.rest)
    }
}

impl<T> Index<usize> for OneOrMore<T> {
    type Output = T;

    #[inline]
    fn index(&self, at: usize) -> &T {
        match at.checked_sub(1) {
            None => &self.first,
            Some(at) => &self.rest[at],
        }
    }
}

impl<T> IndexMut<usize> for OneOrMore<T> {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut T {
        match at.checked_sub(1) {
            None => &mut self.first,
            Some(at) => &mut self.rest[at],
        }
    }
}
