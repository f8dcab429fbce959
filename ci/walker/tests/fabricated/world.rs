//! A small machine: 512 frames of RAM from 1 MiB on, the hypervisor's tables, one domain with four page tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use walker::{FRAME, Machine, Memory, PRESENT, USER, WRITABLE};

const FIRST: u64 = 0x100;
const END: u64 = 0x300;
const HYPERVISOR_ROOT: u64 = 0x100;
const CHART: u64 = 0x110;
const VAULT: u64 = 0x120;
const VAULT_FRAMES: u64 = 24;
const M2P: u64 = 0x140;
const KEPT_END: u64 = 0x142;
/// The domain's root table; its others follow.
pub(crate) const ROOT: u64 = 0x180;
pub(crate) const L3: u64 = 0x181;
pub(crate) const L2: u64 = 0x182;
pub(crate) const L1: u64 = 0x183;
/// A page mapped writable once; the next is mapped once more, the one behind only read.
pub(crate) const DATA: u64 = 0x184;
/// Its GDT.
pub(crate) const GDT: u64 = 0x187;
const SHARED_INFO: u64 = 0x188;
const VCPU_INFO: u64 = 0x189;
const SPARE: u64 = 0x18a;
const OWN_END: u64 = 0x18b;
const CHART_VA: u64 = 0xffff_81c0_0010_0000;
const VAULT_VA: u64 = 0xffff_8200_0000_0000;
const ALL: u64 = PRESENT | WRITABLE;

/// Name, offset and bytes of each field of a record.
type Fields = &'static [(&'static str, u64, u64)];

/// Records, their sizes, numbers and fields.
const REGIONS: [(&str, u64, u64, Fields); 16] = [
    ("vault::Log", 8, 1, &[("head", 0, 8)]),
    (
        "frames::Heap",
        2792,
        1,
        &[("free", 0, 8), ("claimed", 8, 8), ("orders", 16, 132), ("heads", 148, 2640)],
    ),
    (
        "frames::PageList",
        40,
        1,
        &[("head", 0, 4), ("leaving", 4, 4), ("pages", 8, 8), ("max_pages", 16, 8), ("claimed", 24, 8)],
    ),
    ("frames::Frame", 16, END, &[("usage", 0, 8), ("links", 8, 8)]),
    (
        "pv_cpu::Context",
        256,
        1,
        &[("root_kernel", 0, 8), ("root_user", 8, 8), ("gdt", 16, 112), ("ldt", 128, 128)],
    ),
    ("domains::Domain", 16, 1, &[("life", 0, 1), ("privileged", 1, 1), ("shared_info", 8, 8)]),
    (
        "grants::Table",
        600,
        1,
        &[
            ("count", 0, 4),
            ("status_count", 4, 4),
            ("frames", 8, 512),
            ("status", 520, 64),
            ("is_v2", 584, 1),
        ],
    ),
    ("grants::Track", 24, 4, &[("grant", 0, 8), ("frame", 8, 8)]),
    (
        "events::DomainEvents",
        168,
        1,
        &[
            ("max_ports", 0, 4),
            ("first_vcpu", 4, 4),
            ("max_vcpus", 8, 4),
            ("chunks", 16, 8),
            ("array", 24, 64),
        ],
    ),
    (
        "events::VcpuEvents",
        128,
        1,
        &[
            ("info", 0, 8),
            ("control", 8, 8),
            ("domain", 16, 2),
            ("live", 18, 1),
            ("registered", 19, 1),
            ("virq", 20, 96),
        ],
    ),
    ("events::Chunk", 1040, 1, &[("owner", 0, 4), ("next", 4, 4), ("port", 8, 1024)]),
    (
        "irqs::IrqRecord",
        32,
        2,
        &[
            ("pirq", 0, 4),
            ("port", 4, 4),
            ("domain", 8, 4),
            ("kind", 12, 1),
            ("vector", 13, 1),
            ("segment", 14, 2),
            ("bdf", 16, 2),
            ("table_base", 24, 8),
        ],
    ),
    (
        "irqs::TableRecord",
        32,
        1,
        &[
            ("at", 0, 8),
            ("pending", 8, 8),
            ("segment", 16, 2),
            ("bdf", 18, 2),
            ("entries", 20, 2),
            ("closed", 22, 1),
        ],
    ),
    ("irqs::DomainIrqs", 24, 1, &[("table", 0, 4), ("eoi_page", 8, 8)]),
    ("irqs::PirqTable", 2056, 1, &[("owner", 0, 4), ("irq", 8, 2048)]),
    ("irqs::Vectors", 1024, 1, &[("irq", 0, 1024)]),
];

/// Device memory: an MSI-X table over two pages, its pending bits, and what is beside them; configuration space.
pub(crate) const TABLE: u64 = 0xfebd0;
pub(crate) const CONFIGURATION: u64 = 0xb0000;

/// The machine.
pub(crate) struct World {
    ram: BTreeMap<u64, [u64; 512]>,
    /// By region name: the offset of its first record in the vault.
    places: BTreeMap<&'static str, u64>,
}

impl Memory for World {
    fn frame(&self, mfn: u64) -> Option<[u64; 512]> {
        (FIRST..END).contains(&mfn).then(|| self.ram.get(&mfn).copied().unwrap_or([0; 512]))
    }
}

impl World {
    /// A free frame.
    pub(crate) const FREE: u64 = 0x210;

    pub(crate) fn new() -> World {
        let mut world = World { ram: BTreeMap::new(), places: BTreeMap::new() };
        world.hypervisor();
        world.domain();
        world.frame_table();
        world.bindings();
        world
    }

    pub(crate) fn machine(&self) -> Machine<'_> {
        Machine::find(self, HYPERVISOR_ROOT * FRAME).expect("a chart")
    }

    pub(crate) fn vault_start(&self) -> u64 {
        VAULT
    }

    pub(crate) fn set_entry(&mut self, table: u64, index: usize, entry: u64) {
        self.ram.entry(table).or_insert([0; 512])[index] = entry;
    }

    /// A table is called open, or closed.
    pub(crate) fn close_table(&mut self, closed: bool) {
        self.set("irqs::TableRecord", 0, "closed", 0, 1, closed.into());
    }

    /// Writes `width` bytes of a field.
    fn set(&mut self, name: &str, index: u64, field: &str, element: u64, width: u64, value: u64) {
        let (region, stride, _, fields) = REGIONS.into_iter().find(|r| r.0 == name).expect("region");
        let offset = fields.iter().find(|f| f.0 == field).expect("field").1;
        let at = self.places[region] + stride * index + offset + width * element;
        let words = self.ram.entry(VAULT + at / FRAME).or_insert([0; 512]);
        let word = &mut words[(at % FRAME / 8) as usize];
        let (shift, mask) = (at % 8 * 8, u64::MAX >> (64 - 8 * width));
        *word = *word & !(mask << shift) | (value & mask) << shift;
    }

    fn usage(&self, mfn: u64) -> u64 {
        let at = self.places["frames::Frame"] + 16 * mfn;
        self.ram[&(VAULT + at / FRAME)][(at % FRAME / 8) as usize]
    }

    fn set_usage(&mut self, mfn: u64, word: u64) {
        self.set("frames::Frame", mfn, "usage", 0, 8, word);
    }

    pub(crate) fn change_usage(&mut self, mfn: u64, step: u64) {
        self.set_usage(mfn, self.usage(mfn) + step);
    }

    /// A frame of the domain's that is to be a table of a level.
    pub(crate) fn own_table(&mut self, level: u64) -> u64 {
        self.change_usage(SPARE, level << 46);
        SPARE
    }

    /// The table is being validated and has come to `cursor`.
    pub(crate) fn set_in_work(&mut self, mfn: u64, cursor: u64) {
        self.change_usage(mfn, 1 << 50 | cursor << 36 | 1 << 24);
    }

    pub(crate) fn set_log(&mut self, head: u64) {
        self.set("vault::Log", 0, "head", 0, 8, head);
    }

    /// Maps frames at `va` with tables from `tables` on.
    fn map(&mut self, va: u64, first: u64, count: u64, tables: u64) {
        let index = |level: u64| (va >> (12 + 9 * (level - 1)) & 511) as usize;
        self.set_entry(HYPERVISOR_ROOT, index(4), (tables * FRAME) | ALL);
        self.set_entry(tables, index(3), ((tables + 1) * FRAME) | ALL);
        self.set_entry(tables + 1, index(2), ((tables + 2) * FRAME) | ALL);
        for page in 0..count {
            self.set_entry(tables + 2, index(1) + page as usize, ((first + page) * FRAME) | ALL | 1 << 63);
        }
    }

    fn hypervisor(&mut self) {
        self.map(CHART_VA, CHART, 8, HYPERVISOR_ROOT + 1);
        self.map(VAULT_VA, VAULT, VAULT_FRAMES, HYPERVISOR_ROOT + 4);
        let mut text = format!(
            "revenant chart 1\nroot {:x}\ncpus 1\nram {:x} {:x}\n",
            0x10_0000,
            0x10_0000,
            END * FRAME
        );
        writeln!(text, "configuration {:x} {:x}", CONFIGURATION * FRAME, (CONFIGURATION + 2) * FRAME)
            .expect("text");
        for (name, start, frames) in [("vault", VAULT, VAULT_FRAMES), ("m2p", M2P, 2), ("chart", CHART, 8)] {
            writeln!(text, "own {name} {:x} {:x}", start * FRAME, (start + frames) * FRAME).expect("text");
        }
        let mut at = 0;
        for (name, stride, count, fields) in REGIONS.into_iter() {
            self.places.insert(name, at);
            writeln!(text, "region {name} {:x} {stride:x} {count:x}", VAULT_VA + at).expect("text");
            for (field, offset, bytes) in fields {
                writeln!(text, "field {field} {offset:x} {bytes:x}").expect("text");
            }
            at += (stride * count).next_multiple_of(64);
        }
        assert!(at <= VAULT_FRAMES * FRAME);
        text.push_str("end\n");
        for (index, eight) in text.into_bytes().chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..eight.len()].copy_from_slice(eight);
            self.set_entry(CHART + index as u64 / 512, index % 512, u64::from_le_bytes(word));
        }
    }

    fn domain(&mut self) {
        let slots = self.ram[&HYPERVISOR_ROOT];
        for (slot, entry) in slots.into_iter().enumerate().skip(256).take(16) {
            self.set_entry(ROOT, slot, entry);
        }
        for (table, index, below) in [(ROOT, 0, L3), (L3, 0, L2), (L2, 0, L1)] {
            self.set_entry(table, index, (below * FRAME) | ALL | USER);
        }
        self.set_entry(L1, 0, (DATA * FRAME) | ALL | USER);
        self.set_entry(L1, 1, ((DATA + 1) * FRAME) | ALL | USER);
        self.set_entry(L1, 2, ((DATA + 2) * FRAME) | PRESENT | USER);
        self.set_entry(GDT, 1, 0x00af_fb00_0000_ffff);
        self.set("domains::Domain", 0, "life", 0, 1, 1);
        self.set("domains::Domain", 0, "privileged", 0, 1, 1);
        self.set("domains::Domain", 0, "shared_info", 0, 8, SHARED_INFO);
        self.set("pv_cpu::Context", 0, "root_kernel", 0, 8, ROOT);
        self.set("pv_cpu::Context", 0, "gdt", 0, 8, GDT);
    }

    fn frame_table(&mut self) {
        let own =
            |typed: u64, kind: u64, flags: u64| 16 << 52 | flags | kind << 46 | typed << 24 | 1 << 23 | 1;
        for mfn in FIRST..END {
            let usage = match mfn {
                ..KEPT_END => 2 << 52 | 1 << 23 | 1,
                ROOT => own(2, 4, 1 << 51 | 1 << 49),
                L3..=L1 => own(1, 3 - (mfn - L3), 1 << 49),
                DATA | 0x185 => own(1, 6, 0),
                0x186 => own(0, 0, 0) + 1,
                GDT => own(1, 5, 1 << 49),
                SHARED_INFO => 16 << 52 | 1 << 24,
                VCPU_INFO => own(1, 0, 0) + 1,
                SPARE => own(0, 0, 0),
                // Free, and loose.
                _ => 1 << 52 | 20,
            };
            self.set_usage(mfn, usage);
            self.set_entry(M2P + mfn / 512, (mfn % 512) as usize, u64::MAX);
        }
        let pages: Vec<u64> = (ROOT..OWN_END).filter(|mfn| *mfn != SHARED_INFO).collect();
        self.link(&pages);
        self.set("frames::PageList", 0, "head", 0, 4, pages[0]);
        self.set("frames::PageList", 0, "pages", 0, 8, pages.len() as u64);
        self.set("frames::PageList", 0, "max_pages", 0, 8, 100);
        let free: Vec<u64> = (KEPT_END..ROOT).chain(OWN_END..END).collect();
        for (zone, range) in [(9, 0x100..0x200), (10, 0x200..0x400)] {
            let list: Vec<u64> = free.iter().copied().filter(|mfn| range.contains(mfn)).collect();
            self.link(&list);
            self.set("frames::Heap", 0, "orders", zone, 4, 1 << 19);
            self.set("frames::Heap", 0, "heads", zone * 20 + 19, 4, list[0]);
        }
        self.set("frames::Heap", 0, "free", 0, 8, free.len() as u64);
    }

    fn link(&mut self, list: &[u64]) {
        for (index, mfn) in list.iter().enumerate() {
            let next = list.get(index + 1).copied().unwrap_or(0);
            let prev = if index == 0 { 0 } else { list[index - 1] };
            self.set("frames::Frame", *mfn, "links", 0, 8, prev << 32 | next);
        }
    }

    /// Port 1 is VIRQ 2's, port 2 is PIRQ 7's, which is irq 1 by vector 0x40.
    fn bindings(&mut self) {
        for (field, width, value) in [("max_ports", 4, 64), ("max_vcpus", 4, 1), ("chunks", 2, 1)] {
            self.set("events::DomainEvents", 0, field, 0, width, value);
        }
        for (field, width, value) in [("info", 8, VCPU_INFO * FRAME), ("live", 1, 1), ("registered", 1, 1)] {
            self.set("events::VcpuEvents", 0, field, 0, width, value);
        }
        self.set("events::VcpuEvents", 0, "virq", 2, 4, 1);
        self.set("events::Chunk", 0, "owner", 0, 4, 1);
        self.set("events::Chunk", 0, "port", 2, 8, 2 << 24 | 5);
        self.set("events::Chunk", 0, "port", 4, 8, 7 << 24 | 4);
        for (field, width, value) in
            [("pirq", 4, 7), ("port", 4, 2), ("domain", 4, 1), ("kind", 1, 2), ("vector", 1, 0x40)]
        {
            self.set("irqs::IrqRecord", 1, field, 0, width, value);
        }
        self.set("irqs::IrqRecord", 1, "bdf", 0, 2, 0x18);
        self.set("irqs::IrqRecord", 1, "table_base", 0, 8, TABLE * FRAME);
        for (field, width, value) in [
            ("at", 8, TABLE * FRAME + 0xff0),
            ("pending", 8, (TABLE + 2) * FRAME),
            ("bdf", 2, 0x18),
            ("entries", 2, 2),
            ("closed", 1, 1),
        ] {
            self.set("irqs::TableRecord", 0, field, 0, width, value);
        }
        self.set("irqs::DomainIrqs", 0, "table", 0, 4, 1);
        self.set("irqs::PirqTable", 0, "owner", 0, 4, 1);
        self.set("irqs::PirqTable", 0, "irq", 7, 4, 2);
        self.set("irqs::Vectors", 0, "irq", 0x40, 4, 2);
    }
}
