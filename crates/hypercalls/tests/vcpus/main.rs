//! `event_channel_op`, `physdev_op`, `vcpu_op`, `sched_op` and `set_timer_op` on a fake machine: what each does,
//! and why it refuses.

mod descriptors;
mod events;
mod init;
mod msix;
mod physdev;
mod roots;
mod sched;
mod shares;
mod vcpu;
mod world;
