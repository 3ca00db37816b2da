//! func from outside: the real git, the real Docker Engine, the real curl, against `func serve all`.

#[allow(dead_code)]
mod apart;
mod bad_input;
mod big;
mod bodies;
mod chaos;
mod client;
mod commands;
mod compose;
mod deploys;
mod frozen;
mod isolation;
#[allow(dead_code)]
mod load;
mod poised;
mod quick_start;
mod redis_losses;
mod restarts;
mod retries;
mod visitor;
mod waking;
mod world;
