// SPDX-License-Identifier: Apache-2.0 OR MIT

//! With the feature `peers`: finds libsrtp and ipsec-mb, and compiles the shim in front of them.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(libsrtp, ipsec_mb)");
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "peers")]
    peers::build();
}

#[cfg(feature = "peers")]
mod peers {
    use std::env;
    use std::path::PathBuf;

    const SHIM: &str = "srtp/peers/shim.c";

    /// The only target that the shim is linked to.
    const BIN: &str = "sallyport-bench-srtp";

    pub(crate) fn build() {
        println!("cargo::rerun-if-changed={SHIM}");
        println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
        let mut shim = cc::Build::new();
        shim.file(SHIM).opt_level(2).cargo_metadata(false);
        let mut link = Vec::new();
        if let Some(library) = probe("libsrtp2") {
            println!("cargo::rustc-cfg=libsrtp");
            shim.define("HAVE_LIBSRTP", None);
            shim.includes(&library.include_paths);
            link.extend(arguments(&library));
        }
        // Intel's own installation has a .pc file, Debian's package has none.
        if let Some(library) = probe("libipsec-mb").or_else(|| probe("libIPSec_MB")) {
            println!("cargo::rustc-cfg=ipsec_mb");
            shim.define("HAVE_IPSEC_MB", None);
            shim.includes(&library.include_paths);
            link.extend(arguments(&library));
        } else if cc::Build::new()
            .file("srtp/peers/has_ipsec_mb.c")
            .cargo_warnings(false)
            .cargo_metadata(false)
            .try_expand()
            .is_ok()
        {
            println!("cargo::rustc-cfg=ipsec_mb");
            shim.define("HAVE_IPSEC_MB", None);
            link.push("-lIPSec_MB".to_owned());
        }
        if link.is_empty() {
            return;
        }
        shim.compile("srtp_peers");
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        let archive = out.join("libsrtp_peers.a").display().to_string();
        for argument in std::iter::once(archive).chain(link) {
            println!("cargo::rustc-link-arg-bin={BIN}={argument}");
        }
    }

    fn probe(name: &str) -> Option<pkg_config::Library> {
        pkg_config::Config::new()
            .cargo_metadata(false)
            .probe(name)
            .ok()
    }

    /// What the linker needs. A library beside the system's own is found at run time too.
    fn arguments(library: &pkg_config::Library) -> Vec<String> {
        let folders = library.link_paths.iter().flat_map(|folder| {
            let folder = folder.display();
            [format!("-L{folder}"), format!("-Wl,-rpath,{folder}")]
        });
        let names = library.libs.iter().map(|name| format!("-l{name}"));
        folders.chain(names).collect()
    }
}
