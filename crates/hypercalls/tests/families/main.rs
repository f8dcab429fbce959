//! Each family of hypercalls as a guest sees it: results, errors, and a crash at every durable step.

mod console;
mod control;
mod crash;
mod efi;
mod ending;
mod firmware;
mod fixture;
mod granted;
mod grants;
mod life;
mod memory;
mod multicall;
mod platform;
mod processor;
mod saving;
mod scheduling;
mod tools;
mod traces;
mod version;
