//! What a BIOS answered in real mode: its disks, its monitor, its keyboard.
//!
//! The answers come as bytes that code in real mode wrote, in part the BIOS itself: lengths and counts among them are
//! allegations. The offsets are shared with that code (`machine::bios`).

use arrayvec::ArrayVec;

/// Disks that there is room for, as in Xen.
pub const MAX_DISKS: u8 = 6;
/// Signatures that there is room for, as in Xen.
pub const MAX_SIGNATURES: u8 = 16;
/// Bytes of a disk's parameters (Enhanced Disk Drive specification 3.0, function 48h).
pub const PARAMETER_BYTES: u16 = 74;
/// Bytes of a disk's entry: eight of its own and the parameters.
pub const DISK_BYTES: u16 = 8 + PARAMETER_BYTES;
/// Bytes of an EDID block.
pub const EDID_BYTES: usize = 128;
/// What the EDID block is full of before the BIOS writes there.
pub const UNTOUCHED: u8 = 0x13;

/// Offset of the number of disks.
pub const DISK_COUNT: u16 = 0;
/// Of the number of signatures.
pub const SIGNATURE_COUNT: u16 = 1;
/// Of the keyboard's shift flags.
pub const KEYS: u16 = 2;
/// Of the stage that was begun last: 1 disks, 2 signatures, 3 screen, 4 monitor, 5 keyboard, 6 all done.
pub const STAGE: u16 = 3;
/// Of a byte that is not 0 if a call took too long.
pub const GIVEN_UP: u16 = 4;
/// Of a byte that is not 0 if there is a VGA.
pub const VGA: u16 = 5;
/// Of what the screen's BIOS can read of the monitor (VBE/DDC, function 0: BX).
pub const ABILITY: u16 = 6;
/// Of the number of rows of text that the screen was made to show.
pub const ROWS: u16 = 8;
/// Of the signatures, eight bytes each.
pub const SIGNATURES: u16 = 16;
/// Of the disks.
pub const DISKS: u16 = SIGNATURES + 8 * MAX_SIGNATURES as u16;
/// Of the EDID block.
pub const EDID: usize = (DISKS + DISK_BYTES * MAX_DISKS as u16) as usize;
/// Bytes of all answers.
pub const BYTES: usize = EDID + EDID_BYTES;

const STAGES: [&str; 6] =
    ["the system", "its disks", "its disks' first sectors", "the screen", "the monitor", "the keyboard"];

/// A disk of the BIOS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BiosDisk {
    /// Its number, from 0x80 on.
    pub device: u8,
    /// Version of the extensions.
    pub version: u8,
    /// Which of them there are.
    pub interface_support: u16,
    /// Highest cylinder, by function 08h; 0 if that failed.
    pub max_cylinder: u16,
    /// Highest head.
    pub max_head: u8,
    /// Sectors of a track.
    pub sectors: u8,
    parameters: [u8; PARAMETER_BYTES as usize],
}

impl BiosDisk {
    /// What function 48h wrote: as many bytes as it says that it wrote, and has room for.
    pub fn parameters(&self) -> &[u8] {
        let len = usize::from(u16::from_le_bytes([self.parameters[0], self.parameters[1]]));
        &self.parameters[..len.min(self.parameters.len())]
    }
}

/// What the screen's BIOS read of the monitor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Edid {
    /// The channels that there are: bit 0 DDC 1, bit 1 DDC 2.
    pub capabilities: u8,
    /// Seconds that reading a block takes.
    pub transfer_time: u8,
    /// The monitor's first block.
    pub block: [u8; EDID_BYTES],
}

/// All answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BiosFacts {
    /// Disks.
    pub disks: ArrayVec<BiosDisk, { MAX_DISKS as usize }>,
    /// Disks that have a boot record, and its signature.
    pub signatures: ArrayVec<(u8, u32), { MAX_SIGNATURES as usize }>,
    /// The monitor.
    pub edid: Option<Edid>,
    /// The keyboard's shift flags.
    pub keyboard_flags: u8,
    /// Rows of text that the screen was made to show; 0: it was left as it is.
    pub rows: u8,
    /// Whether there is a VGA; `None`: nobody asked.
    pub vga: Option<bool>,
}

impl BiosFacts {
    /// Nothing was asked.
    pub const EMPTY: Self = Self {
        disks: ArrayVec::new_const(),
        signatures: ArrayVec::new_const(),
        edid: None,
        keyboard_flags: 0,
        rows: 0,
        vga: None,
    };

    /// Takes the answers up. The error is what the BIOS was asked about when it took too long; what it answered until
    /// then is taken up nevertheless.
    ///
    /// # Errors
    /// As said.
    pub fn read(&mut self, answers: &[u8; BYTES]) -> Result<(), &'static str> {
        let byte = |at: u16| answers[usize::from(at)];
        let word = |at: usize| u16::from_le_bytes([answers[at], answers[at + 1]]);
        *self = Self::EMPTY;
        let disks = answers[usize::from(DISKS)..EDID].chunks_exact(usize::from(DISK_BYTES));
        self.disks.extend(disks.take(byte(DISK_COUNT).into()).map(disk));
        let signatures = answers[usize::from(SIGNATURES)..usize::from(DISKS)].chunks_exact(8);
        let signature =
            |entry: &[u8]| (entry[0], u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]));
        self.signatures.extend(signatures.take(byte(SIGNATURE_COUNT).into()).map(signature));
        let mut block = [0; EDID_BYTES];
        block.copy_from_slice(&answers[EDID..]);
        if block[..4] != [UNTOUCHED; 4] {
            let [capabilities, transfer_time] = word(ABILITY.into()).to_le_bytes();
            self.edid = Some(Edid { capabilities, transfer_time, block });
        }
        (self.keyboard_flags, self.rows) = (byte(KEYS), byte(ROWS));
        let stage = usize::from(byte(STAGE));
        self.vga = (byte(VGA) != 0 || stage > 3).then_some(byte(VGA) != 0);
        if byte(GIVEN_UP) == 0 { Ok(()) } else { Err(STAGES.get(stage).unwrap_or(&STAGES[0])) }
    }
}

/// An entry of `DISK_BYTES`.
fn disk(entry: &[u8]) -> BiosDisk {
    let word = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
    let mut parameters = [0; PARAMETER_BYTES as usize];
    parameters.copy_from_slice(&entry[8..]);
    BiosDisk {
        device: entry[0],
        version: entry[1],
        interface_support: word(2),
        max_cylinder: word(4),
        max_head: entry[6],
        sectors: entry[7],
        parameters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> [u8; BYTES] {
        let mut answers = [0; BYTES];
        answers[EDID..].fill(UNTOUCHED);
        answers[usize::from(STAGE)] = 6;
        answers
    }

    fn read(answers: &[u8; BYTES]) -> (BiosFacts, Result<(), &'static str>) {
        let mut facts = BiosFacts::EMPTY;
        let result = facts.read(answers);
        (facts, result)
    }

    #[test]
    fn silence_is_no_disk_and_no_monitor() {
        let (facts, result) = read(&answers());
        assert_eq!((facts, result), (BiosFacts { vga: Some(false), ..BiosFacts::EMPTY }, Ok(())));
    }

    #[test]
    fn disks_and_signatures_are_found() {
        let mut raw = answers();
        raw[usize::from(DISK_COUNT)] = 2;
        let at = usize::from(DISKS + DISK_BYTES);
        raw[at..at + 10].copy_from_slice(&[0x81, 0x30, 7, 0, 2, 1, 15, 63, 26, 0]);
        raw[usize::from(SIGNATURE_COUNT)] = 1;
        raw[16..24].copy_from_slice(&[0x81, 9, 9, 9, 0xde, 0xc0, 0xed, 0xfe]);
        let (facts, _) = read(&raw);
        let disk = &facts.disks[1];
        assert_eq!((disk.device, disk.version, disk.interface_support), (0x81, 0x30, 7));
        assert_eq!((disk.max_cylinder, disk.max_head, disk.sectors), (258, 15, 63));
        assert_eq!((disk.parameters().len(), facts.disks[0].parameters().len()), (26, 0));
        assert_eq!(facts.signatures[..], [(0x81, 0xfeed_c0de)]);
    }

    #[test]
    fn a_monitor_is_one_whose_block_was_written() {
        let mut raw = answers();
        raw[usize::from(ABILITY)..usize::from(ABILITY) + 2].copy_from_slice(&[3, 1]);
        raw[usize::from(VGA)] = 1;
        assert_eq!(read(&raw).0.edid, None);
        raw[EDID] = 0;
        let edid = read(&raw).0.edid.expect("a monitor");
        assert_eq!((edid.capabilities, edid.transfer_time, edid.block[1]), (3, 1, UNTOUCHED));
    }

    #[test]
    fn no_count_and_no_length_leads_outside() {
        let raw = [0xff; BYTES];
        let (facts, result) = read(&raw);
        assert_eq!((facts.disks.len(), facts.signatures.len()), (MAX_DISKS.into(), MAX_SIGNATURES.into()));
        assert_eq!(facts.disks[5].parameters().len(), usize::from(PARAMETER_BYTES));
        assert_eq!(result, Err("the system"));
    }

    #[test]
    fn what_was_answered_before_a_hang_counts() {
        let mut raw = answers();
        raw[usize::from(STAGE)] = 2;
        raw[usize::from(GIVEN_UP)] = 1;
        raw[usize::from(DISK_COUNT)] = 1;
        let (facts, result) = read(&raw);
        assert_eq!((facts.disks.len(), facts.vga, result), (1, None, Err("its disks' first sectors")));
    }
}
