//! Random streams, crashes and mutations of page-table work against an independent audit.

mod audit;
#[path = "world/mod.rs"]
mod world;

mod crash;
mod mutation;
mod races;
mod random;
mod refused;
