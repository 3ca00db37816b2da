//! func from outside: the real git, the real Docker Engine, the real curl, against `func serve all`.

mod agreement;
#[allow(dead_code)]
mod apart;
mod bad_input;
mod big;
mod bodies;
mod chaos;
mod chance;
mod client;
mod commands;
mod compose;
mod crash_points;
mod deploys;
mod engine;
mod engine_restarts;
mod deploys_under_load;
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
mod redis_losses;
mod reckoning;
mod restarts;
mod retries;
mod visitor;
mod upgrade;
mod waking;
mod world;
