//! The contents of `start_info` (public/xen.h) that follow from a plan.

use crate::layout::{Initrd, Plan};

/// Bytes of `start_info`.
pub const START_INFO_SIZE: u64 = 1168;
/// Bytes of the command line in `start_info`, its final NUL included (MAX_GUEST_CMDLINE).
pub const COMMAND_LINE_SIZE: usize = 1024;
/// The magic of a 64-bit PV guest, to be padded with NUL to 32 bytes.
pub const MAGIC: &[u8] = b"xen-3.0-x86_64";

/// SIF_PRIVILEGED.
const PRIVILEGED: u32 = 1 << 0;
/// SIF_INITDOMAIN.
const INITDOMAIN: u32 = 1 << 1;
/// SIF_MOD_START_PFN.
const MOD_START_PFN: u32 = 1 << 3;

/// The fields of a Dom0's `start_info`. `shared_info` is the caller's; the store's fields are 0 for a Dom0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartInfo {
    /// All of the domain's memory in pages.
    pub nr_pages: u64,
    /// SIF_* flags.
    pub flags: u32,
    /// Offset of the console information from the start of `start_info`, 0 without one.
    pub console_info_offset: u32,
    /// Bytes of console information.
    pub console_info_size: u32,
    /// Virtual address of the L4.
    pub pt_base: u64,
    /// Page tables from `pt_base` on.
    pub nr_pt_frames: u64,
    /// Virtual address of the frame list.
    pub mfn_list: u64,
    /// Virtual address of the initrd, or its first frame if flag SIF_MOD_START_PFN is set; 0 without one.
    pub mod_start: u64,
    /// Bytes of the initrd.
    pub mod_len: u64,
    /// First frame of the frame list at INIT_P2M, else 0.
    pub first_p2m_pfn: u64,
    /// Frames of the frame list and its tables at INIT_P2M, else 0.
    pub nr_p2m_frames: u64,
    /// The command line, ended by NUL and padded with NUL.
    pub command_line: [u8; COMMAND_LINE_SIZE],
    /// The command line was too long and was cut (which Xen does silently).
    pub command_line_cut: bool,
}

impl StartInfo {
    /// The fields for `plan` and a command line, which ends at its first NUL if it has one.
    pub fn new(plan: &Plan, command_line: &[u8]) -> Self {
        let text = command_line.split(|&byte| byte == 0).next().unwrap_or(&[]);
        let kept = text.len().min(COMMAND_LINE_SIZE - 1);
        let mut buffer = [0; COMMAND_LINE_SIZE];
        for (to, from) in buffer.iter_mut().zip(&text[..kept]) {
            *to = *from;
        }
        let (mod_start, mod_flag) = match &plan.initrd {
            Initrd::None => (0, 0),
            Initrd::Mapped(at) => (at.start, 0),
            Initrd::Unmapped => (plan.initrd_frames.start, MOD_START_PFN),
        };
        let nr_p2m_frames = plan.p2m_frames.end - plan.p2m_frames.start;
        Self {
            nr_pages: plan.nr_pages,
            flags: PRIVILEGED | INITDOMAIN | mod_flag,
            console_info_offset: if plan.console_info_len == 0 { 0 } else { START_INFO_SIZE as u32 },
            console_info_size: plan.console_info_len,
            pt_base: plan.page_tables.start,
            nr_pt_frames: plan.nr_page_tables(),
            mfn_list: plan.p2m.start,
            mod_start,
            mod_len: plan.initrd_len,
            first_p2m_pfn: if nr_p2m_frames == 0 { 0 } else { plan.p2m_frames.start },
            nr_p2m_frames,
            command_line: buffer,
            command_line_cut: kept < text.len(),
        }
    }
}
