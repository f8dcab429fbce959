//! The screen as the boot loader left it: what Dom0's console driver needs (`dom0_vga_console_info`, public/xen.h).

/// A screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Display {
    /// None, or unknown.
    #[default]
    None,
    /// VGA text (`XEN_VGATYPE_TEXT_MODE_3`).
    Text {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
        /// Lines of a character.
        font_height: u16,
        /// Cursor, from the left.
        cursor_x: u16,
        /// Cursor, from the top.
        cursor_y: u16,
    },
    /// A linear frame buffer (`XEN_VGATYPE_VESA_LFB`, on EFI machines `XEN_VGATYPE_EFI_LFB`).
    Pixels {
        /// Machine address.
        address: u64,
        /// Bytes from line to line.
        pitch: u32,
        /// Pixels in a line.
        width: u16,
        /// Lines.
        height: u16,
        /// Bits of a pixel.
        bits: u8,
        /// Lowest bit and number of bits of red.
        red: (u8, u8),
        /// Of green.
        green: (u8, u8),
        /// Of blue.
        blue: (u8, u8),
    },
}
