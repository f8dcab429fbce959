//! One word of the command line applied to the options.

use crate::console::{Consoles, LogLevels, Timestamps};
use crate::diagnostics::Problem;
use crate::known;
use crate::options::{
    ApicVerbosity, Dom0Mode, Edd, EdidQuery, Efi, Ept, GrantTables, GuestUse, MachineNmi, MicrocodeSource,
    Options, PageTableIsolation, Reboot, RebootMethod, Scheduler, VcpuRange, Vga, Watchdog, XenVersion,
};
use crate::raw_value::RawValue;
use crate::value::{BOOLEAN, Expected, INTEGER, SIZE, boolean, integer, list, named_boolean, size};

/// Applies `token`, which is `name`, `name=value` or `no-name`. On an error nothing changes.
pub(crate) fn token(options: &mut Options, token: &[u8]) -> Result<(), Problem> {
    let token = unquote(token);
    let (name, value) = match token.iter().position(|&byte| byte == b'=') {
        Some(at) => {
            let (name, value) = token.split_at_checked(at).unwrap_or((token, &[]));
            (name, Some(unquote(value.get(1..).unwrap_or(&[]))))
        }
        None => (token, None),
    };
    let mut changed = *options;
    // A name may itself start with "no-", so it is tried whole first.
    let result = match (apply(&mut changed, name, value.unwrap_or(&[])), name.strip_prefix(b"no-")) {
        (Err(Problem::Unknown), Some(_)) if value.is_some() => {
            Err(Problem::Malformed("either a no- prefix or a value"))
        }
        (Err(Problem::Unknown), Some(positive)) => apply(&mut changed, positive, b"no"),
        (result, _) => result,
    };
    if result.is_ok() {
        *options = changed;
    }
    result
}

/// `text` without the quotes around it.
fn unquote(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => text,
    }
}

/// Sets the option `name`; an option named alone has the empty value.
fn apply(options: &mut Options, name: &[u8], value: &[u8]) -> Result<(), Problem> {
    let result = match name {
        b"apic_verbosity" => apic_verbosity(value).map(|level| options.apic_verbosity = level),
        b"com1" => options.com1.changed_by(value).map(|serial| options.com1 = serial),
        b"com2" => options.com2.changed_by(value).map(|serial| options.com2 = serial),
        b"conring_size" => size(value).map(|bytes| options.conring_size = Some(bytes)).ok_or(SIZE),
        b"console" => Consoles::parse(value).map(|consoles| options.console = consoles),
        b"console_timestamps" => Timestamps::parse(value).map(|kind| options.console_timestamps = kind),
        b"console_to_ring" => flag(&mut options.console_to_ring, value),
        b"cpuid" => raw(&mut options.cpuid, value),
        b"dom0" => dom0(&mut options.dom0, value),
        b"dom0_max_vcpus" => vcpu_range(value).map(|range| options.dom0_max_vcpus = range),
        b"dom0_mem" => options.dom0_mem.changed_by(value).map(|memory| options.dom0_mem = memory),
        b"dom0_vcpus_pin" => flag(&mut options.dom0_vcpus_pin, value),
        b"edd" => edd(value).map(|what| options.edd = what),
        b"edid" => edid(value).map(|what| options.edid = what),
        b"efi" => efi(&mut options.efi, value),
        b"ept" => ept(&mut options.ept, value),
        b"gnttab" => gnttab(&mut options.grant_tables, value),
        b"gnttab_max_frames" => count(&mut options.grant_tables.max_frames, value),
        b"gnttab_max_maptrack_frames" => count(&mut options.grant_tables.max_maptrack_frames, value),
        b"guest_loglvl" => LogLevels::parse(value).map(|levels| options.guest_loglvl = levels),
        b"iommu" => raw(&mut options.iommu, value),
        b"loglvl" => LogLevels::parse(value).map(|levels| options.loglvl = levels),
        b"maxcpus" => integer(value).map(|cpus| options.maxcpus = Some(cpus)).ok_or(INTEGER),
        b"mem" => size(value).map(|bytes| options.mem = Some(bytes)).ok_or(SIZE),
        b"nmi" => {
            options.machine_nmi = machine_nmi(value);
            Ok(())
        }
        b"no-real-mode" => flag(&mut options.no_real_mode, value),
        b"noreboot" => flag(&mut options.reboot.never, value),
        b"nosmp" => flag(&mut options.nosmp, value),
        b"pv" => pv(&mut options.pv_32, value),
        b"reboot" => reboot(&mut options.reboot, value),
        b"sched" => scheduler(value).map(|sched| options.sched = sched),
        b"smap" => guest_use(value).map(|who| options.smap = who),
        b"smep" => guest_use(value).map(|who| options.smep = who),
        b"pv-l1tf" => xpti(&mut options.mitigations.l1tf_shadowing, value),
        b"spec-ctrl" => options.mitigations.changed_by(value).map(|asked| options.mitigations = asked),
        b"sync_console" => flag(&mut options.sync_console, value),
        b"tbuf_size" => integer(value).map(|pages| options.tbuf_size = pages).ok_or(INTEGER),
        b"ucode" => microcode(&mut options.ucode, value),
        b"vga" => vga(&mut options.vga, value),
        b"watchdog" => watchdog(value).map(|mode| options.watchdog = mode),
        b"watchdog_timeout" => {
            integer(value).map(|seconds| options.watchdog_timeout = seconds).ok_or(INTEGER)
        }
        b"x2apic" => {
            let mut on = true;
            flag(&mut on, value).map(|()| options.x2apic = Some(on))
        }
        b"xen-version" => xen_version(value).map(|version| options.xen_version = version),
        b"xpti" => xpti(&mut options.xpti, value),
        _ if known::is_known(name) => Ok(()),
        _ => return Err(Problem::Unknown),
    };
    result.map_err(Problem::Malformed)
}

/// A boolean option: its name alone turns it on.
fn flag(slot: &mut bool, value: &[u8]) -> Result<(), Expected> {
    *slot = if value.is_empty() { true } else { boolean(value).ok_or(BOOLEAN)? };
    Ok(())
}

fn count(slot: &mut u32, value: &[u8]) -> Result<(), Expected> {
    *slot = integer(value).ok_or(INTEGER)?;
    Ok(())
}

/// Transitive grants are not offered, whether asked for or not.
fn gnttab(tables: &mut GrantTables, value: &[u8]) -> Result<(), Expected> {
    for item in list(value) {
        match item {
            b"max-ver:1" | b"max_ver:1" => tables.max_version = 1,
            b"max-ver:2" | b"max_ver:2" => tables.max_version = 2,
            _ if named_boolean(b"transitive", item).is_some() => {}
            _ => match named_boolean(b"transfer", item) {
                Some(offered) => tables.transfers = offered,
                None => return Err("a list of max-ver:<1|2>, transitive=, transfer=<boolean>"),
            },
        }
    }
    Ok(())
}

fn raw(slot: &mut RawValue, value: &[u8]) -> Result<(), Expected> {
    slot.append(if value.is_empty() { b"yes" } else { value }).ok_or("at most 120 characters in all")
}

fn apic_verbosity(value: &[u8]) -> Result<ApicVerbosity, Expected> {
    match value {
        b"verbose" => Ok(ApicVerbosity::Verbose),
        b"debug" => Ok(ApicVerbosity::Debug),
        _ => Err("verbose|debug"),
    }
}

fn dom0(mode: &mut Dom0Mode, value: &[u8]) -> Result<(), Expected> {
    for item in list(value) {
        if item == b"pv" {
            mode.pvh = false;
        } else if item == b"pvh" {
            mode.pvh = true;
        } else if let Some(on) = named_boolean(b"shadow", item) {
            mode.shadow = on;
        } else if let Some(on) = named_boolean(b"verbose", item) {
            mode.verbose = on;
        } else if let Some(on) = named_boolean(b"cpuid-faulting", item) {
            mode.cpuid_faulting = on;
        } else if let Some(on) = named_boolean(b"msr-relaxed", item) {
            mode.msr_relaxed = on;
        } else {
            return Err("a list of pv|pvh, shadow=, verbose=, cpuid-faulting=, msr-relaxed=<boolean>");
        }
    }
    Ok(())
}

fn edd(value: &[u8]) -> Result<Edd, Expected> {
    match value {
        b"on" => Ok(Edd::On),
        b"skipmbr" => Ok(Edd::SkipMbr),
        b"off" => Ok(Edd::Off),
        _ => Err("off|on|skipmbr"),
    }
}

fn edid(value: &[u8]) -> Result<EdidQuery, Expected> {
    match value {
        b"no" => Ok(EdidQuery::No),
        b"force" => Ok(EdidQuery::Force),
        _ => Err("no|force"),
    }
}

fn efi(efi: &mut Efi, value: &[u8]) -> Result<(), Expected> {
    for item in list(value) {
        if let Some(on) = named_boolean(b"rs", item) {
            efi.runtime_services = on;
        } else {
            efi.uncached = match item {
                b"attr=uc" => true,
                b"attr=no" => false,
                _ => return Err("a list of rs=<boolean>, attr=no|uc"),
            };
        }
    }
    Ok(())
}

fn ept(ept: &mut Ept, value: &[u8]) -> Result<(), Expected> {
    for item in list(value) {
        if let Some(on) = named_boolean(b"ad", item) {
            ept.ad = Some(on);
        } else if let Some(on) = named_boolean(b"pml", item) {
            ept.pml = Some(on);
        } else if let Some(on) = named_boolean(b"exec-sp", item) {
            ept.exec_sp = Some(on);
        } else {
            return Err("a list of ad=, pml=, exec-sp=<boolean>");
        }
    }
    Ok(())
}

/// `<n>`, `<min>-<max>`, `<min>-` or `-<max>`.
fn vcpu_range(value: &[u8]) -> Result<VcpuRange, Expected> {
    const EXPECTED: Expected = "<n> or <min>-<max>, <max> not 0 and not below <min>";
    let range = match value.iter().position(|&byte| byte == b'-') {
        None => integer(value).map(|n| VcpuRange { min: n, max: Some(n) }),
        Some(at) => {
            let (min, max) = value.split_at_checked(at).ok_or(EXPECTED)?;
            let max = max.get(1..).unwrap_or(&[]);
            let min = if min.is_empty() { Some(1) } else { integer(min) };
            let max = if max.is_empty() { Some(None) } else { integer(max).map(Some) };
            min.zip(max).map(|(min, max)| VcpuRange { min, max })
        }
    };
    range.filter(|range| range.max.is_none_or(|max| max > 0 && range.min <= max)).ok_or(EXPECTED)
}

fn pv(pv_32: &mut bool, value: &[u8]) -> Result<(), Expected> {
    for item in list(value) {
        *pv_32 = named_boolean(b"32", item).ok_or("a list of 32=<boolean>")?;
    }
    Ok(())
}

/// Only the first letter of an item counts.
fn reboot(reboot: &mut Reboot, value: &[u8]) -> Result<(), Expected> {
    for item in list(value) {
        match item.first() {
            Some(b'n') => reboot.never = true,
            Some(b'w') => reboot.warm = true,
            Some(b'c') => reboot.warm = false,
            Some(b't') => reboot.method = Some(RebootMethod::TripleFault),
            Some(b'k') => reboot.method = Some(RebootMethod::Keyboard),
            Some(b'a') => reboot.method = Some(RebootMethod::Acpi),
            Some(b'p') => reboot.method = Some(RebootMethod::Pci),
            Some(b'P') => reboot.method = Some(RebootMethod::PciPower),
            Some(b'e') => reboot.method = Some(RebootMethod::Efi),
            Some(b'x') => reboot.method = Some(RebootMethod::Xen),
            _ => return Err("t[riple]|k[bd]|a[cpi]|p[ci]|P[ower]|e[fi]|x[en]|n[o][,[w]arm|[c]old]"),
        }
    }
    Ok(())
}

fn scheduler(value: &[u8]) -> Result<Scheduler, Expected> {
    match value {
        b"credit" => Ok(Scheduler::Credit),
        b"credit2" => Ok(Scheduler::Credit2),
        b"arinc653" => Ok(Scheduler::Arinc653),
        b"rtds" => Ok(Scheduler::Rtds),
        b"null" => Ok(Scheduler::Null),
        _ => Err("credit|credit2|arinc653|rtds|null"),
    }
}

fn guest_use(value: &[u8]) -> Result<GuestUse, Expected> {
    match (value, boolean(value)) {
        (b"hvm", _) => Ok(GuestUse::Hvm),
        (b"", _) | (_, Some(true)) => Ok(GuestUse::On),
        (_, Some(false)) => Ok(GuestUse::Off),
        _ => Err("a boolean or hvm"),
    }
}

fn microcode(source: &mut MicrocodeSource, value: &[u8]) -> Result<(), Expected> {
    for item in list(value) {
        if let Some(on) = named_boolean(b"scan", item) {
            source.scan = on;
        } else if let Some(on) = named_boolean(b"nmi", item) {
            source.nmi = on;
        } else if let Some(on) = named_boolean(b"allow-same", item) {
            source.allow_same = on;
        } else if let Some(on) = named_boolean(b"digest-check", item) {
            source.digest_check = on;
        } else {
            source.module = module_index(item)
                .ok_or("a list of <module, not 0>, scan=, nmi=, allow-same=, digest-check=<boolean>")?;
        }
    }
    Ok(())
}

fn module_index(item: &[u8]) -> Option<i32> {
    let index = match item.strip_prefix(b"-") {
        Some(digits) => integer::<i32>(digits)?.checked_neg()?,
        None => integer(item)?,
    };
    (index != 0).then_some(index)
}

/// Modes that a BIOS sets by itself can be had; the screen stays as it is with others.
fn vga(vga: &mut Vga, value: &[u8]) -> Result<(), Expected> {
    for item in list(value) {
        match item {
            b"keep" => vga.keep = true,
            b"current" => (vga.rows, vga.other_mode) = (0, false),
            b"text-80x25" => (vga.rows, vga.other_mode) = (25, false),
            b"text-80x28" => (vga.rows, vga.other_mode) = (28, false),
            b"text-80x43" => (vga.rows, vga.other_mode) = (43, false),
            b"text-80x50" => (vga.rows, vga.other_mode) = (50, false),
            b"ask" => (vga.rows, vga.other_mode) = (0, true),
            _ if [&b"text-"[..], b"gfx-", b"mode-"].iter().any(|kind| item.starts_with(kind)) => {
                (vga.rows, vga.other_mode) = (0, true);
            }
            _ => return Err("current|ask|text-80x<rows>|gfx-<width>x<height>x<depth>|mode-<mode>[,keep]"),
        }
    }
    Ok(())
}

fn watchdog(value: &[u8]) -> Result<Watchdog, Expected> {
    match (value, boolean(value)) {
        (b"force", _) => Ok(Watchdog::Force),
        (b"", _) | (_, Some(true)) => Ok(Watchdog::On),
        (_, Some(false)) => Ok(Watchdog::Off),
        _ => Err("a boolean or force"),
    }
}

/// Xen goes by the first letter.
fn machine_nmi(value: &[u8]) -> MachineNmi {
    match value.first() {
        Some(b'd') => MachineNmi::Dom0,
        Some(b'i') => MachineNmi::Ignore,
        _ => MachineNmi::Fatal,
    }
}

fn xen_version(value: &[u8]) -> Result<XenVersion, Expected> {
    match value {
        b"4.17" => Ok(XenVersion::V4_17),
        b"4.20" => Ok(XenVersion::V4_20),
        _ => Err("4.17|4.20"),
    }
}

fn xpti(isolation: &mut PageTableIsolation, value: &[u8]) -> Result<(), Expected> {
    if value.is_empty() {
        *isolation = PageTableIsolation { dom0: Some(true), domu: Some(true) };
    }
    for item in list(value) {
        if item == b"default" {
            *isolation = PageTableIsolation::default();
        } else if let Some(on) = boolean(item) {
            *isolation = PageTableIsolation { dom0: Some(on), domu: Some(on) };
        } else if let Some(on) = named_boolean(b"dom0", item) {
            isolation.dom0 = Some(on);
        } else if let Some(on) = named_boolean(b"domu", item) {
            isolation.domu = Some(on);
        } else {
            return Err("a list of default, <boolean>, dom0=<boolean>, domu=<boolean>");
        }
    }
    Ok(())
}
