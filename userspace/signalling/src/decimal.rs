// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Decimal numbers as these protocols write them.

use core::str::FromStr;

/// Reads `1*DIGIT` without sign and without leading zeros.
pub(crate) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_padded = text.len() > 1 && text.starts_with('0');
    (is_decimal && !is_padded).then(|| text.parse().ok())?
}
