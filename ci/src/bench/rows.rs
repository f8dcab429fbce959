//! The rows of the table: what `ci/guest/bench.c` prints, and the stages of a boot.

/// How a row's figures are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Instructions of one operation.
    One,
    /// Millions of instructions.
    Million,
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
    /// It needs a second CPU; the instructions of both count.
    pub(crate) pair: bool,
    /// A figure that moved by less than this part of it is the same.
    pub(crate) tolerance: f64,
}

const fn row(name: &'static str, title: &'static str) -> Row {
    Row { name, title, unit: Unit::One, bare: true, waits: false, pair: false, tolerance: 0.02 }
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
    Row { pair: true, ..wait(name, title) }
}

/// When the disk answers depends on the host's threads.
const fn disk(name: &'static str, title: &'static str) -> Row {
    Row { waits: true, tolerance: 0.15, ..row(name, title) }
}

/// All rows, in the table's order.
pub(crate) const ROWS: [Row; 29] = [
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
    fn the_guest_has_every_row_but_those_of_the_boot() {
        let program = include_str!("../../guest/bench.c");
        for row in ROWS.iter().filter(|row| row.unit == Unit::One) {
            assert!(program.contains(&format!("{{ \"{}\", ", row.name)), "{}", row.name);
        }
    }
}
