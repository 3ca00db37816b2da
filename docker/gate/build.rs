//! The gate brings its own start, and its addresses are fixed when it is linked: nothing runs before it, and nothing of
//! the C library is in it.

fn main() {
    for argument in ["-nostartfiles", "-static", "-no-pie"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
