//! The subcommands other than `serve`, a file each.

pub mod apps;
pub mod audit;
pub mod deploys;
pub mod df;
pub mod doctor;
pub mod health;
pub mod hook;
pub mod init;
pub mod logs;
pub mod prepare;
pub mod releases;
mod time;
pub mod token;
pub mod trace;
