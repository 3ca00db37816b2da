//! Builds the gate of poised containers, which is a part of this library.

fn main() {
    func_embed::program("func-gate", "../../docker/gate");
}
