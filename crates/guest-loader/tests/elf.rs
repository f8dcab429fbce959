//! ELF files and notes, made by hand and then damaged; and the whole way on a real kernel when
//! `GUEST_KERNEL` names one.

use guest_loader::bzimage::{Kernel, payload};
use guest_loader::decompress::{decompress_into, decompressed_size_hint};
use guest_loader::elf_kernel::ElfKernel;
use guest_loader::fake::{self, Header, note, xen_note as xen};
use guest_loader::layout::{Inputs, Plan};
use guest_loader::{LoadError, notes::Notes};
use proptest::prelude::*;

const SHT_NOTE: u32 = 7;

/// The notes of Debian 12's kernel, among others.
fn debian_notes() -> Vec<u8> {
    [
        note(b"GNU\0", 3, &[7; 20]),
        xen(6, b"linux\0"),
        xen(7, b"2.6\0"),
        xen(5, b"xen-3.0\0"),
        xen(3, &0xffff_ffff_8000_0000_u64.to_le_bytes()),
        xen(15, &0x80_0000_0000_u64.to_le_bytes()),
        xen(1, &0xffff_ffff_8100_0010_u64.to_le_bytes()),
        xen(10, b"!writable_page_tables|pae_pgdir_above_4gb\0"),
        xen(17, &0x8801_u32.to_le_bytes()),
        xen(9, b"yes\0"),
        xen(8, b"generic\0"),
        xen(13, &[[1, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]].concat()),
        xen(14, &1_u32.to_le_bytes()),
        xen(16, &1_u32.to_le_bytes()),
        xen(12, &0xffff_8000_0000_0000_u64.to_le_bytes()),
        xen(4, &0_u64.to_le_bytes()),
        xen(18, &0x100_0850_u32.to_le_bytes()),
        note(b"Linux\0", 0x101, &[0; 4]),
    ]
    .concat()
}

/// A file: program headers, notes, 64 bytes of text, (optionally) section headers.
fn elf(headers: &[Header], notes: &[u8], note_sections: bool) -> Vec<u8> {
    let body = [notes, &[0x90; 64]].concat();
    let mut section = [0; 64];
    section[4..8].copy_from_slice(&SHT_NOTE.to_le_bytes());
    section[24..32].copy_from_slice(&fake::body_at(headers.len()).to_le_bytes());
    section[32..40].copy_from_slice(&(notes.len() as u64).to_le_bytes());
    section[48..56].copy_from_slice(&4_u64.to_le_bytes());
    let sections = [[0; 64], section];
    fake::elf(0x100_0000, headers, &body, if note_sections { &sections } else { &[] })
}

/// Text, a per-CPU segment at virtual address 0, a read-only segment that is not loaded, notes.
fn debian_like(notes: &[u8], note_segment: bool) -> Vec<u8> {
    let text = fake::body_at(4) + notes.len() as u64;
    let load = |flags, vaddr, paddr, file_len, memory_len| Header {
        kind: fake::LOAD,
        flags,
        offset: text,
        vaddr,
        paddr,
        file_len,
        memory_len,
    };
    let headers = [
        load(5, 0xffff_ffff_8100_0000, 0x100_0000, 64, 0x5000),
        load(6, 0, 0x100_6000, 32, 0x1000),
        load(4, 0x10, 0x10, 1, 1),
        Header {
            kind: if note_segment { fake::NOTE } else { 0 },
            flags: 0,
            offset: fake::body_at(4),
            vaddr: 0,
            paddr: 0,
            file_len: notes.len() as u64,
            memory_len: notes.len() as u64,
        },
    ];
    elf(&headers, notes, !note_segment)
}

#[test]
fn segments_are_placed_by_physical_address() {
    let file = debian_like(&debian_notes(), true);
    let kernel = ElfKernel::parse(&file).unwrap();
    let notes = kernel.notes().unwrap();
    let span = kernel.span(&notes).unwrap();
    assert_eq!((span.start, span.end), (0xffff_ffff_8100_0000, 0xffff_ffff_8100_7000));
    let segments: Vec<_> = kernel.segments().collect();
    assert_eq!(segments.len(), 2);
    assert_eq!(segments[1].virtual_start(&span), 0xffff_ffff_8100_6000);
    assert_eq!((segments[1].bytes, segments[1].memory_len), (&[0x90; 32][..], 0x1000));
}

#[test]
fn notes_are_read_from_segments_and_sections_alike() {
    for note_segment in [true, false] {
        let file = debian_like(&debian_notes(), note_segment);
        let notes = ElfKernel::parse(&file).unwrap().notes().unwrap();
        notes.check_dom0().unwrap();
        assert_eq!(notes.entry, 0xffff_ffff_8100_0010);
        assert_eq!((notes.virt_base, notes.paddr_offset), (0xffff_ffff_8000_0000, 0));
        assert_eq!((notes.init_p2m, notes.mod_start_pfn), (Some(0x80_0000_0000), true));
        assert_eq!((notes.supported_features, notes.required_features), (0x8801 | 1 << 4, 1));
        assert_eq!((notes.l1_mfn_valid, notes.suspend_cancel), (Some((1, 1)), true));
        assert_eq!((notes.hypercall_page, notes.phys32_entry), (None, Some(0x100_0850)));
        assert_eq!((notes.hv_start_low, notes.has_pae_mode), (Some(0xffff_8000_0000_0000), true));
    }
}

#[test]
fn kernels_that_cannot_be_a_dom0_are_refused() {
    let check = |notes: &[u8]| {
        let file = debian_like(notes, true);
        ElfKernel::parse(&file).unwrap().notes().and_then(|notes| notes.check_dom0())
    };
    let (version, loader) = (xen(5, b"xen-3.0\0"), xen(8, b"generic\0"));
    assert_eq!(check(&note(b"GNU\0", 5, b"xen-3.0\0")), Err(LoadError::NoNotes));
    assert_eq!(check(&[version.clone(), loader.clone()].concat()), Ok(()));
    assert!(matches!(check(&loader), Err(LoadError::BadNote("XEN_VERSION", _))));
    assert!(matches!(check(&version), Err(LoadError::BadNote("LOADER", _))));
    assert!(matches!(check(&xen(3, &[0; 3])), Err(LoadError::BadNote("VIRT_BASE", _))));
    let no_dom0 = xen(17, &0x8001_u32.to_le_bytes());
    assert_eq!(check(&[version.clone(), loader.clone(), no_dom0].concat()), Err(LoadError::NotDom0Capable));
    let required = xen(10, b"unknown|!supervisor_mode_kernel");
    let error = check(&[version, loader, required].concat()).unwrap_err();
    assert!(error.to_string().contains("supervisor_mode_kernel"));
}

#[test]
fn addresses_that_make_no_span_are_refused() {
    let file = debian_like(&debian_notes(), true);
    let kernel = ElfKernel::parse(&file).unwrap();
    let refuse = |change: &dyn Fn(&mut Notes)| {
        let mut notes = kernel.notes().unwrap();
        change(&mut notes);
        assert!(matches!(kernel.span(&notes), Err(LoadError::BadLayout(_))), "{notes:?}");
    };
    refuse(&|notes| notes.entry = 0);
    refuse(&|notes| notes.entry = 0xffff_ffff_8100_7000);
    refuse(&|notes| notes.paddr_offset = 0x200_0000);
    refuse(&|notes| notes.virt_base = 0xffff_ffff_feff_f000);
    refuse(&|notes| notes.virt_base = u64::MAX - 0x100_1000);
}

#[test]
fn files_that_are_damaged_are_refused() {
    let good = debian_like(&debian_notes(), true);
    let refuse = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        assert!(matches!(ElfKernel::parse(&file), Err(LoadError::BadElf(_))), "{bytes:x?} at {at}");
    };
    refuse(4, &[1]); // 32-bit
    refuse(5, &[2]); // big-endian
    refuse(18, &[3]); // another machine
    refuse(32, &u64::MAX.to_le_bytes()); // program headers outside the file
    refuse(56, &[0]); // none of them
    refuse(64 + 8, &u64::MAX.to_le_bytes()); // segment offset
    refuse(64 + 32, &0x10_0000_u64.to_le_bytes()); // segment outside the file
    refuse(64 + 40, &1_u64.to_le_bytes()); // smaller in memory
    refuse(64 + 40, &u64::MAX.to_le_bytes()); // end wraps
    for len in 0..good.len() {
        let _ = ElfKernel::parse(&good[..len]).map(|kernel| kernel.notes().map(|notes| kernel.span(&notes)));
    }
}

proptest! {
    #[test]
    fn damage_never_panics(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), segment in any::<bool>()
    ) {
        let mut file = debian_like(&debian_notes(), segment);
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(kernel) = ElfKernel::parse(&file) {
            prop_assert!(kernel.segments().all(|segment| segment.memory_len >= segment.bytes.len() as u64));
            if let Ok(notes) = kernel.notes() {
                let _ = notes.check_dom0();
                if let Ok(kernel) = kernel.span(&notes) {
                    let _ = Plan::new(&Inputs { kernel, notes: &notes, nr_pages: 1 << 18, initrd_len: 1, console_info_len: 40 });
                }
            }
        }
    }

    #[test]
    fn any_note_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Notes::new(0).add(&bytes);
    }
}

#[test]
fn a_real_kernel_goes_the_whole_way() {
    let Some(path) = std::env::var_os("GUEST_KERNEL") else {
        eprintln!("GUEST_KERNEL is not set: no real kernel tried");
        return;
    };
    let file = std::fs::read(path).expect("GUEST_KERNEL names a readable file");
    let mut unpacked = Vec::new();
    let image = match payload(&file).unwrap() {
        Kernel::Elf(image) => image,
        Kernel::Payload(payload) => {
            let size = decompressed_size_hint(payload).unwrap() as usize;
            unpacked.resize(size, 0);
            assert_eq!(decompress_into(payload, &mut unpacked), Ok(size));
            &unpacked
        }
    };
    let kernel = ElfKernel::parse(image).unwrap();
    let notes = kernel.notes().unwrap();
    notes.check_dom0().unwrap();
    let span = kernel.span(&notes).unwrap();
    for segment in kernel.segments() {
        let start = segment.virtual_start(&span);
        println!("segment {start:#x}, {:#x} of {:#x} bytes", segment.bytes.len(), segment.memory_len);
        assert!(start >= span.start && start + segment.memory_len <= span.end);
    }
    let plan = Plan::new(&Inputs {
        kernel: span,
        notes: &notes,
        nr_pages: 640 * 256,
        initrd_len: 28 << 20,
        console_info_len: 40,
    })
    .unwrap();
    println!("{notes:#x?}\n{plan:#x?}");
}
