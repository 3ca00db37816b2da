//! Builds the file server of the static recipe, which is a part of this library: its bytes are the first layer of
//! every static site's image.

fn main() {
    func_embed::program("func-static", "../docker/recipes/static");
    println!("cargo::rerun-if-changed=../Cargo.lock");
}
