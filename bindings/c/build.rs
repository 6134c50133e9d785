//! Names the shared library the way each system's loader looks for it, and keeps it loaded.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let arguments: &[&str] = match system.as_str() {
        // A program linked against target/… finds the library through its own rpath, wherever it was installed.
        // A library with thread-local variables is never unloaded there.
        "macos" | "ios" => &["-Wl,-install_name,@rpath/libengine.dylib"],
        // The engine's threads run until the last handle is closed: dlclose must not take their code away.
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd" => {
            &["-Wl,-soname,libengine.so", "-Wl,-z,nodelete"]
        }
        _ => &[],
    };
    for argument in arguments {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
}
