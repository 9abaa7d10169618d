//! Gives the shared library the name and the search path that `src/names.rs` relies on.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // An RPATH, not a RUNPATH: it is searched before LD_LIBRARY_PATH, which may lead to NVIDIA's own libraries.
        for argument in ["-soname,libcuda.so", "--disable-new-dtags", "-rpath,$ORIGIN"] {
            println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
        }
    }
}
