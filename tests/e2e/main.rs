//! func from outside: the real git, the real Docker Engine, the real curl, against `func serve all`.

mod agreement;
#[allow(dead_code)]
mod apart;
mod bad_input;
mod big;
mod bodies;
mod chance;
mod chaos;
mod client;
mod commands;
mod compose;
mod crash_points;
mod deploys;
mod deploys_under_load;
mod engine;
mod engine_restarts;
mod frozen;
mod isolation;
mod killer;
mod kills;
#[allow(dead_code)]
mod load;
mod long;
mod poised;
mod pusher;
mod quick_start;
mod reckoning;
mod redis_losses;
mod restarts;
mod retries;
mod upgrade;
mod visitor;
mod waking;
mod world;
