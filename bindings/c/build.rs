//! Names the shared library the way each system's loader looks for it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let named = match system.as_str() {
        // A program linked against target/… finds the library through its own rpath, wherever it was installed.
        "macos" | "ios" => "-Wl,-install_name,@rpath/libengine.dylib",
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd" => "-Wl,-soname,libengine.so",
        _ => return,
    };
    println!("cargo:rustc-cdylib-link-arg={named}");
}
