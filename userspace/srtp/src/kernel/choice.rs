// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which kernel runs: the fastest that the CPU has, or the one that the environment names.

use core::fmt;
use std::sync::OnceLock;

/// Names the kernel to use.
pub(super) const VARIABLE: &str = "SALLYPORT_SRTP_KERNEL";

/// An implementation of ciphers and tags, by the instructions it needs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kernel {
    /// One packet after the other, on every CPU.
    Portable,
    /// Two packets at once: AES-NI, PCLMULQDQ, SHA-NI.
    AesNi,
    /// Eight packets at once: AVX2, AES-NI, PCLMULQDQ; VAES with VPCLMULQDQ and SHA-NI if there are.
    Avx2,
    /// Sixteen packets at once: AVX-512 (F, BW, DQ, VL), VAES, VPCLMULQDQ, SHA-NI.
    Avx512,
}

/// The choice of this process.
static CHOICE: OnceLock<(Kernel, Option<KernelError>)> = OnceLock::new();

impl Kernel {
    /// Every kernel, slowest first.
    pub const ALL: [Self; 4] = [Self::Portable, Self::AesNi, Self::Avx2, Self::Avx512];

    /// The kernel that this process uses: the fastest that its CPU has, unless the environment
    /// variable `SALLYPORT_SRTP_KERNEL` names another one. Never changes.
    pub fn current() -> Self {
        choice().0
    }

    /// What is wrong with the environment variable, if anything; it is then ignored.
    pub fn complaint() -> Option<&'static KernelError> {
        choice().1.as_ref()
    }

    /// The name in the environment variable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::AesNi => "aesni",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this CPU has the instructions.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        // Every burst asks.
        static AVAILABLE: OnceLock<[bool; Kernel::ALL.len()]> = OnceLock::new();
        AVAILABLE.get_or_init(|| Self::ALL.map(Self::is_detected))[self as usize]
    }

    #[cfg(target_arch = "x86_64")]
    fn is_detected(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        let aes = has!("aes") && has!("pclmulqdq") && has!("ssse3") && has!("sse4.1");
        match self {
            Self::Portable => true,
            Self::AesNi => aes && has!("sha"),
            Self::Avx2 => aes && has!("avx2"),
            Self::Avx512 => {
                aes && has!("sha")
                    && has!("avx512f")
                    && has!("avx512bw")
                    && has!("avx512dq")
                    && has!("avx512vl")
                    && has!("bmi2")
                    && has!("vaes")
                    && has!("vpclmulqdq")
            }
        }
    }

    /// Whether this CPU has the instructions.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Self::Portable
    }

    fn fastest() -> Self {
        let mut available = Self::ALL.into_iter().filter(|kernel| kernel.is_available());
        available.next_back().unwrap_or(Self::Portable)
    }

    fn choose(name: Option<&str>) -> (Self, Option<KernelError>) {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return (Self::fastest(), None);
        };
        match Self::ALL.into_iter().find(|kernel| kernel.name() == name) {
            None => (Self::fastest(), Some(KernelError::Unknown(name.to_owned()))),
            Some(kernel) if !kernel.is_available() => {
                (Self::fastest(), Some(KernelError::Unavailable(kernel)))
            }
            Some(kernel) => (kernel, None),
        }
    }
}

fn choice() -> &'static (Kernel, Option<KernelError>) {
    CHOICE.get_or_init(|| {
        let name = std::env::var_os(VARIABLE);
        Kernel::choose(name.as_ref().map(|name| name.to_string_lossy()).as_deref())
    })
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why the kernel that the environment names is not used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KernelError {
    /// There is no kernel of this name.
    Unknown(String),
    /// The CPU lacks instructions that this kernel needs.
    Unavailable(Kernel),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "{VARIABLE}: no kernel is named {name:?}; use one of")?;
                for kernel in Kernel::ALL
                    .into_iter()
                    .filter(|kernel| kernel.is_available())
                {
                    write!(f, " {kernel}")?;
                }
                Ok(())
            }
            Self::Unavailable(kernel) => write!(
                f,
                "{VARIABLE}: this CPU lacks instructions that {kernel} needs; unset it"
            ),
        }
    }
}

impl core::error::Error for KernelError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_of_this_cpu_can_be_named() {
        for kernel in Kernel::ALL {
            let expected = if kernel.is_available() {
                (kernel, None)
            } else {
                (Kernel::fastest(), Some(KernelError::Unavailable(kernel)))
            };
            assert_eq!(Kernel::choose(Some(kernel.name())), expected);
        }
    }

    #[test]
    fn without_a_name_the_fastest_is_taken_and_a_wrong_name_is_told() {
        assert_eq!(Kernel::choose(None), (Kernel::fastest(), None));
        assert_eq!(Kernel::choose(Some("")), (Kernel::fastest(), None));
        let (kernel, error) = Kernel::choose(Some("mmx"));
        assert_eq!(kernel, Kernel::fastest());
        let message = error.unwrap().to_string();
        assert!(
            message.contains("\"mmx\"; use one of portable"),
            "{message}"
        );
    }
}
