//! The generated C program and the rows it is generated from.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use xen_abi::constants::Constant;

/// A field of a structure on both sides.
#[derive(Debug)]
pub(crate) struct FieldRow {
    pub(crate) name: &'static str,
    pub(crate) c_path: &'static str,
    pub(crate) offset: usize,
    pub(crate) size: usize,
}

/// A structure on both sides.
#[derive(Debug)]
pub(crate) struct StructRow {
    pub(crate) name: &'static str,
    pub(crate) c_type: &'static str,
    pub(crate) size: usize,
    pub(crate) fields: Vec<FieldRow>,
}

impl StructRow {
    /// `Struct.field` of each field.
    pub(crate) fn field_names(&self) -> Vec<String> {
        self.fields.iter().map(|field| format!("{}.{}", self.name, field.name)).collect()
    }
}

/// A family of constants.
#[derive(Debug)]
pub(crate) struct FamilyRow {
    pub(crate) name: &'static str,
    pub(crate) constants: &'static [Constant],
}

/// The size of the field that `_project` projects to.
pub(crate) const fn field_size<T, F>(_project: fn(T) -> F) -> usize {
    size_of::<F>()
}

/// Rows of structures: `module::Type = "C type" { field, field = "c.path" };`.
macro_rules! structs {
    (@path $field:ident) => { stringify!($field) };
    (@path $field:ident $c_path:literal) => { $c_path };
    ($($module:ident :: $type:ident = $c_type:literal { $($field:ident $(= $c_path:literal)?),* };)*) => {
        vec![$($crate::check::StructRow {
            name: stringify!($type),
            c_type: $c_type,
            size: size_of::<xen_abi::$module::$type>(),
            fields: vec![$($crate::check::FieldRow {
                name: stringify!($field),
                c_path: $crate::check::structs!(@path $field $($c_path)?),
                offset: std::mem::offset_of!(xen_abi::$module::$type, $field),
                size: $crate::check::field_size(|value: xen_abi::$module::$type| value.$field),
            }),*],
        }),*]
    };
}
pub(crate) use structs;

/// Rows of families: `module::TABLE;`.
macro_rules! families {
    ($($module:ident :: $table:ident;)*) => {
        vec![$($crate::check::FamilyRow {
            name: stringify!($table),
            constants: xen_abi::$module::$table,
        }),*]
    };
}
pub(crate) use families;

/// What the headers need around them. Only `errno.h` is read as the hypervisor reads it, for its private
/// errors.
const PRELUDE: &str = r#"
#define __XEN_TOOLS__ 1
#define __XEN_INTERFACE_VERSION__ 0x00041100
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "xen.h"
#include "arch-x86/cpuid.h"
#include "arch-x86/hvm/start_info.h"
#include "kexec.h"
#include "arch-x86/xen-mca.h"
#include "sysctl.h"
#include "trace.h"
#include "hypfs.h"
#include "domctl.h"
#include "callback.h"
#include "elfnote.h"
#include "event_channel.h"
#include "features.h"
#include "grant_table.h"
#include "memory.h"
#include "nmi.h"
#include "physdev.h"
#include "platform.h"
#include "pmu.h"
#include "sched.h"
#include "vcpu.h"
#include "version.h"
#define __XEN__ 1
#define XEN_ERRNO(name, value) XEN_##name = value,
enum {
#include "errno.h"
};
#undef __XEN__
#define MEMBER(type, path) __typeof__(((type *)0)->path)
/* ACPI's range descriptor, as memory.h's maps use it. */
typedef struct __attribute__((packed)) { uint64_t addr, size; uint32_t type; } test_e820_entry;
static void row(unsigned long long value) { printf("%llu\n", value); }
int main(void) {
"#;

/// A C program printing numbers, and the numbers expected.
pub(crate) struct Program {
    source: String,
    expected: Vec<(String, u64)>,
}

impl Program {
    /// A program that prints nothing yet.
    pub(crate) fn new() -> Self {
        Self { source: PRELUDE.to_owned(), expected: Vec::new() }
    }

    /// Expects the C expression to have this value.
    pub(crate) fn constant(&mut self, expression: &str, value: u64) {
        writeln!(self.source, "    row((unsigned long long)({expression}));").expect("writes to a string");
        self.expected.push((expression.to_owned(), value));
    }

    /// Expects the structure's size and each field's offset and size.
    pub(crate) fn structure(&mut self, row: &StructRow) {
        let c_type = row.c_type;
        self.constant(&format!("sizeof({c_type})"), row.size as u64);
        for FieldRow { c_path, offset, size, .. } in &row.fields {
            self.constant(&format!("offsetof({c_type}, {c_path})"), *offset as u64);
            // An element of an array stands for the elements from it on.
            if !c_path.ends_with(']') {
                self.constant(&format!("sizeof((({c_type} *)0)->{c_path})"), *size as u64);
            }
        }
    }

    /// Compiles and runs the program and compares what it prints.
    ///
    /// # Panics
    /// If the compiler or the headers are missing, or on any difference.
    pub(crate) fn verify(mut self) {
        self.source.push_str("    return 0;\n}\n");
        let printed = run(&self.source);
        let printed: Vec<u64> = printed.lines().map(|line| line.parse().expect("a number")).collect();
        assert_eq!(printed.len(), self.expected.len(), "the program printed another number of lines");
        let differences: Vec<String> = self
            .expected
            .iter()
            .zip(&printed)
            .filter(|((_, ours), theirs)| ours != *theirs)
            .map(|((what, ours), theirs)| format!("{what}: ours {ours:#x}, in C {theirs:#x}"))
            .collect();
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

/// The folder of the headers.
fn headers() -> PathBuf {
    let folder =
        std::env::var_os("XEN_HEADERS").map_or_else(|| PathBuf::from("/usr/include/xen"), PathBuf::from);
    assert!(
        folder.join("xen.h").is_file(),
        "no xen.h in {}: install the Debian package libxen-dev or set XEN_HEADERS",
        folder.display()
    );
    folder
}

/// The text of a header.
pub(crate) fn read_header(name: &str) -> String {
    let path = headers().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compiles and runs a C program; returns what it prints.
fn run(source: &str) -> String {
    static PROGRAMS: AtomicU32 = AtomicU32::new(0);
    let number = PROGRAMS.fetch_add(1, Ordering::Relaxed);
    let stem = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("layout-{}-{number}", std::process::id()));
    let (c_file, program) = (stem.with_extension("c"), stem.with_extension("bin"));
    std::fs::write(&c_file, source).expect("writes the C program");
    let compiled = Command::new("cc")
        .args(["-std=gnu11", "-w", "-iquote"])
        .arg(headers())
        .arg("-o")
        .args([&program, &c_file])
        .output()
        .unwrap_or_else(|error| {
            panic!("cannot run cc: {error}: install the Debian packages gcc and libc6-dev")
        });
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let output = Command::new(&program).output().expect("runs the C program");
    assert!(output.status.success(), "the C program failed: {}", output.status);
    for file in [&c_file, &program] {
        std::fs::remove_file(file).expect("removes the C program");
    }
    String::from_utf8(output.stdout).expect("prints text")
}
