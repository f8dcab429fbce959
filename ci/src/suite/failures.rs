//! Tests in which the hypervisor or the machine fails. Most are in an image built with the feature `inject`.

use super::{Test, USUAL};
use crate::packages::Suite;
use crate::scratch::DEVICES;

/// Dom0 asks for failures and lives through them.
const SURVIVES: Test = Test {
    // The failures must have come: the guest alone cannot tell.
    expect: &["Recovered from failure 20 on CPU"],
    features: &["inject"],
    survives: true,
    cpus: 2,
    limit: 300,
    ..USUAL
};

/// So it does with the watchdog and a short timeout.
const WATCHED: Test = Test { expect: &["hang at ffff82d0"], xen: "watchdog watchdog_timeout=2", ..SURVIVES };

pub(super) const TESTS: [Test; 15] = [
    Test {
        name: "Dom0 lives through panics under load on 1 CPU",
        guest_tests: &["survive-panics"],
        cpus: 1,
        ..SURVIVES
    },
    Test {
        name: "Dom0 lives through panics on 2 CPUs that four virtual CPUs share, on isolated page tables, and keeps its data selectors",
        model: "Skylake-Server",
        xen: "dom0_max_vcpus=4 dom0_mem=512M,max:560M",
        guest_tests: &["survive-panics"],
        append: "lab.set=SELECTORS=1,PANICS=24",
        ..SURVIVES
    },
    Test {
        name: "panics, also inside recovery, lose nothing on 2 CPUs while NMIs rain",
        model: "Skylake-Server",
        guest_tests: &["survive-panics", "survive-recovery"],
        nmis: 1000,
        xen: "nmi=ignore",
        ..SURVIVES
    },
    Test {
        name: "Dom0 lives through panics, machine checks and the machine's NMIs under load on 2 CPUs",
        // By Dom0's kernel, which is told of each; Debian's Xen tells it the same.
        expect: &["NMI received for unknown reason", "Recovered from failure 20 on CPU"],
        guest_tests: &["survive-panics", "survive-grants"],
        machine_checks: 6,
        nmis: 40,
        append: "lab.set=PANICS=24",
        ..SURVIVES
    },
    Test {
        name: "a PV guest and Dom0, which serves its disk, live through panics under load on 2 CPUs",
        toolstack: true,
        guest_tests: &["survive-guest"],
        append: "lab.set=PANICS=24",
        limit: 420,
        damage: true,
        ..SURVIVES
    },
    Test {
        name: "a PV guest is saved and restored while the hypervisor panics again and again, on 2 CPUs",
        toolstack: true,
        guest_tests: &["xl-save"],
        append: "lab.set=PANICS=1",
        xen: "dom0_mem=900M,max:900M",
        memory: 1536,
        limit: 600,
        ..SURVIVES
    },
    Test {
        name: "Debian 13's kernel lives through panics on 4 CPUs while disks and network cards work",
        kernel: Suite::Trixie,
        cpus: 4,
        guest_tests: &["survive-devices"],
        qemu: DEVICES,
        limit: 600,
        ..SURVIVES
    },
    Test {
        name: "Dom0 works on 2 CPUs while the hypervisor starts anew all the time, over spoilt memory",
        // Its number is high by then.
        expect: &["Recovered from failure "],
        guest_tests: &["devices"],
        features: &["chaos"],
        qemu: DEVICES,
        ..SURVIVES
    },
    Test {
        name: "the watchdog ends hangs on 1 CPU",
        cpus: 1,
        guest_tests: &["survive-hangs"],
        append: "lab.set=PANICS=1",
        ..WATCHED
    },
    Test { name: "the watchdog ends hangs on 2 CPUs", guest_tests: &["survive-hangs"], ..WATCHED },
    Test {
        // The timer's NMIs reach CPU 0 alone there.
        name: "the watchdog ends hangs on 2 CPUs with x2APIC",
        model: "Skylake-Server,+x2apic",
        guest_tests: &["survive-hangs"],
        xen: "watchdog watchdog_timeout=2 dom0_vcpus_pin",
        qemu: "-device intel-iommu",
        append: "lab.set=PANICS=1",
        limit: 600,
        ..WATCHED
    },
    Test {
        name: "a CPU that ignores NMIs is taken over and loses nothing",
        // Who notices is not promised: CPU 0, or one that waits for an answer of the deaf one.
        expect: &["Recovered from failure 4 on CPU"],
        guest_tests: &["survive-deafness"],
        ..WATCHED
    },
    Test {
        name: "firmware that faults or hangs is Dom0's error, even where it ignores NMIs",
        uefi: true,
        expect: &[
            "in the firmware at",
            "EFI: the firmware hangs at",
            "hang: CPU 1 hangs and ignores NMIs",
            "EFI: CPU 1 was taken away from the firmware",
        ],
        guest_tests: &["firmware"],
        xen: "watchdog watchdog_timeout=1 dom0_vcpus_pin",
        ..SURVIVES
    },
    Test {
        name: "an entry in which the hypervisor fails whenever it is dispatched ends its domain",
        expect: &[
            "The hypervisor failed 3 times in the same entry of d0v0",
            "d0v0 crashed: TooManyFailures",
            "RIP e033:",
            "Hardware Dom0 crashed: rebooting machine",
        ],
        cpus: 1,
        append: "lab.test=fail-repeatedly",
        ..SURVIVES
    },
    Test {
        name: "Dom0 gets NMIs that it sends to itself, and ends with its kernel's stack",
        cpus: 2,
        expect: &[
            "LAB-RESULT nmi pass",
            ": BadKernelStack",
            "RIP e033:",
            "Guest stack trace from rsp:",
            "Hardware Dom0 crashed: rebooting machine",
        ],
        append: "lab.test=nmi,bad-stack",
        ..USUAL
    },
];
