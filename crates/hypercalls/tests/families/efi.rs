//! EFI for Dom0, over a firmware with one variable.

use crate::firmware::facts;
use crate::fixture::{ARGUMENT, LIST, LIST2, NOWHERE, OTHER, World};
use boot_info::{BootFacts, EfiRegion};
use domain::{RuntimeCall, RuntimeServices, Unavailable};
use ids::Maddr;
use std::sync::Mutex;
use xen_abi::platform::PlatformOp;

const OP: u64 = 7;
const NAME: [u16; 4] = [b'V' as u16, b'a' as u16, b'r' as u16, 0];
const TOO_SMALL: u64 = 1 << 63 | 5;
const NOT_FOUND: u64 = 1 << 63 | 14;

/// The firmware; what was set last.
#[derive(Debug)]
pub(crate) struct Services(Mutex<Vec<u8>>);

pub(crate) static SERVICES: Services = Services(Mutex::new(Vec::new()));

impl RuntimeServices for Services {
    fn call(&self, call: RuntimeCall<'_>) -> Result<u64, Unavailable> {
        match call {
            RuntimeCall::GetTime { time, capabilities } => {
                (time.year, *capabilities) = (2030, [1, 2, 1]);
            }
            RuntimeCall::GetVariable { name, attributes, size, data, .. } => {
                if name != NAME {
                    return Ok(NOT_FOUND);
                }
                *size = 5;
                if data.len() < 5 {
                    return Ok(TOO_SMALL);
                }
                data[..5].copy_from_slice(b"hello");
                *attributes = 7;
            }
            RuntimeCall::SetVariable { data, .. } => *self.0.lock().unwrap() = data.to_vec(),
            RuntimeCall::NextVariableName { name, size, vendor } => {
                if name[0] == NAME[0] {
                    return Ok(NOT_FOUND);
                }
                name[..4].copy_from_slice(&NAME);
                (*size, vendor.data1) = (8, 9);
            }
            RuntimeCall::QueryVariableInfo { attributes: 7, sizes } => *sizes = [30, 20, 10],
            RuntimeCall::SetWakeupTime { enable: true, time: None } => {}
            _ => return Err(Unavailable),
        }
        Ok(0)
    }
}

fn efi() -> BootFacts {
    let mut facts = facts();
    facts.efi.version = 0x2_0046;
    (facts.efi.tables, facts.efi.table_count) = (Maddr(0x1000), 3);
    facts.efi.vendor.extend(NAME);
    (facts.efi.firmware_revision, facts.efi.runtime_version) = (0x10, 0x2_0032);
    let region = EfiRegion { kind: 6, start: Maddr(0x8000), len: 0x3000, attributes: 1 << 63 | 8 };
    facts.efi.memory.push(region);
    facts
}

fn op(world: &World, cmd: u32, words: &[u64]) -> (i64, [u64; 16]) {
    let mut u = [0; 16];
    u[..words.len()].copy_from_slice(words);
    world.put(ARGUMENT, &PlatformOp { cmd, interface_version: 0x0300_0001, u });
    (world.call(OP, &[ARGUMENT]), world.get::<PlatformOp>(ARGUMENT).u)
}

/// A call: function, flags; the answer is the result, the flags, the status and the member.
fn runtime(world: &World, function: u64, flags: u64, member: &[u64]) -> (i64, u64, u64, Vec<u64>) {
    let (result, words) = op(world, 49, &[&[function | flags << 32, 0], member].concat());
    (result, words[0] >> 32, words[1], words[2..7].to_vec())
}

#[test]
fn tells_what_the_firmware_says() {
    let world = World::on(efi());
    let info = |index: u64, words: &[u64]| op(&world, 50, &[&[4 | index << 32], words].concat());
    assert_eq!((info(0, &[]).0, info(0, &[]).1[1]), (0, 0x2_0046));
    assert_eq!((info(1, &[]).1[1], info(1, &[]).1[2]), (0x1000, 3));
    let (result, words) = info(2, &[5 << 32, LIST]);
    assert_eq!((result, words[1] as u32, world.get::<[u16; 2]>(LIST)), (0, 0x10, [b'V'.into(), b'a'.into()]));
    assert_eq!(info(2, &[8 << 32, NOWHERE]).0, -14);
    let (result, words) = info(3, &[0x9000, 0x8000]);
    assert_eq!((result, words[1], words[2], words[3], words[4] as u32), (0, 0x9000, 0x2000, 1 << 63 | 8, 6));
    assert_eq!((info(3, &[0xb000, 1]).0, info(4, &[]).1[1]), (-3, 0x2_0032));
    assert_eq!([5, 6, 7].map(|index| info(index, &[]).0), [-3, -61, -22]);
}

#[test]
fn services_are_called_and_answers_come_back() {
    let mut world = World::on(efi());
    let (result, flags, status, member) = runtime(&world, 1, 0, &[]);
    assert_eq!((result, flags, status, member[0] as u16, member[2]), (0, 1, 0, 2030, 1 | 2 << 32));
    world.put(LIST, &NAME);
    let (result, flags, status, member) = runtime(&world, 6, 0, &[LIST, 4, LIST2, 1, 2]);
    assert_eq!((result, flags, status, member[1]), (0, 0, TOO_SMALL, 5));
    let (result, flags, status, member) = runtime(&world, 6, 0, &[LIST, 16, LIST2, 1, 2]);
    assert_eq!((result, flags, status, &member[..3]), (0, 7, 0, &[LIST, 5, LIST2][..]));
    assert_eq!(&world.get::<[u8; 6]>(LIST2), b"hello\0");
    assert_eq!(runtime(&world, 7, 7, &[LIST, 5, LIST2, 1, 2]).2, 0);
    assert_eq!(*SERVICES.0.lock().unwrap(), b"hello");
    world.put(LIST, &[0_u16; 8]);
    let (result, _, status, member) = runtime(&world, 8, 0, &[16, LIST, 0, 0]);
    assert_eq!((result, status, member[0], member[2], world.get::<[u16; 4]>(LIST)), (0, 0, 8, 9, NAME));
    assert_eq!(runtime(&world, 8, 0, &[16, LIST, 0, 0]).2, NOT_FOUND);
    assert_eq!(runtime(&world, 9, 1, &[7]), (0, 0, 0, vec![7, 30, 20, 10, 0]));
    assert_eq!(runtime(&world, 4, 3, &[]), (0, 0, 0, vec![0; 5]));
    // Wrong flags, no such function, no service, no memory.
    assert_eq!((runtime(&world, 1, 1, &[]).0, runtime(&world, 4, 4, &[]).0), (-22, -22));
    assert_eq!([10, 11, 12].map(|function| runtime(&world, function, 0, &[]).0), [-38; 3]);
    assert_eq!(runtime(&world, 2, 0, &[]).0, -95);
    assert_eq!(runtime(&world, 6, 0, &[NOWHERE, 4, LIST2]).0, -14);
    assert_eq!(runtime(&world, 6, 0, &[LIST, 1 << 30, LIST2]).0, -12);
    assert_eq!(runtime(&world, 7, 7, &[LIST, 5, NOWHERE]).0, -14);
    world.caller = OTHER;
    assert_eq!(runtime(&world, 1, 0, &[]).0, -1);
}
