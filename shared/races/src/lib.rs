//! Nothing but tests: two edges, a cleaner and a builder's switch, the real code, in a world whose order is diced.
//! See `tests/races/main.rs`.
