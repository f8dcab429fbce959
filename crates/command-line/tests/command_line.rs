//! The manual's forms, one by one; round trips; and that no line panics.

use command_line::{
    Amount, ApicVerbosity, Baud, Consoles, Dom0Memory, Dom0Pages, GuestUse, Irq, LogLevel, LogLevels,
    MachineNmi, Options, Parity, Parsed, Problem, RebootMethod, Scheduler, Serial, Sharing, Timestamps,
    VcpuRange, Watchdog, XenVersion, parse,
};
use proptest::prelude::*;

/// The options of a line that must be sound.
fn sound(line: &str) -> Options {
    let parsed = parse(line.as_bytes());
    assert_eq!(parsed.diagnostics.count(), 0, "{:?}", parsed.diagnostics);
    parsed.options
}

/// The one diagnostic of a line, as text; the options must be the defaults.
fn refused(line: &str) -> String {
    let Parsed { options, diagnostics, .. } = parse(line.as_bytes());
    assert_eq!(diagnostics.count(), 1, "{line}: {diagnostics:?}");
    assert_eq!(options, Options::default(), "{line}");
    let text = diagnostics.iter().next().unwrap().to_string();
    assert!(text.contains(line), "{text}");
    text
}

const MIB: u64 = 1 << 20;
const PAGES_PER_MIB: u64 = 256;

#[test]
fn an_empty_line_gives_the_defaults_of_the_manual() {
    let options = sound("  ");
    assert_eq!(options, Options::default());
    assert_eq!(options.console, Consoles::DEFAULT);
    assert_eq!(options.watchdog_timeout, 5);
    assert_eq!(options.loglvl.always, LogLevel::Warning);
    assert_eq!(options.guest_loglvl, LogLevels { always: LogLevel::None, rate_limited: LogLevel::Warning });
    assert!(options.x2apic.is_none() && options.pv_32 && !options.reboot.never);
    assert_eq!((options.smep, options.sched), (GuestUse::On, Scheduler::Credit2));
}

#[test]
fn a_debian_boot_entry_is_understood() {
    let options = sound(
        "placeholder dom0_mem=640M,max:1G loglvl=all guest_loglvl=all com1=115200,8n1 console=com1,vga \
         noreboot sync_console watchdog no-real-mode edd=off"
            .strip_prefix("placeholder")
            .unwrap(),
    );
    assert_eq!(options.dom0_mem.exact, Some(Amount { bytes: 640 * MIB, ..Amount::default() }));
    assert_eq!(options.dom0_mem.max, Some(Amount { bytes: 1024 * MIB, ..Amount::default() }));
    assert_eq!(options.loglvl.always, LogLevel::Debug);
    assert_eq!(options.com1.baud, Some(Baud::Rate(115_200)));
    assert!(options.reboot.never && options.sync_console);
    assert_eq!(options.watchdog, Watchdog::On);
}

#[test]
fn booleans_have_all_their_forms() {
    for on in [
        "sync_console",
        "sync_console=yes",
        "sync_console=on",
        "sync_console=true",
        "sync_console=enable",
        "sync_console=1",
    ] {
        assert!(sound(on).sync_console, "{on}");
    }
    for off in ["no-x2apic", "x2apic=no", "x2apic=off", "x2apic=false", "x2apic=disable", "x2apic=0"] {
        assert_eq!(sound(off).x2apic, Some(false), "{off}");
    }
    assert!(refused("x2apic=maybe").contains("yes|on|true"));
    assert!(refused("no-x2apic=off").contains("no- prefix"));
}

#[test]
fn unknown_options_are_named_and_the_rest_goes_on() {
    let parsed =
        parse(b"frobnicate=1 no-such maxcpus=3 sched_credit2_migrate_resist=10 tsx=0 ivrs_hpet[0]=1 no-pcid");
    let texts: Vec<_> = parsed.diagnostics.iter().map(|diagnostic| diagnostic.to_string()).collect();
    assert_eq!(
        texts,
        [
            "command line: unknown option 'frobnicate=1' ignored",
            "command line: unknown option 'no-such' ignored"
        ]
    );
    assert_eq!(parsed.options.maxcpus, Some(3));
}

#[test]
fn many_complaints_are_counted_and_the_first_kept() {
    let line = "x ".repeat(100);
    let diagnostics = parse(line.as_bytes()).diagnostics;
    assert_eq!((diagnostics.count(), diagnostics.iter().count(), diagnostics.dropped()), (100, 16, 84));
    assert!(diagnostics.iter().all(|diagnostic| diagnostic.problem == Problem::Unknown));
}

#[test]
fn dom0_has_what_follows_the_separator() {
    let parsed = parse(b"noreboot --   console=hvc0 root=/dev/xvda -- quiet\0maxcpus=1");
    assert!(parsed.options.reboot.never);
    assert_eq!(parsed.dom0_extra, b"console=hvc0 root=/dev/xvda -- quiet");
    assert_eq!(parse(b"noreboot").dom0_extra, b"");
}

#[test]
fn quotes_keep_a_value_together() {
    assert_eq!(sound("dom0_mem=\"512M\" 'maxcpus=2'").maxcpus, Some(2));
    assert_eq!(sound("iommu=\"a b\"").iommu.as_bytes(), b"a b");
    assert_eq!(parse(b"iommu=\"open maxcpus=2").options.maxcpus, None);
}

#[test]
fn dom0_mem_has_all_its_forms() {
    let memory = |line| sound(line).dom0_mem;
    let exact = |bytes, percent, negative| Dom0Memory {
        exact: Some(Amount { negative, bytes, percent }),
        ..Dom0Memory::default()
    };
    assert_eq!(memory("dom0_mem=512M"), exact(512 * MIB, 0, false));
    assert_eq!(memory("dom0_mem=524288"), exact(512 * MIB, 0, false), "the unit is KiB");
    assert_eq!(memory("dom0_mem=-512m"), exact(512 * MIB, 0, true));
    assert_eq!(memory("dom0_mem=50%"), exact(0, 50, false));
    assert_eq!(memory("dom0_mem=1G+25%"), exact(1024 * MIB, 25, false));
    let all = memory("dom0_mem=2G,min:256M,max:-10%");
    assert_eq!(all.min, Some(Amount { bytes: 256 * MIB, ..Amount::default() }));
    assert_eq!(all.max, Some(Amount { negative: true, bytes: 0, percent: 10 }));
    for bad in [
        "dom0_mem=",
        "dom0_mem",
        "dom0_mem=12Q",
        "dom0_mem=100%",
        "dom0_mem=1G+",
        "dom0_mem=min:",
        "dom0_mem=99999999999T",
    ] {
        assert!(refused(bad).contains("<size>"));
    }
}

#[test]
fn an_exact_amount_beyond_the_machine_is_told() {
    let beyond = |line: &'static str| sound(line).dom0_mem.exact_beyond(1000, 900);
    assert_eq!(beyond("dom0_mem=3600k"), None);
    assert_eq!(beyond("dom0_mem=3604k"), Some(901));
    assert_eq!(beyond("dom0_mem=3604k,max:3600k"), None);
    for within in ["", "dom0_mem=max:1g", "dom0_mem=min:1g", "dom0_mem=-1g", "dom0_mem=50%"] {
        assert_eq!(beyond(within), None, "{within}");
    }
}

#[test]
fn dom0_mem_becomes_pages() {
    let pages = |line: &str, total_mib: u64, available_mib: u64| {
        let pages = sound(line).dom0_mem.pages(total_mib * PAGES_PER_MIB, available_mib * PAGES_PER_MIB);
        (pages.initial / PAGES_PER_MIB, pages.max.map(|max| max / PAGES_PER_MIB))
    };
    assert_eq!(pages("", 1600, 1600), (1500, None), "a sixteenth is kept back");
    assert_eq!(pages("", 65_536, 65_000), (65_000 - 128, None), "but no more than 128 MiB");
    assert_eq!(pages("dom0_mem=0", 1600, 1600), (1500, None));
    assert_eq!(pages("dom0_mem=1G+25%", 256 << 10, 250_000), (65 << 10, None));
    assert_eq!(pages("dom0_mem=512M,max:1G", 4096, 4000), (512, Some(1024)));
    assert_eq!(pages("dom0_mem=max:1G", 4096, 4000), (1024, Some(1024)));
    assert_eq!(pages("dom0_mem=-512M", 4096, 4000), (3488, None));
    assert_eq!(pages("dom0_mem=min:1G,512M", 4096, 4000), (1024, None));
    assert_eq!(pages("dom0_mem=min:2G,max:1G", 4096, 4000), (1024, Some(1024)), "max is stronger");
    assert_eq!(pages("dom0_mem=16G", 4096, 4000), (4000, None), "as much as there is");
}

#[test]
fn vcpu_ranges() {
    let range = |line| sound(line).dom0_max_vcpus;
    assert_eq!(range("dom0_max_vcpus=4"), VcpuRange { min: 4, max: Some(4) });
    assert_eq!(range("dom0_max_vcpus=4-8"), VcpuRange { min: 4, max: Some(8) });
    assert_eq!(range("dom0_max_vcpus=-8"), VcpuRange { min: 1, max: Some(8) });
    assert_eq!(range("dom0_max_vcpus=4-"), VcpuRange { min: 4, max: None });
    for (cpus, vcpus) in [(2, 4), (4, 4), (6, 6), (8, 8), (10, 8)] {
        assert_eq!(range("dom0_max_vcpus=4-8").count(cpus), vcpus);
    }
    assert_eq!(range("").count(3), 3);
    for bad in ["dom0_max_vcpus=8-4", "dom0_max_vcpus=x", "dom0_max_vcpus=0", "dom0_max_vcpus=1-2-3"] {
        refused(bad);
    }
}

#[test]
fn serial_ports() {
    let com2 = sound("com2=auto/1843200,7e2,0x3e8,5").com2;
    assert_eq!((com2.baud, com2.base_baud), (Some(Baud::Auto), 1_843_200));
    assert_eq!((com2.data_bits, com2.parity, com2.stop_bits), (7, Parity::Even, 2));
    assert_eq!((com2.io_base, com2.irq), (Some(0x3e8), Irq::Line(5)));
    assert_eq!(sound("com1=115200,8n1").com1, Serial { baud: Some(Baud::Rate(115_200)), ..Serial::COM1 });
    let skipped = sound("com1=9600,,,msi").com1;
    assert_eq!((skipped.data_bits, skipped.io_base, skipped.irq), (8, Some(0x3f8), Irq::Msi));
    assert_eq!(sound("com1=115200,8n1,pci,0").com1.io_base, None);
    let named = sound("com1=115200,parity=o,clock-hz=1843200,reg-shift=2,reg-width=4").com1;
    assert_eq!(
        (named.parity, named.base_baud, named.reg_shift, named.reg_width),
        (Parity::Odd, 115_200, 2, 4)
    );
    for bad in [
        "com1=fast",
        "com1=9600,9n1",
        "com1=9600,8x1",
        "com1=9600,8n3",
        "com1=9600/0",
        "com1=1,8n1,1,1,1,1,1",
        "com1=0",
    ] {
        assert!(refused(bad).contains("<baud>"));
    }
}

#[test]
fn consoles() {
    let console = |line| sound(line).console;
    let nothing = Consoles { vga: false, com1: None, com2: None, other: false };
    assert_eq!(console("console=none"), nothing);
    assert_eq!(console("console=com2L"), Consoles { com2: Some(Sharing::Low), ..nothing });
    assert_eq!(
        console("console=vga,com1H,xhci"),
        Consoles { vga: true, com1: Some(Sharing::High), other: true, ..nothing }
    );
    refused("console=com3");
    refused("console=com1X");
    assert_eq!(sound("console_timestamps").console_timestamps, Timestamps::Date);
    assert_eq!(sound("console_timestamps=boot").console_timestamps, Timestamps::Boot);
    assert_eq!(sound("console_timestamps=1").console_timestamps, Timestamps::Date);
    assert_eq!(sound("no-console_timestamps").console_timestamps, Timestamps::None);
    assert_eq!(sound("conring_size=64k").conring_size, Some(64 << 10));
    assert!(sound("console_to_ring").console_to_ring);
}

#[test]
fn log_levels() {
    let both = |always, rate_limited| LogLevels { always, rate_limited };
    assert_eq!(sound("loglvl=info").loglvl, both(LogLevel::Info, LogLevel::Info));
    assert_eq!(sound("loglvl=error/all").loglvl, both(LogLevel::Error, LogLevel::Debug));
    assert_eq!(sound("guest_loglvl=debug/none").guest_loglvl, both(LogLevel::Debug, LogLevel::Debug));
    assert!(refused("loglvl=loud").contains("none|error"));
    refused("loglvl=info/");
}

#[test]
fn xen_reads_the_first_letter_of_nmi() {
    assert_eq!(sound("").machine_nmi, MachineNmi::Dom0);
    let said = ["nmi=ignore", "nmi=dom0", "nmi=fatal", "nmi=", "nmi"].map(|line| sound(line).machine_nmi);
    assert_eq!(said[..2], [MachineNmi::Ignore, MachineNmi::Dom0]);
    assert_eq!(said[2..], [MachineNmi::Fatal; 3]);
}

#[test]
fn grant_tables() {
    let options = sound(
        "gnttab_max_frames=16 gnttab_max_maptrack_frames=0x200 gnttab=max-ver:1,transitive=0,no-transfer",
    );
    let tables = options.grant_tables;
    assert_eq!((tables.max_frames, tables.max_maptrack_frames, tables.max_version), (16, 512, 1));
    assert!(!tables.transfers);
    assert_eq!(sound("gnttab=transfer").grant_tables, sound("").grant_tables);
    refused("gnttab=max-ver:3");
    refused("gnttab_max_frames=many");
}

#[test]
fn the_other_options() {
    let options = sound(
        "reboot=warm,Power watchdog=force watchdog_timeout=30 nosmp mem=0x10g apic_verbosity=debug tbuf_size=20 \
         ucode=-1,scan,no-nmi iommu=off spec-ctrl=no-xen spec-ctrl=rsb,no-hvm pv-l1tf=dom0 xpti=dom0=no smep=hvm no-smap pv=no-32 \
         dom0=pvh,msr-relaxed ept=no-ad,pml=1 cpuid=no-rdrand sched=null xen-version=4.20 dom0_vcpus_pin maxcpus=010",
    );
    assert_eq!((options.reboot.method, options.reboot.warm), (Some(RebootMethod::PciPower), true));
    assert_eq!((options.watchdog, options.watchdog_timeout), (Watchdog::Force, 30));
    assert_eq!((options.nosmp, options.mem, options.maxcpus), (true, Some(16 << 30), Some(8)));
    assert_eq!((options.apic_verbosity, options.tbuf_size), (ApicVerbosity::Debug, 20));
    assert_eq!((options.ucode.module, options.ucode.scan, options.ucode.nmi), (-1, true, false));
    assert_eq!(options.iommu.as_bytes(), b"off");
    let asked = options.mitigations;
    assert_eq!((asked.returns.pv, asked.returns.hvm, asked.verw.pv), (Some(true), Some(false), Some(false)));
    assert_eq!(asked.l1tf_shadowing.dom0, Some(true));
    assert_eq!((options.xpti.dom0, options.xpti.domu), (Some(false), None));
    assert_eq!((options.smep, options.smap, options.pv_32), (GuestUse::Hvm, GuestUse::Off, false));
    assert!(options.dom0.pvh && options.dom0.msr_relaxed && options.dom0_vcpus_pin);
    assert_eq!((options.ept.ad, options.ept.pml, options.ept.exec_sp), (Some(false), Some(true), None));
    assert_eq!(options.cpuid.as_bytes(), b"no-rdrand");
    assert_eq!((options.sched, options.xen_version), (Scheduler::Null, XenVersion::V4_20));
    for bad in [
        "reboot=zap",
        "ucode=0",
        "sched=fair",
        "xen-version=4.16",
        "pv=64",
        "xpti=x",
        "mem=lots",
        "tbuf_size=-1",
    ] {
        refused(bad);
    }
    refused(&format!("iommu={}", "x".repeat(121)));
}

#[test]
fn a_malformed_list_changes_nothing() {
    refused("dom0=pvh,shadow=perhaps");
    refused("reboot=no,zap");
    refused("ept=ad,what");
}

proptest! {
    #[test]
    fn any_bytes_never_panic(line in proptest::collection::vec(any::<u8>(), 0..400)) {
        let parsed = parse(&line);
        for diagnostic in parsed.diagnostics.iter() {
            prop_assert!(!diagnostic.to_string().is_empty());
        }
        let Dom0Pages { initial, .. } = parsed.options.dom0_mem.pages(u64::MAX, u64::MAX);
        let _ = initial;
    }

    #[test]
    fn any_value_of_any_option_never_panics(
        which in 0usize..36, value in "[-+,:%/=0-9a-zA-Z \"']{0,24}", negative in any::<bool>()
    ) {
        const NAMES: [&str; 36] = [
            "apic_verbosity", "com1", "com2", "conring_size", "console", "console_timestamps", "console_to_ring",
            "cpuid", "dom0", "dom0_max_vcpus", "dom0_mem", "dom0_vcpus_pin", "ept", "guest_loglvl", "iommu", "loglvl",
            "maxcpus", "mem", "noreboot", "nosmp", "pv", "reboot", "sched", "smap", "smep", "spec-ctrl", "sync_console",
            "tbuf_size", "ucode", "watchdog", "watchdog_timeout", "x2apic", "xen-version", "xpti", "no-real-mode", "vga",
        ];
        let line = format!("{}{}={value}", if negative { "no-" } else { "" }, NAMES[which]);
        let parsed = parse(line.as_bytes());
        let _ = parsed.options.dom0_mem.pages(1 << 20, 1 << 19);
        let _ = parsed.options.dom0_max_vcpus.count(4);
    }

    #[test]
    fn amounts_go_round(
        negative in any::<bool>(), kib in 0u64..1 << 40, percent in 0u8..100, unit in 0usize..5, with_percent in any::<bool>()
    ) {
        let (suffix, shift) = [("", 10), ("k", 10), ("M", 20), ("g", 30), ("b", 0)][unit];
        let size = kib >> shift;
        let mut text = format!("{}{size}{suffix}", if negative { "-" } else { "" });
        if with_percent {
            text += &format!("+{percent}%");
        }
        let expected = Amount { negative, bytes: size << shift, percent: if with_percent { percent } else { 0 } };
        prop_assert_eq!(sound(&format!("dom0_mem={text}")).dom0_mem.exact, Some(expected));
        prop_assert_eq!(sound(&format!("dom0_mem=max:{text}")).dom0_mem.max, Some(expected));
    }

    #[test]
    fn dom0_pages_stay_in_their_bounds(
        exact in 0u64..1 << 34, min in 0u64..1 << 34, max in 0u64..1 << 34, total in 0u64..1 << 24, part in 0u64..=100
    ) {
        let available = total * part / 100;
        let memory = sound(&format!("dom0_mem={exact}b,min:{min}b,max:{max}b")).dom0_mem;
        let pages = memory.pages(total, available);
        prop_assert!(pages.initial <= available && Some(pages.initial) <= pages.max);
        prop_assert!(pages.initial >= (min >> 12).min(max >> 12).min(available));
    }

    #[test]
    fn serial_ports_go_round(
        rate in 1u32.., base in 1u32.., data in 5u8..=8, parity in 0usize..5, stop in 1u8..=2, io in any::<u16>(), irq in 0u32..256
    ) {
        let letter = ["n", "o", "e", "m", "s"][parity];
        let expected = Serial {
            baud: Some(Baud::Rate(rate)),
            base_baud: base,
            data_bits: data,
            parity: [Parity::None, Parity::Odd, Parity::Even, Parity::Mark, Parity::Space][parity],
            stop_bits: stop,
            io_base: Some(u64::from(io)),
            irq: Irq::Line(irq),
            ..Serial::COM1
        };
        let positional = format!("com1={rate}/{base},{data}{letter}{stop},{io:#x},{irq}");
        prop_assert_eq!(sound(&positional).com1, expected);
        let named = format!("com1={rate}/{base},irq={irq},io-base={io},stop-bits={stop},parity={letter},data-bits={data}");
        prop_assert_eq!(sound(&named).com1, expected);
    }

    #[test]
    fn vcpu_ranges_go_round(min in 1u32..10_000, more in 0u32..10_000, cpus in 1u32..10_000) {
        let max = min + more;
        let range = sound(&format!("dom0_max_vcpus={min}-{max}")).dom0_max_vcpus;
        prop_assert_eq!(range, VcpuRange { min, max: Some(max) });
        prop_assert_eq!(range.count(cpus), cpus.clamp(min, max));
    }
}
