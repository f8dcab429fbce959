//! Tests of kernels, machines and what guests ask for.

use super::{Last, Test, USUAL};
use crate::initramfs::Guests;
use crate::options::Below;
use crate::packages::Suite;
use crate::scratch::{BIOS, DEVICES, HANGING_BIOS};

pub(super) const TESTS: &[Test] = &[
    Test { name: "bare Linux reaches the lab's init", below: Below::Bare, ..USUAL },
    // Debian's own Xen keeps the lab honest: what fails here is not the image's fault.
    Test {
        name: "the peer boots Dom0, answers hypercalls, and xl lists it",
        below: Below::Peer,
        toolstack: true,
        guest_tests: &[
            "xen-version",
            "xl-list",
            "platform-answers",
            "wrong-arguments",
            "bios",
            "large-extents",
            "cpu-policies",
        ],
        xen: "dom0_mem=512M,max:560M",
        qemu: BIOS,
        limit: 180,
        ..USUAL
    },
    // What user mode and hostile calls get is compared with Debian's own Xen, by the same programs.
    Test {
        name: "the peer refuses what must be refused, and user mode has its processor",
        below: Below::Peer,
        cpus: 2,
        guest_tests: &["refusals", "grants", "processor", "msrs", "selectors", "nmi"],
        limit: 300,
        ..USUAL
    },
    Test {
        name: "the peer's xl makes PV guests, with disk and network",
        below: Below::Peer,
        // Where more virtual CPUs run than there are CPUs, Xen's lazy switching of vector registers loses some in QEMU
        // 10.0: now and then a process crashes, the sooner the busier the host is.
        xen: "spec-ctrl=eager-fpu",
        cpus: 2,
        toolstack: true,
        guest_tests: &["xl-guest", "xl-disk", "xl-net"],
        limit: 500,
        ..USUAL
    },
    Test {
        name: "xl makes PV guests, of Debian 13 with disk and network, on 2 CPUs",
        cpus: 2,
        // As an edge box has, or a desktop's smallest: 14 MB of it are the hypervisor's.
        memory: 1500,
        keeps: 14_000_000 >> 10,
        xen: "dom0_mem=700M,max:700M",
        toolstack: true,
        guests: Guests { kernel: Some(Suite::Trixie), disk: false },
        guest_tests: &["xl-guest", "xl-disk", "xl-net"],
        append: "lab.set=GUEST=trixie",
        limit: 300,
        ..USUAL
    },
    Test {
        name: "Debian 13's own xl, of Xen 4.20, makes a PV guest with disk and network, on 2 CPUs",
        kernel: Suite::Trixie,
        cpus: 2,
        memory: 1280,
        xen: "xen-version=4.20 dom0_mem=640M,max:640M",
        toolstack: true,
        guest_tests: &["xl-devices"],
        limit: 240,
        ..USUAL
    },
    Test {
        name: "PV guests with 1, 2, 4 and 8 vCPUs at once, one of Debian 13, serve files to each other on 2 CPUs",
        cpus: 2,
        memory: 2000,
        xen: "dom0_mem=700M,max:700M",
        toolstack: true,
        guests: Guests { kernel: Some(Suite::Trixie), disk: false },
        guest_tests: &["xl-many"],
        limit: 600,
        ..USUAL
    },
    Test {
        name: "PV guests end in every way, are dumped, and nothing is lost when xl is killed, on 2 CPUs",
        cpus: 2,
        memory: 1280,
        // A guest's memory is dumped into Dom0's.
        xen: "dom0_mem=640M,max:640M",
        toolstack: true,
        guest_tests: &["xl-ends", "xl-cycles", "xl-refuses", "xl-crash"],
        limit: 420,
        ..USUAL
    },
    Test {
        name: "a PV guest changes its memory and CPUs while it runs, on 2 CPUs",
        cpus: 2,
        toolstack: true,
        guest_tests: &["xl-change"],
        limit: 420,
        ..USUAL
    },
    Test {
        name: "a PV guest boots from its own disk by pygrub, on 2 CPUs",
        cpus: 2,
        memory: 2048,
        // Python and the disk are in its archive.
        xen: "dom0_mem=900M,max:900M",
        toolstack: true,
        guests: Guests { kernel: None, disk: true },
        guest_tests: &["xl-pygrub"],
        limit: 420,
        ..USUAL
    },
    Test {
        name: "Dom0 hears what the BIOS says of disks and monitor, of processors, and of its own mistakes",
        guest_tests: &["platform-answers", "wrong-arguments", "bios", "large-extents", "cpu-policies"],
        xen: "dom0_mem=512M,max:560M",
        qemu: BIOS,
        ..USUAL
    },
    Test {
        name: "a BIOS that hangs is given up",
        init: false,
        expect: &[
            "(XEN) BIOS: no answer about the monitor within ten seconds: given up",
            "(XEN) BIOS: 2 disks, 1 of them with a signature",
            "Boot complete",
            "Linux version",
        ],
        qemu: HANGING_BIOS,
        graphics: "text",
        ..USUAL
    },
    Test {
        name: "xl sees the machine, hostile hypercalls are refused, and user mode has its processor",
        cpus: 2,
        toolstack: true,
        guest_tests: &["xl-list", "scheduler", "refusals", "grants", "processor", "msrs", "fuzz"],
        limit: 420,
        ..USUAL
    },
    Test {
        name: "xl and other stock tools answer as on Xen",
        cpus: 2,
        toolstack: true,
        guest_tests: &["xl-table"],
        limit: 400,
        ..USUAL
    },
    // Meltdown, branch history, gathers: on this model page tables are isolated by default.
    Test {
        name: "on an Intel machine guests do not see the hypervisor, nor may they speculate on it, on 2 CPUs",
        model: "Skylake-Server",
        cpus: 2,
        init: false,
        expect: &[
            "BHB-Seq: SHORT",
            "Support for PV VMs: EAGER_FPU BHB-entry",
            "XPTI (64-bit PV only): Dom0 enabled, DomU enabled",
        ],
        guest_tests: &["refusals", "processor", "msrs", "fuzz", "devices"],
        qemu: DEVICES,
        damage: true,
        limit: 300,
        ..USUAL
    },
    Test {
        name: "8 CPUs with 16 GiB and an IOMMU of AMD's, without HPET, on the second serial port",
        cpus: 8,
        memory: 16384,
        init: false,
        expect: &["IOMMU: Amd, not used", "Brought up 8 CPUs"],
        guest_tests: &["xen-version"],
        xen: "com2=115200,8n1 console=com2",
        second_port: true,
        qemu: "-machine hpet=off -device amd-iommu",
        limit: 300,
        ..USUAL
    },
    Test {
        name: "with the screen alone for a console Dom0 boots",
        init: false,
        xen: "console=vga",
        graphics: "text",
        append: "quiet console=tty0",
        last: Last::Screen("LAB-INIT dom0"),
        qemu: "-device VGA",
        ..USUAL
    },
    Test {
        name: "the image boots and switches between its two copies",
        init: false,
        expect: &["Self-test: image A -> B -> A switched", "Boot complete"],
        xen: "boot-selftest",
        ..USUAL
    },
    Test {
        name: "the second serial port is the console, and options limit CPUs and memory",
        cpus: 2,
        init: false,
        expect: &[
            "(XEN) command line: unknown option 'colour=red' ignored",
            "(XEN) command line: 'com1=fast' ignored: expected ",
            "mem=786432 KiB: RAM above is ignored",
            "1 of 2 CPUs are used",
            "(XEN) 767 MiB of RAM, 1 CPUs",
            "(XEN) Watchdog: CPUs may stay in the hypervisor for 5 s",
            "Boot complete",
            "Linux version",
        ],
        xen: "com2=115200,8n1 console=com2 mem=768M maxcpus=1 watchdog dom0_vcpus_pin colour=red com1=fast conring_size=64k \
              boot-selftest spec-ctrl=bti-thunk=lfence",
        second_port: true,
        ..USUAL
    },
    Test {
        name: "Debian 12's kernel is Dom0 on 1 CPU, with disks and network cards",
        guest_tests: &["xen-version", "devices", "messages"],
        append: "iomem=relaxed",
        qemu: DEVICES,
        damage: true,
        ..USUAL
    },
    Test {
        name: "Debian 12's kernel is Dom0 on 2 CPUs, with disks and network cards",
        cpus: 2,
        guest_tests: &["devices"],
        qemu: DEVICES,
        limit: 180,
        ..USUAL
    },
    Test {
        name: "the bench has a figure for every row of Dom0",
        guest_tests: &["bench"],
        qemu: DEVICES,
        ..USUAL
    },
    Test {
        name: "Debian 12's kernel is Dom0 on 4 CPUs, with disks and network cards",
        cpus: 4,
        guest_tests: &["devices"],
        qemu: DEVICES,
        limit: 240,
        ..USUAL
    },
    Test {
        name: "Debian 13's kernel is Dom0 on 1 CPU, with disks and network cards",
        kernel: Suite::Trixie,
        guest_tests: &["xen-version", "devices"],
        qemu: DEVICES,
        limit: 180,
        ..USUAL
    },
    Test {
        name: "Debian 13's kernel is Dom0 on 2 CPUs, with global pages, disks and network cards",
        kernel: Suite::Trixie,
        // As on the bare metal, where pages of user mode are global.
        model: "EPYC-Milan,-hypervisor",
        cpus: 2,
        guest_tests: &["devices", "messages"],
        append: "iomem=relaxed",
        qemu: DEVICES,
        limit: 240,
        ..USUAL
    },
    Test {
        name: "Debian 13's kernel is Dom0 on 4 CPUs, with disks and network cards",
        kernel: Suite::Trixie,
        cpus: 4,
        guest_tests: &["devices"],
        qemu: DEVICES,
        limit: 240,
        ..USUAL
    },
    Test {
        name: "under UEFI Dom0 has variables, the clock and a frame buffer",
        uefi: true,
        toolstack: true,
        guest_tests: &["efi"],
        qemu: "-device VGA",
        limit: 240,
        ..USUAL
    },
    Test {
        name: "an old Intel machine, i440fx with xAPIC and no HPET, keeps its clock and restarts",
        model: "Westmere,-x2apic",
        cpus: 2,
        init: false,
        expect: &["setting system clock to 2030-05-06", "root shell"],
        last: Last::End("reboot -f\n", "guest-reset"),
        qemu: "-machine pc,hpet=off -rtc base=2030-05-06T12:00:00",
        ..USUAL
    },
    Test {
        name: "keys of a USB keyboard reach Dom0 on 2 CPUs with x2APIC and 512 MiB",
        model: "Skylake-Server,+x2apic",
        cpus: 2,
        expect: &["press a key"],
        guest_tests: &["keyboard"],
        xen: "dom0_mem=256M,max:256M",
        last: Last::Key("a"),
        memory: 512,
        qemu: "-device qemu-xhci -device usb-kbd -device intel-iommu",
        ..USUAL
    },
    Test {
        name: "without a serial console the screen says why there is no boot",
        init: false,
        xen: "console=vga noreboot dom0_mem=9G,max:9G",
        graphics: "text",
        last: Last::Screen("Cannot boot: dom0_mem"),
        qemu: "-device VGA",
        ..USUAL
    },
    Test {
        name: "four virtual CPUs take turns on 1 CPU",
        guest_tests: &["xen-version", "selectors", "devices"],
        xen: "dom0_max_vcpus=4",
        qemu: DEVICES,
        limit: 300,
        ..USUAL
    },
    Test {
        name: "four virtual CPUs share 2 CPUs",
        cpus: 2,
        guest_tests: &["xen-version", "selectors", "devices"],
        xen: "dom0_max_vcpus=4",
        qemu: DEVICES,
        limit: 300,
        ..USUAL
    },
];
