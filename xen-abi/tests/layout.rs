//! Compares every structure and constant of the crate with the C headers of the ABI.
//!
//! A C program is generated from two tables, compiled against the headers and run; it prints the size of every
//! structure, the offset and size of every field, and the value of every constant. The sources of the crate are
//! scanned to make sure that nothing is missing from the tables.
//!
//! Needs `cc` and the headers in `/usr/include/xen`, or in the folder that `XEN_HEADERS` names.

#[path = "layout/check.rs"]
mod check;
#[path = "layout/families.rs"]
mod families;
#[path = "layout/source.rs"]
mod source;
#[path = "layout/structs.rs"]
mod structs;

use std::collections::BTreeSet;

use xen_abi::Errno;

/// Beginnings of names of constants without a numeric C name: those of the processor and of ACPI, and the prefix that
/// is tested below.
const NOT_IN_HEADERS: &[&str] = &["PTE_", "E820_", "XEN_EMULATE_PREFIX"];

#[test]
fn structures_match_the_headers() {
    let rows = structs::rows();
    let mut program = check::Program::new();
    for row in &rows {
        program.structure(row);
    }
    program.verify();
}

#[test]
fn constants_match_the_headers() {
    let mut program = check::Program::new();
    for family in families::rows() {
        for constant in family.constants {
            program.constant(constant.c_name, constant.value);
        }
    }
    program.verify();
}

#[test]
fn error_numbers_match_the_headers() {
    let mut program = check::Program::new();
    for (name, errno) in Errno::ALL {
        program.constant(&format!("XEN_{name}"), errno.number() as u64);
    }
    program.verify();
    let header = check::read_header("errno.h");
    let in_header = header.matches("XEN_ERRNO(E").count();
    assert_eq!(Errno::ALL.len(), in_header, "errno.h has another number of errors");
}

#[test]
fn every_structure_is_in_the_table() {
    let table: BTreeSet<String> = structs::rows().iter().flat_map(check::StructRow::field_names).collect();
    let sources = source::struct_fields();
    assert!(sources.len() > 300, "the scan of the sources finds too little: {}", sources.len());
    let missing: Vec<_> = sources.difference(&table).collect();
    assert!(missing.is_empty(), "not in tests/layout/structs.rs: {missing:?}");
}

#[test]
fn every_constant_is_in_a_family_of_the_table() {
    let table: BTreeSet<String> = families::rows().iter().map(|family| family.name.to_owned()).collect();
    let missing: Vec<_> = source::families().difference(&table).cloned().collect();
    assert!(missing.is_empty(), "not in tests/layout/families.rs: {missing:?}");
    let plain: Vec<_> = source::plain_constants()
        .into_iter()
        .filter(|name| !NOT_IN_HEADERS.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    assert!(plain.is_empty(), "constants outside of a family are not checked: {plain:?}");
}

#[test]
fn hypercall_numbers_of_the_header_are_all_known() {
    let header = check::read_header("xen.h");
    let defined = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define __HYPERVISOR_"))
        .filter_map(|rest| rest.split_whitespace().nth(1)?.parse::<u64>().ok());
    for number in defined {
        assert!(xen_abi::hypercall::name(number).is_some(), "hypercall {number} has no name");
    }
    assert_eq!(xen_abi::hypercall::name(12), Some("memory_op"));
    assert_eq!(xen_abi::hypercall::name(11), None);
}

#[test]
fn emulation_prefix_matches_the_header() {
    let bytes: Vec<_> =
        xen_abi::cpuid::XEN_EMULATE_PREFIX.iter().map(|byte| format!("{byte:#04x}")).collect();
    let definition = format!("#define XEN_EMULATE_PREFIX .byte {} ;", bytes.join(","));
    assert!(check::read_header("arch-x86/xen.h").contains(&definition), "no {definition}");
}

#[test]
fn errors_convert_both_ways() {
    for (name, errno) in Errno::ALL {
        assert_eq!(Errno::from_result(errno.to_result()), Some(*errno));
        assert_eq!(
            errno.name().is_some_and(|known| known == *name),
            !matches!(*name, "EWOULDBLOCK" | "EDEADLOCK")
        );
    }
    assert_eq!(Errno::from_result(0), None);
    assert_eq!(Errno::from_result(-4096), None);
    assert_eq!(Errno::from_result(i64::MIN), None);
    assert_eq!(Errno::ENOSYS.to_string(), "ENOSYS");
    assert_eq!(Errno::from_result(-77).map(|errno| errno.to_string()), Some("errno 77".to_owned()));
}
