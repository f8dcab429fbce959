//! Tests in which the hypervisor fails, in an image built with the feature `inject`.

use super::{Test, USUAL};
use crate::packages::Suite;
use crate::scratch::DEVICES;

pub(super) const TESTS: [Test; 10] = [
    Test {
        name: "Dom0 lives through panics under load on 1 CPU",
        // The panics must have come: the guest alone cannot tell.
        expect: &["Recovered from failure 20 on CPU"],
        guest_tests: &["survive-panics"],
        features: &["inject"],
        survives: true,
        limit: 240,
        ..USUAL
    },
    Test {
        name: "Dom0 lives through panics under load on 2 CPUs",
        cpus: 2,
        // The panics must have come: the guest alone cannot tell.
        expect: &["Recovered from failure 20 on CPU"],
        guest_tests: &["survive-panics"],
        features: &["inject"],
        survives: true,
        limit: 240,
        ..USUAL
    },
    Test {
        name: "Dom0 lives through panics under load on 2 CPUs that four virtual CPUs share",
        cpus: 2,
        xen: "dom0_max_vcpus=4 dom0_mem=512M,max:560M",
        // The panics must have come: the guest alone cannot tell.
        expect: &["Recovered from failure 20 on CPU"],
        guest_tests: &["survive-panics"],
        features: &["inject"],
        survives: true,
        limit: 240,
        ..USUAL
    },
    Test {
        name: "panics, also inside recovery, lose nothing on 2 CPUs while NMIs rain",
        cpus: 2,
        expect: &["Recovered from failure 20 on CPU"],
        guest_tests: &["survive-panics", "survive-recovery"],
        features: &["inject"],
        survives: true,
        nmis: 1000,
        limit: 300,
        ..USUAL
    },
    Test {
        name: "Debian 13's kernel lives through panics on 4 CPUs while disks and network cards work",
        kernel: Suite::Trixie,
        cpus: 4,
        expect: &["Recovered from failure 20 on CPU"],
        guest_tests: &["survive-devices"],
        features: &["inject"],
        survives: true,
        qemu: DEVICES,
        limit: 600,
        ..USUAL
    },
    Test {
        name: "Dom0 works on 2 CPUs while the hypervisor starts anew all the time, over spoilt memory",
        cpus: 2,
        expect: &["Recovered from failure 20 on CPU"],
        guest_tests: &["devices"],
        features: &["chaos"],
        survives: true,
        qemu: DEVICES,
        limit: 300,
        ..USUAL
    },
    Test {
        name: "the watchdog ends hangs on 1 CPU",
        expect: &["hang at ffff82d0"],
        guest_tests: &["survive-hangs"],
        features: &["inject"],
        survives: true,
        xen: WATCHDOG,
        limit: 240,
        ..USUAL
    },
    Test {
        name: "the watchdog ends hangs on 2 CPUs",
        cpus: 2,
        expect: &["hang at ffff82d0"],
        guest_tests: &["survive-hangs"],
        features: &["inject"],
        survives: true,
        xen: WATCHDOG,
        limit: 240,
        ..USUAL
    },
    Test {
        name: "a CPU that ignores NMIs is taken over and loses nothing",
        cpus: 2,
        // Who notices is not promised: CPU 0, or one that waits for an answer of the deaf one.
        expect: &["Recovered from failure 4 on CPU"],
        guest_tests: &["survive-deafness"],
        features: &["inject"],
        survives: true,
        xen: WATCHDOG,
        limit: 300,
        ..USUAL
    },
    Test {
        name: "an entry in which the hypervisor fails whenever it is dispatched ends its domain",
        expect: &[
            "The hypervisor failed 3 times in the same entry of d0v0",
            "d0v0 crashed: TooManyFailures",
            "RIP e033:",
            "Hardware Dom0 crashed: rebooting machine",
        ],
        append: "lab.test=fail-repeatedly",
        features: &["inject"],
        survives: true,
        ..USUAL
    },
];

/// The watchdog with a short timeout.
const WATCHDOG: &str = "watchdog watchdog_timeout=2";
