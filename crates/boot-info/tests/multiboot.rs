//! Multiboot2 information built here, whole and damaged, through the library as the image uses it.
#![expect(unsafe_code, reason = "the library reads the information through a pointer")]

use boot_info::{BootFacts, Display, MultibootError};
use ids::Maddr;
use multiboot2::BootInformation;
use proptest::prelude::*;

const COMMAND_LINE: u32 = 1;
const MODULE: u32 = 3;
const MEMORY_MAP: u32 = 6;
const FRAMEBUFFER: u32 = 8;
const EFI_TABLE_64: u32 = 12;

fn tag(kind: u32, body: &[u8]) -> Vec<u8> {
    let size = 8 + u32::try_from(body.len()).unwrap();
    let mut tag = [kind.to_le_bytes(), size.to_le_bytes()].concat();
    tag.extend_from_slice(body);
    tag.resize(tag.len().next_multiple_of(8), 0);
    tag
}

/// Parses `tags` as the library does in the image: from 8-byte aligned memory.
fn facts(tags: &[Vec<u8>]) -> Result<BootFacts, MultibootError> {
    let all = [tags.concat(), tag(0, &[])].concat();
    let total = u32::try_from(all.len() + 8).unwrap();
    let bytes = [&total.to_le_bytes()[..], &[0; 4], &all].concat();
    let words: Vec<u64> = bytes.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect();
    let mut facts = BootFacts::EMPTY;
    // SAFETY: `words` holds the whole information, 8-byte aligned, and outlives `info`.
    let info = unsafe { BootInformation::load(words.as_ptr().cast()) }.expect("a valid tag sequence");
    facts.read_multiboot(&info).map(|()| facts)
}

fn memory_map() -> Vec<u8> {
    let mut body = vec![24, 0, 0, 0, 0, 0, 0, 0];
    for (start, len, kind) in [(0x10_0000_u64, 0x100_0000_u64, 1_u64), (0, 0x9_fc00, 1)] {
        body.extend([start, len, kind].map(u64::to_le_bytes).concat());
    }
    tag(MEMORY_MAP, &body)
}

fn module(start: u32, end: u32, text: &[u8]) -> Vec<u8> {
    tag(MODULE, &[&start.to_le_bytes(), &end.to_le_bytes(), text].concat())
}

#[test]
fn map_command_line_modules_and_screen() {
    let mut screen = [0xb8000_u64.to_le_bytes(), (160 + (80_u64 << 32)).to_le_bytes()].concat();
    screen.extend([25, 0, 0, 0, 16, 2, 0, 0]);
    let tags = [
        tag(COMMAND_LINE, b"com1=9600 loglvl=all\0"),
        module(0x20_0000, 0x20_1234, b"root=/dev/sda\0"),
        module(0x30_0000, 0x30_0000, b"\0"),
        memory_map(),
        tag(FRAMEBUFFER, &screen),
        tag(EFI_TABLE_64, &0x1234_5678_u64.to_le_bytes()),
    ];
    let facts = facts(&tags).unwrap();
    assert_eq!(facts.command_line(), "com1=9600 loglvl=all");
    let [first, second] = facts.modules() else { panic!("two modules") };
    assert_eq!((first.len, facts.module_command_line(first)), (0x1234, "root=/dev/sda"));
    assert_eq!((second.len, facts.module_command_line(second)), (0, ""));
    assert_eq!(facts.memory.iter().next().unwrap().len, 0x9_fc00);
    assert!(matches!(facts.display, Display::Text { columns: 80, rows: 25, .. }));
    assert_eq!(facts.efi_system_table, Some(Maddr(0x1234_5678)));
    let seal = facts.seal();
    assert!(facts.verify(seal));
    let mut other = facts.clone();
    other.display = Display::None;
    assert!(!other.verify(seal));
}

#[test]
fn corrupt_tags_are_named() {
    assert_eq!(facts(&[]), Err(MultibootError::NoMemoryMap));
    assert_eq!(facts(&[tag(MODULE, &[0; 4])]), Err(MultibootError::ShortTag(MODULE)));
    assert_eq!(facts(&[tag(MEMORY_MAP, &[24; 20])]), Err(MultibootError::BadTag(MEMORY_MAP)));
    let backwards = [memory_map(), module(2, 1, b"\0")];
    assert_eq!(facts(&backwards), Err(MultibootError::BadTag(MODULE)));
    let endless = [memory_map(), tag(COMMAND_LINE, b"no end")];
    assert_eq!(facts(&endless), Err(MultibootError::BadTag(COMMAND_LINE)));
    let many: Vec<_> = core::iter::once(memory_map()).chain((0..33).map(|_| module(0, 0, b"\0"))).collect();
    assert_eq!(facts(&many), Err(MultibootError::Overflow("modules")));
}

proptest! {
    // Type 0 ends the tags.
    #[test]
    fn no_tag_makes_it_panic(kind in 1_u32..24, body in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = facts(&[memory_map(), tag(kind, &body)]);
    }
}
