//! The rows of the table: what `ci/guest/bench.c` prints, and the stages of a boot.

/// How a row's figures are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Instructions of one operation.
    One,
    /// Millions of instructions.
    Million,
    /// Memory in KiB.
    Kilobyte,
}

/// The machine that a row is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    /// One CPU.
    One,
    /// Two CPUs, whose instructions both count.
    Two,
    /// One CPU, with the stock toolstack and guests.
    Guests,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    /// Its name in results.
    pub(crate) name: &'static str,
    /// Its title in tables.
    pub(crate) title: &'static str,
    /// How it is printed.
    pub(crate) unit: Unit,
    /// Linux alone has it too.
    pub(crate) bare: bool,
    /// It waits: the instructions alone count, not the time.
    pub(crate) waits: bool,
    /// Where it is measured.
    pub(crate) stand: Stand,
    /// A figure that moved by less than this part of it is the same.
    pub(crate) tolerance: f64,
}

const fn row(name: &'static str, title: &'static str) -> Row {
    Row { name, title, unit: Unit::One, bare: true, waits: false, stand: Stand::One, tolerance: 0.02 }
}

const fn xen(name: &'static str, title: &'static str) -> Row {
    Row { bare: false, ..row(name, title) }
}

const fn boot(name: &'static str, title: &'static str) -> Row {
    Row { unit: Unit::Million, ..row(name, title) }
}

const fn wait(name: &'static str, title: &'static str) -> Row {
    Row { waits: true, ..row(name, title) }
}

const fn pair(name: &'static str, title: &'static str) -> Row {
    Row { stand: Stand::Two, ..wait(name, title) }
}

const fn guest(name: &'static str, title: &'static str) -> Row {
    Row { bare: false, stand: Stand::Guests, ..wait(name, title) }
}

/// When the disk answers depends on the host's threads.
const fn disk(name: &'static str, title: &'static str) -> Row {
    Row { waits: true, tolerance: 0.15, ..row(name, title) }
}

impl Row {
    /// Whether the plugin counts in it: all but the boot's stages and memory.
    pub(crate) fn counted(&self) -> bool {
        self.unit == Unit::One || self.waits
    }
}

/// All rows, in the table's order.
pub(crate) const ROWS: [Row; 40] = [
    row("getpid", "system call (getpid)"),
    row("clock_gettime", "clock_gettime as a system call"),
    row("page_fault", "anonymous page fault"),
    row("mprotect", "mprotect twice + touch"),
    row("mmap", "mmap + touch 4 pages + munmap"),
    row("fork", "fork + exit + wait"),
    row("exec", "vfork + exec + wait"),
    row("signal", "#UD to a signal handler"),
    row("pipe", "pipe ping-pong, two processes"),
    row("switch", "sched_yield to another process"),
    row("sched_yield", "sched_yield to itself"),
    wait("nanosleep", "nanosleep 100 us (idle left out)"),
    disk("disk_read", "disk read, 1 MiB (virtio-blk; idle left out)"),
    pair("ipi", "IPI to the other CPU, and its answer"),
    pair("shootdown", "mprotect twice + touch, in use on 2 CPUs"),
    pair("wake", "pipe ping-pong, two CPUs that idle"),
    xen("privcmd", "privcmd ioctl without a hypercall"),
    xen("xen_version", "hypercall xen_version through privcmd"),
    xen("enosys", "hypercall answering -ENOSYS"),
    xen("event_send", "event channel send"),
    xen("event_round_trip", "event channel round trip, one process"),
    xen("event_ping_pong", "event channel ping-pong, two processes"),
    xen("grant_map", "grant mapped and unmapped"),
    xen("grant_map_32", "grant mapped and unmapped, by 32"),
    xen("grant_copy_32", "grant copy of 1,448 bytes, by 32"),
    xen("mmu_batch", "page of another mapped by a list, and unmapped"),
    guest("guest_event", "event to a guest's process and back"),
    guest("guest_read", "guest's disk read, 1 MiB"),
    guest("guest_write", "guest's disk written, 1 MiB"),
    guest("guest_read_mapped", "guest's disk read, 1 MiB, pages mapped each time"),
    guest("guest_echo", "guest's datagram to Dom0 and back"),
    guest("guest_send", "guest's packet of 1,472 bytes to Dom0, of 32"),
    guest("guest_receive", "the same from Dom0 to the guest"),
    Row { unit: Unit::Million, ..guest("guest_create", "xl create to the guest's user space (M)") },
    Row { unit: Unit::Million, ..guest("guest_dump", "xl dump-core of 160 MiB to nowhere (M)") },
    Row { unit: Unit::Million, ..guest("guest_destroy", "xl destroy (M)") },
    Row {
        unit: Unit::Kilobyte,
        waits: false,
        ..guest("guest_memory", "hypervisor's memory for a guest (KiB)")
    },
    boot("boot_kernel", "boot: image entry to kernel start (M)"),
    boot("boot_init", "boot: kernel start to /init (M)"),
    boot("boot", "boot: all (M)"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_differ() {
        let names: HashSet<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn programs_have_every_row_but_those_of_the_boot() {
        let programs = concat!(
            include_str!("../../guest/bench.c"),
            include_str!("../../guest/bench-guest.c"),
            include_str!("../../guest/tests/bench-guests")
        );
        for row in ROWS.iter().filter(|row| !row.name.starts_with("boot")) {
            let forms = [
                format!("{{ \"{}\", ", row.name),
                format!("row {} ", row.name),
                format!("LAB-BENCH {} ", row.name),
            ];
            assert!(forms.iter().any(|form| programs.contains(form)), "{}", row.name);
        }
    }
}
