//! Console hypercall and the boot console description (`xen.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Commands of `console_io`.
    CONSOLEIO_CMDS: u32;
    /// Writes `count` bytes from the buffer.
    CONSOLEIO_WRITE = 0, "CONSOLEIO_write";
    /// Reads up to `count` bytes into the buffer; returns how many.
    CONSOLEIO_READ = 1, "CONSOLEIO_read";
}

constants! {
    /// Values of [`Dom0VgaConsoleInfo::video_type`].
    XEN_VGATYPES: u8;
    /// VGA text mode: see [`VgaTextMode3`].
    XEN_VGATYPE_TEXT_MODE_3 = 0x03, "XEN_VGATYPE_TEXT_MODE_3";
    /// VESA linear frame buffer: see [`VgaVesaLfb`].
    XEN_VGATYPE_VESA_LFB = 0x23, "XEN_VGATYPE_VESA_LFB";
    /// EFI linear frame buffer: see [`VgaVesaLfb`].
    XEN_VGATYPE_EFI_LFB = 0x70, "XEN_VGATYPE_EFI_LFB";
}

/// Text-mode member of [`Dom0VgaConsoleInfo::u`] (C: `u.text_mode_3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VgaTextMode3 {
    /// Height of the font in pixels.
    pub font_height: u16,
    /// Cursor column.
    pub cursor_x: u16,
    /// Cursor row.
    pub cursor_y: u16,
    /// Rows of characters.
    pub rows: u16,
    /// Columns of characters.
    pub columns: u16,
}

const_assert_eq!(size_of::<VgaTextMode3>(), 10);

/// Frame-buffer member of [`Dom0VgaConsoleInfo::u`] (C: `u.vesa_lfb`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VgaVesaLfb {
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// Bytes from one line to the next.
    pub bytes_per_line: u16,
    /// Bits per pixel.
    pub bits_per_pixel: u16,
    /// Low 32 bits of the physical address.
    pub lfb_base: u32,
    /// Size in units of 64 KiB.
    pub lfb_size: u32,
    /// Bit position of red.
    pub red_pos: u8,
    /// Bits of red.
    pub red_size: u8,
    /// Bit position of green.
    pub green_pos: u8,
    /// Bits of green.
    pub green_size: u8,
    /// Bit position of blue.
    pub blue_pos: u8,
    /// Bits of blue.
    pub blue_size: u8,
    /// Bit position of the reserved field.
    pub rsvd_pos: u8,
    /// Bits of the reserved field.
    pub rsvd_size: u8,
    /// VESA capabilities (command 4f00h, offset 0ah).
    pub gbl_caps: u32,
    /// Mode attributes (command 4f01h, offset 0).
    pub mode_attrs: u16,
    /// Must be zero.
    pub pad: u16,
    /// High 32 bits of the physical address.
    pub ext_lfb_base: u32,
}

const_assert_eq!(size_of::<VgaVesaLfb>(), 36);

/// The boot console, handed to the hardware domain after its start info page. C name:
/// `dom0_vga_console_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Dom0VgaConsoleInfo {
    /// One of [`XEN_VGATYPES`]; selects the member of `u`.
    pub video_type: u8,
    /// Padding.
    pub _pad: [u8; 3],
    /// [`VgaTextMode3`] (its first 10 bytes) or [`VgaVesaLfb`].
    pub u: [u32; 9],
}

const_assert_eq!(size_of::<Dom0VgaConsoleInfo>(), 40);
